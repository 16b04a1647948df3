//! A fill whose answer is sent while its body comes.

use super::{
    content::{Content, Pieces},
    fill::{Answer, Fill, is_failure, set_received_age},
    growing::{Beginning, Growing},
    invalidation,
    request::{Dependencies, apart},
    stored::Key,
    tiers::Tiers,
};
use brink_listener::Body;
use brink_policy::{
    cache_status::{CacheStatus, Outcome},
    http::{freshen::restore_unstored, reuse::ttl},
};
use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{AGE, CONTENT_LENGTH},
    response::Parts,
};
use http_body_util::BodyExt as _;
use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

/// The rest of a fill: brings the body to those who read it, and into the cache. To be run in a task of its own, so that no
/// client that goes away ends it.
pub struct Filling {
    fill: Fill,
    growing: Arc<Growing>,
    head: Parts,
    dependencies: Dependencies,
}

impl fmt::Debug for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filling").field(&self.fill).finish()
    }
}

impl Fill {
    /// Whether the answer with this head, for which [`Fill::wants`] has a place, can be sent before it is whole.
    #[must_use]
    pub fn may_stream(&self, head: &Parts) -> bool {
        let validates = self.stored.is_some()
            && (head.status == StatusCode::NOT_MODIFIED || is_failure(head.status));
        self.wants_whole()
            && !self.widens
            && self.posted.is_none()
            && !validates
            && head.status != StatusCode::PARTIAL_CONTENT
    }

    /// The answer comes and is not whole yet. Gives what to send, and what is left to do; or, if it may not be stored
    /// any more, what [`Fill::pass`] does.
    ///
    /// # Errors
    /// It is passed.
    pub fn stream(
        self,
        mut head: Parts,
        dependencies: Dependencies,
        now: SystemTime,
    ) -> Result<(Answer, Filling), Box<(Parts, CacheStatus)>> {
        let Ok(mut entry) = self.admit(&head, Content::default(), &dependencies, now) else {
            let status = self.pass(&mut head);
            return Err(Box::new((head, status)));
        };
        let length = head.headers.get(CONTENT_LENGTH).cloned();
        if let Some(entry) = Arc::get_mut(&mut entry) {
            match &length {
                Some(length) => entry.headers.insert(CONTENT_LENGTH, length.clone()),
                None => entry.headers.remove(CONTENT_LENGTH),
            };
        }
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let growing = Growing::new(
            entry,
            self.subject.headers.clone(),
            length,
            self.shared.tiers.clone(),
            Tiers::new_filling(&self.subject.tenant),
        );
        let answer = self.beginning(&growing, &head, now);
        if let Some(ticket) = &self.ticket {
            ticket.streams(&growing);
        }
        let filling = Filling {
            fill: self,
            growing,
            head,
            dependencies,
        };
        Ok((answer, filling))
    }

    /// The answer to the request that began it.
    fn beginning(&self, growing: &Arc<Growing>, received: &Parts, now: SystemTime) -> Answer {
        let entry = &growing.entry;
        let is_shared =
            entry.lifetime.fresh_seconds > entry.initial_age && !entry.lifetime.always_validate;
        if !is_shared {
            self.shared
                .flights
                .set_uncollapsed(apart(self.hash, &self.subject.headers), Instant::now());
        }
        let age = entry.age(now);
        let status = CacheStatus {
            outcome: Outcome::Forward {
                reason: self.reason,
                status: None,
                stored: true,
                collapsed: false,
            },
            ttl_seconds: Some(ttl(&entry.lifetime, age)),
            detail: None,
        };
        let mut reply = self.reply(entry, age, status);
        reply.stored = None;
        if age == 0 {
            // It comes from the origin itself: RFC 9111 §5.1.
            reply.head.headers.remove(AGE);
        }
        restore_unstored(&mut reply.head.headers, &received.headers);
        set_received_age(&mut reply.head.headers, &received.headers);
        let has_body = reply.head.status == entry.status;
        let mut answer = Answer::new(reply, None, &self.shared.tiers, None);
        if has_body && let Beginning::Reader(reader) = growing.read() {
            answer.stream = Some(Body::stream(reader));
        }
        answer.entry = Some(entry.clone());
        answer
    }
}

impl Filling {
    /// Takes the body, of which `beginning` came already, to its end.
    pub async fn run(self, beginning: Vec<Bytes>, mut body: Body) {
        for piece in beginning {
            self.growing.push(piece);
        }
        let bytes_max = self.fill.shared.config.object_bytes_max;
        let mut trailers = None;
        while self.growing.came() <= bytes_max && self.lay(false).await {
            match body.frame().await {
                None => return self.complete(trailers).await,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => self.growing.push(piece),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => {
                    tracing::warn!(fill = ?self.fill, %error, "an answer broke off");
                    self.growing.break_off(&error.to_string());
                    return;
                }
            }
        }
        self.pass(trailers, body).await;
    }

    /// Brings what came into the tiers, if it is longer than a piece. Gives whether it can be stored still.
    async fn lay(&self, is_over: bool) -> bool {
        if self.growing.is_to_be_cut() {
            let key = Key(self.fill.key.clone());
            let tiers = &self.fill.shared.tiers;
            if !tiers.admits(&key, self.growing.expected()) {
                return false;
            }
        }
        self.growing.lay(is_over).await
    }

    /// Stored before the end is told: who asks then finds it.
    async fn complete(self, trailers: Option<HeaderMap>) {
        let has_room = self.lay(true).await;
        let Self {
            mut fill,
            growing,
            mut head,
            dependencies,
        } = self;
        fill.set_trailers(trailers.clone().unwrap_or_default());
        let now = SystemTime::now();
        if !growing.is_in_pieces() {
            drop(fill.complete(head, growing.whole(), dependencies, now));
            growing.end(trailers);
            return;
        }
        match growing.pieces().filter(|_| has_room) {
            Some(pieces) => {
                if fill.complete_in_pieces(head, pieces, dependencies, now) {
                    growing.set_kept();
                }
            }
            None => drop(fill.pass(&mut head)),
        }
        growing.end(trailers);
        growing.written().await;
    }

    /// It is too long to be stored, or there is no room for it: who reads it gets the rest, at the pace of the slowest.
    async fn pass(self, mut trailers: Option<HeaderMap>, mut body: Body) {
        let Self {
            fill,
            growing,
            mut head,
            ..
        } = self;
        growing.pass();
        fill.pass(&mut head);
        while growing.room().await {
            match body.frame().await {
                None => return growing.end(trailers),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => growing.push(piece),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => return growing.break_off(&error.to_string()),
            }
        }
    }
}

impl Fill {
    /// The answer came whole, and its body is in the tiers. Stores it if it may be, and wakes who waits for it; gives whether
    /// it is stored.
    fn complete_in_pieces(
        mut self,
        head: Parts,
        pieces: Arc<Pieces>,
        dependencies: Dependencies,
        now: SystemTime,
    ) -> bool {
        invalidation::invalidate(&self.shared, &self.subject, head.status, &head.headers);
        let reply = match self.admit(&head, Content::Pieces(pieces), &dependencies, now) {
            Ok(stored) => self.kept(stored, head.status, now),
            Err(reason) => self.unkept(head, Bytes::new(), reason),
        };
        drop(self.ticket.take());
        reply.kept.is_some()
    }
}
