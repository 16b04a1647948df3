//! A request on its way to a module or an origin, whose answer may be stored.

use super::{Answer, Dependencies};
use brink_policy::cache_status::{CacheStatus, ForwardReason};
use bytes::Bytes;
use http::{HeaderMap, response::Parts};
use std::time::SystemTime;

/// A request on its way to a module or an origin. Dropping it lets those go on that wait for it.
#[derive(Debug)]
pub struct Fill {
    reason: ForwardReason,
}

impl Fill {
    pub(super) fn new(reason: ForwardReason) -> Self {
        Self { reason }
    }

    /// Why the request goes forward.
    #[must_use]
    pub fn reason(&self) -> ForwardReason {
        self.reason
    }

    /// Makes the client's fields fit for the request that goes forward: the client's conditions leave where the whole
    /// answer is wanted, validators of what is stored come (RFC 9111 §4.3.1).
    pub fn prepare(&self, _headers: &mut HeaderMap) {}

    /// The validators alone. May be empty.
    #[must_use]
    pub fn request_headers(&self) -> HeaderMap {
        HeaderMap::new()
    }

    /// Whether an answer with this head may be stored, so that it is worth having its body at hand; at most how many
    /// bytes of it. None: stream it and call [`Fill::pass`].
    #[must_use]
    pub fn wants(&self, _head: &Parts, _dependencies: &Dependencies) -> Option<u64> {
        None
    }

    /// The answer came with its whole body. Stores it if it may be, wakes who waits for it, gives what to send.
    #[must_use]
    pub fn complete(
        self,
        head: Parts,
        body: Bytes,
        _dependencies: Dependencies,
        _now: SystemTime,
    ) -> Answer {
        Answer {
            head,
            body,
            status: CacheStatus::forward(self.reason),
            revalidate: None,
        }
    }

    /// The answer is streamed, too large, or not to be stored. Strips what is for caches alone from its head and sets
    /// `Cache-Status`.
    pub fn pass(self, _head: &mut Parts) -> CacheStatus {
        CacheStatus::forward(self.reason)
    }

    /// No answer came (the origin or the core is away, the module trapped). The stored answer, if it may be served
    /// stale now.
    #[must_use]
    pub fn failed(self, _now: SystemTime) -> Option<Answer> {
        None
    }
}
