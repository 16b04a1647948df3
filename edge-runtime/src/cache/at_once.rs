//! Hits that need nothing but a look into memory: a whole answer to a `GET` without conditions, directives or ranges.

use super::{
    shared::Shared,
    stored::{Key, Slot, Stored},
};
use brink_policy::{
    cache_status::{CacheStatus, Outcome},
    coding::Accepted,
    coherence::Verdict,
    http::{
        RequestDirectives, Reuse,
        reuse::{self, reuse, ttl},
    },
    key::CacheKey,
};
use brink_protocol::deployment::WhenDisconnected;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header::AGE};
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

/// A `GET` without conditions, directives or ranges, whatever other fields it has.
#[derive(Debug)]
pub struct PlainGet {
    /// What is asked for.
    pub key: CacheKey,
    /// The codings that it accepts.
    pub accepted: Accepted,
    /// The route's choice.
    pub when_disconnected: WhenDisconnected,
    /// When it came.
    pub now: SystemTime,
    /// The same, by the clock that leases go by.
    pub at: Instant,
}

/// A hit.
#[derive(Debug)]
pub struct AtOnce<'a> {
    shared: &'a Shared,
    stored: Arc<Stored>,
    accepted: Accepted,
    age: u64,
}

impl super::Cache {
    /// Answers a plain `GET` from memory, if nothing has to be waited for or done beside.
    #[must_use]
    pub fn at_once(&self, request: PlainGet) -> Option<AtOnce<'_>> {
        let shared = self.shared();
        let Slot::Answer(stored) = shared.tiers.in_memory(&Key(request.key))? else {
            return None;
        };
        // Before the verdict: a change that comes in between must not vouch for what it ended.
        let vouched = shared.ledger.vouched();
        // A form that is not there yet is made by those that go the whole way, and a part is not for all.
        if shared.ledger.verdict(&stored) != Verdict::Valid
            || stored.status == StatusCode::PARTIAL_CONTENT
            || stored.trailers.is_some()
            || stored.form(&request.accepted).body.whole().is_none()
            || stored.missing(&request.accepted).is_some()
        {
            return None;
        }
        let age = stored.age(request.now);
        let decision = reuse(
            &RequestDirectives::default(),
            &reuse::Stored {
                lifetime: &stored.lifetime,
                age_seconds: age,
                soft_purged: false,
            },
            shared.connection_at(vouched, request.when_disconnected, request.at),
        );
        (decision == Reuse::Serve).then_some(AtOnce {
            shared,
            stored,
            accepted: request.accepted,
            age,
        })
    }
}

impl AtOnce<'_> {
    fn form(&self) -> &Stored {
        self.stored.form(&self.accepted)
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.stored.status
    }

    fn own(&self) -> CacheStatus {
        CacheStatus {
            outcome: Outcome::Hit,
            ttl_seconds: Some(ttl(&self.stored.lifetime, self.age)),
            detail: Some("memory"),
        }
    }

    /// Puts the status line and the fields into `head` as HTTP/1.1 sends them, but for the last, empty line, and gives
    /// the body. None: it cannot be sent so.
    #[must_use]
    pub fn put(&self, head: &mut Vec<u8>) -> Option<Bytes> {
        let form = self.form();
        let body = form.body.whole()?.clone();
        head.extend_from_slice(form.prepared()?);
        head.extend_from_slice(b"age: ");
        head.extend_from_slice(itoa::Buffer::new().format(self.age).as_bytes());
        head.extend_from_slice(b"\r\ncache-status: ");
        if let Some(upstream) = &form.upstream_status {
            head.extend_from_slice(upstream.as_bytes());
            head.extend_from_slice(b", ");
        }
        self.own().put(&self.shared.name, head);
        head.extend_from_slice(b"\r\n");
        self.shared.counters.hits_memory.add(1);
        Some(body)
    }

    /// Its fields and its body. None: that is not at hand.
    #[must_use]
    pub fn parts(&self) -> Option<(HeaderMap, Bytes)> {
        let form = self.form();
        let body = form.body.whole()?.clone();
        let mut headers = form.headers.clone();
        headers.insert(AGE, HeaderValue::from(self.age));
        let upstream = form.upstream_status.as_ref();
        super::reply::set_status(&mut headers, upstream, &self.own(), &self.shared.name);
        self.shared.counters.hits_memory.add(1);
        Some((headers, body))
    }
}
