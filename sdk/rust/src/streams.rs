//! Whole bodies through the streams of `wasi:io`.

use crate::bindings::module::wasi::http::types::{IncomingBody, OutgoingBody, Trailers};
use crate::bindings::module::wasi::io::streams::StreamError;

/// Bytes asked for at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// Why a body was not read.
pub(crate) enum ReadError {
    /// It is longer than the limit.
    TooLarge,
    /// It ended early.
    Broken(String),
}

/// Reads a body to its end, at most `limit` bytes.
pub(crate) fn read(body: IncomingBody, limit: usize) -> Result<Vec<u8>, ReadError> {
    let broken = |reason: &str| ReadError::Broken(reason.to_owned());
    let stream = body.stream().map_err(|()| broken("it has no stream"))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES) {
            Ok(chunk) if bytes.len() + chunk.len() > limit => return Err(ReadError::TooLarge),
            Ok(chunk) if bytes.is_empty() => bytes = chunk,
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(ReadError::Broken(error.to_debug_string()));
            }
        }
    }
}

/// Writes a body and ends it. Bytes that the other side no longer wants are dropped.
pub(crate) fn write(body: OutgoingBody, mut bytes: &[u8]) {
    if !bytes.is_empty() {
        let Ok(stream) = body.write() else { return };
        while !bytes.is_empty() {
            let permit = match stream.check_write() {
                Ok(0) => {
                    stream.subscribe().block();
                    continue;
                }
                Ok(permit) => usize::try_from(permit)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len()),
                Err(_) => return,
            };
            let (now, later) = bytes.split_at(permit);
            if stream.write(now).is_err() {
                return;
            }
            bytes = later;
        }
    }
    // Without an end the host would see an aborted body; an error here means that it is no longer wanted.
    let _ = OutgoingBody::finish(body, None::<Trailers>);
}
