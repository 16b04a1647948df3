//! What is counted of the feed.

use brink_protocol::change::Change;
use metrics::{Counter, Gauge, Histogram};
use std::time::{Duration, SystemTime};

pub(super) struct Figures {
    changes: Counter,
    delay: Histogram,
    pub(super) repeats: Counter,
    pub(super) gaps: Counter,
    pub(super) starts: Counter,
    pub(super) resets: Counter,
    pub(super) uncounted: Counter,
    pub(super) live: Gauge,
    pub(super) lag: Gauge,
}

impl Figures {
    pub(super) fn register() -> Self {
        Self {
            changes: metrics::counter!("brink_feed_changes_total"),
            delay: metrics::histogram!("brink_feed_delay_seconds"),
            repeats: metrics::counter!("brink_feed_repeats_total"),
            gaps: metrics::counter!("brink_feed_gaps_total"),
            starts: metrics::counter!("brink_feed_starts_total"),
            resets: metrics::counter!("brink_feed_resets_total"),
            uncounted: metrics::counter!("brink_feed_uncounted_total"),
            live: metrics::gauge!("brink_feed_live"),
            lag: metrics::gauge!("brink_feed_lag_changes"),
        }
    }

    pub(super) fn applied(&self, change: &Change, now: SystemTime) {
        self.changes.increment(1);
        self.delay.record(delay(change, now).as_secs_f64());
    }
}

/// Since the change was appended, as far as two clocks agree; nothing if they do not.
fn delay(change: &Change, now: SystemTime) -> Duration {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(change.at_ms))
        .and_then(|at| now.duration_since(at).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::change::ChangeKind;

    #[test]
    fn delays_are_never_negative() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000);
        for (at_ms, ms) in [(0, 1_000), (990, 10), (2_000, 0), (u64::MAX, 0)] {
            let change = Change {
                origin: "a.1".parse().unwrap(),
                sequence: 1,
                at_ms,
                kind: ChangeKind::Deployments {
                    revision: 1,
                    tenant: "t".parse().unwrap(),
                    modules: Vec::new(),
                },
            };
            assert_eq!(delay(&change, now), Duration::from_millis(ms), "{at_ms}");
        }
    }
}
