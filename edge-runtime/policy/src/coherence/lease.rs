//! The lease: coherence.md, P2. What a PoP may call fresh follows from *claims*.
//!
//! A core that is asked answers with the heads of the logs that it follows. Whoever asked at `sent`, and has applied
//! everything up to those heads, knows every change that any core had acknowledged at `sent` less the age of the core's own
//! knowledge. All times are milliseconds of one clock of the PoP that never goes back; no two clocks are compared.

use brink_protocol::{OriginId, Position};
use std::collections::VecDeque;

/// Most claims whose heads are not reached yet. Beyond it the oldest, which is reached first, and the newest are kept.
pub const CLAIMS_MAX: usize = 16;

/// As of when a PoP knows everything, and how long that is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    length_ms: u64,
    as_of_ms: Option<u64>,
    open: VecDeque<Claim>,
}

/// What is known as soon as everything up to `head` is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    head: Position,
    as_of_ms: u64,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            length_ms: Self::LENGTH_MS_DEFAULT,
            as_of_ms: None,
            open: VecDeque::new(),
        }
    }
}

impl Lease {
    /// Before the core has said otherwise, in milliseconds.
    pub const LENGTH_MS_DEFAULT: u64 = 2_000;
    /// Longest lease, in milliseconds; a longer one is cut to it.
    pub const LENGTH_MS_MAX: u64 = 60_000;

    /// How long entries are called fresh after the moment as of which everything is known, in milliseconds.
    #[must_use]
    pub fn length_ms(&self) -> u64 {
        self.length_ms
    }

    /// Sets its length.
    pub fn set_length_ms(&mut self, length_ms: u64) {
        self.length_ms = length_ms.min(Self::LENGTH_MS_MAX);
    }

    /// As of when everything is known; none: nothing vouches.
    #[must_use]
    pub fn as_of_ms(&self) -> Option<u64> {
        self.as_of_ms
    }

    /// Whether it holds at `now_ms`.
    #[must_use]
    pub fn holds(&self, now_ms: u64) -> bool {
        self.as_of_ms
            .is_some_and(|as_of| now_ms.saturating_sub(as_of) <= self.length_ms)
    }

    /// What was known was of logs that are no longer followed.
    pub fn withdraw(&mut self) {
        self.as_of_ms = None;
        self.open.clear();
    }

    /// Who asked at `sent_ms`, and has applied up to `applied`, was told of `head` and of the age of what is behind it.
    pub fn claim(&mut self, sent_ms: u64, head: Position, age_ms: u64, applied: &Position) {
        // Before the clock began: there is no word for it, and nothing to gain.
        let Some(as_of_ms) = sent_ms.checked_sub(age_ms) else {
            return;
        };
        if self.as_of_ms.is_some_and(|known| known >= as_of_ms) {
            return;
        }
        if applied.covers(&head) {
            self.raise(as_of_ms);
            return;
        }
        if self.open.len() >= CLAIMS_MAX {
            self.open.remove(1);
        }
        self.open.push_back(Claim { head, as_of_ms });
    }

    /// Everything up to `applied` is applied now; the last of it was `sequence` of `origin`.
    pub fn applied(&mut self, origin: &OriginId, sequence: u64, applied: &Position) {
        if self.open.is_empty() {
            return;
        }
        let reached = |claim: &Claim| claim.head.get(origin) <= sequence;
        let met = self
            .open
            .iter()
            .filter(|claim| reached(claim) && applied.covers(&claim.head))
            .map(|claim| claim.as_of_ms)
            .max();
        if let Some(as_of_ms) = met {
            self.raise(as_of_ms);
        }
    }

    fn raise(&mut self, as_of_ms: u64) {
        self.as_of_ms = self.as_of_ms.max(Some(as_of_ms));
        self.open
            .retain(|claim| Some(claim.as_of_ms) > self.as_of_ms);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(sequence: u64) -> Position {
        format!("a.1={sequence}").parse().unwrap()
    }

    fn apply(lease: &mut Lease, sequence: u64) {
        lease.applied(&"a.1".parse().unwrap(), sequence, &at(sequence));
    }

    #[test]
    fn holds_from_what_is_known_to_its_end() {
        for (claim, now_ms, expected) in [
            (None, 0, false),
            (Some((100, 0)), 100, true),
            (Some((100, 0)), 2_100, true),
            (Some((100, 0)), 2_101, false),
            (Some((100, 40)), 2_060, true),
            (Some((100, 40)), 2_061, false),
            (Some((100, 0)), 50, true),
            (Some((100, 101)), 100, false),
        ] {
            let mut lease = Lease::default();
            if let Some((sent_ms, age_ms)) = claim {
                lease.claim(sent_ms, at(1), age_ms, &at(1));
            }
            assert_eq!(lease.holds(now_ms), expected, "{claim:?} {now_ms}");
        }
    }

    #[test]
    fn a_claim_counts_once_its_head_is_reached() {
        let mut lease = Lease::default();
        lease.claim(1_000, at(2), 0, &at(0));
        lease.claim(1_500, at(4), 0, &at(0));
        for (sequence, as_of) in [
            (1, None),
            (2, Some(1_000)),
            (3, Some(1_000)),
            (4, Some(1_500)),
        ] {
            apply(&mut lease, sequence);
            assert_eq!(lease.as_of_ms(), as_of, "{sequence}");
        }
        lease.claim(1_200, at(4), 0, &at(4));
        assert_eq!(
            lease.as_of_ms(),
            Some(1_500),
            "what came late takes nothing back"
        );
        lease.withdraw();
        assert!(!lease.holds(1_500));
    }

    #[test]
    fn however_many_are_open_the_oldest_and_the_newest_count() {
        let mut lease = Lease::default();
        for n in 1..=1_000 {
            lease.claim(n, at(n), 0, &at(0));
            assert!(lease.open.len() <= CLAIMS_MAX);
        }
        apply(&mut lease, 1);
        assert_eq!(lease.as_of_ms(), Some(1));
        apply(&mut lease, 1_000);
        assert_eq!(lease.as_of_ms(), Some(1_000));
        assert!(lease.open.is_empty());
    }

    #[test]
    fn one_that_is_never_reached_is_in_nobodys_way() {
        let mut lease = Lease::default();
        lease.claim(1, "gone.1=9".parse().unwrap(), 0, &at(0));
        for n in 2..100 {
            lease.claim(n, at(n), 0, &at(n - 1));
            apply(&mut lease, n);
            assert_eq!(lease.as_of_ms(), Some(n));
        }
    }
}
