//! Holds what a peer sends on an HTTP/3 stream against limits before h3 sees it. Pure.
//!
//! h3 collects a whole frame before it looks at it, of whatever length the peer declares, and takes an
//! empty DATA frame for the end of a body. So frames that have no meaning here (RFC 9114 §7.2.8) are
//! skipped without being kept, empty DATA frames too, and the others are bounded by their declared length.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// RFC 9114 §7.2.
const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
const SETTINGS: u64 = 0x04;
/// The rest of the frames that h3 knows, and those of HTTP/2 that it must refuse: CANCEL_PUSH, PUSH_PROMISE, GOAWAY,
/// MAX_PUSH_ID; PRIORITY, PING, WINDOW_UPDATE, CONTINUATION.
const KNOWN: [u64; 8] = [0x03, 0x05, 0x07, 0x0d, 0x02, 0x06, 0x08, 0x09];
/// RFC 9114 §6.2.1.
const CONTROL_STREAM: u64 = 0x00;

/// Two integers of at most eight bytes (RFC 9000 §16).
const FRAME_HEADER_BYTES_MAX: usize = 16;
/// Declared length of a frame of [`KNOWN`]; each of them holds an integer.
const KNOWN_BYTES_MAX: u64 = 1024;
/// Declared length of a SETTINGS frame.
const SETTINGS_BYTES_MAX: u64 = 4096;
/// Bytes skipped on one request stream before it is taken for an attack.
const SKIPPED_BYTES_MAX: u64 = 64 * 1024;

/// What a peer may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    /// A header or trailer section over the limit.
    #[error("a header section of {0} bytes")]
    HeaderSection(u64),
    /// Another frame of an absurd length.
    #[error("a frame of type {0:#x} of {1} bytes")]
    Frame(u64, u64),
    /// Too much of what has no meaning.
    #[error("more than {SKIPPED_BYTES_MAX} bytes of frames without meaning")]
    Skipped,
}

/// The kind of stream, which tells what is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A request: frames from the first byte on.
    Request,
    /// A unidirectional stream whose type is not known yet.
    Unidirectional,
    /// A control stream, after its type.
    Control,
    /// A unidirectional stream that holds no frames (QPACK), or that h3 stops.
    Opaque,
}

/// The bytes of one stream, on their way to h3.
#[derive(Debug)]
pub(super) struct Filter {
    kind: Kind,
    header_bytes_max: u64,
    /// A frame's header that came in pieces.
    partial: Vec<u8>,
    /// What is left of the current frame, and whether h3 gets it.
    payload: u64,
    kept: bool,
    skipped: u64,
    ready: VecDeque<Bytes>,
}

impl Filter {
    /// For a request stream.
    pub(super) const fn request(header_bytes_max: u64) -> Self {
        Self::new(Kind::Request, header_bytes_max)
    }

    /// For a unidirectional stream.
    pub(super) const fn unidirectional() -> Self {
        Self::new(Kind::Unidirectional, 0)
    }

    const fn new(kind: Kind, header_bytes_max: u64) -> Self {
        Self {
            kind,
            header_bytes_max,
            partial: Vec::new(),
            payload: 0,
            kept: false,
            skipped: 0,
            ready: VecDeque::new(),
        }
    }

    /// The next bytes for h3.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }

    /// Takes bytes of the stream, in order. After an error the stream is of no use.
    pub(super) fn push(&mut self, mut bytes: Bytes) -> Result<(), Excess> {
        while !bytes.is_empty() {
            if self.kind == Kind::Opaque {
                self.ready.push_back(bytes);
                return Ok(());
            }
            if self.payload > 0 {
                let part = bytes.split_to(self.take_payload(bytes.len()));
                if self.kept {
                    self.ready.push_back(part);
                }
                continue;
            }
            if self.partial.is_empty()
                && self.kind != Kind::Unidirectional
                && let Some((frame, length, header)) = frame_header(&bytes)
            {
                // The usual case: the frame's header is whole, and goes on with its payload as it is.
                self.begin(frame, length, header)?;
                let part = header + self.take_payload(bytes.len() - header);
                let part = bytes.split_to(part);
                if self.kept {
                    self.ready.push_back(part);
                }
                continue;
            }
            self.partial.push(bytes.get_u8());
            self.push_partial()?;
        }
        Ok(())
    }

    /// Looks whether the header that comes in pieces is whole now.
    fn push_partial(&mut self) -> Result<(), Excess> {
        if self.kind == Kind::Unidirectional {
            if let Some((kind, _)) = integer(&self.partial) {
                self.kind = if kind == CONTROL_STREAM {
                    Kind::Control
                } else {
                    Kind::Opaque
                };
                self.ready
                    .push_back(Bytes::from(std::mem::take(&mut self.partial)));
            }
            return Ok(());
        }
        debug_assert!(self.partial.len() <= FRAME_HEADER_BYTES_MAX);
        if let Some((frame, length, header)) = frame_header(&self.partial) {
            self.begin(frame, length, header)?;
            let header = Bytes::from(std::mem::take(&mut self.partial));
            if self.kept {
                self.ready.push_back(header);
            }
        }
        Ok(())
    }

    /// A frame begins: is it allowed, and does h3 get it?
    fn begin(&mut self, frame: u64, length: u64, header: usize) -> Result<(), Excess> {
        self.payload = length;
        self.kept = match frame {
            // A control stream with DATA or HEADERS is an error of h3's to tell: the declared length must not matter.
            DATA | HEADERS if self.kind == Kind::Control => {
                self.payload = 0;
                true
            }
            // h3 takes an empty DATA frame for the end of the body.
            DATA => length > 0,
            HEADERS if length > self.header_bytes_max => {
                return Err(Excess::HeaderSection(length));
            }
            HEADERS => true,
            SETTINGS if length > SETTINGS_BYTES_MAX => return Err(Excess::Frame(frame, length)),
            SETTINGS => true,
            known if KNOWN.contains(&known) => {
                if length > KNOWN_BYTES_MAX {
                    return Err(Excess::Frame(frame, length));
                }
                true
            }
            _ => false,
        };
        // Clients send priority updates on the control stream for as long as it lives: no sum there.
        if !self.kept && self.kind == Kind::Request {
            let header = u64::try_from(header).unwrap_or(u64::MAX);
            self.skipped = self.skipped.saturating_add(header).saturating_add(length);
            if self.skipped > SKIPPED_BYTES_MAX {
                return Err(Excess::Skipped);
            }
        }
        Ok(())
    }

    /// How many of `available` bytes belong to the frame at hand.
    fn take_payload(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.payload)
            .unwrap_or(usize::MAX)
            .min(available);
        self.payload -= u64::try_from(taken).unwrap_or(self.payload);
        taken
    }
}

/// A variable-length integer (RFC 9000 §16) and its bytes, if it is all there.
fn integer(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = bytes.first()?;
    let length = 1_usize << (first >> 6);
    let rest = bytes.get(1..length)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| {
        (value << 8) | u64::from(*byte)
    });
    Some((value, length))
}

/// Type, declared length, and bytes of a frame's header (RFC 9114 §7.1), if it is all there.
fn frame_header(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let (frame, first) = integer(bytes)?;
    let (length, second) = integer(bytes.get(first..)?)?;
    Some((frame, length, first + second))
}

#[cfg(test)]
mod tests;
