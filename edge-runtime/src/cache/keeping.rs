//! How a fill ends whose answer is stored.

use super::{
    coding::code_beside,
    fill::Fill,
    reply::{Reply, compose},
    request::apart,
    stored::{Key, Stored},
};
use brink_policy::{
    cache_status::{CacheStatus, Outcome},
    http::{NoStoreReason, reuse::ttl},
};
use http::{HeaderMap, StatusCode, header::AGE};
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

impl Fill {
    /// Stores an entry and makes the answer to this request of it.
    pub(super) fn kept(
        &self,
        stored: Arc<Stored>,
        forwarded: StatusCode,
        now: SystemTime,
    ) -> Reply {
        let laid = self.laid(&stored);
        let put = laid.as_ref().filter(|laid| self.put(laid));
        let kept = put.is_some();
        if let Some(put) = put {
            self.shared.counters.stored.add(1);
            if let Some(coding) = put.missing(&self.subject.ruled.accepts) {
                let own = self.shared.own_key(&self.key, put, &self.subject.headers);
                code_beside(&self.shared, Key(own), put.clone(), coding);
            }
        }
        let reusable = kept
            && stored.lifetime.fresh_seconds > stored.initial_age
            && !stored.lifetime.always_validate;
        if reusable {
            let apart = apart(self.hash, &self.subject.headers);
            self.shared.flights.set_collapsed(apart);
        } else {
            self.shared
                .flights
                .set_uncollapsed(apart(self.hash, &self.subject.headers), Instant::now());
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
            detail: match laid {
                Some(_) => (!kept).then_some(NoStoreReason::VaryAny.as_str()),
                None => Some(NoStoreReason::TooLarge.as_str()),
            },
        };
        let mut reply = match forwarded {
            // It is what this request asked for.
            StatusCode::PARTIAL_CONTENT => self.reply_to(&HeaderMap::new(), &stored, age, status),
            _ => self.reply(&stored, age, status),
        };
        reply.stored = None;
        reply.kept = kept.then_some(stored);
        if age == 0 {
            // It comes from the origin itself: RFC 9111 §5.1.
            reply.head.headers.remove(AGE);
        }
        reply
    }

    fn put(&self, stored: &Arc<Stored>) -> bool {
        let (stored, known) = (stored.clone(), self.variants.clone());
        self.shared
            .store(&self.key, &self.subject.headers, stored, known)
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
        let form = stored.form(&self.subject.ruled.accepts);
        compose(form, method, request, age, status, &self.shared.name)
    }
}
