//! Chance from a seed: the same seed, the same run.

use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{RngCore as _, SeedableRng as _},
};

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from `low` to `high`, both included; `low` if it is the greater one.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = u128::from(high.saturating_sub(low)) + 1;
        let scaled = (u128::from(self.number()) * span) >> 64;
        low + u64::try_from(scaled).unwrap_or(0)
    }

    /// An index below `count`; 0 if there is none.
    pub fn below(&mut self, count: usize) -> usize {
        let top = u64::try_from(count).unwrap_or(u64::MAX).saturating_sub(1);
        usize::try_from(self.between(0, top)).unwrap_or(0)
    }

    /// Whether something of this probability happens.
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits: as many as the fraction of a double has.
        let unit = (self.number() >> 11) as f64 / (1u64 << 53) as f64;
        unit < probability
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn numbers_stay_between_and_chances_come_true() {
        let mut random = Random::new(1);
        let mut seen = [0u32; 4];
        for _ in 0..4_000 {
            let at = random.below(4);
            seen[at] += 1;
            assert!((3..=5).contains(&random.between(3, 5)));
        }
        assert!(
            seen.iter().all(|count| (800..1_200).contains(count)),
            "{seen:?}"
        );
        let hits = (0..10_000).filter(|_| random.chance(0.01)).count();
        assert!((50..200).contains(&hits), "{hits}");
        assert!(!random.chance(0.0));
        assert!(random.chance(1.0));
    }
}
