//! What goes into a lookup, and what a handler says of its answer.

use brink_policy::{coding::Accepted, coherence::Dependency, http::Lifetime};
use brink_protocol::{
    ModuleName, Position, TenantName, caching::Negative, deployment::WhenDisconnected, tag::Tag,
};
use http::{
    HeaderMap, HeaderName, Method,
    header::{AUTHORIZATION, COOKIE, RANGE},
};
use serde::{Deserialize, Serialize};
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
    /// Beginning with `/`; as the route's rules leave it.
    pub path_and_query: &'a str,
    /// What else the route's rules make part of the key (see [`brink_policy::keying`]). None: there is no key, and nothing is
    /// looked for or stored.
    pub extra: Option<&'a str>,
    /// What the route's rules say.
    pub ruled: Ruled,
    /// Only `GET` and `HEAD` are answered from the cache.
    pub method: &'a Method,
    /// As the client sent them.
    pub headers: &'a HeaderMap,
    /// It has a body, or one may come: no part of the key, so nothing stored answers, and its answer is not stored. (In
    /// HTTP/2 and HTTP/3 no field has to say so.)
    pub has_content: bool,
    /// Fields of `headers` that plugins set. A stored answer serves only if it varies by each of them: one that was
    /// made where the plugins set nothing knows nothing of them.
    pub set_on_way: &'a [HeaderName],
    /// The route's choice.
    pub when_disconnected: WhenDisconnected,
    /// A stored answer must be at least this new (a session token).
    pub at_least: Option<&'a Position>,
    /// A session token that cannot be read yet: nothing stored may answer. What comes may be stored.
    pub is_uncached: bool,
    /// Another PoP asks, and keeps what it gets.
    pub pop: Option<PopAsks>,
}

/// Fields that may be why an answer is shared with nobody.
const APART: [HeaderName; 3] = [AUTHORIZATION, COOKIE, RANGE];

/// The hash of a key for the requests that have the same of [`APART`]: what is said of one of these, that waiting for its answer
/// is in vain, holds for them alone. Otherwise who sends a cookie along would have all others ask at once.
pub(super) fn apart(hash: u64, request: &HeaderMap) -> u64 {
    let kinds = APART.iter().zip([
        0x434f_4f4b_4945_0001,
        0x4155_5448_0000_0002,
        0x5241_4e47_4500_0004,
    ]);
    kinds.fold(hash, |hash, (name, kind)| {
        match request.contains_key(name) {
            true => hash ^ kind,
            false => hash,
        }
    })
}

/// What another PoP asks of a stored answer. See [`brink_policy::shield`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PopAsks {
    /// How long ago an unsafe request may have outdated the URL there, at last.
    pub outdated: Duration,
    /// Where a part is asked for, the whole may be fetched: who answers takes the range or leaves it.
    pub widens: bool,
}

/// What another cache needs to know of an answer to keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// How long it may be used, of which its `Age` is over.
    pub lifetime: Lifetime,
    /// What it depends on.
    pub on: Vec<Dependency>,
    /// Some of its tags, for people.
    pub described: String,
}

/// What the rules of a route make of a request. By default there are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ruled {
    /// The codings that the client takes.
    pub accepts: Accepted,
    /// The route's stored answers are compressed.
    pub compresses: bool,
    /// The key is made by rules: other requests of its URI may have other keys.
    pub is_keyed: bool,
    /// Of the query not all is part of the key.
    pub changes_query: bool,
    /// How long errors are kept that say nothing of it themselves.
    pub negative: Negative,
}

impl Ruled {
    /// The same for who codes for itself: it gets what is stored.
    #[must_use]
    pub fn without_codings(self) -> Self {
        Self {
            accepts: Accepted::default(),
            compresses: false,
            ..self
        }
    }
}

/// What a session asks of a stored answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Session {
    /// See [`CacheRequest::at_least`].
    pub(super) at_least: Option<Position>,
    /// See [`CacheRequest::is_uncached`].
    pub(super) is_uncached: bool,
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
