//! A request on its way to a module or an origin, and the answer to it.

use super::{
    flights::{Posted, Ticket},
    growing::Reader,
    invalidation,
    judgement::{self, Subject},
    reply::{Reply, compose, set_status},
    request::Dependencies,
    shared::Shared,
    stored::{CACHE_STATUS, Parts as StoredParts, Stored, Variant},
};
use brink_listener::Body;
use brink_policy::{
    cache_status::{CacheStatus, ForwardReason, Outcome},
    coherence::{Admission, Dependency, FillStart, Verdict},
    http::{
        Lifetime, NoStoreReason, age,
        condition::{conditions_from, remove_conditions},
        freshen::{remove_own, restore_unstored, retain_storable},
        range::{Held, content_range},
        reuse::{self, reuse_after_failure, ttl},
    },
    key::CacheKey,
};
use brink_protocol::{Position, problem::Problem};
use bytes::Bytes;
use http::{
    HeaderMap, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, RANGE},
    response::Parts,
};
use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

/// An answer, ready to be sent: conditions, ranges and `HEAD` are dealt with; `Age`, `Date` and `Cache-Status` are set.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields.
    pub head: Parts,
    /// The body; empty for `HEAD` and 304.
    pub body: Bytes,
    /// The body where it is still on its way; then `body` is empty.
    pub stream: Option<Reader>,
    /// What `Cache-Status` says, for logs and metrics.
    pub status: CacheStatus,
    /// `stale-while-revalidate`: run this fill beside; dropping it is harmless.
    pub revalidate: Option<Fill>,
    /// The position of the entry that this was made of: the core's when its records were read, or this PoP's when its
    /// fill began. None: it was made just now.
    pub stored: Option<Arc<Position>>,
}

impl Answer {
    /// The answer as a response.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let body = match self.stream {
            Some(stream) => Body::stream(stream),
            None => Body::full(self.body),
        };
        Response::from_parts(self.head, body)
    }

    pub(super) fn new(reply: Reply, revalidate: Option<Fill>) -> Self {
        let Reply {
            head,
            body,
            status,
            stored,
        } = reply;
        Self {
            head,
            body,
            stream: None,
            status,
            revalidate,
            stored,
        }
    }
}

/// A request on its way to a module or an origin. Dropping it lets those go on that wait for it.
pub struct Fill {
    pub(super) shared: Arc<Shared>,
    pub(super) subject: Subject,
    pub(super) key: CacheKey,
    pub(super) hash: u64,
    pub(super) reason: ForwardReason,
    /// What is stored and may be validated, and whether it was purged softly.
    pub(super) stored: Option<(Arc<Stored>, bool)>,
    pub(super) variants: Option<Arc<Vec<Variant>>>,
    pub(super) started: FillStart,
    pub(super) requested: SystemTime,
    /// Whether the answer may be stored as far as the request says.
    pub(super) keeps: Result<(), NoStoreReason>,
    /// The request is a `POST` whose answer may be stored; tells of other unsafe requests of its URI.
    pub(super) posted: Option<Posted>,
    /// Released last: those who wait find the answer stored.
    pub(super) ticket: Option<Ticket>,
}

impl fmt::Debug for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fill")
            .field("key", &self.key)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl Fill {
    /// Why the request goes forward.
    #[must_use]
    pub fn reason(&self) -> ForwardReason {
        self.reason
    }

    /// Makes the client's fields fit for the request that goes forward: where the whole answer is wanted, the client's
    /// conditions leave and the validators of what is stored come (RFC 9111 §4.3.1).
    pub fn prepare(&self, headers: &mut HeaderMap) {
        if !self.wants_whole() {
            return;
        }
        headers.remove(RANGE);
        remove_conditions(headers);
        for (name, value) in &self.request_headers() {
            headers.insert(name, value.clone());
        }
    }

    /// The validators alone. May be empty.
    #[must_use]
    pub fn request_headers(&self) -> HeaderMap {
        match &self.stored {
            Some((stored, _)) if self.wants_whole() => conditions_from(&stored.headers),
            _ => HeaderMap::new(),
        }
    }

    /// Whether the whole answer is asked for. If not, the client's own conditions go forward, and a 304 speaks of what
    /// the client has.
    pub(super) fn wants_whole(&self) -> bool {
        self.keeps.is_ok() && !self.subject.headers.contains_key(RANGE)
    }

    /// Whether an answer with this head is worth having at hand as a whole, for [`Fill::complete`]; at most how many
    /// bytes of its body. None: stream it and call [`Fill::pass`].
    #[must_use]
    pub fn wants(&self, head: &Parts, dependencies: &Dependencies) -> Option<u64> {
        let limit = self.shared.config.object_bytes_max;
        let validates = self.stored.is_some()
            && (head.status == StatusCode::NOT_MODIFIED || is_failure(head.status));
        let length = head
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if !validates
            && (self.judge(head, dependencies, SystemTime::now()).is_err()
                || length.is_some_and(|l| l > limit))
        {
            return None;
        }
        Some(limit)
    }

    pub(super) fn judge(
        &self,
        head: &Parts,
        dependencies: &Dependencies,
        now: SystemTime,
    ) -> Result<Lifetime, NoStoreReason> {
        if self.posted.is_none() {
            self.keeps?;
        }
        judgement::lifetime(&self.subject, head, dependencies, now)
    }

    /// The answer came with its whole body. Stores it if it may be, wakes who waits for it, gives what to send.
    pub fn complete(
        mut self,
        head: Parts,
        body: Bytes,
        dependencies: Dependencies,
        now: SystemTime,
    ) -> Answer {
        let reply = self.settle(head, body, &dependencies, now);
        drop(self.ticket.take());
        Answer::new(reply, None)
    }

    fn settle(
        &mut self,
        head: Parts,
        body: Bytes,
        dependencies: &Dependencies,
        now: SystemTime,
    ) -> Reply {
        if self.posted.is_some() {
            return self.settle_post(head, body, dependencies, now);
        }
        invalidation::invalidate(&self.shared, &self.subject, head.status, &head.headers);
        if let Some((stored, soft)) = self.stored.clone() {
            if head.status == StatusCode::NOT_MODIFIED && self.wants_whole() {
                return self.validated(&stored, head, dependencies, now);
            }
            if is_failure(head.status)
                && let Some(reply) = self.stale(&stored, soft, now)
            {
                return reply;
            }
        }
        match self.admit(&head, &body, dependencies, now) {
            Ok(stored) => {
                let mut reply = self.kept(stored, head.status, now);
                if head.status == StatusCode::PARTIAL_CONTENT
                    && let Some(range) = head.headers.get(CONTENT_RANGE)
                {
                    reply.head.headers.insert(CONTENT_RANGE, range.clone());
                }
                restore_unstored(&mut reply.head.headers, &head.headers);
                set_received_age(&mut reply.head.headers, &head.headers);
                reply
            }
            Err(reason) => self.unkept(head, body, reason),
        }
    }

    /// Makes an entry of an answer, unless something speaks against it.
    pub(super) fn admit(
        &self,
        head: &Parts,
        body: &Bytes,
        dependencies: &Dependencies,
        now: SystemTime,
    ) -> Result<Arc<Stored>, NoStoreReason> {
        if body.len() as u64 > self.shared.config.object_bytes_max {
            return Err(NoStoreReason::TooLarge);
        }
        let lifetime = self.judge(head, dependencies, now)?;
        let mut headers = head.headers.clone();
        if head.status == StatusCode::PARTIAL_CONTENT {
            let held = Held::of(&headers, body.len()).ok_or(NoStoreReason::Status)?;
            let whole = self
                .stored
                .as_ref()
                .map(|(stored, _)| stored.part().is_none());
            if whole == Some(true) {
                // It may yet be found to hold, and is worth more.
                return Err(NoStoreReason::Status);
            }
            let range = held.first..held.first.saturating_add(body.len());
            headers.insert(
                CONTENT_RANGE,
                content_range(&range, held.complete).ok_or(NoStoreReason::Status)?,
            );
        }
        retain_storable(&mut headers);
        let made = Made {
            status: head.status,
            headers,
            body: body.clone(),
            lifetime,
            inherited: &[],
        };
        self.entry(made, &head.headers, dependencies, now)
    }

    /// Makes an entry and holds it against the changes since the fill began: the fence.
    pub(super) fn entry(
        &self,
        made: Made<'_>,
        received: &HeaderMap,
        dependencies: &Dependencies,
        now: SystemTime,
    ) -> Result<Arc<Stored>, NoStoreReason> {
        let (mut on, described) = judgement::tags_of(&self.subject, received, dependencies)?;
        if !made.inherited.is_empty() {
            on.extend(made.inherited.iter().cloned());
            on.sort_unstable();
            on.dedup();
        }
        let reads = judgement::reads_records(dependencies);
        let read_at = reads.then_some(&dependencies.position);
        match self.shared.admit(&self.started, &on, read_at) {
            Admission::Store => {}
            Admission::Fenced | Admission::Unknown => return Err(NoStoreReason::Fenced),
            Admission::ReadBehind => return Err(NoStoreReason::ReadBehind),
        }
        let exchange = age::Exchange {
            requested: self.requested,
            received: now,
        };
        Ok(Arc::new(Stored::new(StoredParts {
            generation: self.shared.ledger.generation(),
            status: made.status,
            initial_age: age::initial_age(received, exchange),
            headers: made.headers,
            body: made.body,
            lifetime: made.lifetime,
            received: now,
            on: on.into(),
            index: self.started.index,
            // What no tag names was seen at a moment of its own, which may be any since the fill began.
            position: if reads && !dependencies.unnamed {
                Arc::new(dependencies.position.clone())
            } else {
                self.started.position.clone()
            },
            described,
        })))
    }

    /// Stores an entry and makes the answer to this request of it.
    pub(super) fn kept(
        &self,
        stored: Arc<Stored>,
        forwarded: StatusCode,
        now: SystemTime,
    ) -> Reply {
        let known = self.variants.clone();
        let kept = self
            .shared
            .store(&self.key, &self.subject.headers, stored.clone(), known);
        if kept {
            self.shared.counters.stored.add(1);
        }
        let reusable = kept
            && stored.lifetime.fresh_seconds > stored.initial_age
            && !stored.lifetime.always_validate;
        if reusable {
            self.shared.flights.set_collapsed(self.hash);
        } else {
            self.shared
                .flights
                .set_uncollapsed(self.hash, Instant::now());
        }
        let age = stored.age(now);
        let other = forwarded == StatusCode::NOT_MODIFIED;
        let status = CacheStatus {
            outcome: Outcome::Forward {
                reason: self.reason,
                status: other.then_some(forwarded.as_u16()),
                stored: kept,
                collapsed: false,
            },
            ttl_seconds: Some(ttl(&stored.lifetime, age)),
            detail: (!kept).then_some(NoStoreReason::VaryAny.as_str()),
        };
        let mut reply = match forwarded {
            // It is what this request asked for.
            StatusCode::PARTIAL_CONTENT => self.reply_to(&HeaderMap::new(), &stored, age, status),
            _ => self.reply(&stored, age, status),
        };
        reply.stored = None;
        if age == 0 {
            // It comes from the origin itself: RFC 9111 §5.1.
            reply.head.headers.remove(AGE);
        }
        reply
    }

    pub(super) fn reply(&self, stored: &Stored, age: u64, status: CacheStatus) -> Reply {
        self.reply_to(&self.subject.headers, stored, age, status)
    }

    fn reply_to(
        &self,
        request: &HeaderMap,
        stored: &Stored,
        age: u64,
        status: CacheStatus,
    ) -> Reply {
        let method = &self.subject.method;
        compose(stored, method, request, age, status, &self.shared.name)
    }

    /// The answer goes to this client alone.
    pub(super) fn unkept(&self, mut head: Parts, body: Bytes, reason: NoStoreReason) -> Reply {
        let status = self.mark(&mut head, Some(reason));
        Reply {
            head,
            body,
            status,
            stored: None,
        }
    }

    /// Strips what is for caches alone, sets `Cache-Status`, remembers that the key need not be waited for. A failure says
    /// nothing of the next answer: those who wait do not storm an origin that is in distress.
    fn mark(&self, head: &mut Parts, reason: Option<NoStoreReason>) -> CacheStatus {
        if is_failure(head.status) {
            self.tell(&failed_answer(head.status));
        } else if self.ticket.is_some() && reason.is_none_or(NoStoreReason::lasts) {
            self.shared
                .flights
                .set_uncollapsed(self.hash, Instant::now());
        }
        remove_own(&mut head.headers);
        let status = CacheStatus {
            detail: reason.map(NoStoreReason::as_str),
            ..CacheStatus::forward(self.reason)
        };
        let upstream = head.headers.get(CACHE_STATUS).cloned();
        set_status(
            &mut head.headers,
            upstream.as_ref(),
            &status,
            &self.shared.name,
        );
        status
    }

    /// What is stored, served stale because no better answer came, if that is allowed.
    fn stale(&self, stored: &Stored, soft: bool, now: SystemTime) -> Option<Reply> {
        let age = stored.age(now);
        let held = reuse::Stored {
            lifetime: &stored.lifetime,
            age_seconds: age,
            soft_purged: soft,
        };
        // Before it is held against the changes: what is applied later vouches for nothing here.
        let vouched = self.shared.ledger.vouched();
        if !self.shared.suits(&self.subject.session, stored) {
            return None;
        }
        // What a change has ended meanwhile is not served, however stale it might be.
        if !matches!(
            self.shared.ledger.verdict(stored),
            Verdict::Valid | Verdict::Soft
        ) {
            return None;
        }
        let connection = self
            .shared
            .connection(vouched, self.subject.when_disconnected);
        let reason = reuse_after_failure(&held, connection, self.shared.config.stale_seconds_max)?;
        self.shared.counters.hits_stale.add(1);
        let status = CacheStatus {
            outcome: Outcome::Hit,
            ttl_seconds: Some(ttl(&stored.lifetime, age)),
            detail: Some(reason.as_str()),
        };
        Some(self.reply(stored, age, status))
    }

    /// The answer is streamed, too large, or not to be stored. Strips what is for caches alone from its head and sets
    /// `Cache-Status`.
    pub fn pass(mut self, head: &mut Parts) -> CacheStatus {
        invalidation::invalidate(&self.shared, &self.subject, head.status, &head.headers);
        let status = self.mark(head, self.keeps.err());
        drop(self.ticket.take());
        status
    }

    /// Tells those who wait why no answer came. Before [`Fill::failed`].
    pub fn tell(&self, problem: &Problem) {
        if let Some(ticket) = &self.ticket {
            ticket.failed(problem.clone());
        }
    }

    /// Others may wait for it.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::leads)
    }

    /// No answer came (the origin or the core is away, the module trapped). The stored answer, if it may be served
    /// stale now.
    #[must_use]
    pub fn failed(self, now: SystemTime) -> Option<Answer> {
        let (stored, soft) = self.stored.as_ref()?;
        self.stale(stored, *soft, now)
            .map(|reply| Answer::new(reply, None))
    }
}

/// What an entry is made of, beside what is known of the fill.
pub(super) struct Made<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) lifetime: Lifetime,
    /// What the entry depends on whose body it takes over.
    pub(super) inherited: &'a [Dependency],
}

/// How old an answer was when it came, on the answer to the request that fetched it: how long it took to come is measured by
/// whoever asked. RFC 9111 §4.2.3.
pub(super) fn set_received_age(headers: &mut HeaderMap, received: &HeaderMap) {
    match age::age_value(received) {
        0 => headers.remove(AGE),
        age => headers.insert(AGE, age.into()),
    };
}

/// Errors for which `stale-if-error` is meant. RFC 5861 §4.
pub(super) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// What those are told who waited for an answer that is a failure.
fn failed_answer(status: StatusCode) -> Problem {
    let detail = format!(
        "the same request was answered with status {} twice while this one waited for it",
        status.as_u16()
    );
    Problem::new(
        status.as_u16(),
        "answer-failed",
        "No answer could be had",
        detail,
    )
}
