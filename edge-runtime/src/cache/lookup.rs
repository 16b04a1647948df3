//! The way of a request through the cache.

use super::{
    fill::{Answer, Fill},
    flights::{Joined, Ticket, Waited},
    growing::Growing,
    judgement::Subject,
    reply::compose,
    request::{CacheRequest, Session},
    shared::{Entry, Found, Shared},
    stored::Key,
    tiers::Tier,
};
use brink_policy::{
    cache_status::{CacheStatus, ForwardReason, Outcome},
    coherence::Verdict,
    http::{
        NoStoreReason, RequestDirectives, Reuse, StaleReason,
        condition::has_preconditions,
        reuse::{self, reuse, ttl},
        vary,
    },
    key::{CacheKey, KEY_BYTES_MAX},
};
use brink_protocol::{Position, problem::Problem};
use http::{
    HeaderMap, Method,
    header::{CONTENT_LENGTH, RANGE, TRANSFER_ENCODING},
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// What a lookup gave.
#[derive(Debug)]
pub enum Lookup {
    /// The answer is at hand.
    Hit(Answer),
    /// A module or an origin must answer.
    Forward(Fill),
    /// There is nothing that may be served and nothing that may be asked: `only-if-cached` (504), or the feed is silent
    /// and the route wants to fail (503).
    Unavailable(Problem),
}

/// How long a request waits in all for the fills of others.
const FOLLOWER_TIME_MAX: Duration = Duration::from_secs(60);
/// So many fills that fail are waited for.
const FAILURES_MAX: u32 = 2;

/// What a request has waited for.
#[derive(Debug, Default)]
struct Waits {
    /// Set once it waits.
    deadline: Option<Instant>,
    /// Fills that failed meanwhile.
    failures: u32,
    /// The hash of the variant that it turned out to want.
    variant: Option<u64>,
}

/// What a request does that nothing stored answers.
enum Next {
    Look,
    Forward(Ticket),
    Answer(Box<Answer>),
    /// It is told this, unless there is something stale that it may get.
    GiveUp(Ticket, Box<Problem>),
}

/// Whether a request may read an answer that is on its way to another.
enum Along {
    Answer(Box<Answer>),
    /// The answer is another variant's; the hash of this request's own.
    Other(u64),
    /// A change has ended it.
    Ended,
    /// It does not suit this request, or cannot be read from its beginning.
    Alone,
}

/// A request under way in the cache.
struct Way<'a> {
    shared: &'a Arc<Shared>,
    request: &'a CacheRequest<'a>,
    directives: RequestDirectives,
    now: SystemTime,
}

pub(super) async fn lookup(
    shared: &Arc<Shared>,
    request: &CacheRequest<'_>,
    now: SystemTime,
) -> Lookup {
    let way = Way {
        shared,
        request,
        directives: RequestDirectives::of(request.headers),
        now,
    };
    let key = Key(CacheKey::new(
        request.tenant,
        request.scheme,
        request.host,
        request.path_and_query,
    ));
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
    fn bypasses(&self, key: &Key) -> Option<(ForwardReason, NoStoreReason)> {
        let CacheRequest {
            method, headers, ..
        } = self.request;
        if !matches!(**method, Method::GET | Method::HEAD) {
            return Some((ForwardReason::Method, NoStoreReason::Method));
        }
        if key.0.as_str().len() > KEY_BYTES_MAX
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
                    let waited = waits.deadline.is_some();
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
            let ticket = match self.joined(&key, &found, alone, &mut waits).await {
                Next::Look => continue,
                Next::Forward(ticket) => ticket,
                Next::Answer(answer) => return Lookup::Hit(*answer),
                Next::GiveUp(ticket, problem) => {
                    let fill = self.forward(key, reason, found, ticket);
                    return match fill.failed(SystemTime::now()) {
                        Some(answer) => Lookup::Hit(answer),
                        None => Lookup::Unavailable(*problem),
                    };
                }
            };
            return Lookup::Forward(self.forward(key, reason, found, ticket));
        }
    }

    /// Leads a fill, goes alone, or waits for another's.
    async fn joined(&self, key: &Key, found: &Found, alone: bool, waits: &mut Waits) -> Next {
        let (hash, uri) = (found.hash, self.shared.tiers.hash(&key.0));
        let flights = &self.shared.flights;
        if alone || !self.collapses() {
            return Next::Forward(flights.alone(hash, uri));
        }
        let mut follower = match flights.join(hash, uri, Instant::now()) {
            Joined::Leader(ticket) | Joined::Alone(ticket) => return Next::Forward(ticket),
            Joined::Follower(follower) => follower,
        };
        let deadline = *waits
            .deadline
            .get_or_insert_with(|| Instant::now() + FOLLOWER_TIME_MAX);
        match follower.wait(deadline).await {
            Waited::Over => Next::Look,
            Waited::Turn => Next::Forward(flights.alone(hash, uri)),
            Waited::TooLong => Next::GiveUp(flights.alone(hash, uri), Box::new(too_long())),
            Waited::Failed(problem) => {
                waits.failures += 1;
                match waits.failures < FAILURES_MAX {
                    true => Next::Look,
                    false => {
                        let problem = Box::new((*problem).clone());
                        Next::GiveUp(flights.alone(hash, uri), problem)
                    }
                }
            }
            Waited::Streams(growing) => match self.along(key, &growing) {
                Along::Answer(answer) => Next::Answer(answer),
                Along::Alone => Next::Forward(flights.alone(hash, uri)),
                Along::Other(variant) => {
                    waits.variant = Some(variant);
                    Next::Look
                }
                Along::Ended => flights
                    .supersede(hash, uri, &follower, Instant::now())
                    .map_or(Next::Look, Next::Forward),
            },
        }
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
            return Err((ForwardReason::Partial, false));
        }
        let age = entry.stored.age(self.now);
        let stored = reuse::Stored {
            lifetime: &entry.stored.lifetime,
            age_seconds: age,
            soft_purged: entry.soft,
        };
        let connection = self
            .shared
            .connection(entry.vouched, self.request.when_disconnected);
        let decision = match self.is_new_enough(&entry, applied) {
            true => reuse(&self.directives, &stored, connection),
            false => Reuse::ValidateForRequest,
        };
        let forward = match decision {
            Reuse::Serve => return Ok(Lookup::Hit(self.answer(&entry, age, None, waited, None))),
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

    /// Reads an answer on its way to another, if it may: as a stored one, it is held against the changes first.
    fn along(&self, key: &Key, growing: &Arc<Growing>) -> Along {
        let stored = &growing.entry;
        let Some(fields) = vary::fields(&stored.headers) else {
            return Along::Alone;
        };
        let wanted = vary::selection(&fields, self.request.headers);
        if wanted.is_none() || !self.request.set_on_way.iter().all(|n| fields.contains(n)) {
            return Along::Alone;
        }
        if wanted != vary::selection(&fields, &growing.request) {
            let variant = key.0.variant(wanted.as_deref().unwrap_or_default());
            return Along::Other(self.shared.tiers.hash(&variant));
        }
        let applied = self.has_applied();
        let vouched = self.shared.ledger.vouched();
        if self.shared.ledger.verdict(stored) != Verdict::Valid {
            return Along::Ended;
        }
        let entry = Entry {
            stored: stored.clone(),
            tier: Tier::Memory,
            soft: false,
            vouched,
        };
        let age = stored.age(self.now);
        let held = reuse::Stored {
            lifetime: &stored.lifetime,
            age_seconds: age,
            soft_purged: false,
        };
        let connection = self
            .shared
            .connection(vouched, self.request.when_disconnected);
        if !self.is_new_enough(&entry, applied)
            || reuse(&self.directives, &held, connection) != Reuse::Serve
        {
            return Along::Alone;
        }
        let Some(reader) = growing.read() else {
            return Along::Alone;
        };
        let mut answer = self.answer(&entry, age, None, true, None);
        let has_body = answer.head.status == stored.status;
        answer.stream = has_body.then_some(reader);
        Along::Answer(Box::new(answer))
    }

    /// Whether this PoP has applied what a session has seen: what is then found untouched is not older. Asked before
    /// anything is looked for.
    fn has_applied(&self) -> bool {
        self.request
            .at_least
            .is_none_or(|at_least| self.shared.ledger.position().covers(at_least))
    }

    /// A session's token: what is stored must not be older. It is not if this PoP had applied as much, for then the
    /// entry would have ended; nor if it was made of as new records.
    fn is_new_enough(&self, entry: &Entry, applied: bool) -> bool {
        let covers = |at_least: &Position| entry.stored.position.covers(at_least);
        !self.request.is_uncached && (applied || self.request.at_least.is_none_or(covers))
    }

    fn answer(
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
        Answer::new(
            compose(
                &entry.stored,
                method,
                headers,
                age,
                status,
                &self.shared.name,
            ),
            beside,
        )
    }

    /// Whether this request's answer may serve others, so that they wait for it and it for theirs.
    fn collapses(&self) -> bool {
        *self.request.method == Method::GET
            && !self.directives.no_store
            && !self.request.is_uncached
            && !self.request.headers.contains_key(RANGE)
    }

    /// A validation beside an answer that is served stale; none if one is under way.
    fn revalidation(&self, key: &Key, found: &Found, entry: &Entry) -> Option<Fill> {
        let hash = self
            .shared
            .flight_hash(&key.0, &entry.stored, self.request.headers);
        let ticket = self
            .shared
            .flights
            .lead_beside(hash, self.shared.tiers.hash(&key.0), Instant::now())?;
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

    fn forward(&self, key: Key, reason: ForwardReason, found: Found, ticket: Ticket) -> Fill {
        let keeps = match *self.request.method == Method::GET {
            true if self.directives.no_store => Err(NoStoreReason::RequestNoStore),
            true => Ok(()),
            false => Err(NoStoreReason::Method),
        };
        let mut fill = self.fill(key, reason, keeps);
        fill.hash = found.hash;
        fill.stored = found.entry.map(|entry| (entry.stored, entry.soft));
        fill.variants = found.variants;
        fill.ticket = Some(ticket);
        // After the ticket was taken: an unsafe request that finds no fill open has ended before this.
        fill.started = self.shared.begin(&mut fill.stored);
        fill
    }

    fn post(&self, key: Key, unkept: NoStoreReason) -> Fill {
        let is_key = key.0.as_str().len() <= KEY_BYTES_MAX;
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
            },
            key: key.0,
            hash: 0,
            reason,
            stored: None,
            variants: None,
            started: self.shared.ledger.begin(),
            requested: self.now,
            keeps,
            posted: None,
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

fn too_long() -> Problem {
    Problem::new(
        504,
        "answer-slow",
        "The answer takes too long",
        "the same was asked before, and is not answered yet; try again soon",
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
