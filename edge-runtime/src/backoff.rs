//! How long to wait before the next try to reach the core. Pure.

use std::time::Duration;

/// Waits that double from a shortest to a longest, with chance in them so that a thousand PoPs do not come back at the
/// same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits between `shortest` and `longest`.
    #[must_use]
    pub const fn new(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest,
            failures: 0,
        }
    }

    /// The wait after one more failure: between half of and the whole of `shortest * 2^failures`, at most `longest`.
    /// `chance` is any number; its lower 16 bits choose within that span.
    pub fn next(&mut self, chance: u64) -> Duration {
        let doubled = self
            .shortest
            .saturating_mul(2u32.saturating_pow(self.failures))
            .min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let half = doubled / 2;
        let share = u32::try_from(chance & 0xffff).unwrap_or(0);
        half + half.saturating_mul(share) / 0x1_0000
    }

    /// It worked: the next failure waits shortly again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let waits: Vec<u128> = (0..8).map(|_| backoff.next(0).as_millis()).collect();
        assert_eq!(waits, [25, 50, 100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next(0).as_millis(), 25);
    }

    #[test]
    fn chance_stays_within_half_and_whole() {
        for chance in [0, 1, 0x7fff, 0xffff, u64::MAX] {
            for failures in 0..40 {
                let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
                (0..failures).for_each(|_| {
                    backoff.next(0);
                });
                let wait = backoff.next(chance);
                assert!(
                    wait >= Duration::from_millis(25) && wait <= Duration::from_secs(2),
                    "{wait:?}"
                );
            }
        }
    }
}
