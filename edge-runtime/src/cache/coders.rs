//! Compresses bodies, off the threads that serve, and not too many at a time.

use super::{content::Content, reading::read_all, stored::Form, tiers::Tiers};
use brink_policy::{coding::Coding, coherence::EntryId};
use brotli::enc::{BrotliEncoderParams, backward_references::BrotliEncoderMode};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use rustc_hash::FxHashSet;
use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// RFC 7932 quality: beyond this each further percent costs as much time again.
const BROTLI_QUALITY: i32 = 5;
/// Brotli's window, as a power of two: 4 MiB.
const BROTLI_WINDOW: i32 = 22;
const ZSTD_LEVEL: i32 = 7;
/// Zstandard's window, as a power of two: what every client has to take (RFC 9659).
const ZSTD_WINDOW: u32 = 23;
const GZIP_LEVEL: u32 = 6;

/// Bounds how much is compressed at a time.
#[derive(Debug)]
pub(super) struct Coders {
    places: Arc<Semaphore>,
    /// What is coded beside.
    under_way: Mutex<FxHashSet<(EntryId, Coding)>>,
}

impl Coders {
    /// Half of the processors compress at most.
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            places: Arc::new(Semaphore::new((processors / 2).max(1))),
            under_way: Mutex::default(),
        }
    }

    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Begins one, unless it is under way or there is no place.
    pub(super) fn begin(&self, id: EntryId, coding: Coding) -> Option<OwnedSemaphorePermit> {
        let place = self.place()?;
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        under_way.insert((id, coding)).then_some(place)
    }

    pub(super) fn end(&self, id: EntryId, coding: Coding) {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&(id, coding));
    }
}

/// Codes a body where blocking is allowed; one in pieces is read meanwhile. None: not all of it could be read, or the runtime
/// ends.
pub(super) async fn coded(
    coding: Coding,
    body: &Content,
    place: OwnedSemaphorePermit,
    tiers: &Arc<Tiers>,
) -> Option<Form> {
    let length = body.len();
    let (pieces, coming) = mpsc::channel(1);
    let coding_it = tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut source = Source {
            coming,
            piece: Bytes::new(),
            left: length,
            is_broken: false,
        };
        let form = encode(coding, &mut source, length);
        // What broke off is none that gets no smaller.
        (!source.is_broken).then_some(form)
    });
    read_all(tiers, body, pieces).await;
    coding_it.await.ok()?
}

/// Compresses a body. One that gets hardly smaller is not worth it.
fn encode(coding: Coding, body: &mut impl Read, length: usize) -> Form {
    let sink = Bounded {
        bytes: Vec::with_capacity(length / 4),
        max: length - length / 8,
    };
    let written = match coding {
        Coding::Brotli => brotli(body, length, sink),
        Coding::Zstd => zstd(body, length, sink),
        Coding::Gzip => gzip(body, sink),
    };
    let form = match written {
        Ok(sink) => Form::Coded(Bytes::from(sink.bytes.into_boxed_slice()).into()),
        Err(_) => Form::Useless,
    };
    let made = match form {
        Form::Coded(_) => "coded",
        Form::Useless => "useless",
    };
    metrics::counter!("brink_cache_codings_total", "coding" => coding.as_str(), "made" => made)
        .increment(1);
    form
}

fn brotli(body: &mut impl Read, length: usize, mut sink: Bounded) -> io::Result<Bounded> {
    let params = BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW,
        mode: BrotliEncoderMode::BROTLI_MODE_GENERIC,
        size_hint: length,
        ..BrotliEncoderParams::default()
    };
    brotli::BrotliCompress(body, &mut sink, &params)?;
    Ok(sink)
}

fn zstd(body: &mut impl Read, length: usize, sink: Bounded) -> io::Result<Bounded> {
    let mut encoder = zstd::stream::write::Encoder::new(sink, ZSTD_LEVEL)?;
    encoder.set_pledged_src_size(Some(length as u64))?;
    encoder.window_log(ZSTD_WINDOW)?;
    io::copy(body, &mut encoder)?;
    encoder.finish()
}

fn gzip(body: &mut impl Read, sink: Bounded) -> io::Result<Bounded> {
    let mut encoder = GzEncoder::new(sink, Compression::new(GZIP_LEVEL));
    io::copy(body, &mut encoder)?;
    encoder.finish()
}

/// A body that is read as it comes.
struct Source {
    coming: mpsc::Receiver<Bytes>,
    piece: Bytes,
    /// Bytes that are yet to be read.
    left: usize,
    /// It ended before its end.
    is_broken: bool,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.left > 0 {
            let Some(piece) = self.coming.blocking_recv() else {
                self.is_broken = true;
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            self.left = self.left.saturating_sub(piece.len());
            self.piece = piece;
        }
        let length = self.piece.len().min(buffer.len());
        let given = self.piece.split_to(length);
        if let Some(place) = buffer.get_mut(..length) {
            place.copy_from_slice(&given);
        }
        Ok(length)
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    max: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.max {
            return Err(io::Error::other("it does not get smaller"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        match coding {
            Coding::Brotli => drop(brotli::Decompressor::new(bytes, 4096).read_to_end(&mut body)),
            Coding::Zstd => body = zstd::stream::decode_all(bytes).unwrap(),
            Coding::Gzip => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut body)),
        }
        body
    }

    #[test]
    fn what_is_coded_is_decoded() {
        let text = "In a hole in the ground there lived a hobbit. ".repeat(500);
        for coding in Coding::ALL {
            let Form::Coded(content) = encode(coding, &mut text.as_bytes(), text.len()) else {
                panic!("{coding:?}")
            };
            let bytes = content.own();
            assert!(bytes.len() < text.len() / 20, "{coding:?}");
            assert_eq!(decoded(coding, bytes), text.as_bytes());
        }
    }

    #[test]
    fn what_gets_no_smaller_is_left() {
        // Bytes without a pattern: a simple generator's.
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(100_000)
        .collect();
        for coding in Coding::ALL {
            assert!(
                matches!(encode(coding, &mut &noise[..], noise.len()), Form::Useless),
                "{coding:?}"
            );
            assert!(
                matches!(encode(coding, &mut &b""[..], 0), Form::Useless),
                "{coding:?}"
            );
        }
    }
}
