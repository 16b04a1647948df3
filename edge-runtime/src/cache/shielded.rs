//! What a cache says to shields, and to the PoPs whose shield it is.

use super::{
    fill::{Answer, Fill},
    outdated::now_ms,
    request::{Kept, PopAsks},
    stored::Stored,
};
use brink_policy::{
    cache_status::ForwardReason,
    coherence::tags,
    http::Reuse,
    shield::{for_pop, is_told_kept, is_younger},
};
use brink_protocol::Position;
use http::Method;
use std::{
    sync::PoisonError,
    time::{Duration, SystemTime},
};

/// What a shield has to know of a fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShieldTerms {
    /// What this PoP had applied when the fill began, and the session has seen.
    pub at_least: Position,
    /// How long ago an unsafe request outdated the URL here.
    pub outdated: Duration,
}

impl Fill {
    /// On which terms a shield may answer; none: only the origin may.
    #[must_use]
    pub fn shield_terms(&self) -> Option<ShieldTerms> {
        let is_ordinary = self.posted.is_none()
            && matches!(self.subject.method, Method::GET | Method::HEAD)
            && !self.subject.no_store
            && !self.subject.session.is_uncached
            && !matches!(self.reason, ForwardReason::Bypass | ForwardReason::Method);
        if !is_ordinary {
            return None;
        }
        let mut at_least = (*self.started.position).clone();
        if let Some(seen) = &self.subject.session.at_least {
            at_least.merge(seen);
        }
        let url = format!("{}{}", self.subject.host, self.subject.path_and_query);
        let url = tags::url(&self.subject.tenant, &url);
        let outdated = self.shared.outdated.lock();
        let outdated = outdated.unwrap_or_else(PoisonError::into_inner);
        let ago = outdated.since(url, now_ms(&self.shared));
        Some(ShieldTerms {
            at_least,
            outdated: Duration::from_millis(ago),
        })
    }

    /// The answer that comes is by way of a shield, which says this of it; none: it is the origin's own, or not to be kept.
    pub fn shielded_by(&mut self, kept: Option<Kept>) {
        self.shielded = kept;
    }
}

impl Answer {
    /// What another cache needs to know to keep it; none: it must not.
    #[must_use]
    pub fn kept(&self) -> Option<Kept> {
        let entry = self.entry.as_ref()?;
        if !is_told_kept(entry.status, self.head.status) {
            return None;
        }
        Some(Kept {
            lifetime: entry.lifetime,
            on: entry.on.to_vec(),
            described: entry.described.to_string(),
        })
    }
}

impl PopAsks {
    /// When the URL was outdated at the PoP.
    pub(super) fn outdated_at(self, now: SystemTime) -> SystemTime {
        now.checked_sub(self.outdated)
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl Stored {
    /// Whether it was asked for after `at`.
    pub(super) fn was_asked_after(&self, at: SystemTime, now: SystemTime) -> bool {
        let ms_since = |at: SystemTime| {
            let since = now.duration_since(at).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        is_younger(ms_since(self.received), self.initial_age, ms_since(at))
    }
}

/// What becomes of a stored answer when another PoP asks. Many that ask for what is too old for them wait for one fill, and
/// look again.
pub(super) fn decide(reuse: Reuse, stored: &Stored, pop: PopAsks, now: SystemTime) -> Reuse {
    match (reuse, stored.was_asked_after(pop.outdated_at(now), now)) {
        (Reuse::Serve, false) => Reuse::Validate,
        (reuse, _) => for_pop(reuse),
    }
}
