//! Any request and response fields: every caching decision is taken without a panic, and keeps its promises.
//!
//! The input is two blocks of fields, request and response, with an empty line between.

use super::fields::{texts, two_blocks};
use crate::Target;
use brink_policy::{
    http as policy,
    http::{condition, invalidate, storable},
    names,
};
use http::{HeaderMap, Method, StatusCode, header};
use std::time::{Duration, SystemTime};

pub(crate) const TARGET: Target = Target {
    name: "http_fields",
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "authorization: x\n\ncache-control: public, max-age=5\netag: \"a\"",
        "cache-control: no-store\nif-none-match: \"a\", W/\"b\", *\n\netag: W/\"b\"\nset-cookie: a=b\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT",
        "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\n\ncontent-location: ../b?c#d\nlocation: //h/x\nvary: *",
        "\n\nconnection: x-a, close\nx-a: 1\ntransfer-encoding: chunked\nexpires: 0\ncontent-range: bytes 0-1/2",
    ])
}

fn run(bytes: &[u8]) {
    let (request, mut response) = two_blocks(bytes);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    for status in [
        StatusCode::OK,
        StatusCode::PARTIAL_CONTENT,
        StatusCode::NOT_FOUND,
        StatusCode::NOT_MODIFIED,
    ] {
        check_storable(&request, &response, status, now);
        let urls = invalidate::invalidated(&Method::POST, "h", "/a/b?c", status, &response);
        assert!(urls.iter().all(|url| url.starts_with("h/")), "{urls:?}");
    }
    let is_same =
        |method: &Method| condition::not_modified(method, &request, StatusCode::OK, &response, now);
    assert_eq!(is_same(&Method::GET), is_same(&Method::HEAD));
    let _ = names::names(&response);
    policy::fields::remove_hop_by_hop(&mut response);
    assert!(
        !response.contains_key(header::TRANSFER_ENCODING)
            && !response.contains_key(header::CONNECTION)
    );
    let received = response.clone();
    policy::freshen::retain_storable(&mut response);
    policy::freshen::restore_unstored(&mut response, &received);
    let length = response.get(header::CONTENT_LENGTH).cloned();
    policy::freshen::freshen(&mut response, request.clone());
    assert_eq!(
        response.get(header::CONTENT_LENGTH),
        length.as_ref(),
        "a 304 does not change what is stored"
    );
    condition::retain_for_304(&mut response);
}

fn check_storable(
    request: &HeaderMap,
    response: &HeaderMap,
    status: StatusCode,
    received: SystemTime,
) {
    let asked = policy::RequestDirectives::of(request);
    let said = policy::ResponseDirectives::of(response);
    for by_origin in [true, false] {
        let candidate = storable::Candidate {
            method: &Method::GET,
            request,
            request_no_store: asked.no_store,
            status,
            response,
            by_origin,
            lifetime: None,
            negative: brink_protocol::caching::Negative::default(),
            received,
        };
        let Ok(lifetime) = policy::storable(&candidate) else {
            continue;
        };
        assert!(!said.private, "a private response was stored");
        assert!(
            !said.no_store || said.must_understand,
            "a no-store response was stored"
        );
        assert!(
            !asked.no_store,
            "an answer to a no-store request was stored"
        );
        let shared = said.public || said.must_revalidate || said.s_maxage.is_some();
        assert!(
            shared || !request.contains_key(header::AUTHORIZATION),
            "an answer to one caller was stored"
        );
        assert!(
            lifetime.always_validate || !said.no_cache,
            "no-cache was overlooked"
        );
        assert!(status != StatusCode::NOT_MODIFIED && !policy::vary::is_any(response));
    }
}
