//! The memory tier: shards of [`Bounded`] entries, each behind its own lock. A hit shares its shard's lock with other hits.

use super::{
    stored::{Key, Slot},
    weight::weight,
};
use brink_policy::{coherence::EntryId, disk::memory::room, eviction::Bounded};
use std::sync::{
    PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU64, Ordering},
};

/// Most shards.
const SHARDS_MAX: usize = 16;
/// Changes of what lies beside the entries are heeded when they are more than one part of the bound in so many.
const STEP_PART: u64 = 128;
/// A shard holds at least so many of the largest objects; otherwise there are fewer shards.
const OBJECTS_PER_SHARD_MIN: usize = 4;

type Shard = RwLock<Bounded<Key, Slot>>;

/// See the module. Hashes are of the key, and seeded.
#[derive(Debug)]
pub(super) struct Memory {
    shards: Box<[Shard]>,
    bytes_max: u64,
    /// Bytes that are taken off the bound, as far as they were heeded.
    beside: AtomicU64,
}

fn shared(shard: &Shard) -> RwLockReadGuard<'_, Bounded<Key, Slot>> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone(shard: &Shard) -> RwLockWriteGuard<'_, Bounded<Key, Slot>> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

/// Which response it is.
pub(super) fn id_of(slot: &Slot) -> Option<EntryId> {
    match slot {
        Slot::Answer(stored) => Some(stored.id),
        Slot::Variants(_) | Slot::Piece(_) => None,
    }
}

impl Memory {
    /// Room for entries of `bytes_max` together, the largest of `object_bytes_max`.
    pub(super) fn new(bytes_max: usize, object_bytes_max: usize) -> Self {
        let fit = bytes_max / (OBJECTS_PER_SHARD_MIN * object_bytes_max).max(1);
        let shards = match fit.clamp(1, SHARDS_MAX) {
            fit if fit.is_power_of_two() => fit,
            fit => fit.next_power_of_two() / 2,
        };
        let part = bytes_max / shards;
        let room = part.saturating_sub(Bounded::<Key, Slot>::ghosts_bytes(part));
        Self {
            shards: (0..shards)
                .map(|_| RwLock::new(Bounded::new(room)))
                .collect(),
            bytes_max: bytes_max as u64,
            beside: AtomicU64::new(0),
        }
    }

    /// Keeps so many bytes of the bound free for what lies beside the entries. Gives what had to leave.
    pub(super) fn leave_room(&self, beside: u64) -> Vec<Slot> {
        let heeded = self.beside.load(Ordering::Relaxed);
        if heeded.abs_diff(beside) <= self.bytes_max / STEP_PART {
            return Vec::new();
        }
        self.beside.store(beside, Ordering::Relaxed);
        let (part, room) = (
            self.part(self.bytes_max),
            self.part(room(self.bytes_max, beside)),
        );
        let room = room.saturating_sub(Bounded::<Key, Slot>::ghosts_bytes(part));
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| alone(shard).set_weight_max(room))
            .collect()
    }

    /// A shard's part.
    fn part(&self, bytes: u64) -> usize {
        usize::try_from(bytes).unwrap_or(usize::MAX) / self.shards.len()
    }

    fn shard(&self, hash: u64) -> Option<&Shard> {
        // The maps within shards go by the other bits.
        let at = usize::try_from(hash >> 40).unwrap_or(0) & (self.shards.len() - 1);
        self.shards.get(at)
    }

    /// What `key` leads to, and whether its use was waited for; counts as a use.
    pub(super) fn get(&self, hash: u64, key: &Key) -> Option<(Slot, bool)> {
        let shard = shared(self.shard(hash)?);
        let (slot, is_awaited) = shard.use_of(hash, key)?;
        Some((slot.clone(), is_awaited))
    }

    /// Its next use is waited for.
    pub(super) fn await_use(&self, hash: u64, key: &Key) {
        if let Some(shard) = self.shard(hash) {
            shared(shard).await_use(hash, key);
        }
    }

    /// What `read` makes of what `key` leads to; counts as no use.
    pub(super) fn peek<T>(&self, hash: u64, key: &Key, read: impl FnOnce(&Slot) -> T) -> Option<T> {
        shared(self.shard(hash)?).peek(hash, key).map(read)
    }

    /// Whether it has an entry of this hash; counts as no use.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.shard(hash)
            .is_some_and(|shard| shared(shard).has(hash))
    }

    /// Puts a slot in; gives what had to leave, maybe the slot itself. `share` is the tenant's.
    pub(super) fn insert(&self, hash: u64, key: Key, slot: Slot, share: u64) -> Vec<Slot> {
        let weight = weight(&key, &slot);
        match self.shard(hash) {
            Some(shard) => alone(shard).insert(hash, key, slot, weight, share),
            None => vec![slot],
        }
    }

    /// The same for what was read from disk: what is there is newer, and stays. Gives it.
    pub(super) fn load(
        &self,
        hash: u64,
        key: Key,
        slot: Slot,
        share: u64,
    ) -> Result<Vec<Slot>, Slot> {
        let weight = weight(&key, &slot);
        let Some(shard) = self.shard(hash) else {
            return Ok(vec![slot]);
        };
        let mut shard = alone(shard);
        match shard.peek(hash, &key) {
            Some(newer) => Err(newer.clone()),
            None => Ok(shard.insert(hash, key, slot, weight, share)),
        }
    }

    /// Takes out what `key` leads to, if `matches` says so of it.
    pub(super) fn remove_if(
        &self,
        hash: u64,
        key: &Key,
        matches: impl FnOnce(&Slot) -> bool,
    ) -> Option<Slot> {
        alone(self.shard(hash)?).remove_if(hash, key, matches)
    }

    /// Entries, and what they weigh together in bytes.
    pub(super) fn extent(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(entries, bytes), shard| {
            let shard = shared(shard);
            (entries + shard.len() as u64, bytes + shard.weight() as u64)
        })
    }
}
