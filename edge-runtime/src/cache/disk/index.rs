//! Where on disk the entry of a key lies: sixteen bytes each, and what the tables keep free.
//!
//! Of a key's hash 40 bits are kept: eight choose the table, 32 lie in it. Of two keys that have them in common the newer
//! one stays; whoever reads compares the whole key.

use super::layout::Place;
use rustc_hash::FxHashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tables, each behind its own lock.
const SHARDS: usize = 256;
/// Of a length: the entry was read since it was written.
const USED: u32 = 1 << 31;
/// Bytes of a place in a table, with the byte that the table keeps for it.
const BUCKET_BYTES: usize = 17;

#[derive(Debug, Clone, Copy)]
struct Packed {
    segment: u32,
    offset: u32,
    /// With [`USED`].
    length: u32,
}

/// While the log is read back: a removal. No record is of no length.
const REMOVED: Packed = Packed {
    segment: 0,
    offset: 0,
    length: 0,
};

impl From<Place> for Packed {
    fn from(place: Place) -> Self {
        Self {
            segment: place.segment,
            offset: place.offset,
            length: place.length,
        }
    }
}

impl From<Packed> for Place {
    fn from(packed: Packed) -> Self {
        Self {
            segment: packed.segment,
            offset: packed.offset,
            length: packed.length & !USED,
        }
    }
}

impl Packed {
    fn lies_at(self, segment: u32, offset: u32) -> bool {
        (self.segment, self.offset) == (segment, offset)
    }
}

type Table = FxHashMap<u32, Packed>;

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[Mutex<Table>]>,
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    fn table(&self, hash: u64) -> Option<MutexGuard<'_, Table>> {
        let shard = self.shards.get((hash & (SHARDS as u64 - 1)) as usize)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where it lies; counts as a use.
    pub(super) fn get(&self, hash: u64) -> Option<Place> {
        let mut table = self.table(hash)?;
        let packed = table.get_mut(&tag(hash))?;
        packed.length |= USED;
        Some((*packed).into())
    }

    /// Where it lies, and whether it was read since it was written.
    pub(super) fn peek(&self, hash: u64) -> Option<(Place, bool)> {
        let packed = *self.table(hash)?.get(&tag(hash))?;
        Some((packed.into(), packed.length & USED != 0))
    }

    pub(super) fn insert(&self, hash: u64, place: Place) {
        if let Some(mut table) = self.table(hash) {
            table.insert(tag(hash), place.into());
        }
    }

    /// Gives whether there was something.
    pub(super) fn remove(&self, hash: u64) -> bool {
        self.table(hash)
            .is_some_and(|mut table| table.remove(&tag(hash)).is_some())
    }

    /// Removes it if it lies there. Gives whether it did.
    pub(super) fn remove_at(&self, hash: u64, segment: u32, offset: u32) -> bool {
        let Some(mut table) = self.table(hash) else {
            return false;
        };
        let lies_there = table
            .get(&tag(hash))
            .is_some_and(|packed| packed.lies_at(segment, offset));
        lies_there && table.remove(&tag(hash)).is_some()
    }

    /// Notes that it was written anew, if it still lay `at` segment and offset; it counts as not used since.
    pub(super) fn relocate(&self, hash: u64, at: (u32, u32), to: Place) -> bool {
        let Some(mut table) = self.table(hash) else {
            return false;
        };
        match table.get_mut(&tag(hash)) {
            Some(packed) if packed.lies_at(at.0, at.1) => {
                *packed = to.into();
                true
            }
            Some(_) | None => false,
        }
    }

    /// Notes what an older part of the log says, unless a newer one said something: where the entry lies, or that it was
    /// removed.
    pub(super) fn recover(&self, hash: u64, place: Option<Place>) {
        if let Some(mut table) = self.table(hash) {
            let packed = place.map_or(REMOVED, Packed::from);
            table.entry(tag(hash)).or_insert(packed);
        }
    }

    /// Forgets what was removed.
    pub(super) fn end_recovery(&self) {
        for shard in &self.shards {
            let mut table = shard.lock().unwrap_or_else(PoisonError::into_inner);
            table.retain(|_, packed| packed.length != 0);
        }
    }

    /// Removes all that lies in a segment. Passes over everything.
    pub(super) fn sweep(&self, segment: u32) {
        for shard in &self.shards {
            let mut table = shard.lock().unwrap_or_else(PoisonError::into_inner);
            table.retain(|_, packed| packed.segment != segment);
        }
    }

    /// Entries, and bytes of memory that the tables take.
    pub(super) fn extent(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(entries, bytes), shard| {
            let table = shard.lock().unwrap_or_else(PoisonError::into_inner);
            // A table is filled to seven eighths of a power of two.
            let buckets = match table.capacity() {
                0 => 0,
                capacity => (capacity * 8 / 7).next_power_of_two(),
            };
            let bytes = bytes + (buckets * BUCKET_BYTES) as u64;
            (entries + table.len() as u64, bytes)
        })
    }
}
