//! Reads a stored body that lies in pieces, as fast as its client takes it.
//!
//! A reader holds the piece that it gives, and the next one while there is room for that. A piece that cannot be had breaks
//! the body off: what was sent by then is right, and nobody takes it for the whole.

use super::{
    content::{Content, Pieces},
    stored::Key,
    tiers::Tiers,
};
use brink_listener::BoxError;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::{
    fmt,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// A piece of a body is gone.
#[derive(Debug, thiserror::Error)]
#[error("a piece of the stored body is missing")]
pub(super) struct Missing;

/// A piece on its way from a tier.
pub(super) type Coming = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// Reads one piece.
pub(super) fn coming(tiers: &Arc<Tiers>, key: Key, may_stay: bool) -> Coming {
    let tiers = tiers.clone();
    Box::pin(async move { tiers.piece(&key, may_stay).await })
}

/// A piece, by its number.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) number: usize,
    pub(super) bytes: Bytes,
}

/// Reads the first piece that these bytes are in. None: it is gone, or another one is known to be; then the body cannot be
/// had any more.
pub(super) async fn first(tiers: &Tiers, pieces: &Pieces, range: &Range<usize>) -> Option<Piece> {
    let number = pieces.of(range).next()?;
    if pieces.is_gone() {
        return None;
    }
    let bytes = match tiers.has_pieces(pieces, range) {
        true => tiers.piece(&Key(pieces.key(number)), true).await,
        false => None,
    };
    let bytes = bytes.filter(|bytes| bytes.len() == pieces.covers(number).len());
    if bytes.is_none() {
        tiers.note_missing();
        pieces.set_gone();
    }
    bytes.map(|bytes| Piece { number, bytes })
}

/// Reads a body to its end, by pieces, for who takes them; ends early if one is gone, or nobody takes them any more.
pub(super) async fn read_all(tiers: &Tiers, body: &Content, to: mpsc::Sender<Bytes>) {
    let pieces = match body {
        Content::Whole(bytes) => {
            // Who does not take it has what it wants.
            let _ = to.send(bytes.clone()).await;
            return;
        }
        Content::Pieces(pieces) => pieces,
    };
    for number in 0..pieces.count() {
        let bytes = tiers.piece(&Key(pieces.key(number)), false).await;
        let Some(bytes) = bytes.filter(|bytes| bytes.len() == pieces.covers(number).len()) else {
            return;
        };
        if to.send(bytes).await.is_err() {
            return;
        }
    }
}

/// See the module.
pub(super) struct PiecesReader {
    tiers: Arc<Tiers>,
    pieces: Arc<Pieces>,
    /// What is not given yet.
    left: Range<usize>,
    trailers: Option<HeaderMap>,
    at_hand: Option<Piece>,
    coming: Option<(usize, Coming)>,
    /// Held as long as something is read ahead.
    ahead: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for PiecesReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PiecesReader")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl PiecesReader {
    /// Reads these bytes, then gives a trailer section if it is not empty. `first` is the piece with their beginning, if that
    /// was read already.
    pub(super) fn new(
        tiers: Arc<Tiers>,
        pieces: Arc<Pieces>,
        range: Range<usize>,
        first: Option<Piece>,
        trailers: Option<HeaderMap>,
    ) -> Self {
        Self {
            tiers,
            pieces,
            left: range,
            trailers: trailers.filter(|section| !section.is_empty()),
            at_hand: first,
            coming: None,
            ahead: None,
        }
    }

    /// The piece of this number; none: it is gone.
    fn poll_piece(&mut self, number: usize, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.at_hand.take()
            && piece.number == number
        {
            return Poll::Ready(Some(piece.bytes));
        }
        let is_it = |(coming, _): &(usize, Coming)| *coming == number;
        let mut coming = match self.coming.take().filter(is_it) {
            Some((_, coming)) => coming,
            None => coming(&self.tiers, Key(self.pieces.key(number)), true),
        };
        let polled = coming.as_mut().poll(cx);
        if polled.is_pending() {
            self.coming = Some((number, coming));
        }
        polled
    }

    /// Begins to read the next piece, if there is room for it.
    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        self.ahead = None;
        if self.left.is_empty() {
            return;
        }
        let Some(leave) = self.tiers.ahead() else {
            return;
        };
        self.ahead = Some(leave);
        let number = self.pieces.piece_of(self.left.start);
        let mut coming = coming(&self.tiers, Key(self.pieces.key(number)), true);
        match coming.as_mut().poll(cx) {
            Poll::Ready(bytes) => self.at_hand = bytes.map(|bytes| Piece { number, bytes }),
            Poll::Pending => self.coming = Some((number, coming)),
        }
    }

    fn break_off(&mut self) -> Polled {
        self.tiers.note_missing();
        self.pieces.set_gone();
        self.left = 0..0;
        self.trailers = None;
        tracing::warn!("a stored body broke off: one of its pieces is gone");
        Poll::Ready(Some(Err(Box::new(Missing))))
    }
}

impl Body for PiecesReader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if this.left.is_empty() {
            let trailers = this.trailers.take();
            return Poll::Ready(trailers.map(|section| Ok(Frame::trailers(section))));
        }
        let number = this.pieces.piece_of(this.left.start);
        let covered = this.pieces.covers(number);
        let bytes = match this.poll_piece(number, cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(bytes)) if bytes.len() == covered.len() => bytes,
            Poll::Ready(_) => return this.break_off(),
        };
        let end = this.left.end.min(covered.end);
        let given = bytes.slice(this.left.start - covered.start..end - covered.start);
        this.left.start = end;
        this.read_ahead(cx);
        Poll::Ready(Some(Ok(Frame::data(given))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests;
