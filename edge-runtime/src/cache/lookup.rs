//! The way of a request through the cache.

use super::{
    fill::{Answer, Fill},
    flights::Ticket,
    judgement::Subject,
    request::{CacheRequest, Session},
    shared::{Entry, Found, Shared},
    shielded,
    stored::Key,
    waiting::{Next, Waits},
    way::Way,
};
use brink_policy::{
    cache_status::ForwardReason,
    http::{
        NoStoreReason, Reuse, StaleReason,
        condition::has_preconditions,
        reuse::{self, reuse},
    },
    key::KEY_BYTES_MAX,
};
use brink_protocol::problem::Problem;
use http::{
    HeaderMap, Method,
    header::{CONTENT_LENGTH, RANGE, TRANSFER_ENCODING},
};
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

/// What a lookup gave.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "both ways are large; it is moved once, and taken apart"
)]
pub enum Lookup {
    /// The answer is at hand.
    Hit(Answer),
    /// A module or an origin must answer.
    Forward(Fill),
    /// There is nothing that may be served and nothing that may be asked: `only-if-cached` (504), or the feed is silent
    /// and the route wants to fail (503).
    Unavailable(Problem),
}

pub(super) async fn lookup(
    shared: &Arc<Shared>,
    request: &CacheRequest<'_>,
    now: SystemTime,
) -> Lookup {
    let way = Way::new(shared, request, now);
    let key = way.key();
    if let Some((reason, unkept)) = way.bypasses(&key) {
        return match way.directives.only_if_cached {
            true => Lookup::Unavailable(only_if_cached()),
            false if reason == ForwardReason::Method && *request.method == Method::POST => {
                Lookup::Forward(way.post(key, unkept))
            }
            false => Lookup::Forward(way.fill(key, reason, Err(unkept))),
        };
    }
    way.walk(key).await
}

impl Way<'_> {
    /// Requests that are not answered from the cache at all.
    pub(super) fn bypasses(&self, key: &Key) -> Option<(ForwardReason, NoStoreReason)> {
        let CacheRequest {
            method, headers, ..
        } = self.request;
        if !matches!(**method, Method::GET | Method::HEAD) {
            return Some((ForwardReason::Method, NoStoreReason::Method));
        }
        if key.0.as_str().len() > KEY_BYTES_MAX
            || self.request.extra.is_none()
            || self.request.has_content
            || has_content(headers)
            || has_preconditions(headers)
        {
            return Some((ForwardReason::Bypass, NoStoreReason::Request));
        }
        None
    }

    /// Looks, waits for another's fill, looks again; in the end it answers or goes forward.
    async fn walk(&self, key: Key) -> Lookup {
        let mut waits = Waits::default();
        loop {
            let applied = self.has_applied();
            let mut found = self.shared.find(&key, self.request).await;
            let entry = found.entry.take();
            let (reason, alone) = match entry {
                None => (found.reason, false),
                Some(entry) => {
                    let waited = waits.since.is_some();
                    match self.use_entry(&key, &mut found, entry, applied, waited) {
                        Ok(lookup) => return lookup,
                        Err(why) => why,
                    }
                }
            };
            if self.directives.only_if_cached {
                return Lookup::Unavailable(only_if_cached());
            }
            found.hash = waits.variant.unwrap_or(found.hash);
            let widens = self.widens(&found);
            let together = !alone && (widens || self.collapses());
            let ticket = match self.joined(&key, &found, together, &mut waits).await {
                Next::Look => continue,
                Next::Forward(ticket) => ticket,
                Next::Answer(answer) => return Lookup::Hit(*answer),
                Next::GiveUp(problem) => {
                    let fill = self.forward(key, reason, found, (None, false));
                    return match fill.failed(SystemTime::now()) {
                        Some(answer) => Lookup::Hit(answer),
                        None => Lookup::Unavailable(*problem),
                    };
                }
            };
            return Lookup::Forward(self.forward(key, reason, found, (Some(ticket), widens)));
        }
    }

    /// What to do with an entry that answers the request, and its age.
    pub(super) fn decide(&self, entry: &Entry, applied: bool) -> (Reuse, u64) {
        let age = entry.stored.age(self.now);
        let stored = reuse::Stored {
            lifetime: &entry.stored.lifetime,
            age_seconds: age,
            soft_purged: entry.soft,
        };
        let connection = self
            .shared
            .connection(entry.vouched, self.request.when_disconnected);
        let decision = match self.is_new_enough(entry, applied) {
            true => reuse(&self.directives, &stored, connection),
            false => Reuse::ValidateForRequest,
        };
        let decision = match self.request.pop {
            Some(pop) => shielded::decide(decision, &entry.stored, pop, self.now),
            None => decision,
        };
        (decision, age)
    }

    /// Serves an entry, or says why the request has to go forward and whether it goes alone.
    fn use_entry(
        &self,
        key: &Key,
        found: &mut Found,
        entry: Entry,
        applied: bool,
        waited: bool,
    ) -> Result<Lookup, (ForwardReason, bool)> {
        if !entry
            .stored
            .answers(self.request.method, self.request.headers)
        {
            found.hash = self
                .shared
                .flight_hash(&key.0, &entry.stored, self.request.headers);
            found.entry = Some(entry);
            return Err((ForwardReason::Partial, false));
        }
        let (decision, age) = self.decide(&entry, applied);
        let forward = match decision {
            Reuse::Serve => {
                self.code(key, &entry.stored);
                return Ok(Lookup::Hit(self.answer(&entry, age, None, waited, None)));
            }
            Reuse::ServeStale(reason) => {
                let beside = match reason {
                    StaleReason::WhileRevalidate => self.revalidation(key, found, &entry),
                    StaleReason::IfError | StaleReason::MaxStale | StaleReason::Disconnected => {
                        None
                    }
                };
                return Ok(Lookup::Hit(self.answer(
                    &entry,
                    age,
                    Some(reason),
                    waited,
                    beside,
                )));
            }
            Reuse::OnlyIfCached => return Ok(Lookup::Unavailable(only_if_cached())),
            Reuse::Disconnected => return Ok(Lookup::Unavailable(disconnected())),
            Reuse::Validate => (ForwardReason::Stale, false),
            Reuse::ValidateForRequest => (ForwardReason::Request, true),
        };
        found.hash = self
            .shared
            .flight_hash(&key.0, &entry.stored, self.request.headers);
        found.entry = Some(entry);
        Err(forward)
    }

    /// A validation beside an answer that is served stale; none if one is under way.
    fn revalidation(&self, key: &Key, found: &Found, entry: &Entry) -> Option<Fill> {
        let hash = self
            .shared
            .flight_hash(&key.0, &entry.stored, self.request.headers);
        let ticket = self.shared.flights.lead_beside(
            hash,
            self.shared.tiers.hash(&key.0),
            Instant::now(),
        )?;
        let mut fill = self.fill(key.clone(), ForwardReason::Stale, Ok(()));
        // The client has its answer; what comes now is for the cache, whole and without conditions.
        fill.subject.method = Method::GET;
        for name in [
            RANGE,
            http::header::IF_NONE_MATCH,
            http::header::IF_MODIFIED_SINCE,
            http::header::IF_RANGE,
        ] {
            fill.subject.headers.remove(name);
        }
        fill.hash = hash;
        fill.stored = Some((entry.stored.clone(), entry.soft));
        fill.variants = found.variants.clone();
        fill.ticket = Some(ticket);
        fill.started = self.shared.begin(&mut fill.stored);
        Some(fill)
    }

    fn forward(
        &self,
        key: Key,
        reason: ForwardReason,
        found: Found,
        (ticket, widens): (Option<Ticket>, bool),
    ) -> Fill {
        let keeps = match *self.request.method == Method::GET {
            true if self.directives.no_store => Err(NoStoreReason::RequestNoStore),
            true => Ok(()),
            false => Err(NoStoreReason::Method),
        };
        let mut fill = self.fill(key, reason, keeps);
        fill.hash = found.hash;
        match (reason, found.entry) {
            (ForwardReason::Partial, entry) => fill.part = entry.map(|entry| entry.stored),
            (_, entry) => fill.stored = entry.map(|entry| (entry.stored, entry.soft)),
        }
        fill.variants = found.variants;
        // Who does not lead has been told that it does not help.
        fill.widens = widens && fill.keeps.is_ok() && ticket.as_ref().is_some_and(Ticket::leads);
        fill.ticket = ticket;
        // After the ticket was taken: an unsafe request that finds no fill open has ended before this.
        fill.started = self.shared.begin(&mut fill.stored);
        fill
    }

    fn post(&self, key: Key, unkept: NoStoreReason) -> Fill {
        // By rules a `POST` has no key that a `GET` would have.
        let is_key = key.0.as_str().len() <= KEY_BYTES_MAX && !self.request.ruled.is_keyed;
        let uri = self.shared.tiers.hash(&key.0);
        let mut fill = self.fill(key, ForwardReason::Method, Err(unkept));
        fill.hash = uri;
        fill.posted = is_key.then(|| self.shared.flights.post(uri));
        // After it can be told of others.
        fill.started = self.shared.ledger.begin();
        fill
    }

    fn fill(&self, key: Key, reason: ForwardReason, keeps: Result<(), NoStoreReason>) -> Fill {
        self.shared.counters.forwards.add(1);
        Fill {
            shared: self.shared.clone(),
            subject: Subject {
                tenant: self.request.tenant.clone(),
                host: self.request.host.into(),
                path_and_query: self.request.path_and_query.into(),
                method: self.request.method.clone(),
                headers: self.request.headers.clone(),
                no_store: self.directives.no_store,
                when_disconnected: self.request.when_disconnected,
                session: Session {
                    at_least: self.request.at_least.cloned(),
                    is_uncached: self.request.is_uncached,
                },
                ruled: self.request.ruled,
                outdated_at: self.request.pop.map(|pop| pop.outdated_at(self.now)),
            },
            key: key.0,
            hash: 0,
            reason,
            stored: None,
            part: None,
            variants: None,
            started: self.shared.ledger.begin(),
            requested: self.now,
            keeps,
            posted: None,
            shielded: None,
            widens: false,
            coded: None,
            trailers: None,
            ticket: None,
        }
    }
}

/// A body on `GET` or `HEAD`: it is no part of the key, so its answer must not be stored.
fn has_content(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes() != b"0")
}

/// RFC 9111 §5.2.1.7.
fn only_if_cached() -> Problem {
    Problem::new(
        504,
        "only-if-cached",
        "Nothing usable is stored",
        "the request says only-if-cached, and there is no stored answer that it may get",
    )
}

fn disconnected() -> Problem {
    Problem::new(
        503,
        "disconnected",
        "This place is cut off",
        "changes are not heard of, and this route does not serve what may be stale; try again soon",
    )
}
