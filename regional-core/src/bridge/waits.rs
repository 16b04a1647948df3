//! How long to wait before something is tried again.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// Waits that double from 50 ms to 5 s.
#[derive(Debug, Default)]
pub(super) struct Waits {
    failures: u32,
}

impl Waits {
    /// The wait after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let doubled = SHORTEST.saturating_mul(2u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LONGEST)
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_double_and_begin_anew() {
        let mut waits = Waits::default();
        let said: Vec<u128> = (0..9).map(|_| waits.next().as_millis()).collect();
        assert_eq!(said, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        waits.reset();
        assert_eq!(waits.next(), SHORTEST);
    }
}
