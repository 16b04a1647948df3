//! Ranges: of a whole, of a part, and what a part says of itself. The input is a request's fields and a response's.

use super::fields::{texts, two_blocks};
use crate::{Target, models};
use brink_policy::http::range::{Held, Part, content_range, is_one_part, part};
use http::{HeaderMap, Method, StatusCode, header::RANGE};

pub(crate) const TARGET: Target = Target {
    name: "ranges",
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "range: bytes=0-4",
        "range: bytes=-5\nif-range: \"a\"\n\netag: \"a\"\ncontent-range: bytes 4-9/10",
        "range: bytes=7-",
        "range: bytes=0-1,3-4\n\ncontent-range: bytes 0-18446744073709551615/*",
        "range: bytes=99999999999999999999-\nif-range: Sun, 06 Nov 1994 08:49:37 GMT\n\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\ndate: Mon, 07 Nov 1994 08:49:37 GMT",
        "range: bytes=18446744073709551615-18446744073709551615\n\ncontent-range: bytes 0-4/5\ncontent-length: 5",
    ])
}

fn run(bytes: &[u8]) {
    let (request, response) = two_blocks(bytes);
    for length in [0, 1, 10, bytes.len(), usize::MAX] {
        check_whole(&request, &response, length);
        check_part(&request, &response, length);
    }
}

fn check_whole(request: &HeaderMap, response: &HeaderMap, length: usize) {
    let ours = part(&Method::GET, request, StatusCode::OK, response, length);
    if let Part::Range(range) = &ours {
        assert!(
            range.start < range.end && range.end <= length,
            "{range:?} of {length}"
        );
        assert!(content_range(range, length).is_some());
    }
    let mut alone = HeaderMap::new();
    let (Some(value), 1) = (request.get(RANGE), request.get_all(RANGE).iter().count()) else {
        return assert_eq!(ours, Part::Whole);
    };
    let Ok(text) = value.to_str() else {
        return assert_eq!(ours, Part::Whole);
    };
    // Spaces around are read too, which no grammar has.
    if text.contains([' ', '\t']) {
        return;
    }
    alone.insert(RANGE, value.clone());
    let expected = match models::range(text, length as u128) {
        models::Range::Whole => Part::Whole,
        models::Range::Unsatisfiable => Part::Unsatisfiable,
        models::Range::Bytes(first, last) => {
            let [first, last] = [first, last].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
            Part::Range(first..last + 1)
        }
    };
    let alone = part(&Method::GET, &alone, StatusCode::OK, response, length);
    assert_eq!(alone, expected, "{text} of {length}");
    assert!(
        ours == expected || ours == Part::Whole,
        "{text} of {length}"
    );
}

fn check_part(request: &HeaderMap, response: &HeaderMap, length: usize) {
    let Some(held) = Held::of(response, length) else {
        return;
    };
    assert!(is_one_part(response));
    assert!(
        held.first
            .checked_add(length)
            .is_some_and(|end| end <= held.complete),
        "{held:?} of {length}"
    );
    if held.answers(&Method::GET, request, response, length) {
        let asked = part(
            &Method::GET,
            request,
            StatusCode::OK,
            response,
            held.complete,
        );
        let Part::Range(range) = asked else {
            panic!("{asked:?}");
        };
        let place = held.place(&range, length);
        assert!(place.is_some_and(|place| place.end <= length && place.len() == range.len()));
    }
}
