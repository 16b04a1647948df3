//! What a segment holds, by tenant.

use super::layout::Listed;
use brink_policy::disk::Holdings;
use rustc_hash::FxHashMap;

/// Bytes of a segment's file, and of whose records.
#[derive(Debug, Default)]
pub(super) struct Extent {
    pub(super) bytes: u64,
    pub(super) shares: Vec<(u32, u64)>,
}

impl Extent {
    pub(super) fn of(bytes: u64, records: &[Listed]) -> Self {
        let mut shares: FxHashMap<u32, u64> = FxHashMap::default();
        for record in records.iter().filter(|record| !record.is_removal) {
            *shares.entry(record.share).or_default() += u64::from(record.length);
        }
        Self {
            bytes,
            shares: shares.into_iter().collect(),
        }
    }
}

/// Bytes of all segments, by tenant.
#[derive(Debug, Default)]
pub(super) struct Shares {
    bytes: FxHashMap<u32, u64>,
}

impl Shares {
    pub(super) fn add(&mut self, extent: &Extent) {
        for (share, bytes) in &extent.shares {
            *self.bytes.entry(*share).or_default() += bytes;
        }
    }

    pub(super) fn subtract(&mut self, extent: &Extent) {
        for (share, bytes) in &extent.shares {
            if let Some(sum) = self.bytes.get_mut(share) {
                *sum = sum.saturating_sub(*bytes);
                if *sum == 0 {
                    self.bytes.remove(share);
                }
            }
        }
    }

    /// What one has of a disk of so many bytes.
    pub(super) fn of(&self, share: u32, capacity_bytes: u64) -> Holdings {
        let bytes = self.bytes.get(&share).copied().unwrap_or(0);
        let others = self.bytes.len() - usize::from(bytes > 0);
        Holdings {
            bytes,
            tenants: others as u64 + 1,
            capacity_bytes,
        }
    }
}
