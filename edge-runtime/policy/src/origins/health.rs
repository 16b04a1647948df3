//! What health checks make of an origin.

/// How many checks in a row change its standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// So many that pass bring it up.
    pub healthy_after: u32,
    /// So many that fail take it down.
    pub unhealthy_after: u32,
}

/// The standing of an origin. Until checks say otherwise it is up.
#[derive(Debug, Clone)]
pub struct Health {
    is_up: bool,
    /// Checks in a row that say the opposite.
    against: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            is_up: true,
            against: 0,
        }
    }
}

impl Health {
    /// Whether it gets requests.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// A check has passed or failed; whether its standing changed.
    pub fn note(&mut self, passed: bool, thresholds: Thresholds) -> bool {
        if passed == self.is_up {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = match passed {
            true => thresholds.healthy_after,
            false => thresholds.unhealthy_after,
        };
        let changes = self.against >= needed;
        if changes {
            self.is_up = passed;
            self.against = 0;
        }
        changes
    }
}

/// When the next check is, in milliseconds from now: a tenth more or less than the interval, so that PoPs do not ask all at
/// once; the first one, at any time within the interval.
#[must_use]
pub fn next_check_ms(interval_ms: u64, is_first: bool, chance: u64) -> u64 {
    let interval_ms = interval_ms.max(1);
    if is_first {
        return chance % interval_ms;
    }
    interval_ms - interval_ms / 10 + chance % (interval_ms / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standings() {
        let thresholds = Thresholds {
            healthy_after: 2,
            unhealthy_after: 3,
        };
        let mut health = Health::default();
        let mut seen = String::new();
        for passed in "ffpfffpfpppf".chars().map(|c| c == 'p') {
            health.note(passed, thresholds);
            seen.push(if health.is_up() { 'u' } else { 'd' });
        }
        assert_eq!(seen, "uuuuudddduuu");
    }

    #[test]
    fn times() {
        for chance in [0, 1, 999, u64::MAX] {
            assert!(next_check_ms(1_000, true, chance) < 1_000);
            assert!((900..=1_100).contains(&next_check_ms(1_000, false, chance)));
            assert!(next_check_ms(0, false, chance) <= 1);
        }
    }
}
