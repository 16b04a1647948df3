//! What those who read and the one who writes share.

use super::{
    files::{Files, Medium},
    index::Index,
    queue::Queue,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module.
pub(super) struct Log {
    pub(super) index: Index,
    pub(super) queue: Queue,
    pub(super) files: Files,
    pub(super) counts: Counts,
    /// Files of others are refused.
    pub(super) generation: u64,
    pub(super) medium: Box<dyn Medium>,
    /// Whether memory has an entry of this hash: it is wanted, although nobody reads it here.
    pub(super) is_in_memory: Box<dyn Fn(u64) -> bool + Send + Sync>,
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
