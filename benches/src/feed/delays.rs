//! Percentiles.

use std::{fmt, time::Duration};

/// Delays, sorted.
#[derive(Debug, Clone, Default)]
pub(super) struct Delays(Vec<Duration>);

impl FromIterator<Duration> for Delays {
    fn from_iter<T: IntoIterator<Item = Duration>>(delays: T) -> Self {
        let mut delays: Vec<_> = delays.into_iter().collect();
        delays.sort_unstable();
        Self(delays)
    }
}

impl Delays {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The delay that `per_mille` of all do not exceed (nearest rank).
    pub(super) fn quantile(&self, per_mille: usize) -> Duration {
        let rank = (self.0.len() * per_mille).div_ceil(1000).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    pub(super) fn max(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |delay: Duration| delay.as_secs_f64() * 1e3;
        write!(
            f,
            "p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms",
            ms(self.quantile(500)),
            ms(self.quantile(990)),
            ms(self.quantile(999)),
            ms(self.max())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let delays: Delays = (1..=1000).rev().map(Duration::from_millis).collect();
        let ms = |per_mille| delays.quantile(per_mille).as_millis();
        assert_eq!((ms(500), ms(990), ms(999), ms(1)), (500, 990, 999, 1));
        assert_eq!(delays.max(), Duration::from_secs(1));
        assert_eq!(Delays::default().quantile(500), Duration::ZERO);
        let one: Delays = [Duration::from_secs(3)].into_iter().collect();
        assert_eq!((one.quantile(1), one.count()), (Duration::from_secs(3), 1));
    }
}
