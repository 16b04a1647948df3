//! A stored body: whole, or a list of pieces that lie in the tiers by themselves.
//!
//! Pieces are reached by way of their head alone, which says where they lie: only heads are looked up, held against the
//! changes, purged. A filling has an id that no other has, and a piece is what came in that filling at its place, so that
//! whatever a key of a piece leads to is right, or is missing.

use brink_policy::key::CacheKey;
use brink_protocol::TenantName;
use bytes::Bytes;
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A body longer than this lies in pieces of so many bytes; the last one may be shorter.
pub(super) const PIECE_BYTES: usize = 1 << 20;
/// Longest body that is taken as a whole, in bytes: one of a part, of a failure, of an answer to `POST`.
pub(super) const WHOLE_BYTES_MAX: usize = 8 << 20;
/// Largest body that a configuration may allow to be stored, in bytes.
pub(super) const OBJECT_BYTES_MAX: u64 = 4 << 30;
/// Where the scheme stands in the keys of answers: no scheme is called so.
const SCHEME: &str = "piece";

/// A body in the tiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// At hand.
    Whole(Bytes),
    /// In pieces.
    Pieces(Arc<Pieces>),
}

impl Content {
    /// In bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Pieces(pieces) => pieces.length,
        }
    }

    /// All of it, if it is at hand.
    pub(super) fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Pieces(_) => None,
        }
    }

    /// The bytes that lie in the entry itself.
    pub(super) fn own(&self) -> &[u8] {
        self.whole().map_or(&[], |bytes| bytes)
    }

    pub(super) fn pieces(&self) -> Option<&Arc<Pieces>> {
        match self {
            Self::Whole(_) => None,
            Self::Pieces(pieces) => Some(pieces),
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl From<&'static [u8]> for Content {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Whole(Bytes::from_static(bytes))
    }
}

/// One filling: what the keys of its pieces begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FillingId {
    /// Whose share its pieces count for.
    pub(super) tenant: TenantName,
    /// No other filling has it, here or on disk, and nobody can guess it.
    pub(super) number: u128,
}

impl FillingId {
    /// The key of a piece, by its number. No answer has such a key.
    pub(super) fn key(&self, piece: usize) -> CacheKey {
        let (tenant, number) = (self.tenant.as_str(), self.number);
        CacheKey::from_text(format!("{tenant}\n{SCHEME}\n{number:032x}\n{piece}"))
    }
}

/// Where a body lies.
#[derive(Debug)]
pub(super) struct Pieces {
    id: FillingId,
    length: usize,
    piece_bytes: usize,
    /// One of them could not be read: the body cannot be had any more.
    is_gone: AtomicBool,
}

impl PartialEq for Pieces {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, self.length, self.piece_bytes) == (&other.id, other.length, other.piece_bytes)
    }
}

impl Eq for Pieces {}

impl Pieces {
    /// Pieces of `piece_bytes`; none if there can be no such body.
    pub(super) fn new(id: FillingId, length: usize, piece_bytes: usize) -> Option<Self> {
        let is_possible = length > 0
            && length as u64 <= OBJECT_BYTES_MAX
            && (1..=PIECE_BYTES).contains(&piece_bytes);
        is_possible.then_some(Self {
            id,
            length,
            piece_bytes,
            is_gone: AtomicBool::new(false),
        })
    }

    pub(super) fn id(&self) -> &FillingId {
        &self.id
    }

    /// Of the body, in bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Of each piece but the last, in bytes.
    pub(super) fn piece_bytes(&self) -> usize {
        self.piece_bytes
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.length.div_ceil(self.piece_bytes)
    }

    /// The key of a piece, by its number.
    pub(super) fn key(&self, piece: usize) -> CacheKey {
        self.id.key(piece)
    }

    /// In which piece a byte lies.
    pub(super) fn piece_of(&self, at: usize) -> usize {
        at / self.piece_bytes
    }

    /// The bytes of the body that a piece has.
    pub(super) fn covers(&self, piece: usize) -> Range<usize> {
        let start = piece.saturating_mul(self.piece_bytes).min(self.length);
        start..start.saturating_add(self.piece_bytes).min(self.length)
    }

    /// The numbers of the pieces that have these bytes.
    pub(super) fn of(&self, range: &Range<usize>) -> Range<usize> {
        match range.end.checked_sub(1) {
            Some(last) if range.start <= last => {
                self.piece_of(range.start)..self.piece_of(last) + 1
            }
            Some(_) | None => 0..0,
        }
    }

    /// One of them could not be read.
    pub(super) fn set_gone(&self) {
        self.is_gone.store(true, Ordering::Release);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn id() -> FillingId {
        FillingId {
            tenant: "t".parse().unwrap(),
            number: 7,
        }
    }

    #[test]
    fn keys_are_none_of_answers_and_have_a_tenant() {
        let key = id().key(3);
        assert_eq!(
            key.parts(),
            Some(("t", "piece", "00000000000000000000000000000007", "3"))
        );
        assert_ne!(key, id().key(4));
    }

    #[test]
    fn what_cannot_be() {
        assert!(Pieces::new(id(), 0, 1).is_none());
        assert!(Pieces::new(id(), 1, 0).is_none());
        assert!(Pieces::new(id(), 1, PIECE_BYTES + 1).is_none());
        assert!(Pieces::new(id(), usize::MAX, 1).is_none());
    }

    proptest! {
        #[test]
        fn pieces_cover_a_body_once(length in 1usize..10_000, piece in 1usize..3_000, at in 0usize..10_000, more in 0usize..10_000) {
            let pieces = Pieces::new(id(), length, piece).unwrap();
            let mut end = 0;
            for n in 0..pieces.count() {
                let covered = pieces.covers(n);
                prop_assert_eq!(covered.start, end);
                prop_assert!(!covered.is_empty());
                end = covered.end;
            }
            prop_assert_eq!(end, length);
            let range = at.min(length)..(at + more).min(length).max(at.min(length));
            let naive: Vec<usize> = (0..pieces.count())
                .filter(|n| pieces.covers(*n).any(|byte| range.contains(&byte)))
                .collect();
            prop_assert_eq!(pieces.of(&range).collect::<Vec<_>>(), naive);
        }
    }
}
