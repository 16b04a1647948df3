//! What a module answers, read to its end.

use brink_sandbox::{Body, RunError};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, Response,
    header::{CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
    response::Parts,
};
use http_body_util::BodyExt as _;

/// Fields that belong to a connection, which a module has none of. RFC 9110 §7.6.1.
const CONNECTION_FIELDS: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Takes off what belongs to a connection.
pub fn strip_connection(headers: &mut HeaderMap) {
    for name in &CONNECTION_FIELDS {
        headers.remove(name);
    }
}

/// Reads the answer to its end, at most `bytes_max` bytes.
///
/// # Errors
/// The run failed meanwhile, or the answer is longer.
pub async fn whole(response: Response<Body>, bytes_max: u64) -> Result<(Parts, Bytes), RunError> {
    let (head, mut body) = response.into_parts();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error.downcast::<RunError>() {
            Ok(error) => *error,
            Err(error) => RunError::BadResponse {
                reason: error.to_string(),
            },
        })?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        length = length.saturating_add(piece.len() as u64);
        if length > bytes_max {
            return Err(RunError::ResponseTooLarge { limit: bytes_max });
        }
        // Most answers are one piece: it is taken as it is.
        if first.is_empty() && rest.is_empty() {
            first = piece;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&piece);
        }
    }
    Ok((
        head,
        if rest.is_empty() {
            first
        } else {
            rest.freeze()
        },
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_sandbox::BoxError;
    use http_body::Frame;
    use http_body_util::StreamBody;

    fn response(pieces: Vec<Result<&'static str, RunError>>) -> Response<Body> {
        let frames = pieces.into_iter().map(|piece| {
            piece
                .map(|text| Frame::data(Bytes::from_static(text.as_bytes())))
                .map_err(BoxError::from)
        });
        let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
        Response::new(body)
    }

    #[tokio::test]
    async fn answers_are_read_whole_or_fail() {
        for (pieces, expected) in [
            (vec![], Ok("")),
            (vec![Ok("abc")], Ok("abc")),
            (vec![Ok("a"), Ok(""), Ok("b"), Ok("c")], Ok("abc")),
            (vec![Ok(""), Ok("abcde")], Ok("abcde")),
            (vec![Ok("abc"), Ok("def")], Err("module-response-too-large")),
            (
                vec![Ok("a"), Err(RunError::NoResponse)],
                Err("module-no-response"),
            ),
        ] {
            let outcome = whole(response(pieces), 5).await;
            let outcome = outcome
                .as_ref()
                .map(|(_, body)| body.as_ref())
                .map_err(RunError::slug);
            assert_eq!(outcome, expected.map(str::as_bytes));
        }
    }
}
