//! Trailer sections of HTTP/1.1 (RFC 9110 §6.5, RFC 9112 §7.1.2): to clients that take them, in a chunked body.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TE, TRAILER};
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};

use crate::body::Body;
use crate::error::BoxError;

/// Whether a message's sender says that it takes trailer sections. RFC 9110 §10.1.4.
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(TE).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .any(|member| member.trim().eq_ignore_ascii_case("trailers"))
}

/// Makes an answer that announces trailers one that can have them, or one that says nothing of them.
pub(crate) fn fit(mut response: Response<Body>, takes: bool) -> Response<Body> {
    if !takes {
        response.headers_mut().remove(TRAILER);
        return response;
    }
    if http_body::Body::is_end_stream(response.body()) {
        return response;
    }
    response.headers_mut().remove(CONTENT_LENGTH);
    response.map(|body| Body::stream(OfNoLength(body)))
}

/// A body that does not tell its length, so that it is sent in chunks.
struct OfNoLength(Body);

impl http_body::Body for OfNoLength {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn clients_say_that_they_take_them() {
        for (te, taken) in [
            ("trailers", true),
            ("deflate;q=0.5, Trailers", true),
            ("deflate", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(TE, HeaderValue::from_static(te))]);
            assert_eq!(takes_trailers(&headers), taken, "{te}");
        }
        assert!(!takes_trailers(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn who_takes_them_gets_chunks_and_who_does_not_a_length() {
        let section = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-sum"),
            HeaderValue::from_static("1"),
        )]);
        for (takes, length) in [(true, None), (false, Some(5))] {
            let mut response = Response::new(Body::with_trailers("hello", section.clone()));
            let headers = response.headers_mut();
            headers.insert(TRAILER, HeaderValue::from_static("x-sum"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
            let response = fit(response, takes);
            assert_eq!(response.headers().contains_key(TRAILER), takes);
            assert_eq!(response.headers().contains_key(CONTENT_LENGTH), !takes);
            assert_eq!(response.body().size_hint().exact(), length);
            let whole = response.into_body().collect().await.unwrap();
            assert_eq!(whole.trailers(), Some(&section));
            assert_eq!(whole.to_bytes(), "hello");
        }
    }
}
