//! Records that modules read, kept at the PoP with the same coherence as answers: found or absent, for as long as no
//! change has touched them and the lease holds.
//!
//! A kept record carries the apply index at which its fill began and the position at which the core read it. The changes
//! that were applied since decide on every use, as they do for stored answers. Three rules come on top:
//!
//! - *Never less than was seen.* What is served here holds at a position that covers the client's session, what the run
//!   wrote, and all that it has read so far, here or at the core. A run never goes back in time.
//! - *One moment.* Several records that are asked for together come from here only if one position vouches for all of
//!   them. Else all of them are asked for anew, in the one round trip that it takes anyway. A record may be newer than the
//!   position says at which it was read. So of two that one transaction wrote, kept by two fetches, one may be new and
//!   the other old, for as long as the transaction is not applied here; the lease bounds that.
//! - *No longer than it lives.* A record with a lifetime of its own is not served past its end.
//!
//! A purge of everything takes the tenant's records out too; no other purge names records.

use crate::cache::Cache;
use brink_policy::coherence::{FillStart, TagHash, tag_hash, tags};
use brink_protocol::{
    Position, TenantName,
    log::{Reach, reach},
    record::Entry,
    tag::Tag,
};
use metrics::{Counter, counter, describe_counter, describe_gauge, gauge};
use serde::Deserialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What an entry takes beside its keys and value, in bytes.
const ENTRY_BYTES: usize = 320;

/// Records that modules read, kept at the PoP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Memory for records that were read, in bytes; the least used go first. 0: none is kept. Default 67,108,864
    /// (64 MiB).
    pub cache_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_bytes_max: 64 << 20,
        }
    }
}

/// A record, or that there is none.
struct Held {
    entry: Option<Entry>,
    /// The apply index at which its fill began.
    index: u64,
    /// Where the core was when it read it.
    read_at: Position,
    /// When it ends by its own lifetime.
    until: Option<Instant>,
}

/// The records of one PoP.
pub struct RecordCache {
    held: Option<moka::sync::Cache<Tag, Arc<Held>>>,
    hits: AtomicU64,
    misses: AtomicU64,
    hits_total: Counter,
    misses_total: Counter,
}

/// Records found here.
pub(super) struct Found {
    /// In the order asked.
    pub(super) entries: Vec<Option<Entry>>,
    /// A position at which all of them hold.
    pub(super) read_at: Position,
    /// When the first of them ends.
    pub(super) until: Option<Instant>,
}

/// Records on their way from the core.
pub(super) struct Fetch {
    start: FillStart,
    asked: Instant,
}

impl Fetch {
    /// The core's answer must not be older than this: it would miss changes that were applied here before.
    pub(super) fn at_least(&self) -> &Position {
        &self.start.position
    }

    /// When the first of these records ends: counted from when they were asked for, so never too late.
    pub(super) fn until<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Option<Instant> {
        let ends = |entry: &Entry| ends(self.asked, entry);
        entries.into_iter().filter_map(ends).min()
    }
}

fn ends(asked: Instant, entry: &Entry) -> Option<Instant> {
    // One that is too far away to be an instant is no end.
    asked.checked_add(Duration::from_millis(entry.lifetime_ms?))
}

impl RecordCache {
    /// An empty one. After the recorder of the metrics was installed.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        describe_counter!(
            "brink_record_cache_hits_total",
            "Records that modules read at this PoP"
        );
        describe_counter!(
            "brink_record_cache_misses_total",
            "Records that modules read at the core"
        );
        describe_gauge!(
            "brink_record_cache_bytes",
            "Memory of records that are kept, in bytes"
        );
        let bytes_max = config.cache_bytes_max;
        let held = (bytes_max > 0).then(|| {
            moka::sync::Cache::builder()
                .max_capacity(bytes_max)
                .weigher(weight)
                .build()
        });
        Self {
            held,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            hits_total: counter!("brink_record_cache_hits_total"),
            misses_total: counter!("brink_record_cache_misses_total"),
        }
    }

    /// Records read since the start: here, and at the core. Sets the gauge `brink_record_cache_bytes`.
    #[must_use]
    pub fn figures(&self) -> (u64, u64) {
        if let Some(held) = &self.held {
            // A gauge is a floating-point number; bytes stay far below 2⁵².
            #[allow(clippy::cast_precision_loss)]
            gauge!("brink_record_cache_bytes").set(held.weighted_size() as f64);
        }
        (
            self.hits.load(Ordering::Relaxed),
            self.misses.load(Ordering::Relaxed),
        )
    }

    /// The records of `keys`, if all of them are here and hold at one position that covers `at_least`.
    pub(super) fn find(
        &self,
        cache: &Cache,
        keys: &[Tag],
        at_least: &Position,
        now: Instant,
    ) -> Option<Found> {
        let found = self.look(cache, keys, at_least, now);
        if found.is_none() {
            self.missed(keys.len());
            return None;
        }
        self.hits.fetch_add(keys.len() as u64, Ordering::Relaxed);
        self.hits_total.increment(keys.len() as u64);
        found
    }

    /// So many records are read at the core.
    pub(super) fn missed(&self, count: usize) {
        self.misses.fetch_add(count as u64, Ordering::Relaxed);
        self.misses_total.increment(count as u64);
    }

    fn look(
        &self,
        cache: &Cache,
        keys: &[Tag],
        at_least: &Position,
        now: Instant,
    ) -> Option<Found> {
        let kept = self.held.as_ref()?;
        let held: Vec<Arc<Held>> = keys
            .iter()
            .map(|key| kept.get(key))
            .collect::<Option<_>>()?;
        let until = held.iter().filter_map(|held| held.until).min();
        if until.is_some_and(|until| until <= now) {
            return None;
        }
        let on: Vec<TagHash> = keys.iter().flat_map(dependencies).collect();
        let index = held.iter().map(|held| held.index).min()?;
        let applied = cache.holds(&on, index)?;
        let positions = held.iter().map(|held| &held.read_at);
        let read_at = vouching(&applied, positions, at_least)?.clone();
        Some(Found {
            entries: held.iter().map(|held| held.entry.clone()).collect(),
            read_at,
            until,
        })
    }

    /// Before the core is asked.
    pub(super) fn fetch(&self, cache: &Cache) -> Fetch {
        Fetch {
            start: cache.begin(),
            asked: Instant::now(),
        }
    }

    /// Keeps what the core answered, unless something changed it meanwhile.
    pub(super) fn keep(
        &self,
        cache: &Cache,
        fetch: &Fetch,
        keys: &[Tag],
        entries: &[Option<Entry>],
        read_at: &Position,
    ) {
        let Some(kept) = &self.held else { return };
        for (key, entry) in keys.iter().zip(entries) {
            if !cache.admit(&fetch.start, &dependencies(key), read_at) {
                continue;
            }
            let held = Held {
                entry: entry.clone(),
                index: fetch.start.index,
                read_at: read_at.clone(),
                until: fetch.until(entry),
            };
            kept.insert(key.clone(), Arc::new(held));
        }
    }
}

/// A record ends with a change to it, and with everything of its tenant.
fn dependencies(key: &Tag) -> [TagHash; 2] {
    [tag_hash(key), tags::everything(tenant(key))]
}

fn tenant(key: &Tag) -> &TenantName {
    match key {
        Tag::Record { partition, .. } => &partition.tenant,
        Tag::Range { tenant, .. } | Tag::Name { tenant, .. } | Tag::Module { tenant, .. } => tenant,
    }
}

/// The position at which all records hold that were `read`, untouched by what was `applied`, and that covers `at_least`.
/// What this PoP has applied, if that is as far as the core was with each of them; else where the core was, if that is
/// one position. A record can be newer than what was applied here, and then it does not go with others that are not.
fn vouching<'a>(
    applied: &'a Position,
    read: impl Iterator<Item = &'a Position> + Clone,
    at_least: &Position,
) -> Option<&'a Position> {
    let covers = |position: &Position, other: &Position| reach(position, other) == Reach::Reached;
    let for_all = |position: &&Position| {
        covers(position, at_least) && read.clone().all(|other| covers(position, other))
    };
    Some(applied).filter(for_all).or_else(|| {
        let first = read.clone().next()?;
        read.clone()
            .all(|other| other == first)
            .then_some(first)
            .filter(for_all)
    })
}

fn weight(key: &Tag, held: &Arc<Held>) -> u32 {
    let named = match key {
        Tag::Record { partition, sort } => {
            partition.collection.len() + partition.partition.len() + sort.len()
        }
        Tag::Range { .. } | Tag::Name { .. } | Tag::Module { .. } => 0,
    };
    let value = held
        .entry
        .as_ref()
        .map_or(0, |entry| entry.value.len() + entry.sort.len());
    u32::try_from(ENTRY_BYTES + named + value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
