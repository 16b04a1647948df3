//! When a read that is late is asked of a second core as well, and how often that may be.

use std::time::Duration;

/// Buckets of each doubling.
const STEPS: u64 = 4;
/// Buckets: up to 2^27 microseconds, about two minutes.
const BUCKETS: usize = 28 * 4;
/// Answers that are remembered; then all count half.
const REMEMBERED: u32 = 2_000;
/// Answers below which nothing is made of them.
const ANSWERS_MIN: u32 = 20;
/// Before that, a read is late after this.
const LATE_AT_FIRST: Duration = Duration::from_millis(50);
/// No read is late before this.
const LATE_MIN: Duration = Duration::from_millis(2);
/// Each read is late after this.
const LATE_MAX: Duration = Duration::from_millis(500);
/// Hedges that may be saved up.
const SAVED_MAX: u32 = 10;
/// What one hedge costs.
const COST: u32 = 100;

/// How long reads took of late, in buckets that are a fifth wide.
#[derive(Debug, Clone)]
pub struct Latencies {
    counts: [u32; BUCKETS],
    total: u32,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
        }
    }
}

fn bucket(us: u64) -> usize {
    let us = us.max(STEPS);
    let doublings = u64::from(us.ilog2());
    let step = (us >> (doublings - 2)) - STEPS;
    usize::try_from((doublings - 2) * STEPS + step)
        .unwrap_or(BUCKETS)
        .min(BUCKETS - 1)
}

/// The least number of microseconds that is beyond the bucket.
fn end_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    (STEPS + bucket % STEPS + 1) << (bucket / STEPS)
}

impl Latencies {
    /// A read was answered.
    pub fn note(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(us)) {
            *count += 1;
            self.total += 1;
        }
        if self.total >= REMEMBERED {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// After how long a read is late: nineteen of twenty took less.
    #[must_use]
    pub fn late_after(&self) -> Duration {
        if self.total < ANSWERS_MIN {
            return LATE_AT_FIRST;
        }
        let mut left = self.total - self.total / 20;
        for (bucket, count) in self.counts.iter().enumerate() {
            if *count >= left {
                return Duration::from_micros(end_us(bucket)).clamp(LATE_MIN, LATE_MAX);
            }
            left -= count;
        }
        LATE_MAX
    }
}

/// How many reads may be asked twice: a share of all, and a few saved up.
#[derive(Debug, Clone)]
pub struct Budget {
    percent: u32,
    saved: u32,
}

impl Budget {
    /// So many of a hundred reads.
    #[must_use]
    pub fn new(percent: u32) -> Self {
        let percent = percent.min(COST);
        Self {
            percent,
            saved: if percent == 0 { 0 } else { SAVED_MAX * COST },
        }
    }

    /// A read begins.
    pub fn earn(&mut self) {
        self.saved = (self.saved + self.percent).min(SAVED_MAX * COST);
    }

    /// Whether one that is late may be asked again; if so it is counted.
    pub fn spend(&mut self) -> bool {
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
    fn buckets_are_in_order_and_a_fifth_wide() {
        let mut last = 0;
        for us in 0..100_000_u64 {
            let found = bucket(us);
            assert!(found == last || found == last + 1, "{us}");
            last = found;
            assert!(us < end_us(found), "{us}");
            assert!(
                us < 16 || end_us(found) * 4 <= us * 5 + 5,
                "{us} {}",
                end_us(found)
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_read_is_late_when_nineteen_of_twenty_took_less() {
        let ms = Duration::from_millis;
        for (took, expected) in [
            (vec![], (50, 50)),
            (vec![(19, 900)], (50, 50)),
            (vec![(100, 10)], (10, 13)),
            (vec![(96, 10), (4, 400)], (10, 13)),
            (vec![(90, 10), (10, 400)], (400, 500)),
            (vec![(100, 0)], (2, 2)),
            (vec![(100, 60_000)], (500, 500)),
            // What was long ago counts less and less.
            (vec![(1_900, 400), (4_000, 10)], (10, 500)),
            (vec![(1_900, 400), (40_000, 10)], (10, 13)),
        ] {
            let mut latencies = Latencies::default();
            for (times, took_ms) in &took {
                (0..*times).for_each(|_| latencies.note(ms(*took_ms)));
            }
            let late = latencies.late_after();
            assert!(
                late >= ms(expected.0) && late <= ms(expected.1),
                "{took:?} {late:?}"
            );
        }
    }

    #[test]
    fn the_budget_bounds_what_is_asked_twice() {
        for (percent, reads, most) in [(5, 10_000, 510), (0, 10_000, 0), (100, 1_000, 1_010)] {
            let mut budget = Budget::new(percent);
            let mut hedges = 0;
            for _ in 0..reads {
                budget.earn();
                hedges += u32::from(budget.spend());
            }
            assert!(hedges <= most, "{percent} {hedges}");
            assert!(hedges * 100 >= percent * reads, "{percent} {hedges}");
        }
    }
}
