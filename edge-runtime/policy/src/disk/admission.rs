//! What a full disk takes: what is asked for a second time before too much else has come by.
//!
//! While there is room, all that is stored is written. From then on whatever is written throws something out, and most answers
//! are never asked for again: an answer waits in memory alone, and its key is remembered (2Q's `A1out`, S3-FIFO's ghosts).
//! It is written when it is asked for again: at once if memory still has it, otherwise when it is stored again. A key is
//! remembered until so many bytes were held back as the disk has; for answers that are larger than most until
//! [`SIZE_FACTOR_MAX`] times less, for smaller ones until as many times more, since a byte of them answers less, or more.

use super::Holdings;

/// How many times longer than one of mean size a small answer is remembered, and how many times shorter a large one.
pub const SIZE_FACTOR_MAX: u64 = 4;
/// Bytes of disk for which one key is remembered.
const BYTES_PER_GHOST: u64 = 2_048;
/// Most bytes that the remembered keys may take.
const GHOSTS_BYTES_MAX: u64 = 64 << 20;
/// Keys that may stand in one place of the table.
const WAYS: usize = 8;
/// The age of a key is counted in so many parts of the disk's bytes.
const EPOCHS: u64 = 16;
/// Epochs after which their numbers come again; 0 is none.
const EPOCH_NUMBERS: u32 = 255;
/// Sizes that the mean is over, about.
const SIZES: u64 = 1_024;

/// An answer that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// A hash of its key.
    pub hash: u64,
    /// Its bytes on disk.
    pub bytes: u64,
    /// The disk has an answer of this key, which it takes the place of.
    pub is_there: bool,
    /// Whatever is written now throws something out.
    pub is_full: bool,
    /// What its tenant has on disk.
    pub holdings: Holdings,
}

/// See the module. Keys are 24 bits of a hash with 8 bits of the epoch; of a set the oldest leaves. Two keys may be taken
/// for one another, once in two million times: then one is written early.
#[derive(Debug)]
pub struct Admission {
    capacity_bytes: u64,
    sets: Box<[[u32; WAYS]]>,
    epoch: u32,
    /// Held back in this epoch.
    bytes: u64,
    /// The mean of the last sizes, times [`SIZES`].
    mean: u64,
}

impl Admission {
    /// For a disk of `capacity_bytes`, with not more than `memory_bytes_max` for what is remembered.
    #[must_use]
    pub fn new(capacity_bytes: u64, memory_bytes_max: u64) -> Self {
        let set_bytes = size_of::<[u32; WAYS]>() as u64;
        let bytes = capacity_bytes / BYTES_PER_GHOST * size_of::<u32>() as u64;
        let sets = bytes.min(memory_bytes_max).min(GHOSTS_BYTES_MAX) / set_bytes;
        let sets = usize::try_from(sets).unwrap_or(0).max(WAYS);
        Self {
            capacity_bytes,
            // Not more than what was allowed, but for the smallest table.
            sets: vec![[0; WAYS]; (sets + 1).next_power_of_two() / 2].into(),
            epoch: 1,
            bytes: 0,
            mean: 0,
        }
    }

    /// Bytes of memory that what is remembered takes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        size_of_val(&*self.sets) as u64
    }

    /// Whether an answer is written now. Counts as a time that it was asked for.
    pub fn admits(&mut self, candidate: &Candidate) -> bool {
        let bytes = candidate.bytes.max(1);
        self.note_size(bytes);
        if !candidate.is_full || candidate.is_there || candidate.holdings.are_little() {
            return true;
        }
        let mean = (self.mean / SIZES).max(1);
        let epochs = EPOCHS.saturating_mul(mean) / bytes;
        let epochs = epochs.clamp(EPOCHS / SIZE_FACTOR_MAX, EPOCHS * SIZE_FACTOR_MAX);
        let age = self.take(candidate.hash);
        let admits = age.is_some_and(|age| u64::from(age) < epochs);
        if !admits {
            self.remember(candidate.hash);
            self.hold_back(bytes);
        }
        admits
    }

    fn note_size(&mut self, bytes: u64) {
        // One that is larger than all others put together says nothing about them.
        let bytes = bytes.min(1 << 30);
        self.mean = match self.mean {
            0 => bytes * SIZES,
            mean => mean - mean / SIZES + bytes,
        };
    }

    fn hold_back(&mut self, bytes: u64) {
        let epoch_bytes = (self.capacity_bytes / EPOCHS).max(1);
        self.bytes = self.bytes.saturating_add(bytes);
        let passed = self.bytes / epoch_bytes;
        self.bytes %= epoch_bytes;
        let passed = u32::try_from(passed.min(u64::from(EPOCH_NUMBERS))).unwrap_or(EPOCH_NUMBERS);
        self.epoch = (self.epoch - 1 + passed) % EPOCH_NUMBERS + 1;
    }

    fn set(&mut self, hash: u64) -> Option<(&mut [u32; WAYS], u32)> {
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let tag = u32::try_from(mixed & u64::from(u32::MAX)).unwrap_or(0) & !u32::from(u8::MAX);
        let at = usize::try_from(mixed >> 32).unwrap_or(0) & (self.sets.len() - 1);
        self.sets.get_mut(at).map(|set| (set, tag))
    }

    /// Takes out a key; gives in how many epochs it grew old.
    fn take(&mut self, hash: u64) -> Option<u32> {
        let epoch = self.epoch;
        let (set, tag) = self.set(hash)?;
        let own = |ghost: &&mut u32| **ghost != 0 && **ghost & !u32::from(u8::MAX) == tag;
        let ghost = std::mem::take(set.iter_mut().find(own)?);
        Some(age(ghost, epoch))
    }

    fn remember(&mut self, hash: u64) {
        let epoch = self.epoch;
        let Some((set, tag)) = self.set(hash) else {
            return;
        };
        let oldest = set.iter_mut().max_by_key(|ghost| match **ghost {
            0 => u32::MAX,
            ghost => age(ghost, epoch),
        });
        if let Some(place) = oldest {
            *place = tag | epoch;
        }
    }
}

/// How many epochs ago it was put there.
fn age(ghost: u32, epoch: u32) -> u32 {
    let then = ghost & u32::from(u8::MAX);
    (epoch + EPOCH_NUMBERS - then) % EPOCH_NUMBERS
}

#[cfg(test)]
mod tests;
