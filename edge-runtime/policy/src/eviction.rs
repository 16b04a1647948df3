//! Which entries make room when memory is full.
//!
//! An entry's rank is `clock + uses / weight`: what a byte of it has answered. When it is over the bound, what ranks lowest
//! leaves. This is Greedy-Dual-Size-Frequency (Cherkasova, 1998) with three changes, each measured by `bench hits`:
//!
//! - **The clock is slow.** Its speed decides how long a use counts. Greedy-Dual sets it to the rank of what leaves, which
//!   forgets the popular within one turn of the cache; here it goes towards that by [`CLOCK_SPEED`] parts in as many as there
//!   are entries.
//! - **Ghosts.** Uses of what has left are remembered, in four bytes each: what comes back need not begin anew.
//! - **A window.** The newest entries are safe whatever their rank: those who waited for one find it.
//!
//! A heavy newcomer would throw out many that are worth more than it: what weighs more than one part in [`HEAVY_PART`] of the
//! bound comes in only where it ranks above each that would have to leave. Each try counts as a use of its ghost.
//!
//! Shares keep tenants apart: each whose entries weigh less than half of an equal part of the bound loses nothing to the
//! others; beyond that, rank decides.
//!
//! A hit takes no exclusive access: it adds to the entry's uses and copies the clock. Ranks are put in order when something
//! has to leave.

mod ghosts;
mod share;

use ghosts::Ghosts;
use rustc_hash::FxHashMap;
use share::{Ranked, Share};
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

/// How fast the clock goes: see the module. Measured; a fast one follows drifts, a slow one keeps what is popular.
pub const CLOCK_SPEED: f64 = 0.4;
/// The window's part of the bound: one in so many.
const WINDOW_PART: usize = 64;
/// Shares that are looked at for one eviction, if so many may lose something.
const SHARES_LOOKED_AT: usize = 32;
/// Uses beyond so many do not count: what was popular leaves in time. Measured.
const USES_MAX: u32 = 25;
/// What weighs more than the bound over this has to earn its place. Measured.
const HEAVY_PART: usize = 3;

/// Entries whose weights stay under a bound. Keys are found by a 64-bit hash that the caller makes, keyed so that nobody
/// outside can make collisions; of two keys with one hash the newer stays.
#[derive(Debug)]
pub struct Bounded<K, V> {
    weight_max: usize,
    weight: usize,
    clock: f64,
    stamps: u32,
    by_hash: FxHashMap<u64, u32>,
    slots: Vec<Option<Entry<K, V>>>,
    free: Vec<u32>,
    window: VecDeque<(u32, u32)>,
    window_weight: usize,
    shares: Vec<Share>,
    share_of: FxHashMap<u64, u32>,
    free_shares: Vec<u32>,
    looked_at: usize,
    ghosts: Ghosts,
}

#[derive(Debug)]
struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
    weight: usize,
    share: u32,
    /// Tells this entry's place in the order from those it had before.
    stamp: u32,
    is_new: bool,
    /// Somebody wants to hear of its next use.
    is_awaited: AtomicBool,
    uses: AtomicU32,
    /// The clock at its last use: the bits of an `f64`.
    used_at: AtomicU64,
}

impl<K, V> Entry<K, V> {
    fn rank(&self) -> f64 {
        let used_at = f64::from_bits(self.used_at.load(Ordering::Relaxed));
        rank(used_at, self.uses.load(Ordering::Relaxed), self.weight)
    }

    fn note_use(&self, clock: f64) {
        if self.uses.load(Ordering::Relaxed) < USES_MAX {
            self.uses.fetch_add(1, Ordering::Relaxed);
        }
        let clock = clock.to_bits();
        if self.used_at.load(Ordering::Relaxed) != clock {
            self.used_at.store(clock, Ordering::Relaxed);
        }
    }
}

/// See the module.
fn rank(used_at: f64, uses: u32, weight: usize) -> f64 {
    used_at + f64::from(uses) / to_f64(weight.max(1))
}

/// Weights and numbers of entries are far below 2⁵².
#[allow(clippy::cast_precision_loss)]
fn to_f64(count: usize) -> f64 {
    count as f64
}

impl<K: Eq, V> Bounded<K, V> {
    /// What an entry takes here: its place, in a list that may have a half more; its hash, in a table that has just grown;
    /// its rank, and one that leads nowhere; its place in the window.
    pub const ENTRY_BYTES: usize = size_of::<Option<Entry<K, V>>>() * 3 / 2
        + 2 * size_of::<(u64, u32)>()
        + 3 * size_of::<Ranked>()
        + size_of::<(u32, u32)>();

    /// Nothing yet, and never more than `weight_max`, beside what the ghosts take.
    #[must_use]
    pub fn new(weight_max: usize) -> Self {
        Self {
            weight_max,
            weight: 0,
            clock: 0.0,
            stamps: 0,
            by_hash: FxHashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            window: VecDeque::new(),
            window_weight: 0,
            shares: Vec::new(),
            share_of: FxHashMap::default(),
            free_shares: Vec::new(),
            looked_at: 0,
            ghosts: Ghosts::new(weight_max),
        }
    }

    /// What the ghosts take beside entries of at most `weight_max`.
    #[must_use]
    pub fn ghosts_bytes(weight_max: usize) -> usize {
        Ghosts::bytes(weight_max)
    }

    /// What `key` leads to; counts as a use.
    pub fn get(&self, hash: u64, key: &K) -> Option<&V> {
        self.use_of(hash, key).map(|(value, _)| value)
    }

    /// The same, and whether this is the use that was waited for: see [`Bounded::await_use`].
    pub fn use_of(&self, hash: u64, key: &K) -> Option<(&V, bool)> {
        let entry = self.entry(hash, key)?;
        entry.note_use(self.clock);
        let is_awaited = entry.is_awaited.load(Ordering::Relaxed)
            && entry.is_awaited.swap(false, Ordering::Relaxed);
        Some((&entry.value, is_awaited))
    }

    /// The next use of what `key` leads to says that it is.
    pub fn await_use(&self, hash: u64, key: &K) {
        if let Some(entry) = self.entry(hash, key) {
            entry.is_awaited.store(true, Ordering::Relaxed);
        }
    }

    /// What `key` leads to; counts as no use.
    pub fn peek(&self, hash: u64, key: &K) -> Option<&V> {
        self.entry(hash, key).map(|entry| &entry.value)
    }

    /// Whether there is an entry of this hash; counts as no use.
    #[must_use]
    pub fn has(&self, hash: u64) -> bool {
        self.by_hash.contains_key(&hash)
    }

    fn entry(&self, hash: u64, key: &K) -> Option<&Entry<K, V>> {
        let slot = *self.by_hash.get(&hash)?;
        self.at(slot).filter(|entry| entry.key == *key)
    }

    fn at(&self, slot: u32) -> Option<&Entry<K, V>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// What they weigh together. Never more than the bound.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// From here on the bound is `weight_max`, beside the same ghosts. Gives what had to leave.
    pub fn set_weight_max(&mut self, weight_max: usize) -> Vec<V> {
        self.weight_max = weight_max;
        let mut left = Vec::new();
        while self.weight > self.weight_max {
            match self.evict() {
                Some(value) => left.push(value),
                None => break,
            }
        }
        left
    }

    /// Puts `value` in, in the place of what `key` led to. Gives what had to leave: that, others, or the value itself if it
    /// is heavier than the bound, or so heavy that it has to earn its place and did not.
    pub fn insert(&mut self, hash: u64, key: K, value: V, weight: usize, share: u64) -> Vec<V> {
        let mut left = Vec::new();
        let mut uses = self.ghosts.recall(hash);
        if let Some(slot) = self.by_hash.get(&hash).copied()
            && let Some(entry) = self.take(slot)
        {
            uses = entry.uses.into_inner();
            left.push(entry.value);
        }
        let uses = uses.saturating_add(1).min(USES_MAX);
        if weight > self.weight_max || !self.admits(weight, uses) {
            self.ghosts.remember(hash, uses);
            left.push(value);
            return left;
        }
        while self.weight + weight > self.weight_max {
            match self.evict() {
                Some(value) => left.push(value),
                None => break,
            }
        }
        let (share, stamp) = (self.share(share), self.next_stamp());
        self.place(Entry {
            hash,
            key,
            value,
            weight,
            share,
            stamp,
            is_new: true,
            is_awaited: AtomicBool::new(false),
            uses: AtomicU32::new(uses),
            used_at: AtomicU64::new(self.clock.to_bits()),
        });
        left
    }

    /// Whether a newcomer may have its place: it is not heavy, or it ranks above each that would have to leave.
    fn admits(&mut self, weight: usize, uses: u32) -> bool {
        let mut room = self.weight_max - self.weight;
        if weight <= room || weight <= self.weight_max / HEAVY_PART {
            return true;
        }
        let rank = rank(self.clock, uses, weight);
        let mut leaving = Vec::new();
        let mut admits = true;
        while admits && room < weight {
            let Some(ranked) = self.next_out() else {
                break;
            };
            admits = ranked.rank < rank;
            if !admits {
                // As if it had come in: what nobody asks for any more does not keep it out for ever.
                self.forget(ranked.rank, to_f64(self.weight_max) / to_f64(weight));
            }
            room += self.at(ranked.slot).map_or(0, |entry| entry.weight);
            leaving.push(ranked);
        }
        for ranked in leaving {
            let share = self.at(ranked.slot).map_or(0, |entry| entry.share);
            if let Some(share) = self.shares.get_mut(share as usize) {
                share.push(ranked);
            }
        }
        admits
    }

    /// Takes out what `key` leads to, if `matches` says so of it.
    pub fn remove_if(&mut self, hash: u64, key: &K, matches: impl FnOnce(&V) -> bool) -> Option<V> {
        let slot = *self.by_hash.get(&hash)?;
        let entry = self.at(slot)?;
        if entry.key != *key || !matches(&entry.value) {
            return None;
        }
        self.take(slot).map(|entry| entry.value)
    }

    fn next_stamp(&mut self) -> u32 {
        self.stamps = self.stamps.wrapping_add(1);
        self.stamps
    }

    fn place(&mut self, entry: Entry<K, V>) {
        let (hash, weight, share, stamp) = (entry.hash, entry.weight, entry.share, entry.stamp);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                // Memory ends long before 2³² entries.
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let Some(place) = self.slots.get_mut(slot as usize) else {
            return;
        };
        *place = Some(entry);
        self.by_hash.insert(hash, slot);
        self.weight += weight;
        if let Some(share) = self.shares.get_mut(share as usize) {
            share.add(weight);
        }
        self.window.push_back((slot, stamp));
        self.window_weight += weight;
        while self.window_weight > self.weight_max / WINDOW_PART && self.leave_window(slot) {}
        if self.window.len() > 2 * self.by_hash.len() + 64 {
            let slots = &self.slots;
            self.window
                .retain(|(slot, stamp)| is_at(slots, *slot, *stamp));
        }
    }

    /// The oldest entry of the window goes where rank counts, unless it is in `newest`.
    fn leave_window(&mut self, newest: u32) -> bool {
        while let Some((slot, stamp)) = self.window.pop_front() {
            if !is_at(&self.slots, slot, stamp) {
                continue;
            }
            if slot == newest {
                self.window.push_front((slot, stamp));
                return false;
            }
            if let Some(Some(entry)) = self.slots.get_mut(slot as usize) {
                entry.is_new = false;
                self.window_weight -= entry.weight;
                let rank = entry.rank();
                if let Some(share) = self.shares.get_mut(entry.share as usize) {
                    share.push(Ranked { rank, slot, stamp });
                }
            }
            return true;
        }
        false
    }

    /// Takes what is in a slot out of everything but the order, where its stamp leads nowhere from now on.
    fn take(&mut self, slot: u32) -> Option<Entry<K, V>> {
        let entry = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        self.by_hash.remove(&entry.hash);
        self.weight -= entry.weight;
        if entry.is_new {
            self.window_weight -= entry.weight;
        }
        let slots = &self.slots;
        if let Some(share) = self.shares.get_mut(entry.share as usize)
            && share.sub(entry.weight, |ranked| {
                is_at(slots, ranked.slot, ranked.stamp)
            })
        {
            self.share_of.remove(&share.id);
            self.free_shares.push(entry.share);
        }
        Some(entry)
    }

    fn share(&mut self, id: u64) -> u32 {
        if let Some(share) = self.share_of.get(&id) {
            return *share;
        }
        let share = match self.free_shares.pop() {
            Some(share) => share,
            None => {
                self.shares.push(Share::default());
                u32::try_from(self.shares.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(place) = self.shares.get_mut(share as usize) {
            place.id = id;
        }
        self.share_of.insert(id, share);
        share
    }

    /// Takes the entry out of the order that ranks lowest of those that may lose something.
    fn next_out(&mut self) -> Option<Ranked> {
        let floor = self.weight_max / 2 / self.share_of.len().max(1);
        // A heavy newcomer may need more than those above the floor have.
        self.lowest(floor).or_else(|| self.lowest(0))
    }

    /// The clock goes towards `rank`, by [`CLOCK_SPEED`] parts in `parts`.
    fn forget(&mut self, rank: f64, parts: f64) {
        self.clock += (rank - self.clock).max(0.0) * (CLOCK_SPEED / parts).min(1.0);
    }

    /// Takes the next entry out.
    fn evict(&mut self) -> Option<V> {
        let slot = match self.next_out() {
            Some(ranked) => {
                self.forget(ranked.rank, to_f64(self.by_hash.len() + 1));
                ranked.slot
            }
            None => self.oldest_new()?,
        };
        let entry = self.take(slot)?;
        self.ghosts.remember(entry.hash, entry.uses.into_inner());
        Some(entry.value)
    }

    /// The oldest of the window, if nothing else is left.
    fn oldest_new(&mut self) -> Option<u32> {
        while let Some((slot, stamp)) = self.window.pop_front() {
            if is_at(&self.slots, slot, stamp) {
                return Some(slot);
            }
        }
        None
    }

    /// Of the shares that weigh more than `floor`.
    fn lowest(&mut self, floor: usize) -> Option<Ranked> {
        let count = self.shares.len();
        let (mut lowest, mut found): (Option<(Ranked, usize)>, usize) = (None, 0);
        for step in 0..count {
            let at = (self.looked_at + step) % count;
            let slots = &self.slots;
            let Some(share) = self.shares.get_mut(at).filter(|s| s.weight() > floor) else {
                continue;
            };
            let Some(ranked) = share.lowest(|ranked| rank_at(slots, ranked)) else {
                continue;
            };
            if lowest.is_none_or(|(best, _)| ranked.rank < best.rank) {
                lowest = Some((ranked, at));
            }
            found += 1;
            if found == SHARES_LOOKED_AT {
                self.looked_at = at + 1;
                break;
            }
        }
        let (ranked, at) = lowest?;
        self.shares.get_mut(at)?.pop();
        Some(ranked)
    }
}

fn is_at<K, V>(slots: &[Option<Entry<K, V>>], slot: u32, stamp: u32) -> bool {
    matches!(slots.get(slot as usize), Some(Some(entry)) if entry.stamp == stamp)
}

/// The rank that an entry has now; none if it is gone.
fn rank_at<K, V>(slots: &[Option<Entry<K, V>>], ranked: Ranked) -> Option<f64> {
    match slots.get(ranked.slot as usize) {
        Some(Some(entry)) if entry.stamp == ranked.stamp => Some(entry.rank()),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests;
