//! Holds the promises of coherence against a history.
//!
//! | promise | what is refused |
//! |---|---|
//! | P1 | A read at a PoP that began after a purge was reported as applied there shows a generation older than the one that the origin served when the purge was sent. |
//! | P2 | A read that was not marked as stale shows a record, or a purged object, as it was before a write, or a purge, that was acknowledged more than the bound before the read began. |
//! | P3 | After everything came to rest, a read shows something else than the newest. |
//! | P4 | A read with a session token does not show what its session, or anyone the token covers, had written. |
//! | P5 | A value that nobody wrote, or that was refused, is read; an acknowledged write is missing at the end; versions contradict each other, or the order in which writes were acknowledged and sent. |
//!
//! P1 speaks of the moment that the purge was *sent*, not acknowledged: a PoP may apply a purge, and fetch the object
//! anew, before the acknowledgement has come back to who purges. Nothing stronger is true, and nothing weaker is useful.
//!
//! Two writes of one record are ordered by their versions where both are known, and by time where one was acknowledged
//! before the other was sent. Costs O(n log n).

mod index;
mod objects;
mod records;

#[cfg(test)]
mod tests;

use crate::history::{Event, Read, Source};
use index::Index;
use std::fmt;

/// Most violations that one check reports.
pub const VIOLATIONS_MAX: usize = 100;

/// What a history is held to.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How old an answer may be that is not marked as stale, in microseconds: the lease, and what clocks may be wrong by.
    pub bound_us: u64,
}

/// The promises of coherence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// Purges are provable.
    P1,
    /// Staleness is bounded.
    P2,
    /// Writes invalidate by themselves: nothing stays old.
    P3,
    /// Sessions read their own writes.
    P4,
    /// Acknowledged writes are never lost, and nothing is made up.
    P5,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub promise: Promise,
    /// What happened, with times.
    pub message: String,
    /// The places in the history of the events that contradict each other.
    pub events: Vec<usize>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.message)
    }
}

/// Every promise that the history breaks, at most [`VIOLATIONS_MAX`], in the order of the reads that show it.
#[must_use]
pub fn check(events: &[Event], rules: Rules) -> Vec<Violation> {
    let index = Index::new(events);
    let mut violations = Vec::new();
    records::check_order(&index, &mut violations);
    for (at, event) in events.iter().enumerate() {
        if violations.len() >= VIOLATIONS_MAX {
            break;
        }
        if let Event::Read(read) = event
            && read.source != Source::Error
        {
            let answer = Answer { at, read };
            records::check_read(&index, answer, rules, &mut violations);
            objects::check_read(&index, answer, rules, &mut violations);
        }
    }
    records::check_end(&index, &mut violations);
    violations.truncate(VIOLATIONS_MAX);
    violations
}

/// A read that was answered, and its place in the history.
#[derive(Clone, Copy)]
struct Answer<'a> {
    at: usize,
    read: &'a Read,
}

/// A time for people: seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
