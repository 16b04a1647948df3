//! What the cache counts: for itself, and as `brink_cache_*` metrics whose handles are held.

use super::disk::DiskFigures;
use metrics::{Counter, counter, describe_counter};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// Figures since the start, and of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Figures {
    /// Entries in memory, lists of variants and pieces of bodies included.
    pub entries: u64,
    /// Bytes in memory, as they are counted against `memory_bytes_max`.
    pub bytes: u64,
    /// Answers from memory.
    pub hits_memory: u64,
    /// Answers from disk.
    pub hits_disk: u64,
    /// Stale answers served where that is allowed; counted as hits too.
    pub hits_stale: u64,
    /// Requests that went forward.
    pub forwards: u64,
    /// Requests answered by another's fill.
    pub collapsed: u64,
    /// Answers stored.
    pub stored: u64,
    /// Answers not stored because a change touched them while they were made.
    pub fenced: u64,
    /// Answers not stored because their records were read at a core that had not got as far as this PoP.
    pub read_behind: u64,
    /// Times that entries ceased to be fresh because the lease ran out.
    pub lease_expiries: u64,
    /// Stored answers refused because a change had ended them, or because nobody could vouch for them.
    pub refused: u64,
    /// Entries of memory ended or made stale by changes.
    pub purged: u64,
    /// Changes applied.
    pub changes: u64,
    /// Pieces of stored bodies that were gone when they were wanted: a miss, or an answer that broke off.
    pub pieces_missing: u64,
    /// The disk tier.
    pub disk: DiskFigures,
}

/// One figure and its metric.
pub(super) struct Figure {
    count: AtomicU64,
    metric: Counter,
}

impl Figure {
    fn new(metric: Counter) -> Self {
        Self {
            count: AtomicU64::new(0),
            metric,
        }
    }

    pub(super) fn add(&self, count: u64) {
        self.count.fetch_add(count, Ordering::Relaxed);
        self.metric.increment(count);
    }

    pub(super) fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

fn describe_disk() {
    describe_counter!(
        "brink_cache_disk_written_bytes_total",
        "Bytes written by the disk tier"
    );
    describe_counter!(
        "brink_cache_disk_held_back_total",
        "Answers that were not written to disk when they were stored, because it is full: they are when they are asked for again"
    );
    describe_counter!(
        "brink_cache_disk_dropped_total",
        "Answers that were not written to disk: too much waited, or it failed"
    );
    describe_counter!(
        "brink_cache_disk_errors_total",
        "Failed calls to the disk tier's file system"
    );
    describe_counter!(
        "brink_cache_disk_damaged_total",
        "Answers that were torn or changed when they were read from disk"
    );
}

/// All figures that only grow.
pub(super) struct Counters {
    pub(super) hits_memory: Figure,
    pub(super) hits_disk: Figure,
    pub(super) hits_stale: Figure,
    pub(super) forwards: Figure,
    pub(super) collapsed: Figure,
    pub(super) stored: Figure,
    pub(super) fenced: Figure,
    pub(super) read_behind: Figure,
    pub(super) lease_expiries: Figure,
    pub(super) refused: Figure,
    pub(super) purged: Figure,
    pub(super) changes: Figure,
}

impl Counters {
    /// Registers the metrics with the recorder that is installed now.
    pub(super) fn new() -> Self {
        describe_counter!(
            "brink_cache_hits_total",
            "Requests answered from the cache, by tier"
        );
        describe_counter!(
            "brink_cache_stale_hits_total",
            "Of the hits those that were stale, where that is allowed"
        );
        describe_counter!(
            "brink_cache_forwards_total",
            "Requests that went to a module or an origin"
        );
        describe_counter!(
            "brink_cache_collapsed_total",
            "Requests answered by another request's fill"
        );
        describe_counter!("brink_cache_stored_total", "Answers stored");
        describe_counter!(
            "brink_cache_fenced_total",
            "Answers not stored because a change touched them meanwhile"
        );
        describe_counter!(
            "brink_cache_read_behind_total",
            "Answers not stored because they were read at a core that was behind this PoP"
        );
        describe_counter!(
            "brink_cache_lease_expiries_total",
            "Times that the lease ran out, so that nothing was called fresh"
        );
        describe_counter!(
            "brink_cache_refused_total",
            "Stored answers refused because a change had ended them"
        );
        describe_counter!(
            "brink_cache_purged_total",
            "Entries in memory that changes ended or made stale"
        );
        describe_counter!(
            "brink_cache_changes_total",
            "Changes of the feed that were applied"
        );
        describe_disk();
        Self {
            hits_memory: Figure::new(counter!("brink_cache_hits_total", "tier" => "memory")),
            hits_disk: Figure::new(counter!("brink_cache_hits_total", "tier" => "disk")),
            hits_stale: Figure::new(counter!("brink_cache_stale_hits_total")),
            forwards: Figure::new(counter!("brink_cache_forwards_total")),
            collapsed: Figure::new(counter!("brink_cache_collapsed_total")),
            stored: Figure::new(counter!("brink_cache_stored_total")),
            read_behind: Figure::new(counter!("brink_cache_read_behind_total")),
            lease_expiries: Figure::new(counter!("brink_cache_lease_expiries_total")),
            fenced: Figure::new(counter!("brink_cache_fenced_total")),
            refused: Figure::new(counter!("brink_cache_refused_total")),
            purged: Figure::new(counter!("brink_cache_purged_total")),
            changes: Figure::new(counter!("brink_cache_changes_total")),
        }
    }

    pub(super) fn figures(&self, entries: u64, bytes: u64, disk: DiskFigures) -> Figures {
        counter!("brink_cache_disk_written_bytes_total").absolute(disk.written_bytes);
        counter!("brink_cache_disk_held_back_total").absolute(disk.held_back);
        counter!("brink_cache_disk_dropped_total").absolute(disk.dropped);
        counter!("brink_cache_disk_errors_total").absolute(disk.errors);
        counter!("brink_cache_disk_damaged_total").absolute(disk.damaged);
        Figures {
            disk,
            // The tiers know.
            pieces_missing: 0,
            entries,
            bytes,
            hits_memory: self.hits_memory.get(),
            hits_disk: self.hits_disk.get(),
            hits_stale: self.hits_stale.get(),
            forwards: self.forwards.get(),
            collapsed: self.collapsed.get(),
            stored: self.stored.get(),
            fenced: self.fenced.get(),
            read_behind: self.read_behind.get(),
            lease_expiries: self.lease_expiries.get(),
            refused: self.refused.get(),
            purged: self.purged.get(),
            changes: self.changes.get(),
        }
    }
}
