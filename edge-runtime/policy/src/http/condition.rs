//! Validators and conditions: RFC 9110 §8.8, §13; RFC 9111 §4.3.

use super::fields::{date, members};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE,
        ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
        LAST_MODIFIED, RANGE, TRAILER,
    },
};
use std::time::SystemTime;

/// Weak comparison: RFC 9110 §8.8.3.2.
#[must_use]
pub fn weakly_equal(a: &[u8], b: &[u8]) -> bool {
    fn opaque(tag: &[u8]) -> &[u8] {
        tag.strip_prefix(b"W/").unwrap_or(tag)
    }
    opaque(a) == opaque(b)
}

/// Strong comparison: RFC 9110 §8.8.3.2.
#[must_use]
pub fn strongly_equal(a: &[u8], b: &[u8]) -> bool {
    a == b && !a.starts_with(b"W/")
}

/// Whether a request has conditions that only the origin can answer (`If-Match`, `If-Unmodified-Since`).
#[must_use]
pub fn has_preconditions(request: &HeaderMap) -> bool {
    request.contains_key(IF_MATCH) || request.contains_key(IF_UNMODIFIED_SINCE)
}

/// Whether a request has any field that makes its answer other than the whole stored response.
#[must_use]
pub fn is_plain(request: &HeaderMap) -> bool {
    ![IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE]
        .iter()
        .any(|name| request.contains_key(name))
}

/// Whether the client's stored response is still this one, so that a 304 says enough. RFC 9111 §4.3.2: `If-None-Match`
/// goes before `If-Modified-Since`; without `Last-Modified` the latter is held against `Date`, then against `received`.
#[must_use]
pub fn not_modified(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    stored: &HeaderMap,
    received: SystemTime,
) -> bool {
    if status != StatusCode::OK || !matches!(*method, Method::GET | Method::HEAD) {
        return false;
    }
    if request.contains_key(IF_NONE_MATCH) {
        let mut asked = request.get_all(IF_NONE_MATCH).iter();
        return match stored.get(ETAG) {
            Some(etag) => asked.any(|value| matches_any(value, etag)),
            None => asked.any(|value| value.as_bytes().trim_ascii() == b"*"),
        };
    }
    match date(request, &IF_MODIFIED_SINCE) {
        Some(since) => {
            let modified = date(stored, &LAST_MODIFIED)
                .or_else(|| date(stored, &DATE))
                .unwrap_or(received);
            modified <= since
        }
        None => false,
    }
}

fn matches_any(value: &HeaderValue, etag: &HeaderValue) -> bool {
    let etag = etag.as_bytes();
    match value.to_str() {
        Ok(text) => members(text).any(|tag| tag == "*" || weakly_equal(tag.as_bytes(), etag)),
        // Bytes outside ASCII are allowed in a tag; one tag alone is still understood.
        Err(_) => weakly_equal(value.as_bytes(), etag),
    }
}

/// Makes the head of a 304 of the stored head: without what describes the content. RFC 9110 §15.4.5.
pub fn retain_for_304(headers: &mut HeaderMap) {
    for name in [
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CONTENT_ENCODING,
        CONTENT_LANGUAGE,
        CONTENT_RANGE,
        TRAILER,
    ] {
        headers.remove(name);
    }
}

/// The validators of what is stored, as conditions for a request. RFC 9111 §4.3.1.
#[must_use]
pub fn conditions_from(stored: &HeaderMap) -> HeaderMap {
    let mut conditions = HeaderMap::new();
    if let Some(etag) = stored.get(ETAG) {
        conditions.insert(IF_NONE_MATCH, etag.clone());
    }
    if let Some(modified) = stored.get(LAST_MODIFIED) {
        conditions.insert(IF_MODIFIED_SINCE, modified.clone());
    }
    conditions
}

/// Removes the conditions that a cache answers itself once it has the whole response.
pub fn remove_conditions(request: &mut HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE] {
        request.remove(name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    #[test]
    fn not_modified_or_not() {
        type Fields<'a> = &'a [(&'static str, &'a str)];
        let cases: [(Fields<'_>, Fields<'_>, bool); 16] = [
            (&[("if-none-match", "\"a\"")], &[("etag", "\"a\"")], true),
            (&[("if-none-match", "\"b\"")], &[("etag", "\"a\"")], false),
            (
                &[("if-none-match", "\"1\", \"a\", \"2\"")],
                &[("etag", "\"a\"")],
                true,
            ),
            (
                &[("if-none-match", "\"1\""), ("if-none-match", "\"a\"")],
                &[("etag", "\"a\"")],
                true,
            ),
            (&[("if-none-match", "W/\"a\"")], &[("etag", "\"a\"")], true),
            (&[("if-none-match", "\"a\"")], &[("etag", "W/\"a\"")], true),
            (&[("if-none-match", "\"x,a\"")], &[("etag", "\"a\"")], false),
            (&[("if-none-match", "\"é\"")], &[("etag", "\"é\"")], true),
            (&[("if-none-match", "*")], &[], true),
            (&[("if-none-match", "\"a\"")], &[], false),
            (
                &[("if-none-match", "\"b\""), ("if-modified-since", LATE)],
                &[("etag", "\"a\""), ("last-modified", EARLY)],
                false,
            ),
            (
                &[("if-modified-since", LATE)],
                &[("last-modified", EARLY)],
                true,
            ),
            (
                &[("if-modified-since", EARLY)],
                &[("last-modified", EARLY)],
                true,
            ),
            (
                &[("if-modified-since", EARLY)],
                &[("last-modified", LATE)],
                false,
            ),
            (&[("if-modified-since", LATE)], &[("date", EARLY)], true),
            (
                &[("if-modified-since", "soon")],
                &[("last-modified", EARLY)],
                false,
            ),
        ];
        for (request, stored, expected) in cases {
            let (request, stored) = (map(request), map(stored));
            let got =
                |method, status| not_modified(method, &request, status, &stored, SystemTime::now());
            assert_eq!(
                got(&Method::GET, StatusCode::OK),
                expected,
                "{request:?} {stored:?}"
            );
            assert!(!got(&Method::GET, StatusCode::NOT_FOUND));
            assert!(!got(&Method::POST, StatusCode::OK));
        }
    }

    #[test]
    fn strong_is_stronger() {
        assert!(strongly_equal(b"\"a\"", b"\"a\""));
        assert!(!strongly_equal(b"W/\"a\"", b"W/\"a\""));
        assert!(weakly_equal(b"W/\"a\"", b"W/\"a\""));
    }
}
