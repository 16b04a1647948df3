//! Ranges.

use crate::models;
use brink_policy::http::range::{Held, Part, content_range, part};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::RANGE};
use proptest::prelude::*;

fn ours(value: &str, length: usize) -> Part {
    let mut request = HeaderMap::new();
    request.insert(RANGE, HeaderValue::from_str(value).unwrap());
    let none = HeaderMap::new();
    part(&Method::GET, &request, StatusCode::OK, &none, length)
}

fn modelled(value: &str, length: usize) -> Part {
    match models::range(value, length as u128) {
        models::Range::Whole => Part::Whole,
        models::Range::Unsatisfiable => Part::Unsatisfiable,
        models::Range::Bytes(first, last) => {
            Part::Range(usize::try_from(first).unwrap()..usize::try_from(last).unwrap() + 1)
        }
    }
}

#[test]
fn small_ones_without_exception() {
    for length in 0..6 {
        for first in ["", "0", "1", "4", "5", "6", "007", "x"] {
            for last in [
                "",
                "0",
                "1",
                "4",
                "5",
                "6",
                "99999999999999999999999",
                "-1",
                "1,2-3",
            ] {
                let value = format!("bytes={first}-{last}");
                assert_eq!(
                    ours(&value, length),
                    modelled(&value, length),
                    "{value} of {length}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn as_the_model_says(
        unit in "(bytes|BYTES|Bytes|byte|lines|)",
        first in "[0-9]{0,20}",
        dash in "(-|--|)",
        last in "[0-9]{0,20}",
        length in 0usize..3000,
    ) {
        let value = format!("{unit}={first}{dash}{last}");
        prop_assert_eq!(ours(&value, length), modelled(&value, length), "{} of {}", value, length);
    }

    /// What is asked for of what is held is what would be cut out of the whole.
    #[test]
    fn a_part_answers_as_the_whole_would(
        complete in 1usize..200,
        from in 0usize..200,
        bytes in 1usize..200,
        asked in "bytes=([0-9]{1,3}-[0-9]{0,3}|-[0-9]{1,3})",
    ) {
        let from = from % complete;
        let to = (from + bytes).min(complete);
        let whole: Vec<usize> = (0..complete).collect();
        let held = Held { first: from, complete };
        let Part::Range(range) = ours(&asked, complete) else { return Ok(()) };
        let place = held.place(&range, to - from);
        let is_held = from <= range.start && range.end <= to;
        prop_assert_eq!(place.is_some(), is_held);
        if let Some(place) = place {
            prop_assert_eq!(&whole[from..to][place], &whole[range.clone()]);
        }
        prop_assert!(content_range(&range, complete).is_some());
    }
}
