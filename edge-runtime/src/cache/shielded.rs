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
    shield::{for_pop, is_younger},
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
    pub outdated: Option<Duration>,
}

impl Fill {
    /// On which terms a shield may answer; none: only the origin may.
    #[must_use]
    pub fn shield_terms(&self) -> Option<ShieldTerms> {
        let is_ordinary = self.wants_whole()
            && self.posted.is_none()
            && self.subject.method == Method::GET
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
            outdated: ago.map(Duration::from_millis),
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
        Some(Kept {
            lifetime: entry.lifetime,
            on: entry.on.to_vec(),
            described: entry.described.to_string(),
        })
    }
}

/// What becomes of a stored answer when another PoP asks.
pub(super) fn decide(reuse: Reuse, stored: &Stored, pop: PopAsks, now: SystemTime) -> Reuse {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let received = now.duration_since(stored.received).unwrap_or_default();
    match pop.outdated {
        Some(ago) if !is_younger(ms(received), ms(ago)) => Reuse::ValidateForRequest,
        Some(_) | None => for_pop(reuse),
    }
}
