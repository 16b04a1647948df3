//! Bodies as tables.
#![allow(clippy::unwrap_used)]

use http_body::Body as _;
use http_body_util::{BodyExt, StreamBody};

use super::*;

#[test]
fn size_hint_is_exact_and_the_end_is_known() {
    for (body, length) in [
        (Body::empty(), 0),
        (Body::default(), 0),
        (Body::full(Bytes::new()), 0),
        (Body::from("abc"), 3),
        (Body::from(String::from("abcd")), 4),
        (Body::from(vec![1, 2]), 2),
        (Body::from(Bytes::from_static(b"abcde")), 5),
        (
            Body::stream(http_body_util::Full::new(Bytes::from_static(b"ab"))),
            2,
        ),
    ] {
        assert_eq!(body.size_hint().exact(), Some(length), "{body:?}");
        assert_eq!(body.is_end_stream(), length == 0, "{body:?}");
    }
}

#[tokio::test]
async fn a_stream_keeps_its_trailers_and_its_error() {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-check", http::HeaderValue::from_static("1"));
    let frames = futures_util::stream::iter([
        Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"ab"))),
        Ok(Frame::trailers(trailers.clone())),
    ]);
    let collected = Body::stream(StreamBody::new(frames))
        .collect()
        .await
        .unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "ab");

    let broken = futures_util::stream::iter([Err(std::io::Error::other("gone"))]);
    let error = Body::stream(StreamBody::new(broken))
        .collect()
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "gone");
}
