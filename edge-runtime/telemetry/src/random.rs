//! Random numbers for ids: unique and evenly spread, not secret.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

/// 64 random bits. Each thread has its own sequence (SplitMix64), begun from the system's randomness.
pub(crate) fn next() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(seed());
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn seed() -> u64 {
    // The standard library's own hash seed stands in where the system gives nothing.
    getrandom::u64().unwrap_or_else(|_| RandomState::new().build_hasher().finish())
}
