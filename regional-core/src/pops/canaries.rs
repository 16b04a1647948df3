//! When each version of the canary record was written, and so how old what a PoP serves is.

use brink_protocol::record::Version;
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// Versions that are remembered: more than an hour of them.
const VERSIONS_MAX: usize = 4096;

/// What a PoP said when it last read the canary record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    version: Version,
    /// How old what it served was then.
    pub(super) staleness: Duration,
    at: Instant,
}

/// The newest versions, oldest first.
#[derive(Debug, Default)]
pub(super) struct Canaries(VecDeque<(Version, Instant)>);

impl Canaries {
    /// A version was committed.
    pub(super) fn written(&mut self, version: Version, at: Instant) {
        if self.0.back().is_some_and(|(last, _)| *last >= version) {
            return;
        }
        self.0.push_back((version, at));
        if self.0.len() > VERSIONS_MAX {
            self.0.pop_front();
        }
    }

    /// A PoP has this version; none if nothing was written yet.
    pub(super) fn read(&self, version: Version, now: Instant) -> Option<Reading> {
        let staleness = self.staleness(version, now)?;
        Some(Reading {
            version,
            staleness,
            at: now,
        })
    }

    /// How old what a PoP serves is: what its reading said, as long as that is not older than `valid`. Of one that has been
    /// silent for longer it is not known to have what came since.
    pub(super) fn since(&self, reading: &Reading, valid: Duration, now: Instant) -> Duration {
        if now.saturating_duration_since(reading.at) <= valid {
            return reading.staleness;
        }
        let missing = self.staleness(reading.version, now).unwrap_or_default();
        missing.max(reading.staleness)
    }

    /// How old what a PoP serves is: the time since the first version that it does not have. Nothing if it has the newest;
    /// none if nothing was written yet. Of a PoP that is further back than what is remembered, the least that is certain.
    fn staleness(&self, seen: Version, now: Instant) -> Option<Duration> {
        self.0.back()?;
        let first_newer = self.0.iter().find(|(version, _)| *version > seen);
        Some(first_newer.map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(*at)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn staleness_counts_from_the_first_version_that_is_missing() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut canaries = Canaries::default();
        assert_eq!(canaries.staleness(0, begin), None);
        for version in 1..=3 {
            canaries.written(version, at(version));
        }
        canaries.written(2, at(9));
        for (seen, seconds) in [(0, 9), (1, 8), (2, 7), (3, 0), (4, 0)] {
            let staleness = canaries.staleness(seen, at(10));
            assert_eq!(staleness, Some(Duration::from_secs(seconds)), "{seen}");
        }
    }

    #[test]
    fn who_falls_silent_gets_older() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut canaries = Canaries::default();
        assert!(canaries.read(1, begin).is_none());
        canaries.written(1, at(1));
        let newest = canaries.read(1, at(1)).unwrap();
        assert_eq!(newest.staleness, Duration::ZERO);
        for version in 2..=9 {
            canaries.written(version, at(version));
        }
        let valid = Duration::from_secs(2);
        for (now, seconds) in [(3, 0), (4, 2), (9, 7)] {
            let staleness = canaries.since(&newest, valid, at(now));
            assert_eq!(staleness, Duration::from_secs(seconds), "{now}");
        }
        let behind = canaries.read(7, at(9)).unwrap();
        assert_eq!(
            canaries.since(&behind, valid, at(9)),
            Duration::from_secs(1)
        );
    }

    #[test]
    fn what_is_long_gone_is_forgotten() {
        let begin = Instant::now();
        let mut canaries = Canaries::default();
        for version in 1..=VERSIONS_MAX as Version + 10 {
            canaries.written(version, begin);
        }
        assert_eq!(canaries.0.len(), VERSIONS_MAX);
    }
}
