//! What those who read and the one who writes share.

use super::{
    extent::Shares,
    files::{Files, Medium},
    index::Index,
    queue::Queue,
};
use brink_policy::disk::Holdings;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// See the module.
pub(super) struct Log {
    pub(super) index: Index,
    pub(super) queue: Queue,
    pub(super) files: Files,
    pub(super) counts: Counts,
    /// Files of others are refused.
    pub(super) generation: u64,
    pub(super) medium: Box<dyn Medium>,
    pub(super) limits: Limits,
    /// What is written throws something out.
    pub(super) is_full: AtomicBool,
    /// What tenants have in the segments that are ended.
    pub(super) shares: Mutex<Shares>,
    /// Whether memory has an entry of this hash: it is wanted, although nobody reads it here.
    pub(super) is_in_memory: Box<dyn Fn(u64) -> bool + Send + Sync>,
}

/// How large the log may grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// All segments together, in bytes.
    pub(super) capacity_bytes: u64,
    /// A segment ends when the next record would make it larger; a larger record has one of its own.
    pub(super) segment_bytes: u32,
    /// With more entries in the index, the oldest segments leave.
    pub(super) entries_max: u64,
}

impl Log {
    pub(super) fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a tenant has on disk.
    pub(super) fn holdings(&self, share: u32) -> Holdings {
        self.shares().of(share, self.limits.capacity_bytes)
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// What happened since the start, and how much there is.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Bytes of all files.
    pub(super) bytes: AtomicU64,
    /// Bytes written, those written again included.
    pub(super) written: AtomicU64,
    /// Bytes of entries that were written again when their segment made room.
    pub(super) kept: AtomicU64,
    /// Entries that wait in memory until they are asked for again.
    pub(super) held_back: AtomicU64,
    /// Entries that were not written because too much waited, or because they could not be.
    pub(super) dropped: AtomicU64,
    /// Calls to the system that failed.
    pub(super) errors: AtomicU64,
    /// Records that were torn or changed when they were read.
    pub(super) damaged: AtomicU64,
}

pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}
