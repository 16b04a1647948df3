//! Counts of what clients did and met.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Most times that are kept of one kind.
const TIMES_MAX: usize = 1_000_000;

/// Counts and times by name.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    times: Mutex<BTreeMap<&'static str, Vec<u64>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Figures {
    pub(crate) fn count(&self, name: &'static str) {
        *locked(&self.counts).entry(name).or_default() += 1;
    }

    pub(crate) fn get(&self, name: &str) -> u64 {
        locked(&self.counts).get(name).copied().unwrap_or(0)
    }

    pub(crate) fn all(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.counts).clone()
    }

    /// Notes how long something took.
    pub(crate) fn took(&self, name: &'static str, time: u64) {
        let mut times = locked(&self.times);
        let times = times.entry(name).or_default();
        if times.len() < TIMES_MAX {
            times.push(time);
        }
    }

    /// Count, p50, p90, p99 and greatest of the times of a kind.
    pub(crate) fn percentiles(&self, name: &str) -> [u64; 5] {
        let mut times = locked(&self.times).get(name).cloned().unwrap_or_default();
        times.sort_unstable();
        let at = |per_mille: usize| {
            let index = (times.len() * per_mille).div_ceil(1_000).saturating_sub(1);
            times.get(index).copied().unwrap_or(0)
        };
        [times.len() as u64, at(500), at(900), at(990), at(1_000)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_times() {
        let figures = Figures::default();
        assert_eq!(figures.percentiles("a"), [0; 5]);
        for time in (1..=1_000).rev() {
            figures.took("a", time);
        }
        assert_eq!(figures.percentiles("a"), [1_000, 500, 900, 990, 1_000]);
    }
}
