//! Makes the answer to one request of a stored response: `HEAD`, conditions and ranges, `Age` and `Cache-Status`.

use super::stored::{CACHE_STATUS, Stored};
use brink_policy::{
    cache_status::CacheStatus,
    http::{
        condition::{is_plain, not_modified, retain_for_304},
        range::{Part, content_range, part, unsatisfied},
    },
};
use brink_protocol::Position;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, TRAILER},
    response::Parts,
};
use std::{ops::Range, sync::Arc};

/// What is sent.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    /// The trailer section behind it.
    pub(super) trailers: Option<HeaderMap>,
    pub(super) status: CacheStatus,
    /// See [`super::Answer::stored`].
    pub(super) stored: Option<Arc<Position>>,
    /// The entry that it was kept as, just now.
    pub(super) kept: Option<Arc<Stored>>,
}

/// The head of an answer.
pub(super) fn head(status: StatusCode, headers: HeaderMap) -> Parts {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.headers = headers;
    parts
}

/// Sets this cache's member of `Cache-Status`, after those of the caches before it.
pub(super) fn set_status(
    headers: &mut HeaderMap,
    upstream: Option<&HeaderValue>,
    status: &CacheStatus,
    name: &str,
) {
    let Some(own) = status.to_value(name) else {
        return;
    };
    let both = upstream.and_then(|upstream| {
        let text = format!("{}, {}", upstream.to_str().ok()?, own.to_str().ok()?);
        HeaderValue::try_from(text).ok()
    });
    headers.insert(CACHE_STATUS, both.unwrap_or(own));
}

/// The answer to a request, made of a stored response of this age.
pub(super) fn compose(
    stored: &Stored,
    method: &Method,
    request: &HeaderMap,
    age: u64,
    status: CacheStatus,
    name: &str,
) -> Reply {
    let mut headers = stored.headers.clone();
    headers.insert(AGE, HeaderValue::from(age));
    set_status(&mut headers, stored.upstream_status.as_ref(), &status, name);
    let mut head = head(stored.status, headers);
    let mut body = stored.body.clone();
    if !is_plain(request) {
        restrict(stored, method, request, &mut head, &mut body);
    }
    if *method == Method::HEAD {
        body = Bytes::new();
    }
    let is_whole = *method != Method::HEAD && head.status == stored.status;
    let trailers = stored.trailers.as_deref().filter(|_| is_whole).cloned();
    if head.status != stored.status {
        // They are of the whole.
        head.headers.remove(TRAILER);
    }
    Reply {
        head,
        body,
        trailers,
        status,
        stored: Some(stored.position.clone()),
        kept: None,
    }
}

/// Conditions, then ranges: RFC 9110 §13.2.2.
fn restrict(
    stored: &Stored,
    method: &Method,
    request: &HeaderMap,
    head: &mut Parts,
    body: &mut Bytes,
) {
    let held = stored.part();
    // A part is one of what would be a 200.
    let status = match held {
        Some(_) => StatusCode::OK,
        None => stored.status,
    };
    if not_modified(method, request, status, &stored.headers, stored.received) {
        head.status = StatusCode::NOT_MODIFIED;
        retain_for_304(&mut head.headers);
        *body = Bytes::new();
        return;
    }
    let held_bytes = body.len();
    let length = held.map_or(held_bytes, |held| held.complete);
    let place = |range: &Range<usize>| match held {
        Some(held) => held.place(range, held_bytes),
        None => Some(range.clone()),
    };
    match part(method, request, status, &stored.headers, length) {
        Part::Whole => {}
        Part::Range(range) => {
            // An origin may answer another range than it was asked for; it is sent as it came.
            let Some(place) = place(&range) else {
                return;
            };
            head.status = StatusCode::PARTIAL_CONTENT;
            head.headers
                .insert(CONTENT_LENGTH, HeaderValue::from(range.len()));
            if let Some(value) = content_range(&range, length) {
                head.headers.insert(CONTENT_RANGE, value);
            }
            *body = body.slice(place);
        }
        Part::Unsatisfiable if held.is_some() => {}
        Part::Unsatisfiable => {
            head.status = StatusCode::RANGE_NOT_SATISFIABLE;
            head.headers
                .insert(CONTENT_LENGTH, HeaderValue::from(0_u64));
            head.headers.remove(CONTENT_TYPE);
            if let Some(value) = unsatisfied(length) {
                head.headers.insert(CONTENT_RANGE, value);
            }
            *body = Bytes::new();
        }
    }
}
