//! Compresses bodies, off the threads that serve, and not too many at a time.

use super::stored::Form;
use brink_policy::{coding::Coding, coherence::EntryId};
use brotli::enc::{BrotliEncoderParams, backward_references::BrotliEncoderMode};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use rustc_hash::FxHashSet;
use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// Codes a body where blocking is allowed. None: the runtime ends.
pub(super) async fn coded(
    coding: Coding,
    body: Bytes,
    place: OwnedSemaphorePermit,
) -> Option<Form> {
    let coding_it = tokio::task::spawn_blocking(move || {
        let _place = place;
        encode(coding, &body)
    });
    coding_it.await.ok()
}

/// Compresses a body. One that gets hardly smaller is not worth it.
fn encode(coding: Coding, body: &[u8]) -> Form {
    let sink = Bounded {
        bytes: Vec::with_capacity(body.len() / 4),
        max: body.len() - body.len() / 8,
    };
    let written = match coding {
        Coding::Brotli => brotli(body, sink),
        Coding::Zstd => zstd(body, sink),
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

fn brotli(body: &[u8], mut sink: Bounded) -> io::Result<Bounded> {
    let params = BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW,
        mode: BrotliEncoderMode::BROTLI_MODE_GENERIC,
        size_hint: body.len(),
        ..BrotliEncoderParams::default()
    };
    let mut rest = body;
    brotli::BrotliCompress(&mut rest, &mut sink, &params)?;
    Ok(sink)
}

fn zstd(body: &[u8], sink: Bounded) -> io::Result<Bounded> {
    let mut encoder = zstd::stream::write::Encoder::new(sink, ZSTD_LEVEL)?;
    encoder.set_pledged_src_size(Some(body.len() as u64))?;
    encoder.window_log(ZSTD_WINDOW)?;
    encoder.write_all(body)?;
    encoder.finish()
}

fn gzip(body: &[u8], sink: Bounded) -> io::Result<Bounded> {
    let mut encoder = GzEncoder::new(sink, Compression::new(GZIP_LEVEL));
    encoder.write_all(body)?;
    encoder.finish()
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
    use std::io::Read as _;

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
            let Form::Coded(content) = encode(coding, text.as_bytes()) else {
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
                matches!(encode(coding, &noise), Form::Useless),
                "{coding:?}"
            );
            assert!(matches!(encode(coding, b""), Form::Useless), "{coding:?}");
        }
    }
}
