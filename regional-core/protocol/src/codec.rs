//! Bounded encoding of messages: postcard, in frames with a length.

use crate::Error;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

/// Largest message or frame, in bytes: a transaction of the largest values fits beside its keys.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;
/// Media type of messages on the core link.
pub const MEDIA_TYPE: &str = "application/vnd.brink.link";

const _: () = assert!(MESSAGE_BYTES_MAX > crate::record::VALUE_BYTES_MAX + 4096);

/// Encodes one message.
///
/// # Errors
/// It is over [`MESSAGE_BYTES_MAX`].
pub fn encode<T: Serialize>(message: &T) -> Result<Bytes, Error> {
    let bytes =
        postcard::to_stdvec(message).map_err(|e| Error::malformed("message", e.to_string()))?;
    check_length(bytes.len())?;
    Ok(bytes.into())
}

/// Decodes one message; bytes left over are an error.
///
/// # Errors
/// It is over [`MESSAGE_BYTES_MAX`], cut short, too long or not of the type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    check_length(bytes.len())?;
    let (message, rest) =
        postcard::take_from_bytes(bytes).map_err(|e| Error::malformed("message", e.to_string()))?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(Error::malformed(
            "message",
            format!("{} bytes are left over", rest.len()),
        ))
    }
}

/// Encodes one message as a frame: its length in four bytes, little-endian, then itself.
///
/// # Errors
/// It is over [`MESSAGE_BYTES_MAX`].
pub fn encode_frame<T: Serialize>(message: &T) -> Result<Bytes, Error> {
    let message = encode(message)?;
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES + message.len());
    frame.put_u32_le(u32::try_from(message.len()).map_err(|_| check_error(message.len()))?);
    frame.put(message);
    Ok(frame.freeze())
}

/// Takes messages out of a stream of frames that arrives in pieces.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
    /// Adds what arrived.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole message, or none if more bytes are needed.
    ///
    /// # Errors
    /// The frame is over [`MESSAGE_BYTES_MAX`] or not of the type; the stream cannot be read on after that.
    #[expect(
        clippy::should_implement_trait,
        reason = "the caller says of which type the next message is"
    )]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        check_length(length)?;
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        decode(&self.buffer.split_to(length)).map(Some)
    }
}

fn check_length(length: usize) -> Result<(), Error> {
    if length > MESSAGE_BYTES_MAX {
        Err(check_error(length))
    } else {
        Ok(())
    }
}

fn check_error(length: usize) -> Error {
    Error::Limit {
        what: "bytes in a message",
        actual: length as u64,
        limit: MESSAGE_BYTES_MAX as u64,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::link::FeedMessage;
    use proptest::prelude::*;

    #[test]
    fn frames_arrive_in_any_pieces() {
        let messages = ["a", "bb", ""];
        let stream: Vec<u8> = messages
            .iter()
            .flat_map(|m| encode_frame(m).unwrap())
            .collect();
        for size in 1..stream.len() {
            let mut reader = FrameReader::default();
            let mut seen: Vec<String> = Vec::new();
            for piece in stream.chunks(size) {
                reader.push(piece);
                while let Some(message) = reader.next().unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, messages);
        }
    }

    #[test]
    fn what_is_too_long_or_left_over_is_refused() {
        let mut reader = FrameReader::default();
        reader.push(&u32::MAX.to_le_bytes());
        assert!(reader.next::<String>().is_err());
        assert!(decode::<u8>(&[1, 2]).is_err());
        assert!(decode::<String>(&[200, 1, 0]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<FeedMessage>(&bytes);
            let _ = decode::<crate::link::RecordsRequest>(&bytes);
            let _ = decode::<crate::deployment::DeploymentTable>(&bytes);
        }
    }
}
