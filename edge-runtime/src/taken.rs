//! Takes a body to its end, if that is near.

use brink_listener::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use std::{pin::pin, time::Duration};

/// What was read of a body that is worth storing if it is not too long.
pub enum Taken {
    /// All of it, and the trailer section behind it.
    Whole(Bytes, HeaderMap),
    /// More will come that is worth it.
    Some(Vec<Bytes>),
    /// It is too long.
    Beginning(Vec<Bytes>),
    /// It ended before its end.
    Broken(String),
}

/// How long an answer may take to come whole before what there is of it is sent.
pub const WHOLE_WAIT_MAX: Duration = Duration::from_millis(20);
/// How many bytes of an answer are taken before what there is of it is sent.
pub const WHOLE_BYTES_MAX: u64 = 256 << 10;

/// Takes at most `bytes_max`; with `patience` no more than [`WHOLE_BYTES_MAX`], nor for longer than this.
pub async fn take(body: &mut Body, bytes_max: u64, patience: Option<Duration>) -> Taken {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut length = 0u64;
    let mut trailers = HeaderMap::new();
    let mut waiting = pin!(patience.map(tokio::time::sleep));
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = async {
                match waiting.as_mut().as_pin_mut() {
                    Some(waiting) => waiting.await,
                    None => std::future::pending().await,
                }
            } => return Taken::Some(pieces),
        };
        let Some(frame) = frame else { break };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Taken::Broken(error.to_string()),
        };
        let piece = match frame.into_data() {
            Ok(piece) => piece,
            Err(frame) => {
                // Nothing comes behind it.
                trailers = frame.into_trailers().unwrap_or_default();
                break;
            }
        };
        length = length.saturating_add(piece.len() as u64);
        pieces.push(piece);
        if length > bytes_max {
            return Taken::Beginning(pieces);
        }
        if patience.is_some() && length > WHOLE_BYTES_MAX {
            return Taken::Some(pieces);
        }
    }
    match pieces.len() {
        1 => Taken::Whole(pieces.pop().unwrap_or_default(), trailers),
        _ => Taken::Whole(pieces.concat().into(), trailers),
    }
}
