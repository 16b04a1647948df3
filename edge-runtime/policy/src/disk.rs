//! What a full disk keeps of the segment that makes room: the oldest one.
//!
//! The disk is a log; what is oldest leaves first, whole segments at a time. What was read since it was written is written
//! again (second chance), so far as there is room for something new: at most [`KEPT_PART_MAX`] of a segment. A tenant whose
//! part of the disk is less than half of an equal part loses nothing to others, unless [`TURNS`] segments in a row were kept
//! for that: all of these together have less than half of the disk.
//!
//! What is written at all when the disk is full: [`Admission`]. What of it memory has to hold: [`memory`].

mod admission;
pub mod memory;

pub use admission::{Admission, Candidate, SIZE_FACTOR_MAX};

/// Most of a segment that is kept because it was used, in hundredths.
pub const KEPT_PART_MAX: u64 = 50;
/// Most of a segment that is kept for any reason, in hundredths, once [`TURNS`] segments have left without making room.
pub const SHARE_PART_MAX: u64 = 75;
/// So many segments in a row may be kept whole.
pub const TURNS: u32 = 8;

/// What a tenant has on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Bytes.
    pub bytes: u64,
    /// Tenants that have something there.
    pub tenants: u64,
    /// Bytes of the disk.
    pub capacity_bytes: u64,
}

impl Holdings {
    /// Less than half of an equal part: it loses nothing to the others, and keeps nothing back.
    #[must_use]
    pub fn are_little(&self) -> bool {
        self.tenants > 1 && self.bytes < self.capacity_bytes / self.tenants / 2
    }
}

/// A record of the segment that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Its bytes.
    pub bytes: u64,
    /// It was read since it was written, or memory has it.
    pub is_used: bool,
    /// What its tenant has on disk.
    pub holdings: Holdings,
}

/// A segment that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    segment_bytes: u64,
    share_part_max: u64,
    kept_bytes: u64,
    used_bytes: u64,
}

impl Leaving {
    /// One of `segment_bytes`; so many left before it without making room enough.
    #[must_use]
    pub fn new(segment_bytes: u64, turn: u32) -> Self {
        Self {
            share_part_max: if turn < TURNS { 100 } else { SHARE_PART_MAX },
            segment_bytes,
            kept_bytes: 0,
            used_bytes: 0,
        }
    }

    /// Whether this record of it is written again.
    pub fn keeps(&mut self, record: &Record) -> bool {
        let within = |bytes: u64, part: u64| {
            (bytes + record.bytes).saturating_mul(100) <= self.segment_bytes.saturating_mul(part)
        };
        if !within(self.kept_bytes, self.share_part_max) {
            return false;
        }
        let has_little = record.holdings.are_little();
        let is_second = record.is_used && within(self.used_bytes, KEPT_PART_MAX);
        if has_little || is_second {
            self.kept_bytes += record.bytes;
            self.used_bytes += if has_little { 0 } else { record.bytes };
        }
        has_little || is_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(is_used: bool, bytes: u64, tenants: u64) -> Record {
        Record {
            bytes: 10,
            is_used,
            holdings: Holdings {
                bytes,
                tenants,
                capacity_bytes: 1_000,
            },
        }
    }

    #[test]
    fn what_is_kept() {
        let cases = [
            ("unused", record(false, 1_000, 1), 0),
            ("used: half", record(true, 1_000, 1), 5),
            ("alone, and has little", record(false, 10, 1), 0),
            ("has little", record(false, 249, 2), 10),
            ("has half of an equal part", record(false, 250, 2), 0),
        ];
        for (name, record, expected) in cases {
            let kept = |turn| {
                let mut leaving = Leaving::new(100, turn);
                (0..10).filter(|_| leaving.keeps(&record)).count()
            };
            assert_eq!(kept(0), expected, "{name}");
            assert_eq!(kept(TURNS), expected.min(7), "{name}");
        }
    }

    #[test]
    fn nothing_larger_than_the_room() {
        let mut leaving = Leaving::new(100, 0);
        let large = Record {
            bytes: u64::MAX / 2,
            ..record(true, 1, 2)
        };
        assert!(!leaving.keeps(&large));
        assert!(leaving.keeps(&record(true, 1, 2)));
    }
}
