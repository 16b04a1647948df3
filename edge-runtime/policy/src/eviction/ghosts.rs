//! How often was used what has left.

/// Bytes of the bound for which one ghost is kept: its four bytes are 0.4 % of them.
const BYTES_PER_GHOST: usize = 1_024;
/// Ghosts that may stand for one hash.
const WAYS: usize = 8;
/// Most ghosts.
const GHOSTS_MAX: usize = 1 << 24;
const USES_BITS: u32 = 8;
const USES_MAX: u32 = (1 << USES_BITS) - 1;

/// A table of 24 bits of a hash with 8 bits of uses each. Of a set, the one that was put there longest ago leaves. Two
/// hashes may be taken for one another, once in two million times.
#[derive(Debug)]
pub(super) struct Ghosts {
    sets: Box<[[u32; WAYS]]>,
    turn: usize,
}

impl Ghosts {
    pub(super) fn new(weight_max: usize) -> Self {
        Self {
            sets: vec![[0; WAYS]; Self::sets(weight_max)].into(),
            turn: 0,
        }
    }

    /// What they take for such a bound.
    pub(super) fn bytes(weight_max: usize) -> usize {
        Self::sets(weight_max) * size_of::<[u32; WAYS]>()
    }

    fn sets(weight_max: usize) -> usize {
        let ghosts = (weight_max / BYTES_PER_GHOST).clamp(WAYS * WAYS, GHOSTS_MAX);
        (ghosts / WAYS).next_power_of_two()
    }

    fn set(&mut self, hash: u64) -> Option<(&mut [u32; WAYS], u32)> {
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let tag = u32::try_from(mixed & u64::from(u32::MAX)).unwrap_or(0) & !USES_MAX;
        let at = usize::try_from(mixed >> 32).unwrap_or(0) & (self.sets.len() - 1);
        self.sets.get_mut(at).map(|set| (set, tag))
    }

    pub(super) fn remember(&mut self, hash: u64, uses: u32) {
        self.turn = (self.turn + 1) % WAYS;
        let turn = self.turn;
        if let Some((set, tag)) = self.set(hash) {
            let own = set
                .iter()
                .position(|ghost| ghost & USES_MAX == 0 || ghost & !USES_MAX == tag);
            if let Some(ghost) = set.get_mut(own.unwrap_or(turn)) {
                *ghost = tag | uses.clamp(1, USES_MAX);
            }
        }
    }

    /// The uses that were remembered, and no more; none: 0.
    pub(super) fn recall(&mut self, hash: u64) -> u32 {
        let Some((set, tag)) = self.set(hash) else {
            return 0;
        };
        let own = |ghost: &&mut u32| **ghost & !USES_MAX == tag && **ghost & USES_MAX > 0;
        match set.iter_mut().find(own) {
            Some(ghost) => std::mem::take(ghost) & USES_MAX,
            None => 0,
        }
    }
}
