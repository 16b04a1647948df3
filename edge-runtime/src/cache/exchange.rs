//! What goes into a lookup and what comes out.

use super::Fill;
use brink_listener::Body;
use brink_policy::cache_status::CacheStatus;
use brink_protocol::{
    ModuleName, Position, TenantName, deployment::WhenDisconnected, problem::Problem, tag::Tag,
};
use bytes::Bytes;
use http::{HeaderMap, Method, Response, response::Parts};
use std::time::Duration;

/// A request as the cache sees it.
#[derive(Debug, Clone, Copy)]
pub struct CacheRequest<'a> {
    /// Whose route it is.
    pub tenant: &'a TenantName,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// In the form of [`brink_protocol::purge::normal_host`].
    pub host: &'a str,
    /// Beginning with `/`.
    pub path_and_query: &'a str,
    /// Only `GET` and `HEAD` are answered from the cache.
    pub method: &'a Method,
    /// As the client sent them, hop-by-hop fields aside.
    pub headers: &'a HeaderMap,
    /// The route's choice.
    pub when_disconnected: WhenDisconnected,
    /// A stored answer must be at least this new (a session token).
    pub at_least: Option<&'a Position>,
}

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

/// An answer, ready to be sent: conditions, ranges and `HEAD` are dealt with; `Age`, `Date` and `Cache-Status` are set.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields.
    pub head: Parts,
    /// The body; empty for `HEAD` and 304.
    pub body: Bytes,
    /// What `Cache-Status` says, for logs and metrics.
    pub status: CacheStatus,
    /// `stale-while-revalidate`: run this fill beside; dropping it is harmless.
    pub revalidate: Option<Fill>,
}

impl Answer {
    /// The answer as a response.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        Response::from_parts(self.head, Body::full(self.body))
    }
}

/// What a handler read while it answered, and what it said about storing the answer.
#[derive(Debug, Clone, Default)]
pub struct Dependencies {
    /// Records, ranges and names.
    pub tags: Vec<Tag>,
    /// An explicit lifetime (`cache.set-lifetime`); goes before what the response's fields say.
    pub lifetime: Option<Duration>,
    /// `cache.no-store`.
    pub no_store: bool,
    /// The caller's identity, authorization or cookies were read: the answer is the caller's own.
    pub private: bool,
    /// Something was read that no tag names: without an explicit lifetime the answer is not stored.
    pub unnamed: bool,
    /// The core's position at which records were read; of several reads the earliest. Empty if none were.
    pub position: Position,
    /// Who answered.
    pub module: Option<ModuleName>,
}
