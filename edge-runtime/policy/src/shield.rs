//! Shields: which of them a PoP asks, when it goes past them, and what a shield's stored answers are worth to it.
//!
//! A PoP asks a shield for what it would fetch from an origin itself. What the shield has stored is worth as much as what the
//! origin would say if the shield has applied every change that the PoP had applied when its fill began, and if no
//! unsafe request has passed through the PoP since that the shield cannot know of.

use crate::{
    coherence::TagHash,
    http::{Reuse, range::is_one_part},
};
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, RANGE},
};
use rustc_hash::FxHashMap;

/// Most shields that a PoP knows.
pub const SHIELDS_MAX: usize = 8;
/// How long a shield waits for changes that a PoP has applied already, in milliseconds. Then its stored answers are not used.
pub const BEHIND_MS_MAX: u64 = 300;
/// Failures in a row after which a shield is left alone.
const FAILURES_MAX: u32 = 3;
/// For how long at first, in milliseconds; twice as long after each further failure.
const PAUSE_MS: u64 = 500;
/// For how long at most, in milliseconds.
const PAUSE_MS_MAX: u64 = 8_000;
/// Ages are whole seconds, the rest is cut off, in milliseconds.
const AGE_MS: u64 = 1_000;
/// Most URLs that are remembered for having been outdated by an unsafe request.
const OUTDATED_MAX: usize = 1 << 16;

/// In which order shields are asked for a key: rendezvous hashing, so that one that comes or goes moves its own keys and no
/// others. `shields` are hashes of their names, the same at every PoP.
#[must_use]
pub fn order(key: u64, shields: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..shields.len()).collect();
    let weight = |at: &usize| mixed(key ^ mixed(shields.get(*at).copied().unwrap_or(0)));
    order.sort_by_key(|at| std::cmp::Reverse(weight(at)));
    order
}

/// The finaliser of SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Whether a shield is asked, after those that failed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Breaker {
    failures: u32,
    until_ms: u64,
}

impl Breaker {
    /// Whether it is asked now. Of those who ask during a pause that is over, one is let through, until it is known what
    /// came of it.
    pub fn allows(&mut self, now_ms: u64) -> bool {
        if self.failures < FAILURES_MAX {
            return true;
        }
        if now_ms < self.until_ms {
            return false;
        }
        self.until_ms = now_ms.saturating_add(self.pause());
        true
    }

    /// It answered.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// It did not.
    pub fn failed(&mut self, now_ms: u64) {
        self.failures = self.failures.saturating_add(1);
        self.until_ms = now_ms.saturating_add(self.pause());
    }

    /// Whether it is being left alone.
    #[must_use]
    pub fn is_open(&self, now_ms: u64) -> bool {
        self.failures >= FAILURES_MAX && now_ms < self.until_ms
    }

    fn pause(&self) -> u64 {
        let doublings = self.failures.saturating_sub(FAILURES_MAX).min(16);
        (PAUSE_MS << doublings).min(PAUSE_MS_MAX)
    }
}

/// When unsafe requests that passed through this PoP outdated a URL (RFC 9111 §4.4): a shield has not heard of them. What an
/// earlier process of this PoP knew is gone: for all that is known, it was any URL, in the moment before this one began.
#[derive(Debug)]
pub struct Outdated {
    at_ms: FxHashMap<TagHash, u64>,
    /// Any URL may have been outdated at this moment; for having forgotten which.
    any_ms: u64,
}

impl Outdated {
    /// At the beginning of a process.
    #[must_use]
    pub fn begin(now_ms: u64) -> Self {
        Self {
            at_ms: FxHashMap::default(),
            any_ms: now_ms,
        }
    }

    /// A URL was outdated now.
    pub fn note(&mut self, url: TagHash, now_ms: u64) {
        if self.at_ms.len() >= OUTDATED_MAX && !self.at_ms.contains_key(&url) {
            self.note_all(now_ms);
        }
        self.at_ms.insert(url, now_ms);
    }

    /// All were.
    pub fn note_all(&mut self, now_ms: u64) {
        self.at_ms.clear();
        self.any_ms = now_ms;
    }

    /// How long ago it was at last, in milliseconds: at least, it was not since.
    #[must_use]
    pub fn since(&self, url: TagHash, now_ms: u64) -> u64 {
        let at = self.at_ms.get(&url).copied().unwrap_or(0);
        now_ms.saturating_sub(at.max(self.any_ms))
    }
}

/// Whether a stored answer was asked for after what happened `since_ms` ago, if it was received `received_ms` ago. Its age
/// then, in seconds, is no less than the time that it was on its way (RFC 9111 §4.2.3).
#[must_use]
pub fn is_younger(received_ms: u64, initial_age: u64, since_ms: u64) -> bool {
    let on_its_way = initial_age.saturating_mul(1_000).saturating_add(AGE_MS);
    received_ms.saturating_add(on_its_way) < since_ms
}

/// What a shield does for a PoP, instead of what it would do for a client. A PoP takes what it gets for fresh, and keeps it: what
/// is stale, or was purged softly, must not come to it without the origin's word.
#[must_use]
pub fn for_pop(reuse: Reuse) -> Reuse {
    match reuse {
        Reuse::ServeStale(_) | Reuse::Disconnected => Reuse::Validate,
        Reuse::Serve | Reuse::Validate | Reuse::ValidateForRequest | Reuse::OnlyIfCached => reuse,
    }
}

/// Longest answer that a shield asks for when a PoP wants a part of it, in bytes: it is held until it is whole.
pub const WIDENED_BYTES_MAX: usize = 4 << 20;

/// Whether a shield asks for the whole where a PoP wants a part. `complete` is how long that is, if it is known.
#[must_use]
pub fn may_widen(complete: Option<usize>) -> bool {
    complete.is_none_or(|complete| complete <= WIDENED_BYTES_MAX)
}

/// Whether what then comes is taken. If not, the part is asked for.
#[must_use]
pub fn is_taken_whole(status: StatusCode, response: &HeaderMap) -> bool {
    let length = response.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    match status {
        StatusCode::OK => length.is_some_and(|length: usize| length <= WIDENED_BYTES_MAX),
        // A 206: what was missing of a part that is stored. Others speak of the whole in any case.
        _ => true,
    }
}

/// Whether a shield says of an answer how it is kept. `stored` is the status of the entry that it was made of.
#[must_use]
pub fn is_told_kept(stored: StatusCode, answer: StatusCode) -> bool {
    answer == stored || answer != StatusCode::RANGE_NOT_SATISFIABLE
}

/// Whether a PoP keeps an answer of which a shield says how. `request` is what its client sent.
#[must_use]
pub fn is_kept_by_pop(request: &HeaderMap, status: StatusCode, response: &HeaderMap) -> bool {
    match status {
        // What the client has, or has asked for, is all that they speak of.
        StatusCode::NOT_MODIFIED => false,
        StatusCode::RANGE_NOT_SATISFIABLE => !request.contains_key(RANGE),
        StatusCode::PARTIAL_CONTENT => is_one_part(response),
        _ => !status.is_informational(),
    }
}

#[cfg(test)]
mod tests;
