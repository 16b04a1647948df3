//! Whether a response may be stored (RFC 9111 §3), and how long it is fresh (§4.2.1, §4.2.2).

use super::{directives::ResponseDirectives, fields::date, range::is_one_part, vary};
use crate::keying::is_claim;
use brink_protocol::caching::Negative;
use http::{
    HeaderMap, HeaderName, Method, StatusCode,
    header::{AUTHORIZATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE},
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// Part of the time since the last modification for which a response without an explicit lifetime is fresh.
const HEURISTIC_DIVISOR: u64 = 10;
/// Longest heuristic lifetime, in seconds (a day).
const HEURISTIC_SECONDS_MAX: u64 = 86_400;

/// How long a stored response may be used, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lifetime {
    /// Freshness lifetime, in seconds. RFC 9111 §4.2.1.
    pub fresh_seconds: u64,
    /// `stale-while-revalidate`, in seconds. RFC 5861 §3.
    pub while_revalidate_seconds: u64,
    /// `stale-if-error`, in seconds. RFC 5861 §4.
    pub if_error_seconds: u64,
    /// Never to be served stale: `must-revalidate`, `proxy-revalidate`, `s-maxage`.
    pub must_revalidate: bool,
    /// Never to be served without validation: `no-cache`.
    pub always_validate: bool,
}

impl Lifetime {
    /// A lifetime of so many seconds and nothing more.
    #[must_use]
    pub fn fresh_for(seconds: u64) -> Self {
        Self {
            fresh_seconds: seconds,
            ..Self::default()
        }
    }
}

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoStoreReason {
    /// The request's method is not `GET`.
    Method,
    /// The request says `no-store`.
    RequestNoStore,
    /// The status says nothing that could be reused (1xx, 304, 412, 416, 417, a 206 that is not one part).
    Status,
    /// `no-store`.
    NoStore,
    /// `private`, or a handler that read who asks.
    Private,
    /// The request has `Authorization` and the response does not allow sharing. RFC 9111 §3.5.
    Authorization,
    /// `Vary: *`. RFC 9111 §4.1.
    VaryAny,
    /// No explicit lifetime, and a status that has no heuristic one.
    NoLifetime,
    /// `Set-Cookie`, and the answer does not say that it is for everyone (`public`, `s-maxage`, a field for CDNs).
    SetCookie,
    /// Never fresh, and nothing to validate it with.
    NotReusable,
    /// The handler said so.
    Handler,
    /// The handler read what no tag names, and gave no lifetime.
    Unnamed,
    /// Too many tags.
    Tags,
    /// The body is over the limit or was streamed.
    TooLarge,
    /// A change touched it while it was made.
    Fenced,
    /// The records it was made of are older than what this PoP has seen.
    ReadBehind,
    /// The request is one whose answer is never stored (a body on `GET`, a key over the limit).
    Request,
}

impl NoStoreReason {
    /// A token for `Cache-Status: detail`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::RequestNoStore => "request-no-store",
            Self::Status => "status",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::VaryAny => "vary-any",
            Self::NoLifetime => "no-lifetime",
            Self::SetCookie => "set-cookie",
            Self::NotReusable => "not-reusable",
            Self::Handler => "handler-no-store",
            Self::Unnamed => "unnamed-read",
            Self::Tags => "too-many-tags",
            Self::TooLarge => "too-large",
            Self::Fenced => "fenced",
            Self::ReadBehind => "read-behind",
            Self::Request => "request",
        }
    }

    /// Whether the next answer of this key will hardly be shared either, so that requests should not wait for it.
    #[must_use]
    pub const fn lasts(self) -> bool {
        !matches!(
            self,
            Self::Fenced | Self::ReadBehind | Self::Method | Self::RequestNoStore | Self::Request
        )
    }
}

/// A response and the request it answers, as far as storing goes.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's fields.
    pub request: &'a HeaderMap,
    /// The request's `Cache-Control` has `no-store`.
    pub request_no_store: bool,
    /// The response's status.
    pub status: StatusCode,
    /// The response's fields.
    pub response: &'a HeaderMap,
    /// An HTTP origin made it, which says by an explicit lifetime that it is for everyone; a module's framework may give
    /// all its answers one.
    pub by_origin: bool,
    /// What the handler set, in seconds; goes before the response's fields, except `no-store` and `private`.
    pub lifetime: Option<u64>,
    /// Lifetimes that the route gives to errors without one of their own.
    pub negative: Negative,
    /// When the response came.
    pub received: SystemTime,
}

/// RFC 9111 §3, for a shared cache.
///
/// `Set-Cookie` does not prevent storing where the response says that it is for everyone; where an origin made it, an explicit
/// lifetime says so (RFC 9111 §7.3 leaves it to the origin's directives). With a heuristic lifetime it does.
///
/// # Errors
/// Why it is not stored.
pub fn storable(candidate: &Candidate<'_>) -> Result<Lifetime, NoStoreReason> {
    let Candidate {
        method,
        request,
        status,
        response,
        ..
    } = *candidate;
    if *method != Method::GET {
        return Err(NoStoreReason::Method);
    }
    if candidate.request_no_store {
        return Err(NoStoreReason::RequestNoStore);
    }
    // §3.3: a part that says where it lies may answer requests for what is in it.
    let is_part = candidate.by_origin && is_one_part(response);
    if status.is_informational()
        || is_of_request(status)
        || (status == StatusCode::PARTIAL_CONTENT && !is_part)
    {
        return Err(NoStoreReason::Status);
    }
    let directives = ResponseDirectives::of(response);
    // §5.2.2.3: `must-understand` takes the place of `no-store` for those who know the status.
    let understood = directives.must_understand && is_understood(status);
    if directives.must_understand && !understood {
        return Err(NoStoreReason::Status);
    }
    if directives.no_store && !understood {
        return Err(NoStoreReason::NoStore);
    }
    if directives.private {
        return Err(NoStoreReason::Private);
    }
    if vary::is_any(response) || (candidate.by_origin && varies_by_client(response)) {
        return Err(NoStoreReason::VaryAny);
    }
    let shared = directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    if request.contains_key(AUTHORIZATION) && !shared {
        return Err(NoStoreReason::Authorization);
    }
    let explicit = candidate.lifetime.or_else(|| {
        explicit_lifetime(&directives, response, candidate.received).map(|(seconds, _)| seconds)
    });
    // §7.3: a cookie is mostly one caller's. It is not stored where it might have been forgotten.
    let for_everyone = directives.public
        || directives.s_maxage.is_some()
        || directives.targeted
        || (candidate.by_origin && explicit.is_some());
    if response.contains_key(SET_COOKIE) && !names_cookie(&directives) && !for_everyone {
        return Err(NoStoreReason::SetCookie);
    }
    // The route's word is none of the origin's: it shares nothing that the standard does not.
    let by_route = match request.contains_key(AUTHORIZATION) {
        true => None,
        false => candidate.negative.of(status.as_u16()),
    };
    let fresh_seconds = match explicit.or(by_route) {
        Some(seconds) => seconds,
        None if is_heuristic(status) || directives.public => {
            heuristic(response, candidate.received)
        }
        None => return Err(NoStoreReason::NoLifetime),
    };
    let lifetime = Lifetime {
        fresh_seconds,
        while_revalidate_seconds: directives.stale_while_revalidate.unwrap_or(0),
        if_error_seconds: directives.stale_if_error.unwrap_or(0),
        must_revalidate: directives.must_revalidate || directives.s_maxage.is_some(),
        always_validate: directives.no_cache && candidate.lifetime.is_none(),
    };
    let never_fresh = lifetime.always_validate || fresh_seconds == 0;
    let validators = response.contains_key(ETAG) || response.contains_key(LAST_MODIFIED);
    let stale_use = lifetime.while_revalidate_seconds + lifetime.if_error_seconds > 0;
    if never_fresh && !validators && !stale_use {
        return Err(NoStoreReason::NotReusable);
    }
    Ok(lifetime)
}

/// Statuses that answer a field of the request which is no part of the key: its conditions, its `Range`. Stored, they would answer
/// those who did not send it.
fn is_of_request(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_MODIFIED
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::RANGE_NOT_SATISFIABLE
            | StatusCode::EXPECTATION_FAILED
    )
}

/// Whether `Vary` names a field that every client has a value of its own for, which the origin is told and the request does not
/// say: `X-Forwarded-For` and the like. Host and scheme are part of the key.
fn varies_by_client(response: &HeaderMap) -> bool {
    let fields = vary::fields(response).unwrap_or_default();
    let is_keyed =
        |name: &HeaderName| matches!(name.as_str(), "x-forwarded-host" | "x-forwarded-proto");
    fields.iter().any(|name| is_claim(name) && !is_keyed(name))
}

/// Whether `no-cache="set-cookie"` or `private="set-cookie"` keeps the cookie out of what is stored. RFC 9111 §5.2.2.4.
fn names_cookie(directives: &ResponseDirectives) -> bool {
    directives.fields.contains(&SET_COOKIE)
}

/// Whether a response says itself how long it is fresh.
#[must_use]
pub fn has_lifetime(response: &HeaderMap) -> bool {
    let directives = ResponseDirectives::of(response);
    explicit_lifetime(&directives, response, SystemTime::UNIX_EPOCH).is_some()
}

/// What says how long a response is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifetimeSource {
    /// A field for CDNs or surrogates.
    Targeted,
    /// `s-maxage`.
    SMaxage,
    /// `max-age`.
    MaxAge,
    /// `Expires`.
    Expires,
    /// How long ago it was modified.
    Heuristic,
    /// Nothing that is stored with it: its handler, its route, or a field that is taken off.
    Elsewhere,
}

/// What says that a stored response is fresh for so long, counted from when it was `received`.
#[must_use]
pub fn lifetime_source(
    lifetime: &Lifetime,
    response: &HeaderMap,
    received: SystemTime,
) -> LifetimeSource {
    let directives = ResponseDirectives::of(response);
    let (seconds, source) = explicit_lifetime(&directives, response, received)
        .unwrap_or((heuristic(response, received), LifetimeSource::Heuristic));
    match seconds == lifetime.fresh_seconds {
        true => source,
        false => LifetimeSource::Elsewhere,
    }
}

/// `s-maxage`, `max-age`, `Expires`, in this order. RFC 9111 §4.2.1.
fn explicit_lifetime(
    directives: &ResponseDirectives,
    response: &HeaderMap,
    received: SystemTime,
) -> Option<(u64, LifetimeSource)> {
    let of = |source| match directives.targeted {
        true => LifetimeSource::Targeted,
        false => source,
    };
    if let Some(seconds) = directives.s_maxage {
        return Some((seconds, of(LifetimeSource::SMaxage)));
    }
    if let Some(seconds) = directives.max_age {
        return Some((seconds, of(LifetimeSource::MaxAge)));
    }
    if directives.targeted || !response.contains_key(EXPIRES) {
        return None;
    }
    // §5.3: what is not a date, `0` above all, lies in the past.
    let Some(expires) = date(response, &EXPIRES) else {
        return Some((0, LifetimeSource::Expires));
    };
    let from = date(response, &DATE).unwrap_or(received);
    let left = expires.duration_since(from).unwrap_or(Duration::ZERO);
    Some((left.as_secs(), LifetimeSource::Expires))
}

/// RFC 9111 §4.2.2.
fn heuristic(response: &HeaderMap, received: SystemTime) -> u64 {
    let Some(modified) = date(response, &LAST_MODIFIED) else {
        return 0;
    };
    let from = date(response, &DATE).unwrap_or(received);
    let since = from
        .duration_since(modified)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    (since / HEURISTIC_DIVISOR).min(HEURISTIC_SECONDS_MAX)
}

/// Statuses with a heuristic lifetime. RFC 9110 §15.1.
fn is_heuristic(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// Statuses of RFC 9110 whose caching we know, 304 aside.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=206 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505
    )
}

#[cfg(test)]
mod tests;
