//! Any request and response fields: every caching decision is taken without a panic, and keeps its promises.
//!
//! The input is two blocks of `name: value` lines, request and response, with an empty line between.
#![no_main]

use brink_policy::{http as policy, names};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use libfuzzer_sys::fuzz_target;
use std::time::{Duration, SystemTime};

fn fields(block: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in block.split(|b| *b == b'\n').take(64) {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value[1..].trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

fuzz_target!(|bytes: &[u8]| {
    let at = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let request = fields(&bytes[..at]);
    let mut response = fields(&bytes[at..]);
    let length = bytes.len();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);

    match policy::range::part(&Method::GET, &request, StatusCode::OK, &response, length) {
        policy::range::Part::Range(range) => {
            assert!(range.start < range.end && range.end <= length, "{range:?} of {length}");
            assert!(policy::range::content_range(&range, length).is_some());
        }
        policy::range::Part::Whole | policy::range::Part::Unsatisfiable => {}
    }
    if let Some(held) = policy::range::Held::of(&response, length) {
        assert!(held.first + length <= held.complete, "{held:?} of {length}");
        if held.answers(&Method::GET, &request, &response, length) {
            let asked = policy::range::part(&Method::GET, &request, StatusCode::OK, &response, held.complete);
            let policy::range::Part::Range(range) = asked else { panic!("{asked:?}") };
            assert!(held.place(&range, length).is_some_and(|place| place.end <= length));
        }
    }
    if let Some(vary) = policy::vary::fields(&response) {
        let once = policy::vary::selection(&vary, &request);
        assert_eq!(once, policy::vary::selection(&vary, &request));
    }
    let candidate = policy::storable::Candidate {
        method: &Method::GET,
        request: &request,
        request_no_store: policy::directives::RequestDirectives::of(&request).no_store,
        status: StatusCode::OK,
        response: &response,
        by_origin: false,
        lifetime: None,
        received: now,
    };
    let no_store = policy::directives::ResponseDirectives::of(&response);
    if policy::storable::storable(&candidate).is_ok() {
        assert!(!no_store.private, "a private response was stored");
        assert!(!no_store.no_store || no_store.must_understand, "a no-store response was stored");
    }
    let _ = names::names(&response);
    let _ = names::groups(&response);
    let _ = names::invalidated_groups(&response);
    policy::fields::remove_hop_by_hop(&mut response);
    assert!(!response.contains_key(http::header::TRANSFER_ENCODING) && !response.contains_key(http::header::CONNECTION));
    policy::freshen::retain_storable(&mut response);
    let update = request.clone();
    policy::freshen::freshen(&mut response, update);
});
