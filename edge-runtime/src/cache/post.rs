//! The answer to a `POST` that says that it is what `GET` would give: RFC 9110 §9.3.3.

use super::{
    fill::{Fill, set_received_age},
    flights::Posted,
    invalidation,
    reply::Reply,
    request::Dependencies,
};
use brink_policy::http::{NoStoreReason, freshen::restore_unstored};
use bytes::Bytes;
use http::response::Parts;
use std::time::SystemTime;

impl Fill {
    /// The answer to a `POST`, which may be stored as what `GET` would give. Not in the place of what it ends: the next one is.
    pub(super) fn settle_post(
        &mut self,
        head: Parts,
        body: Bytes,
        dependencies: &Dependencies,
        now: SystemTime,
    ) -> Reply {
        let is_first = !invalidation::is_target_known(&self.shared, &self.subject);
        invalidation::invalidate(&self.shared, &self.subject, head.status, &head.headers);
        let admitted = match is_first {
            true => self.admit(&head, body.clone().into(), dependencies, now),
            false => Err(NoStoreReason::Method),
        };
        let Ok(stored) = admitted else {
            return self.unkept(head, body, NoStoreReason::Method);
        };
        let mut reply = self.kept(stored, head.status, now);
        restore_unstored(&mut reply.head.headers, &head.headers);
        set_received_age(&mut reply.head.headers, &head.headers);
        // Another unsafe request that ended meanwhile found nothing to end.
        if self.posted.as_ref().is_some_and(Posted::is_outdated) {
            invalidation::end_target(&self.shared, &self.subject);
        }
        reply
    }
}
