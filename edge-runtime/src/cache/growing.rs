//! A body that is on its way from its origin: sent to all who asked for it, and to the cache, at once.
//!
//! What came is held until it is whole, so that whoever comes later reads it from its beginning. A body longer than a piece
//! leaves by pieces instead: each goes into the tiers when it is full, and is held until it has reached the disk; who is
//! slower, or comes later, reads it from there. So no reader waits for another, and a fill holds its last pieces alone.
//! Without a disk the pieces are held until the end, then until each reader has read them: memory has the same ones, but may
//! lose them.
//!
//! A body that cannot be stored (it turns out too long, or the tiers have no room) goes on for those who read it already:
//! then what came is held until the last of them has read it, and no more than [`WINDOW_BYTES_MAX`] are taken from the origin
//! before. Its pieces leave the tiers with the last reader, and so do those of a body that breaks off.

mod held;

use super::{
    content::{FillingId, PIECE_BYTES, Pieces},
    reading::{Coming, Missing, coming},
    stored::{Key, Stored},
    tiers::Tiers,
};
use brink_listener::BoxError;
use bytes::Bytes;
use held::State;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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
    tiers: Arc<Tiers>,
    /// What its pieces are called.
    id: FillingId,
    /// Its pieces belong to a stored head.
    is_kept: AtomicBool,
    state: Mutex<State>,
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

/// What came of asking to read along.
#[derive(Debug)]
pub(super) enum Beginning {
    /// From the beginning.
    Reader(Reader),
    /// It is stored, or was to be: who looks again knows.
    Over,
    /// It is gone, or the body broke off.
    Gone,
}

impl Growing {
    pub(super) fn new(
        entry: Arc<Stored>,
        request: HeaderMap,
        length: Option<u64>,
        tiers: Arc<Tiers>,
        id: FillingId,
    ) -> Arc<Self> {
        Arc::new(Self {
            entry,
            request,
            length,
            tiers,
            id,
            is_kept: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, piece: usize) -> Key {
        Key(self.id.key(piece))
    }

    /// Reads from the beginning.
    pub(super) fn read(self: &Arc<Self>) -> Beginning {
        let mut state = self.state();
        if matches!(state.end, Some(End::Broken(_))) {
            return Beginning::Gone;
        }
        if state.is_leaving {
            return match state.end {
                Some(_) => Beginning::Over,
                None => Beginning::Gone,
            };
        }
        // What has left is in the tiers, or this one begins in vain.
        let left = usize::try_from(state.start()).unwrap_or(usize::MAX) / PIECE_BYTES;
        if !(0..left).all(|piece| self.tiers.has_piece(&self.key(piece))) {
            return Beginning::Gone;
        }
        let id = state.add_reader();
        drop(state);
        Beginning::Reader(Reader {
            growing: self.clone(),
            id,
            coming: None,
        })
    }

    /// Bytes that came.
    pub(super) fn came(&self) -> u64 {
        self.state().came
    }

    /// More came.
    pub(super) fn push(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.state();
        state.push(bytes);
        wake(state);
    }

    /// It came whole, in one; gives it, and holds it once.
    pub(super) fn whole(&self) -> Bytes {
        self.state().whole()
    }

    /// The next piece, if all of it came: of a body that is longer than that, or has pieces already.
    fn next_piece(&self, is_over: bool) -> Option<(usize, Bytes)> {
        self.state().next_piece(is_over)
    }

    /// Puts what is full, or if nothing more comes all of it, into the tiers by pieces, if it is longer than one. Gives whether
    /// it can be stored; if not, all that came is held by itself still, or in the tiers.
    pub(super) async fn lay(&self, is_over: bool) -> bool {
        while let Some((piece, bytes)) = self.next_piece(is_over) {
            let Some(leave) = self.tiers.hold() else {
                return false;
            };
            if !self.tiers.put_piece(&self.key(piece), bytes.clone()).await {
                return false;
            }
            self.state().note_piece(bytes, leave);
            if !self.let_go() {
                return false;
            }
        }
        true
    }

    /// Lets pieces go that have reached the disk. Gives whether none is lost.
    fn let_go(&self) -> bool {
        let mut state = self.state();
        while let Some(piece) = state.oldest_piece() {
            let key = self.key(piece);
            if !self.tiers.is_written(&key) {
                return self.tiers.has_piece(&key);
            }
            state.let_go();
        }
        true
    }

    /// Waits until its pieces have reached the disk, and lets them go: after its end.
    pub(super) async fn written(&self) {
        self.tiers.written().await;
        self.let_go();
    }

    /// Where it lies, if it is whole, in pieces, and all of them are in the tiers.
    pub(super) fn pieces(&self) -> Option<Arc<Pieces>> {
        let length = usize::try_from(self.came()).ok()?;
        let pieces = Pieces::new(self.id.clone(), length, PIECE_BYTES)?;
        self.tiers
            .has_pieces(&pieces, &(0..length))
            .then(|| Arc::new(pieces))
    }

    /// Whether it has turned out longer than a piece, and none is in the tiers yet.
    pub(super) fn is_to_be_cut(&self) -> bool {
        let state = self.state();
        state.pieces == 0 && state.came > PIECE_BYTES as u64
    }

    /// How long it will be, as far as that is known; at least what came.
    pub(super) fn expected(&self) -> u64 {
        self.length.unwrap_or(0).max(self.came())
    }

    /// Whether pieces of it are in the tiers.
    pub(super) fn is_in_pieces(&self) -> bool {
        self.state().pieces > 0
    }

    /// Its pieces belong to a stored head now.
    pub(super) fn set_kept(&self) {
        self.is_kept.store(true, Ordering::Release);
    }

    /// Nothing more comes.
    pub(super) fn end(&self, trailers: Option<HeaderMap>) {
        let mut state = self.state();
        state.end = Some(End::Whole(trailers));
        if state.pieces > 0 {
            state.leave();
        }
        wake(state);
    }

    /// Nothing more comes, and something is missing.
    pub(super) fn break_off(&self, reason: &str) {
        let mut state = self.state();
        state.end = Some(End::Broken(reason.into()));
        if state.pieces > 0 {
            state.leave();
        }
        wake(state);
    }

    /// It will not be stored: nobody else may read it, and what all have read leaves.
    pub(super) fn pass(&self) {
        self.state().leave();
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

impl Drop for Growing {
    fn drop(&mut self) {
        if self.is_kept.load(Ordering::Acquire) {
            return;
        }
        let pieces = self.state().pieces;
        self.tiers.remove_pieces(&self.id, pieces);
    }
}

/// Wakes who waits for more, after the lock was let go.
fn wake(mut state: MutexGuard<'_, State>) {
    let waiting = state.readers.values_mut().filter_map(|r| r.waker.take());
    let waiting: Vec<Waker> = waiting.collect();
    drop(state);
    waiting.into_iter().for_each(Waker::wake);
}

/// Reads a body that is on its way.
pub(super) struct Reader {
    growing: Arc<Growing>,
    id: u64,
    /// A piece on its way from the tiers.
    coming: Option<(usize, Coming)>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("id", &self.id).finish()
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl Reader {
    /// What was let go before this one had read it, from the tiers.
    fn poll_tiers(&mut self, at: u64, cx: &mut Context<'_>) -> Polled {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let piece = at / PIECE_BYTES;
        let is_it = |(coming, _): &(usize, Coming)| *coming == piece;
        let mut coming = match self.coming.take().filter(is_it) {
            Some((_, coming)) => coming,
            None => coming(&self.growing.tiers, self.growing.key(piece), false),
        };
        let bytes = match coming.as_mut().poll(cx) {
            Poll::Pending => {
                self.coming = Some((piece, coming));
                return Poll::Pending;
            }
            Poll::Ready(bytes) => bytes,
        };
        let mut state = self.growing.state();
        // The last one is let go after the end alone.
        let behind = state.came - (piece * PIECE_BYTES) as u64;
        let length = usize::try_from(behind).map_or(PIECE_BYTES, |b| b.min(PIECE_BYTES));
        match bytes.filter(|bytes| bytes.len() == length) {
            Some(bytes) => {
                let bytes = bytes.slice(at - piece * PIECE_BYTES..);
                state.advance(self.id, bytes.len());
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            None => {
                state.remove_reader(self.id);
                drop(state);
                self.growing.tiers.note_missing();
                Poll::Ready(Some(Err(Box::new(Missing))))
            }
        }
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        let mut state = this.growing.state();
        let Some(reading) = state.readers.get(&this.id) else {
            return Poll::Ready(None);
        };
        let (at, is_told) = (reading.at, reading.is_told);
        if at < state.start() {
            drop(state);
            return this.poll_tiers(at, cx);
        }
        let (read, end) = (state.read(this.id, at), state.end.clone());
        let Some(reading) = state.readers.get_mut(&this.id) else {
            return Poll::Ready(None);
        };
        match (read, end) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
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
        self.growing.state().remove_reader(self.id);
    }
}

#[cfg(test)]
mod tests;
