//! What an answer's head says of its body, where the protocol frames bodies itself (HTTP/2, HTTP/3).

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderValue, StatusCode, response};
use http_body::Body as _;

use crate::body::Body;

/// What is sent behind an answer's head.
pub(crate) enum Payload {
    None,
    Full(Bytes),
    Stream(Body),
}

/// Completes a head: its date, and its body's length if that is known. `head_only`: the request was `HEAD`.
pub(crate) fn finish(parts: &mut response::Parts, mut body: Body, head_only: bool) -> Payload {
    let is_bodiless = parts.status.is_informational()
        || matches!(
            parts.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    if let Some(length) = body.size_hint().exact()
        && !is_bodiless
        && !(head_only && length == 0)
    {
        parts
            .headers
            .entry(CONTENT_LENGTH)
            .or_insert_with(|| HeaderValue::from(length));
    }
    parts.headers.entry(DATE).or_insert_with(date);
    if is_bodiless || head_only {
        return Payload::None;
    }
    match body.take_full() {
        Some(bytes) => Payload::Full(bytes),
        None if body.is_end_stream() => Payload::None,
        None => Payload::Stream(body),
    }
}

/// RFC 9110 §6.6.1, made anew once a second per thread.
fn date() -> HeaderValue {
    thread_local! {
        static CURRENT: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static(""))) };
    }
    let now = SystemTime::now();
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    CURRENT.with_borrow_mut(|(at, value)| {
        if *at != seconds {
            if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
                *value = date;
            }
            *at = seconds;
        }
        value.clone()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::{HeaderMap, Response};

    use super::*;

    #[test]
    fn heads_say_what_is_known_and_bodies_go_where_there_are_some() {
        let section = HeaderMap::from_iter([(DATE, HeaderValue::from_static("x"))]);
        for (status, body, head_only, length, sent) in [
            (200, Body::from("four"), false, Some("4"), "full"),
            (200, Body::from("four"), true, Some("4"), "none"),
            (200, Body::empty(), true, None, "none"),
            (200, Body::empty(), false, Some("0"), "none"),
            (204, Body::from("four"), false, None, "none"),
            (304, Body::empty(), false, None, "none"),
            (
                200,
                Body::with_trailers("abc", section),
                false,
                Some("3"),
                "stream",
            ),
        ] {
            let (mut parts, body) = Response::new(body).into_parts();
            parts.status = StatusCode::from_u16(status).unwrap();
            let payload = match finish(&mut parts, body, head_only) {
                Payload::None => "none",
                Payload::Full(_) => "full",
                Payload::Stream(_) => "stream",
            };
            let said = parts.headers.get(CONTENT_LENGTH);
            let said = said.map(|value| value.to_str().unwrap());
            assert_eq!((said, payload), (length, sent), "{status} {head_only}");
            assert!(parts.headers.contains_key(DATE));
        }
    }
}
