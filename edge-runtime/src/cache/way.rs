//! A request under way in the cache.

use super::{
    coding::code_beside,
    fill::{Answer, Fill},
    reply::compose,
    request::CacheRequest,
    shared::{Entry, Shared},
    stored::{Key, Stored},
    tiers::Tier,
};
use brink_policy::{
    cache_status::{CacheStatus, ForwardReason, Outcome},
    http::{RequestDirectives, StaleReason, reuse::ttl},
    key::CacheKey,
};
use brink_protocol::Position;
use http::{Method, header::RANGE};
use std::{sync::Arc, time::SystemTime};

/// A request under way in the cache.
pub(super) struct Way<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) request: &'a CacheRequest<'a>,
    pub(super) directives: RequestDirectives,
    pub(super) now: SystemTime,
}

impl<'a> Way<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        request: &'a CacheRequest<'a>,
        now: SystemTime,
    ) -> Self {
        Self {
            shared,
            request,
            directives: RequestDirectives::of(request.headers),
            now,
        }
    }

    /// The key of what is asked for, whatever its variants.
    pub(super) fn key(&self) -> Key {
        let request = self.request;
        Key(CacheKey::with(
            request.tenant,
            request.scheme,
            request.host,
            request.path_and_query,
            request.extra.unwrap_or_default(),
        ))
    }
}

impl Way<'_> {
    /// Whether this PoP has applied what a session has seen: what is then found untouched is not older. Asked before
    /// anything is looked for.
    pub(super) fn has_applied(&self) -> bool {
        self.request
            .at_least
            .is_none_or(|at_least| self.shared.ledger.position().covers(at_least))
    }

    /// A session's token: what is stored must not be older. It is not if this PoP had applied as much, for then the
    /// entry would have ended; nor if it was made of as new records.
    pub(super) fn is_new_enough(&self, entry: &Entry, applied: bool) -> bool {
        let covers = |at_least: &Position| entry.stored.position.covers(at_least);
        !self.request.is_uncached && (applied || self.request.at_least.is_none_or(covers))
    }

    pub(super) fn answer(
        &self,
        entry: &Entry,
        age: u64,
        stale: Option<StaleReason>,
        waited: bool,
        beside: Option<Fill>,
    ) -> Answer {
        let counters = &self.shared.counters;
        let (tier, hits) = match entry.tier {
            Tier::Memory => ("memory", &counters.hits_memory),
            Tier::Disk => ("disk", &counters.hits_disk),
        };
        let outcome = if waited {
            counters.collapsed.add(1);
            Outcome::Forward {
                reason: ForwardReason::Miss,
                status: None,
                stored: false,
                collapsed: true,
            }
        } else {
            hits.add(1);
            Outcome::Hit
        };
        if stale.is_some() {
            counters.hits_stale.add(1);
        }
        let status = CacheStatus {
            outcome,
            ttl_seconds: Some(ttl(&entry.stored.lifetime, age)),
            detail: Some(stale.map_or(tier, StaleReason::as_str)),
        };
        let CacheRequest {
            method, headers, ..
        } = self.request;
        let mut answer = Answer::new(
            compose(
                entry.stored.form(&self.request.ruled.accepts),
                method,
                headers,
                age,
                status,
                &self.shared.name,
            ),
            beside,
            &self.shared.tiers,
            entry.first.clone(),
        );
        answer.entry = stale.is_none().then(|| entry.stored.clone());
        answer
    }

    /// Whether this request's answer may serve others, so that they wait for it and it for theirs.
    pub(super) fn collapses(&self) -> bool {
        *self.request.method == Method::GET
            && !self.directives.no_store
            && !self.request.is_uncached
            && !self.request.headers.contains_key(RANGE)
    }

    /// Has the coding made that the client likes best, if it is not there yet.
    pub(super) fn code(&self, key: &Key, stored: &Arc<Stored>) {
        let CacheRequest { ruled, headers, .. } = self.request;
        if let Some(coding) = stored.missing(&ruled.accepts) {
            let own = Key(self.shared.own_key(&key.0, stored, headers));
            code_beside(self.shared, own, stored.clone(), coding);
        }
    }
}
