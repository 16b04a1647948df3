//! The lease: coherence.md, P2.

/// How long entries count as fresh without hearing from the feed. Times are milliseconds of one clock that never goes
/// back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its length.
    pub length_ms: u64,
    /// When the feed was last heard; none: not yet.
    pub heard_ms: Option<u64>,
}

impl Lease {
    /// Before the core has said otherwise, in milliseconds.
    pub const LENGTH_MS_DEFAULT: u64 = 2_000;

    /// Whether it holds at `now_ms`.
    #[must_use]
    pub fn holds(&self, now_ms: u64) -> bool {
        self.heard_ms
            .is_some_and(|heard| now_ms.saturating_sub(heard) <= self.length_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_from_hearing_to_its_end() {
        for (heard_ms, now_ms, expected) in [
            (None, 0, false),
            (Some(100), 100, true),
            (Some(100), 2_100, true),
            (Some(100), 2_101, false),
            (Some(100), 50, true),
        ] {
            let lease = Lease {
                length_ms: 2_000,
                heard_ms,
            };
            assert_eq!(lease.holds(now_ms), expected, "{heard_ms:?} {now_ms}");
        }
    }
}
