//! A node's clock: begins anywhere, and runs at nearly the right rate.

use crate::random::Random;

/// Most that a clock's rate is off, in parts per million (quartz is better than 100).
const RATE_PPM_MAX: u64 = 200;
/// Most that a clock is ahead at the beginning, in milliseconds.
const OFFSET_MS_MAX: u64 = 10_000_000;

/// A clock that never goes back.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    offset_ms: u64,
    /// Microseconds of this clock in a second of the observer's.
    rate: u64,
}

impl Clock {
    /// One by chance.
    pub fn new(random: &mut Random) -> Self {
        Self {
            offset_ms: random.between(100_000, OFFSET_MS_MAX),
            rate: 1_000_000 - RATE_PPM_MAX + random.between(0, 2 * RATE_PPM_MAX),
        }
    }

    /// What it reads, in milliseconds, at a moment of the observer's clock.
    #[must_use]
    pub fn ms(&self, now_us: u64) -> u64 {
        let own_us = u128::from(now_us) * u128::from(self.rate) / 1_000_000;
        self.offset_ms + u64::try_from(own_us / 1_000).unwrap_or(u64::MAX / 2)
    }
}
