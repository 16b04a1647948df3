//! How many requests may be repeated: repetitions must not be what keeps an origin down.

/// Repetitions that may be saved up.
const SAVED_MAX: u64 = 10;
/// What one costs, and what a second brings.
const COST: u64 = 1_000;

/// So many of a hundred requests, and one a second, for those who have few requests.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    percent: u64,
    saved: u64,
    at_ms: u64,
}

impl RetryBudget {
    /// A full one; with 0 percent, none.
    #[must_use]
    pub fn new(percent: u32) -> Self {
        Self {
            percent: u64::from(percent.min(100)),
            saved: SAVED_MAX * COST,
            at_ms: 0,
        }
    }

    /// A request begins.
    pub fn earn(&mut self) {
        self.saved = (self.saved + self.percent * COST / 100).min(SAVED_MAX * COST);
    }

    /// Whether a request may be repeated; if so it is counted.
    pub fn spend(&mut self, now_ms: u64) -> bool {
        let passed = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        self.saved = self.saved.saturating_add(passed * COST / 1_000);
        self.saved = self.saved.min(SAVED_MAX * COST);
        let is_there = self.percent > 0 && self.saved >= COST;
        if is_there {
            self.saved -= COST;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_requests_and_one_a_second() {
        for (percent, requests, ms, least, most) in [
            (20, 10_000, 0, 2_000, 2_010),
            (100, 1_000, 0, 1_000, 1_010),
            (0, 1_000, 60_000, 0, 0),
            // One request a second, each of which fails.
            (1, 100, 100_000, 100, 111),
        ] {
            let mut budget = RetryBudget::new(percent);
            let mut repeated = 0;
            for n in 1..=requests {
                budget.earn();
                let now_ms = ms / requests * n;
                repeated += u64::from(budget.spend(now_ms));
            }
            assert!((least..=most).contains(&repeated), "{percent} {repeated}");
        }
    }

    #[test]
    fn little_is_saved_up() {
        let mut budget = RetryBudget::new(20);
        (0..1_000).for_each(|_| budget.earn());
        let repeated = (0..100).filter(|_| budget.spend(u64::MAX / 2_000)).count();
        assert_eq!(repeated, 10);
    }
}
