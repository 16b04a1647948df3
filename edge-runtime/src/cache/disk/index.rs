//! Where on disk the entry of a key lies: sixteen bytes each, and what the tables keep free.
//!
//! Of a key's hash 40 bits are kept: eight choose the table, 32 lie in it. Of two keys that have them in common the newer
//! one stays; whoever reads compares the whole key.

use super::layout::Place;
use rustc_hash::FxHashMap;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Tables, each behind its own lock.
const SHARDS: usize = 256;
/// Of a length: the entry was read since it was written.
const USED: u32 = 1 << 31;
/// A table that has room for so many times its entries is made smaller.
const SPARE_TIMES_MAX: usize = 3;
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
    entries: AtomicU64,
    /// Bytes of memory that the tables take.
    bytes: AtomicU64,
}

/// A table that is going to be changed; what that did to the figures is noted in the end.
struct Changing<'a> {
    table: MutexGuard<'a, Table>,
    was: (u64, u64),
    index: &'a Index,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let (entries, bytes) = extent(&self.table);
        note(&self.index.entries, self.was.0, entries);
        note(&self.index.bytes, self.was.1, bytes);
    }
}

fn note(sum: &AtomicU64, was: u64, is: u64) {
    if was != is {
        // Both are parts of the sum, which never gets below zero in the end.
        sum.fetch_add(is.wrapping_sub(was), Ordering::Relaxed);
    }
}

/// Entries of a table, and bytes of memory that it takes.
fn extent(table: &Table) -> (u64, u64) {
    // A table is filled to seven eighths of a power of two.
    let buckets = match table.capacity() {
        0 => 0,
        capacity => (capacity * 8 / 7).next_power_of_two(),
    };
    (table.len() as u64, (buckets * BUCKET_BYTES) as u64)
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn change(&self, hash: u64) -> Option<Changing<'_>> {
        self.table(hash).map(|table| self.changing(table))
    }

    fn changing<'a>(&'a self, table: MutexGuard<'a, Table>) -> Changing<'a> {
        Changing {
            was: extent(&table),
            table,
            index: self,
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
        if let Some(mut changing) = self.change(hash) {
            changing.table.insert(tag(hash), place.into());
        }
    }

    /// Gives whether there was something.
    pub(super) fn remove(&self, hash: u64) -> bool {
        self.change(hash)
            .is_some_and(|mut changing| changing.table.remove(&tag(hash)).is_some())
    }

    /// Removes it if it lies there. Gives whether it did.
    pub(super) fn remove_at(&self, hash: u64, segment: u32, offset: u32) -> bool {
        let Some(mut changing) = self.change(hash) else {
            return false;
        };
        let table = &mut changing.table;
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
        if let Some(mut changing) = self.change(hash) {
            let packed = place.map_or(REMOVED, Packed::from);
            changing.table.entry(tag(hash)).or_insert(packed);
        }
    }

    /// Forgets what was removed.
    pub(super) fn end_recovery(&self) {
        self.retain(|packed| packed.length != 0);
    }

    /// Removes all that lies in a segment. Passes over everything.
    pub(super) fn sweep(&self, segment: u32) {
        self.retain(|packed| packed.segment != segment);
    }

    fn retain(&self, keeps: impl Fn(&Packed) -> bool) {
        for shard in &self.shards {
            let table = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let mut changing = self.changing(table);
            changing.table.retain(|_, packed| keeps(packed));
        }
    }

    /// Gives back what tables have that are nearly empty: they only grow by themselves.
    pub(super) fn trim(&self) {
        for shard in &self.shards {
            let table = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if table.capacity() > SPARE_TIMES_MAX * table.len() {
                let mut changing = self.changing(table);
                let room = changing.table.len() * 3 / 2;
                changing.table.shrink_to(room);
            }
        }
    }

    /// Entries, and bytes of memory that the tables take.
    pub(super) fn extent(&self) -> (u64, u64) {
        let of = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        (of(&self.entries), of(&self.bytes))
    }
}
