//! Chance from a seed: `SplitMix64` (Steele, Lea, Flood 2014), the same everywhere and for ever.

/// A source of chance. The same seed gives the same sequence.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `limit`; 0 if that is 0. The bias is below `limit / 2^64`.
    pub fn below(&mut self, limit: u64) -> u64 {
        let product = u128::from(self.bits()) * u128::from(limit);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// Whether something happens that happens with this probability, 0 to 1. Chance is used only if it can go both ways.
    pub fn happens(&mut self, probability: f64) -> bool {
        if probability <= 0.0 {
            return false;
        }
        // 53 bits: what a double holds exactly.
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
        let share = (self.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        share < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_a_seed_stays() {
        let mut chance = Chance::new(1_234_567);
        let first = [chance.bits(), chance.bits(), chance.bits()];
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(first, expected, "the vectors of the published algorithm");
    }

    #[test]
    fn shares() {
        let mut chance = Chance::new(7);
        for (probability, low, high) in [(0.0, 0, 0), (0.1, 800, 1_200), (1.0, 10_000, 10_000)] {
            let count = (0..10_000).filter(|_| chance.happens(probability)).count();
            assert!((low..=high).contains(&count), "{probability}: {count}");
        }
        assert!((0..1_000).all(|_| chance.below(10) < 10));
        assert_eq!(chance.below(0), 0);
    }
}
