//! A body that is on its way from its origin: sent to all who asked for it, and to the cache, at once.
//!
//! What came is held until it is whole, so that whoever comes later reads it from its beginning. A body that turns out too
//! long to be stored goes on for those who read it already: then a piece is held until the last of them has read it, and
//! no more than [`WINDOW_BYTES_MAX`] are taken from the origin before.

use super::stored::Stored;
use brink_listener::BoxError;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use rustc_hash::FxHashMap;
use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// What is held at most of a body that is not stored, in bytes; a piece more than that when it is a large one.
const WINDOW_BYTES_MAX: u64 = 1 << 20;

/// A body on its way, and what was made of its head.
#[derive(Debug)]
pub(super) struct Growing {
    /// As it will be stored, without the body.
    pub(super) entry: Arc<Stored>,
    /// The request that it answers.
    pub(super) request: HeaderMap,
    /// What its head says of the length.
    length: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Piece>,
    /// Bytes that came.
    came: u64,
    /// Bytes that are held.
    held: u64,
    end: Option<End>,
    /// It is not stored: pieces leave when all have read them.
    is_passing: bool,
    readers: FxHashMap<u64, Reading>,
    next_id: u64,
    /// Who takes pieces from the origin waits for room.
    filler: Option<Waker>,
}

#[derive(Debug)]
struct Piece {
    start: u64,
    bytes: Bytes,
    /// How many have yet to read it; counted for what is not stored alone.
    left: usize,
}

#[derive(Debug)]
struct Reading {
    at: u64,
    is_told: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Clone)]
enum End {
    Whole(Option<HeaderMap>),
    Broken(Arc<str>),
}

/// The body broke off on its way.
#[derive(Debug, thiserror::Error)]
#[error("the body broke off on its way: {0}")]
struct Broken(Arc<str>);

impl Growing {
    pub(super) fn new(entry: Arc<Stored>, request: HeaderMap, length: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            entry,
            request,
            length,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the beginning; none if that has left already, or the body broke off.
    pub(super) fn read(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.state();
        if state.is_passing || matches!(state.end, Some(End::Broken(_))) {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        let reading = Reading {
            at: 0,
            is_told: false,
            waker: None,
        };
        state.readers.insert(id, reading);
        drop(state);
        Some(Reader {
            growing: self.clone(),
            id,
        })
    }

    /// Bytes that came.
    pub(super) fn came(&self) -> u64 {
        self.state().came
    }

    /// A piece came.
    pub(super) fn push(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.state();
        let (start, length) = (state.came, bytes.len() as u64);
        let left = state.readers.len();
        state.pieces.push_back(Piece { start, bytes, left });
        state.came += length;
        state.held += length;
        if state.is_passing && left == 0 {
            state.release();
        }
        wake(state);
    }

    /// It came whole; gives it, and holds it once.
    pub(super) fn whole(&self) -> Bytes {
        let mut state = self.state();
        if state.pieces.len() != 1 {
            let pieces: Vec<&[u8]> = state.pieces.iter().map(|p| p.bytes.as_ref()).collect();
            let bytes = Bytes::from(pieces.concat());
            let piece = Piece {
                start: 0,
                bytes,
                left: 0,
            };
            state.pieces = VecDeque::from([piece]);
        }
        let whole = state.pieces.front();
        whole.map(|piece| piece.bytes.clone()).unwrap_or_default()
    }

    /// Nothing more comes.
    pub(super) fn end(&self, trailers: Option<HeaderMap>) {
        let mut state = self.state();
        state.end = Some(End::Whole(trailers));
        wake(state);
    }

    /// Nothing more comes, and something is missing.
    pub(super) fn break_off(&self, reason: &str) {
        let mut state = self.state();
        state.end = Some(End::Broken(reason.into()));
        wake(state);
    }

    /// It will not be stored: nobody else may read it, and what all have read leaves.
    pub(super) fn pass(&self) {
        let mut state = self.state();
        state.is_passing = true;
        let at: Vec<u64> = state.readers.values().map(|reading| reading.at).collect();
        for piece in &mut state.pieces {
            piece.left = at.iter().filter(|at| **at <= piece.start).count();
        }
        state.release();
    }

    /// Waits until there is room for more of what is not stored; whether anybody still reads it.
    pub(super) async fn room(&self) -> bool {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.readers.is_empty() {
                return Poll::Ready(false);
            }
            if state.held <= WINDOW_BYTES_MAX {
                return Poll::Ready(true);
            }
            state.filler = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// Wakes who waits for more, after the lock was let go.
fn wake(mut state: MutexGuard<'_, State>) {
    let waiting = state.readers.values_mut().filter_map(|r| r.waker.take());
    let waiting: Vec<Waker> = waiting.collect();
    drop(state);
    waiting.into_iter().for_each(Waker::wake);
}

impl State {
    /// Lets pieces go that all have read.
    fn release(&mut self) {
        while let Some(piece) = self.pieces.front()
            && piece.left == 0
        {
            self.held -= piece.bytes.len() as u64;
            self.pieces.pop_front();
        }
        if self.held <= WINDOW_BYTES_MAX
            && let Some(filler) = self.filler.take()
        {
            filler.wake();
        }
    }

    /// The piece that begins at `at`, and its rest if it began before.
    fn piece(&mut self, at: u64) -> Option<(&mut Piece, Bytes)> {
        let next = self.pieces.partition_point(|piece| piece.start <= at);
        let piece = self.pieces.get_mut(next.checked_sub(1)?)?;
        let from = usize::try_from(at - piece.start).ok()?;
        if from >= piece.bytes.len() {
            return None;
        }
        let rest = piece.bytes.slice(from..);
        Some((piece, rest))
    }
}

/// Reads a body that is on its way.
#[derive(Debug)]
pub struct Reader {
    growing: Arc<Growing>,
    id: u64,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl Body for Reader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let mut state = self.growing.state();
        let Some(reading) = state.readers.get(&self.id) else {
            return Poll::Ready(None);
        };
        let (at, is_told) = (reading.at, reading.is_told);
        let is_passing = state.is_passing;
        let read = state.piece(at).map(|(piece, bytes)| {
            piece.left = piece.left.saturating_sub(usize::from(is_passing));
            bytes
        });
        let end = state.end.clone();
        let Some(reading) = state.readers.get_mut(&self.id) else {
            return Poll::Ready(None);
        };
        match (read, end) {
            (Some(bytes), _) => {
                reading.at += bytes.len() as u64;
                if is_passing {
                    state.release();
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            (None, Some(End::Whole(Some(trailers)))) if !is_told => {
                reading.is_told = true;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            (None, Some(End::Whole(_))) => Poll::Ready(None),
            (None, Some(End::Broken(_))) if is_told => Poll::Ready(None),
            (None, Some(End::Broken(reason))) => {
                reading.is_told = true;
                Poll::Ready(Some(Err(Box::new(Broken(reason)))))
            }
            (None, None) => {
                reading.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.growing.state();
        let at = state.readers.get(&self.id).map_or(0, |reading| reading.at);
        matches!(state.end, Some(End::Whole(None))) && at == state.came
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.growing.state();
        let at = state.readers.get(&self.id).map_or(0, |reading| reading.at);
        let whole = match &state.end {
            Some(End::Whole(_)) => Some(state.came),
            Some(End::Broken(_)) | None => self.growing.length,
        };
        match whole {
            Some(length) => SizeHint::with_exact(length.saturating_sub(at)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.growing.state();
        let Some(reading) = state.readers.remove(&self.id) else {
            return;
        };
        if state.is_passing {
            for piece in &mut state.pieces {
                if piece.start >= reading.at {
                    piece.left = piece.left.saturating_sub(1);
                }
            }
            state.release();
        }
        if state.readers.is_empty()
            && let Some(filler) = state.filler.take()
        {
            filler.wake();
        }
    }
}

#[cfg(test)]
mod tests;
