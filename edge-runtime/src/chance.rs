//! Chance for waits that should differ between PoPs. Not for secrets.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A number that differs each time: the standard library's hash keys are random, and differ for each call.
#[must_use]
pub fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_differs() {
        assert_ne!(chance(), chance());
    }
}
