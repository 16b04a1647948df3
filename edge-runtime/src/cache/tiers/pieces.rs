//! Pieces of bodies in the tiers.
//!
//! With a disk they are written there and nowhere else: a body that is asked for once takes no memory from what is asked for
//! often. A piece comes into memory when it is read from disk for the second time. Without a disk they lie in memory, as
//! everything does.

use super::Tiers;
use crate::cache::{
    content::{FillingId, PIECE_BYTES, Pieces},
    stored::{Key, Slot},
};
use brink_protocol::TenantName;
use bytes::Bytes;
use metrics::{Counter, counter, describe_counter};
use std::{
    hash::BuildHasher as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of the bound of memory, what may be read ahead for readers: one part in so many.
const AHEAD_PART: u64 = 16;

/// Of the bound of memory, what bodies on their way may hold without a disk, beside what memory has of them: one part in so
/// many.
const HELD_PART: u64 = 4;

/// What those share who read and write pieces.
#[derive(Debug)]
pub(super) struct Shelf {
    /// Pieces that may be read ahead, all readers together.
    ahead: Arc<Semaphore>,
    /// Pieces that bodies on their way may hold without a disk.
    held: Arc<Semaphore>,
    /// Pieces that could not be had when they were wanted.
    missing: AtomicU64,
    missing_metric: Counter,
}

impl Shelf {
    /// With memory for so many bytes in all.
    pub(super) fn new(memory_bytes_max: u64) -> Self {
        describe_counter!(
            "brink_cache_pieces_missing_total",
            "Pieces of stored bodies that were gone when they were wanted"
        );
        let part = |part: u64| {
            let pieces = memory_bytes_max / part / PIECE_BYTES as u64;
            let pieces = usize::try_from(pieces).unwrap_or(usize::MAX);
            Arc::new(Semaphore::new(pieces.clamp(1, Semaphore::MAX_PERMITS)))
        };
        Self {
            ahead: part(AHEAD_PART),
            held: part(HELD_PART),
            missing: AtomicU64::new(0),
            missing_metric: counter!("brink_cache_pieces_missing_total"),
        }
    }
}

impl Tiers {
    /// The id of a new filling.
    pub(in crate::cache) fn new_filling(tenant: &TenantName) -> FillingId {
        FillingId {
            tenant: tenant.clone(),
            number: ulid::Ulid::new().0,
        }
    }

    /// Stores a piece; waits for the disk if too much waits for it. Gives whether there was room in time.
    pub(in crate::cache) async fn put_piece(&self, key: &Key, bytes: Bytes) -> bool {
        self.leave_room();
        if let Some(disk) = &self.disk
            && !disk.room().await
        {
            return false;
        }
        self.put_piece_now(key, bytes)
    }

    /// The same without waiting.
    pub(in crate::cache) fn put_piece_now(&self, key: &Key, bytes: Bytes) -> bool {
        let (hash, share, slot) = (
            self.hasher.hash_one(key),
            self.share(key),
            Slot::Piece(bytes),
        );
        match &self.disk {
            Some(disk) => disk.insert(hash, key.clone(), slot, share),
            None => {
                let left = self.memory.insert(hash, key.clone(), slot, share);
                self.leave(&left);
                self.memory.has(hash)
            }
        }
    }

    /// Puts a body into the tiers by pieces, all of them or none.
    pub(in crate::cache) fn lay(&self, tenant: &TenantName, bytes: &Bytes) -> Option<Arc<Pieces>> {
        let pieces = Pieces::new(Self::new_filling(tenant), bytes.len(), PIECE_BYTES)?;
        let put = |piece: usize| {
            let own = bytes.get(pieces.covers(piece)).map(Bytes::copy_from_slice);
            own.is_some_and(|own| self.put_piece_now(&Key(pieces.key(piece)), own))
        };
        let is_laid = (0..pieces.count()).all(put) && self.has_pieces(&pieces, &(0..bytes.len()));
        if !is_laid {
            self.remove_pieces(pieces.id(), pieces.count());
        }
        is_laid.then(|| Arc::new(pieces))
    }

    /// A piece, from wherever it is. `may_stay`: it comes into memory if it was read from disk before; not for who reads along
    /// while it is filled.
    pub(in crate::cache) async fn piece(&self, key: &Key, may_stay: bool) -> Option<Bytes> {
        let hash = self.hasher.hash_one(key);
        if let Some((Slot::Piece(bytes), _)) = self.memory.get(hash, key) {
            return Some(bytes);
        }
        let disk = self.disk.as_ref()?;
        let is_used = disk.is_used(hash);
        let Slot::Piece(bytes) = disk.find(hash, key).await? else {
            return None;
        };
        if is_used && may_stay {
            let slot = Slot::Piece(bytes.clone());
            // What is there already is the same.
            if let Ok(left) = self.memory.load(hash, key.clone(), slot, self.share(key)) {
                self.leave(&left);
            }
        }
        Some(bytes)
    }

    /// Whether a piece is in one of the tiers, as far as can be known without reading it.
    pub(in crate::cache) fn has_piece(&self, key: &Key) -> bool {
        let hash = self.hasher.hash_one(key);
        self.memory.has(hash)
            || self
                .disk
                .as_ref()
                .is_some_and(|disk| disk.may_contain(hash))
    }

    /// Whether all pieces that have these bytes are.
    pub(in crate::cache) fn has_pieces(
        &self,
        pieces: &Pieces,
        range: &std::ops::Range<usize>,
    ) -> bool {
        !pieces.is_gone()
            && pieces
                .of(range)
                .all(|piece| self.has_piece(&Key(pieces.key(piece))))
    }

    /// Removes the first `count` pieces of a filling.
    pub(in crate::cache) fn remove_pieces(&self, id: &FillingId, count: usize) {
        for piece in 0..count {
            self.remove(&Key(id.key(piece)));
        }
    }

    /// Whether a piece has reached the disk, so that nobody need hold it for those who want it. Never without one.
    pub(in crate::cache) fn is_written(&self, key: &Key) -> bool {
        let hash = self.hasher.hash_one(key);
        self.disk.as_ref().is_some_and(|disk| disk.is_written(hash))
    }

    /// Counts a piece that was gone when it was wanted.
    pub(in crate::cache) fn note_missing(&self) {
        self.shelf.missing.fetch_add(1, Ordering::Relaxed);
        self.shelf.missing_metric.increment(1);
    }

    /// How many pieces were gone when they were wanted.
    pub(in crate::cache) fn missing_pieces(&self) -> u64 {
        self.shelf.missing.load(Ordering::Relaxed)
    }

    /// Leave for a body on its way to hold a piece, which with a disk need not be asked for: it is held until it is written.
    /// None: others hold enough.
    pub(in crate::cache) fn hold(&self) -> Option<Option<OwnedSemaphorePermit>> {
        match self.disk {
            Some(_) => Some(None),
            None => self.shelf.held.clone().try_acquire_owned().ok().map(Some),
        }
    }

    /// Leave to read a piece ahead of its reader; none: there is none now.
    pub(in crate::cache) fn ahead(&self) -> Option<OwnedSemaphorePermit> {
        self.shelf.ahead.clone().try_acquire_owned().ok()
    }
}
