//! When what failed is tried again, and when it is given up. Pure.

use std::collections::BTreeMap;

/// The wait after the first failure, in milliseconds.
const WAIT_MS_FIRST: u64 = 100;
/// The longest wait, in milliseconds.
const WAIT_MS_MAX: u64 = 60_000;

/// How long to wait after so many failures, in milliseconds: twice as long each time, less up to a half by chance.
#[must_use]
pub(super) fn wait_ms(failures: u32, chance: u64) -> u64 {
    let doubled = failures.saturating_sub(1).min(16);
    let wait = (WAIT_MS_FIRST << doubled).min(WAIT_MS_MAX);
    wait - chance % (wait / 2 + 1)
}

/// Failures of [`Failure::OfTime`] after which an event is given up: some eleven minutes.
const LATE_MAX: u32 = 20;

/// What failed at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It said so, trapped, or passed a limit.
    OfEvent,
    /// It did not end in its time: a core that is busy may be to blame, and so may the event.
    OfTime,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Try again after this wait, in milliseconds.
    Again(u64),
    /// Give the event up.
    GiveUp,
}

/// How often an event failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Failed {
    number: u64,
    of_event: u32,
    of_time: u32,
}

/// What failed of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Failures {
    /// By target (none: the projection could not say which).
    events: BTreeMap<Option<String>, Failed>,
    /// How often in turn the store or the sandbox could not be had.
    unavailable: u32,
}

impl Failures {
    /// An event failed: what to do, and how often it has by now.
    pub(super) fn failed(
        &mut self,
        (target, number): (Option<&str>, u64),
        failure: Failure,
        attempts_max: u32,
        chance: u64,
    ) -> (Verdict, u32) {
        let entry = self.events.entry(target.map(str::to_owned)).or_default();
        if entry.number != number {
            *entry = Failed {
                number,
                ..Failed::default()
            };
        }
        match failure {
            Failure::OfEvent => entry.of_event += 1,
            Failure::OfTime => entry.of_time += 1,
        }
        let failures = entry.of_event + entry.of_time;
        if entry.of_event >= attempts_max || entry.of_time >= LATE_MAX {
            (Verdict::GiveUp, failures)
        } else {
            (Verdict::Again(wait_ms(failures, chance)), failures)
        }
    }

    /// Something that the projection cannot help was not to be had: how long to wait. No event is given up for that.
    pub(super) fn unavailable(&mut self, chance: u64) -> u64 {
        self.unavailable = self.unavailable.saturating_add(1);
        wait_ms(self.unavailable, chance)
    }

    /// A whole batch was applied.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing is to be remembered.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow() {
        for (failures, least, most) in [
            (1, 50, 100),
            (2, 100, 200),
            (5, 800, 1600),
            (11, 30_000, 60_000),
            (u32::MAX, 30_000, 60_000),
        ] {
            for chance in [0, 1, 999, u64::MAX] {
                let wait = wait_ms(failures, chance);
                assert!((least..=most).contains(&wait), "{failures} {chance} {wait}");
            }
        }
    }

    #[test]
    fn an_event_is_given_up_after_so_many_failures() {
        use Failure::{OfEvent, OfTime};
        let mut failures = Failures::default();
        for n in 1..3 {
            let (verdict, count) = failures.failed((Some("t"), 7), OfEvent, 3, 0);
            assert!(matches!(verdict, Verdict::Again(_)) && count == n);
        }
        // Another target, and another event, count for themselves.
        let mut verdict =
            |target, number, failure| failures.failed((target, number), failure, 3, 0).0;
        assert_ne!(verdict(None, 7, OfEvent), Verdict::GiveUp);
        // Want of time has a count of its own.
        for _ in 1..LATE_MAX {
            assert_ne!(verdict(Some("t"), 7, OfTime), Verdict::GiveUp);
        }
        assert_eq!(verdict(Some("t"), 7, OfTime), Verdict::GiveUp);
        assert_ne!(verdict(Some("t"), 8, OfTime), Verdict::GiveUp);
        assert_ne!(verdict(Some("t"), 7, OfEvent), Verdict::GiveUp);
        assert_ne!(verdict(Some("t"), 7, OfEvent), Verdict::GiveUp);
        assert_eq!(verdict(Some("t"), 7, OfEvent), Verdict::GiveUp);
        for _ in 0..100 {
            failures.unavailable(0);
        }
        assert_eq!(failures.unavailable(0), 60_000);
        assert!(!failures.is_empty());
        failures.clear();
        assert!(failures.is_empty());
    }
}
