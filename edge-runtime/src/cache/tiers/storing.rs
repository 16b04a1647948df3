//! What a key leads to, changed in both tiers.

use super::{Tier, Tiers};
use crate::cache::{
    content::Content,
    memory::id_of,
    stored::{Key, Slot},
};
use std::{hash::BuildHasher as _, sync::Arc};

impl Tiers {
    /// Has `key` lead to an answer that was stored, in memory and, unless the disk waits for its second use, there too.
    pub(in crate::cache) fn insert(&self, key: Key, slot: Slot) {
        self.put(key, slot, |tiers, hash, key, slot| {
            let Some(disk) = &tiers.disk else {
                return false;
            };
            let share = tiers.share(key);
            // A head is worth nothing without its pieces: those have been written.
            let has_pieces =
                matches!(slot, Slot::Answer(stored) if matches!(stored.body, Content::Pieces(_)));
            if has_pieces || matches!(slot, Slot::Piece(_)) {
                disk.insert(hash, key.clone(), slot.clone(), share);
                return false;
            }
            !disk.offer(hash, key, slot, share)
        });
    }

    /// The same for an answer that took another form: it was not asked for once more. The disk has it if it had it before.
    pub(in crate::cache) fn amend(&self, key: Key, slot: Slot) {
        self.put(key, slot, |tiers, hash, key, slot| {
            let Some(disk) = &tiers.disk else {
                return false;
            };
            let is_there = disk.may_contain(hash);
            if is_there {
                disk.insert(hash, key.clone(), slot.clone(), tiers.share(key));
            }
            !is_there
        });
    }

    /// Puts a slot into memory, and has `write` do on disk what is to be done; this gives whether its next use is waited for.
    fn put(&self, key: Key, slot: Slot, write: impl FnOnce(&Self, u64, &Key, &Slot) -> bool) {
        self.enter(&key, &slot);
        self.leave_room();
        let hash = self.hasher.hash_one(&key);
        let turn = self.turns.take(hash);
        let is_awaited = write(self, hash, &key, &slot);
        let left = self
            .memory
            .insert(hash, key.clone(), slot, self.share(&key));
        if is_awaited {
            self.memory.await_use(hash, &key);
        }
        turn.changed();
        drop(turn);
        self.leave(&left);
    }

    /// Removes an entry from both tiers.
    pub(in crate::cache) fn remove(&self, key: &Key) {
        let hash = self.hasher.hash_one(key);
        let turn = self.turns.take(hash);
        let left = self.memory.remove_if(hash, key, |_| true);
        if let Some(disk) = &self.disk {
            disk.remove(hash);
        }
        turn.changed();
        drop(turn);
        self.leave(left.as_slice());
    }

    /// Whether the disk would take an answer of about so many bytes for `key` now. Counts as a time that it was asked for.
    /// Yes without a disk.
    pub(in crate::cache) fn admits(&self, key: &Key, bytes: u64) -> bool {
        let hash = self.hasher.hash_one(key);
        self.disk
            .as_ref()
            .is_none_or(|disk| disk.admits(hash, bytes, self.share(key)))
    }

    /// What memory has was used for the second time: it is written, unless something else has taken its place.
    #[cold]
    pub(super) fn write_used(&self, hash: u64, key: &Key, slot: &Slot) {
        let Some(disk) = &self.disk else {
            return;
        };
        let _turn = self.turns.take(hash);
        let is_it = |other: &Slot| match (slot, other) {
            (Slot::Variants(one), Slot::Variants(other)) => Arc::ptr_eq(one, other),
            (one, other) => id_of(one).is_some() && id_of(one) == id_of(other),
        };
        if self.memory.peek(hash, key, is_it) == Some(true) {
            disk.insert(hash, key.clone(), slot.clone(), self.share(key));
        }
    }

    /// What was read from disk comes into memory, unless what the key leads to changed since it had so many `changes`. Gives
    /// what memory has then.
    pub(super) fn load(&self, hash: u64, key: &Key, slot: Slot, changes: u32) -> (Slot, Tier) {
        self.enter(key, &slot);
        self.leave_room();
        let turn = self.turns.take(hash);
        let newer = match turn.changes() == changes {
            true => match self
                .memory
                .load(hash, key.clone(), slot.clone(), self.share(key))
            {
                Ok(left) => {
                    drop(turn);
                    self.leave(&left);
                    return (slot, Tier::Disk);
                }
                // Read by another meanwhile, or filled anew.
                Err(newer) => Some(newer),
            },
            false => self.memory.peek(hash, key, Slot::clone),
        };
        if newer.as_ref().and_then(id_of) != id_of(&slot) {
            self.leave(std::slice::from_ref(&slot));
        }
        drop(turn);
        match newer {
            Some(newer) => (newer, Tier::Memory),
            None => (slot, Tier::Disk),
        }
    }

    /// What the disk tier has in memory is within the bound: answers leave for it.
    pub(super) fn leave_room(&self) {
        if let Some(disk) = &self.disk {
            self.leave(&self.memory.leave_room(disk.memory_bytes()));
        }
    }
}
