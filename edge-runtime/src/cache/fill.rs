//! A request on its way to a module or an origin, and what becomes of the answer to it.

use super::{
    content::{Content, WHOLE_BYTES_MAX},
    flights::{Posted, Ticket},
    invalidation,
    judgement::{self, Subject},
    reading::{Piece, PiecesReader},
    reply::Reply,
    request::{Dependencies, Kept},
    shared::Shared,
    stored::{Codings, Form, Parts as StoredParts, Stored, Variant, own_body},
    tiers::Tiers,
};
use brink_listener::Body;
use brink_policy::{
    cache_status::{CacheStatus, ForwardReason},
    coding::Coding,
    coherence::{Admission, Dependency, FillStart},
    http::{
        Lifetime, NoStoreReason, age,
        condition::{conditions_from, remove_conditions},
        freshen::{restore_unstored, retain_storable},
        range::{Held, content_range},
    },
    key::CacheKey,
};
use brink_protocol::Position;
use bytes::Bytes;
use http::{
    HeaderMap, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, RANGE},
    response::Parts,
};
use std::{fmt, sync::Arc, time::SystemTime};

/// An answer, ready to be sent: conditions, ranges and `HEAD` are dealt with; `Age`, `Date` and `Cache-Status` are set.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields.
    pub head: Parts,
    /// The body, where it is at hand; empty for `HEAD` and 304.
    pub body: Bytes,
    /// The trailer section behind it.
    pub trailers: Option<HeaderMap>,
    /// The body where it is still on its way, or lies in pieces, with what is behind it; then `body` is empty.
    pub stream: Option<Body>,
    /// What `Cache-Status` says, for logs and metrics.
    pub status: CacheStatus,
    /// `stale-while-revalidate`: run this fill beside; dropping it is harmless.
    pub revalidate: Option<Fill>,
    /// The position of the entry that this was made of: the core's when its records were read, or this PoP's when its
    /// fill began. None: it was made just now.
    pub stored: Option<Arc<Position>>,
    /// The entry that it is made of, or was kept as, if it is fresh.
    pub(super) entry: Option<Arc<Stored>>,
}

impl Answer {
    /// The answer as a response.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let body = match self.stream {
            Some(stream) => stream,
            None => Body::with_trailers(self.body, self.trailers.unwrap_or_default()),
        };
        Response::from_parts(self.head, body)
    }

    /// `first` is the piece of the body with its first byte, if it lies in pieces and was looked for.
    pub(super) fn new(
        reply: Reply,
        revalidate: Option<Fill>,
        tiers: &Arc<Tiers>,
        first: Option<Piece>,
    ) -> Self {
        let Reply {
            head,
            body,
            mut trailers,
            status,
            stored,
            kept,
        } = reply;
        let stream = body.content.pieces().map(|pieces| {
            let (tiers, pieces) = (tiers.clone(), pieces.clone());
            let reader =
                PiecesReader::new(tiers, pieces, body.range.clone(), first, trailers.take());
            Body::stream(reader)
        });
        Self {
            head,
            body: body.bytes().unwrap_or_default(),
            trailers,
            stream,
            status,
            revalidate,
            stored,
            entry: kept,
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
    /// A stored part, of which the request asks for more.
    pub(super) part: Option<Arc<Stored>>,
    pub(super) variants: Option<Arc<Vec<Variant>>>,
    pub(super) started: FillStart,
    pub(super) requested: SystemTime,
    /// Whether the answer may be stored as far as the request says.
    pub(super) keeps: Result<(), NoStoreReason>,
    /// The request is a `POST` whose answer may be stored; tells of other unsafe requests of its URI.
    pub(super) posted: Option<Posted>,
    /// A coded form of the answer's body, made before it is stored.
    pub(super) coded: Option<(Coding, Form)>,
    /// What came behind the answer's body, once that is known.
    pub(super) trailers: Option<HeaderMap>,
    /// The answer came by way of a shield, which says this of it.
    pub(super) shielded: Option<Kept>,
    /// The client wants a part, and the whole is asked for. See [`super::widened`].
    pub(super) widens: bool,
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
        self.ask_for_missing(headers);
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
        self.keeps.is_ok() && (self.widens || !self.subject.headers.contains_key(RANGE))
    }

    /// Whether an answer with this head is worth having at hand as a whole, for [`Fill::complete`]; at most how many
    /// bytes of its body. None: stream it and call [`Fill::pass`].
    #[must_use]
    pub fn wants(&self, head: &Parts, dependencies: &Dependencies) -> Option<u64> {
        let limit = match self.may_stream(head) {
            true => self.shared.config.object_bytes_max,
            false => self
                .shared
                .config
                .object_bytes_max
                .min(WHOLE_BYTES_MAX as u64),
        };
        let validates = self.stored.is_some()
            && (head.status == StatusCode::NOT_MODIFIED || is_failure(head.status));
        let length = head
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let completes = head.status == StatusCode::PARTIAL_CONTENT && self.completes();
        if validates || completes {
            return Some(limit);
        }
        let unstored = match self.judge(head, dependencies, SystemTime::now()) {
            Err(reason) => reason,
            Ok(_) if length.is_some_and(|l| l > limit) => NoStoreReason::TooLarge,
            Ok(_) => return Some(limit),
        };
        self.note_unstored(head.status, unstored);
        None
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
        match &self.shielded {
            Some(kept) => judgement::shielded(&self.subject, kept, head, dependencies),
            None => judgement::lifetime(&self.subject, head, dependencies, now),
        }
    }

    /// The answer's trailer section, which came behind its whole body; may be empty. Before [`Fill::encode`] and
    /// [`Fill::complete`].
    pub fn set_trailers(&mut self, section: HeaderMap) {
        self.trailers = Some(section);
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
        Answer::new(reply, None, &self.shared.tiers, None)
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
                self.tell_failed(head.status);
                return reply;
            }
        }
        if let Some(reply) = self.combine(&head, &body, dependencies, now) {
            return reply;
        }
        if head.status == StatusCode::PARTIAL_CONTENT && self.completes() {
            // The head promised what the body does not keep, and the client asked for no part.
            return self.unkept(misled(), Bytes::new(), NoStoreReason::Status);
        }
        match self.admit(&head, body.clone().into(), dependencies, now) {
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
        body: Content,
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
            body: match &body {
                Content::Whole(bytes) => Content::Whole(own_body(bytes)),
                Content::Pieces(_) => body,
            },
            lifetime,
            inherited: &[],
            codings: self.coded.clone().map(Codings::of).unwrap_or_default(),
            trailers: self
                .trailers
                .clone()
                .filter(|_| head.status != StatusCode::PARTIAL_CONTENT),
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
        let (mut on, mut described) = judgement::tags_of(&self.subject, received, dependencies)?;
        let told = self.shielded.as_ref();
        if !made.inherited.is_empty() || told.is_some() {
            on.extend(made.inherited.iter().cloned());
            if let Some(told) = told {
                on.extend(told.on.iter().cloned());
                described = told.described.as_str().into();
            }
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
        let codings = self.is_codable(&made, received).then_some(made.codings);
        let exchange = age::Exchange {
            requested: self.requested,
            received: now,
        };
        let stored = Stored::new(StoredParts {
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
            codings,
        });
        Ok(Arc::new(match made.trailers {
            Some(section) => stored.with_trailers(section),
            None => stored,
        }))
    }
}

/// What an entry is made of, beside what is known of the fill.
pub(super) struct Made<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Content,
    pub(super) lifetime: Lifetime,
    /// What the entry depends on whose body it takes over.
    pub(super) inherited: &'a [Dependency],
    /// Coded forms of the body that are known, in case that they are kept.
    pub(super) codings: Codings,
    /// The trailer section behind the body; none: it is not known yet. With one there are no coded forms: it may be about
    /// the content as it came.
    pub(super) trailers: Option<HeaderMap>,
}

/// An answer in place of one that contradicts itself.
fn misled() -> Parts {
    super::reply::head(StatusCode::BAD_GATEWAY, HeaderMap::new())
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
