//! How a fill ends that stores nothing.

use super::{
    fill::{Answer, Fill, is_failure},
    flights::Ticket,
    invalidation,
    reply::{Reply, set_status},
    request::apart,
    stored::{CACHE_STATUS, Stored},
    unstored::Unstored,
};
use brink_policy::{
    cache_status::{CacheStatus, Outcome},
    coherence::Verdict,
    http::{
        NoStoreReason,
        freshen::remove_own,
        reuse::{self, reuse_after_failure, ttl},
    },
};
use brink_protocol::problem::Problem;
use bytes::Bytes;
use http::{StatusCode, response::Parts};
use std::time::{Instant, SystemTime};

impl Fill {
    /// The answer goes to this client alone.
    pub(super) fn unkept(&self, mut head: Parts, body: Bytes, reason: NoStoreReason) -> Reply {
        self.note_unstored(head.status, reason);
        let status = self.mark(&mut head, Some(reason));
        Reply {
            head,
            body: body.into(),
            trailers: self.trailers.clone(),
            status,
            stored: None,
            kept: None,
        }
    }

    /// Remembers for people why an answer was not stored.
    pub(super) fn note_unstored(&self, status: StatusCode, reason: NoStoreReason) {
        if self.keeps.is_err() {
            return;
        }
        let hash = self.shared.tiers.hash(&self.key);
        let at = SystemTime::now();
        let unstored = Unstored { reason, status, at };
        self.shared.unstored.note(hash, unstored);
    }

    /// Strips what is for caches alone, sets `Cache-Status`, remembers that the key need not be waited for. A failure says
    /// nothing of the next answer: those who wait do not storm an origin that is in distress.
    fn mark(&self, head: &mut Parts, reason: Option<NoStoreReason>) -> CacheStatus {
        if is_failure(head.status) {
            self.tell_failed(head.status);
        } else if self.ticket.is_some() && reason.is_none_or(NoStoreReason::lasts) {
            self.shared
                .flights
                .set_uncollapsed(apart(self.hash, &self.subject.headers), Instant::now());
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
    pub(super) fn stale(&self, stored: &Stored, soft: bool, now: SystemTime) -> Option<Reply> {
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
        let at = self.subject.outdated_at;
        if at.is_some_and(|at| !stored.was_asked_after(at, now)) {
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

    /// The same, of an answer that says no more than that there is none.
    pub fn tell_failed(&self, status: StatusCode) {
        self.tell(&failed_answer(status));
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
            .map(|reply| Answer::new(reply, None, &self.shared.tiers, None))
    }
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
