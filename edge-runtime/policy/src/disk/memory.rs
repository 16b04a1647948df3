//! What a disk costs in memory, and what is left of the bound for answers.
//!
//! The index of what is on disk, the keys that are remembered ([`super::Admission`]) and what waits to be written are within
//! the bound of memory: answers have what is left of it.

/// Of the bound, the index has at most one part in so many.
const INDEX_PART: u64 = 2;
/// Of the bound, the remembered keys have at most one part in so many.
const GHOSTS_PART: u64 = 32;
/// Of the bound, what waits to be written has at most one part in so many, within these bytes.
const WAITING_PART: u64 = 16;
const WAITING_BYTES_MIN: u64 = 16 << 20;
const WAITING_BYTES_MAX: u64 = 64 << 20;
/// Answers have at least one part of the bound in so many, whatever else there is.
const ANSWERS_PART: u64 = 4;
/// Bytes of the index for one entry, at most, but for moments: a table that has just doubled.
const ENTRY_BYTES: u64 = 40;
/// A disk whose entries do not fit in the index even if they have so many bytes each is refused.
const ENTRY_BYTES_ON_DISK_MAX: u64 = 64 << 10;

/// The largest disk for a bound of memory, in times the bound: a larger one could not be filled.
pub const CAPACITY_TIMES_MAX: u64 = ENTRY_BYTES_ON_DISK_MAX / ENTRY_BYTES / INDEX_PART / 100 * 100;

/// What a bound of memory allows a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Entries in the index: with more, the oldest leave as if the disk were full.
    pub entries: u64,
    /// Bytes of the remembered keys.
    pub ghosts_bytes: u64,
    /// Bytes that wait to be written.
    pub waiting_bytes: u64,
}

impl Allowance {
    /// Of a bound in bytes.
    #[must_use]
    pub fn of(memory_bytes_max: u64) -> Self {
        Self {
            entries: memory_bytes_max / INDEX_PART / ENTRY_BYTES,
            ghosts_bytes: memory_bytes_max / GHOSTS_PART,
            waiting_bytes: (memory_bytes_max / WAITING_PART)
                .clamp(WAITING_BYTES_MIN, WAITING_BYTES_MAX),
        }
    }
}

/// What is left of a bound for answers beside so many bytes.
#[must_use]
pub fn room(memory_bytes_max: u64, beside_bytes: u64) -> u64 {
    memory_bytes_max
        .saturating_sub(beside_bytes)
        .max(memory_bytes_max / ANSWERS_PART)
}

/// Whether a disk can be filled within a bound of memory.
#[must_use]
pub fn can_be_indexed(capacity_bytes: u64, memory_bytes_max: u64) -> bool {
    capacity_bytes <= memory_bytes_max.saturating_mul(CAPACITY_TIMES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left() {
        for (bound, beside, expected) in [
            (1_000, 0, 1_000),
            (1_000, 300, 700),
            (1_000, 751, 250),
            (1_000, u64::MAX, 250),
            (0, 0, 0),
        ] {
            assert_eq!(room(bound, beside), expected, "{bound} {beside}");
        }
    }

    #[test]
    fn what_a_disk_may_have() {
        let allowed = Allowance::of(256 << 20);
        assert_eq!(allowed.entries, 3_355_443);
        assert_eq!(allowed.ghosts_bytes, 8 << 20);
        assert_eq!(allowed.waiting_bytes, 16 << 20);
        assert_eq!(Allowance::of(0).waiting_bytes, WAITING_BYTES_MIN);
        assert_eq!(Allowance::of(u64::MAX).waiting_bytes, WAITING_BYTES_MAX);
        // All of it together leaves answers their part.
        let bound = 1_u64 << 30;
        let allowed = Allowance::of(bound);
        let beside = allowed.entries * ENTRY_BYTES + allowed.ghosts_bytes + allowed.waiting_bytes;
        assert!(room(bound, beside) > bound / ANSWERS_PART);
    }

    #[test]
    fn how_large_a_disk_may_be() {
        assert_eq!(CAPACITY_TIMES_MAX, 800);
        assert!(can_be_indexed(800 << 20, 1 << 20));
        assert!(!can_be_indexed((800 << 20) + 1, 1 << 20));
        assert!(can_be_indexed(0, 0));
        assert!(can_be_indexed(u64::MAX, u64::MAX));
    }
}
