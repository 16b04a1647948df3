//! What a run measured.

use crate::history::Place;
use rustc_hash::{FxHashMap, FxHashSet};

/// A purge on its way.
#[derive(Debug, Clone)]
pub struct OnItsWay {
    /// The core whose log it is in.
    pub core: usize,
    /// When it was in the log, in microseconds.
    pub logged_us: u64,
    /// Where.
    pub place: Place,
}

/// What a run measured.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Reads that were answered.
    pub reads: u64,
    /// Of these, from a cache, called fresh.
    pub hits: u64,
    /// Of these, from a cache, marked as stale.
    pub stale: u64,
    /// Reads that were not answered.
    pub errors: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Purges that were acknowledged.
    pub purges: u64,
    /// Faults.
    pub faults: u64,
    /// Answers by way of a shield.
    pub shielded: u64,
    /// Fills that the fence refused.
    pub fenced: u64,
    /// Fills that were read behind the PoP's own position.
    pub read_behind: u64,
    /// Times that a PoP dropped everything.
    pub resets: u64,
    /// Logs that were taken over.
    pub takeovers: u64,
    /// Pairs of a purge and a PoP that had applied it when it was looked at: the lease after it was acknowledged.
    pub applied: u64,
    /// Pairs in which the PoP called nothing fresh then.
    pub quarantined: u64,
    /// Pairs in which neither was so.
    pub neither: u64,
    /// PoPs that called nothing fresh when everything had come to rest.
    pub silent_at_rest: u64,
    /// How much longer than the network's one-way delay each PoP took to apply each purge, in microseconds.
    pub beyond_us: Vec<u64>,
    /// From the log to the PoP, in microseconds.
    pub propagation_us: Vec<u64>,
    /// Purges in logs.
    pub under_way: FxHashMap<u64, OnItsWay>,
    /// Purges applied, by purge and PoP.
    pub done: FxHashSet<(u64, usize)>,
    /// Purges reported, by purge and PoP.
    pub reported: FxHashSet<(u64, usize)>,
}

impl Figures {
    /// A purge is in a core's log.
    pub fn logged(&mut self, purge: u64, core: usize, place: Place, now_us: u64) {
        let on_its_way = OnItsWay {
            core,
            logged_us: now_us,
            place,
        };
        self.under_way.entry(purge).or_insert(on_its_way);
    }

    /// Adds what another run measured, but for what names its purges.
    pub fn add(&mut self, other: &Self) {
        for (own, more) in [
            (&mut self.reads, other.reads),
            (&mut self.hits, other.hits),
            (&mut self.stale, other.stale),
            (&mut self.errors, other.errors),
            (&mut self.writes, other.writes),
            (&mut self.purges, other.purges),
            (&mut self.faults, other.faults),
            (&mut self.shielded, other.shielded),
            (&mut self.fenced, other.fenced),
            (&mut self.read_behind, other.read_behind),
            (&mut self.resets, other.resets),
            (&mut self.takeovers, other.takeovers),
            (&mut self.applied, other.applied),
            (&mut self.quarantined, other.quarantined),
            (&mut self.neither, other.neither),
            (&mut self.silent_at_rest, other.silent_at_rest),
        ] {
            *own += more;
        }
        self.beyond_us.extend(&other.beyond_us);
        self.propagation_us.extend(&other.propagation_us);
    }
}

/// The value that a part of the values does not exceed: `per_mille` of a thousand; 0 if there are none.
#[must_use]
pub fn quantile(values: &mut [u64], per_mille: usize) -> u64 {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    values
        .get(last * per_mille.min(1_000) / 1_000)
        .copied()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut values: Vec<u64> = (0..=1_000).rev().collect();
        for (per_mille, expected) in [(500, 500), (990, 990), (999, 999), (1_000, 1_000)] {
            assert_eq!(quantile(&mut values, per_mille), expected);
        }
        assert_eq!(quantile(&mut [], 500), 0);
    }
}
