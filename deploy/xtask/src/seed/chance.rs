//! A generator of numbers that look random and are the same at every run: SplitMix64 (Steele, Lea, Flood 2014).

/// The generator.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// True once in `n` on average.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub(crate) fn pick<'a, T, const N: usize>(&mut self, of: &'a [T; N]) -> &'a T {
        pick(of, self.next())
    }
}

/// The one with this number, counted from 0 and around.
pub(crate) fn pick<T, const N: usize>(of: &[T; N], number: u64) -> &T {
    const { assert!(N > 0) };
    let index = usize::try_from(number % N as u64).unwrap_or(0);
    let [first, ..] = of.as_slice() else {
        unreachable!("an array of at least one")
    };
    of.get(index).unwrap_or(first)
}
