//! Why a decision is what it is, in words for people, with where it says so.
//!
//! Nothing is decided here: each verdict is that of the function that requests go by, and tests hold the words against it.

use super::{
    directives::RequestDirectives,
    reuse::{Connection, Reuse, StaleReason, Stored, reuse, ttl},
    storable::{LifetimeSource, NoStoreReason},
};
use brink_protocol::deployment::WhenDisconnected;

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// In words.
    pub text: String,
    /// The section of a standard, or a page of the documentation.
    pub source: &'static str,
}

impl Reason {
    /// A reason and where it says so.
    #[must_use]
    pub fn new(text: impl Into<String>, source: &'static str) -> Self {
        Self {
            text: text.into(),
            source,
        }
    }
}

const COHERENCE: &str = "coherence.md";

/// What [`reuse`] decides, and why: what speaks for the verdict, in the order in which it is asked.
#[must_use]
pub fn explain_reuse(
    request: &RequestDirectives,
    stored: &Stored<'_>,
    connection: Connection,
) -> (Reuse, Vec<Reason>) {
    let (_, reasons) = walk(request, stored, connection);
    (reuse(request, stored, connection), reasons)
}

/// The questions one after the other, until one is answered.
fn walk(
    request: &RequestDirectives,
    stored: &Stored<'_>,
    connection: Connection,
) -> (Reuse, Vec<Reason>) {
    let mut reasons = Vec::new();
    let forward = |verdict, reasons: &mut Vec<Reason>| match request.only_if_cached {
        true => {
            let text = "the request says only-if-cached, so that nobody is asked: 504";
            reasons.push(Reason::new(text, "RFC 9111 §5.2.1.7"));
            Reuse::OnlyIfCached
        }
        false => verdict,
    };
    if let Some(verdict) = by_request(request, stored, &mut reasons) {
        return (forward(verdict, &mut reasons), reasons);
    }
    let left = ttl(stored.lifetime, stored.age_seconds);
    if left > 0 && !stored.lifetime.always_validate && !stored.soft_purged {
        let text = format!("it is fresh for {left} s more");
        reasons.push(Reason::new(text, "RFC 9111 §4.2"));
        let verdict = match connection {
            Connection::Connected => Reuse::Serve,
            Connection::Silent(choice) => {
                reasons.push(silent(choice));
                match choice {
                    WhenDisconnected::ServeStale => Reuse::ServeStale(StaleReason::Disconnected),
                    WhenDisconnected::Revalidate => forward(Reuse::Validate, &mut reasons),
                    WhenDisconnected::Fail => Reuse::Disconnected,
                }
            }
        };
        return (verdict, reasons);
    }
    reasons.push(not_fresh(stored, left));
    if let Some(verdict) = stale(request, stored, connection, &mut reasons) {
        return (verdict, reasons);
    }
    let verdict = forward(Reuse::Validate, &mut reasons);
    (verdict, reasons)
}

/// What the request's own directives say.
fn by_request(
    request: &RequestDirectives,
    stored: &Stored<'_>,
    reasons: &mut Vec<Reason>,
) -> Option<Reuse> {
    let mut verdict = None;
    let left = ttl(stored.lifetime, stored.age_seconds);
    let staleness = (-left).max(0).unsigned_abs();
    if request.no_cache {
        let text = "the request says no-cache: only what was validated will do";
        reasons.push(Reason::new(text, "RFC 9111 §5.2.1.4"));
        return Some(Reuse::ValidateForRequest);
    }
    let age = stored.age_seconds;
    if let Some(max) = request.max_age.filter(|max| age > *max) {
        let text = format!("it is {age} s old, and the request says max-age={max}");
        reasons.push(Reason::new(text, "RFC 9111 §5.2.1.1"));
        match request.max_stale {
            Some(max) if staleness <= max => {
                let text =
                    format!("which max-stale={max} takes back: it is stale for {staleness} s");
                reasons.push(Reason::new(text, "RFC 9111 §5.2.1.2"));
            }
            Some(_) | None => verdict = Some(Reuse::ValidateForRequest),
        }
    }
    let too_soon = |min: &u64| left < i64::try_from(*min).unwrap_or(i64::MAX);
    if let Some(min) = request.min_fresh.filter(too_soon) {
        let text = format!("the request says min-fresh={min}, and {left} s are left");
        reasons.push(Reason::new(text, "RFC 9111 §5.2.1.3"));
        verdict = Some(Reuse::ValidateForRequest);
    }
    verdict
}

fn not_fresh(stored: &Stored<'_>, left: i64) -> Reason {
    if stored.lifetime.always_validate {
        let text = "its no-cache allows no use without validation";
        return Reason::new(text, "RFC 9111 §5.2.2.4");
    }
    if stored.soft_purged && left > 0 {
        return Reason::new("a soft purge has made it stale", "purging.md");
    }
    let text = format!("it is stale for {} s", left.unsigned_abs());
    Reason::new(text, "RFC 9111 §4.2")
}

fn silent(choice: WhenDisconnected) -> Reason {
    let text = match choice {
        WhenDisconnected::ServeStale => {
            "the lease is over, and the route serves what it has, marked stale"
        }
        WhenDisconnected::Revalidate => {
            "the lease is over, and the route wants it validated before it is served"
        }
        WhenDisconnected::Fail => "the lease is over, and the route wants to fail: 503",
    };
    Reason::new(text, COHERENCE)
}

/// Whether it may be served stale.
fn stale(
    request: &RequestDirectives,
    stored: &Stored<'_>,
    connection: Connection,
    reasons: &mut Vec<Reason>,
) -> Option<Reuse> {
    let lifetime = stored.lifetime;
    let staleness = (-ttl(lifetime, stored.age_seconds)).max(0).unsigned_abs();
    if lifetime.always_validate {
        return None;
    }
    if lifetime.must_revalidate {
        let text = "must-revalidate, proxy-revalidate or s-maxage forbid to serve it stale";
        reasons.push(Reason::new(text, "RFC 9111 §4.2.4, §5.2.2"));
        return None;
    }
    if let Connection::Silent(choice @ (WhenDisconnected::Revalidate | WhenDisconnected::Fail)) =
        connection
    {
        let name = if choice == WhenDisconnected::Fail {
            "fail"
        } else {
            "revalidate"
        };
        let text =
            format!("the lease is over, and the route's choice is {name}: nothing stale is served");
        reasons.push(Reason::new(text, COHERENCE));
        return None;
    }
    let window = lifetime.while_revalidate_seconds;
    if window > 0 && staleness <= window {
        let text =
            format!("stale-while-revalidate={window} lets it be served while it is validated");
        reasons.push(Reason::new(text, "RFC 5861 §3"));
        return Some(Reuse::ServeStale(StaleReason::WhileRevalidate));
    }
    if window > 0 {
        let text = format!("stale-while-revalidate={window} is over");
        reasons.push(Reason::new(text, "RFC 5861 §3"));
    }
    let max = request.max_stale.filter(|max| staleness <= *max)?;
    let text = format!("the request takes what is stale for up to {max} s");
    reasons.push(Reason::new(text, "RFC 9111 §5.2.1.2"));
    Some(Reuse::ServeStale(StaleReason::MaxStale))
}

/// Where a lifetime comes from, in words.
#[must_use]
pub fn lifetime_source(source: LifetimeSource) -> Reason {
    let (text, section) = match source {
        LifetimeSource::SMaxage => ("s-maxage of Cache-Control", "RFC 9111 §5.2.2.10"),
        LifetimeSource::MaxAge => ("max-age of Cache-Control", "RFC 9111 §5.2.2.1"),
        LifetimeSource::Targeted => (
            "a field for caches like this one (Brink-Cache-Control, CDN-Cache-Control, Surrogate-Control)",
            "RFC 9213 §2.2",
        ),
        LifetimeSource::Expires => ("Expires, counted from Date", "RFC 9111 §5.3"),
        LifetimeSource::Heuristic => (
            "a tenth of the time from Last-Modified to Date, a day at most",
            "RFC 9111 §4.2.2",
        ),
        LifetimeSource::Elsewhere => (
            "the module, the route's negative caching, or a field that is not passed on",
            "caching.md",
        ),
    };
    Reason::new(text, section)
}

/// What an answer would need to be stored that was not, for this reason.
#[must_use]
pub fn would_be_stored(reason: NoStoreReason) -> Reason {
    let (text, section) = match reason {
        NoStoreReason::Method => (
            "only answers to GET are stored: ask with GET",
            "RFC 9111 §3",
        ),
        NoStoreReason::RequestNoStore => (
            "the request said no-store: ask without",
            "RFC 9111 §5.2.1.5",
        ),
        NoStoreReason::Status => (
            "the status is not one that can be reused here: a 206 needs a single Content-Range, must-understand a known status",
            "RFC 9111 §3, §3.3",
        ),
        NoStoreReason::NoStore => ("take no-store off its Cache-Control", "RFC 9111 §5.2.2.5"),
        NoStoreReason::Private => (
            "it is its caller's own: take private off; if the request has cookies, say public or s-maxage, vary by Cookie, or key or drop cookies by the route's rules",
            "RFC 9111 §5.2.2.7",
        ),
        NoStoreReason::Authorization => (
            "the request has Authorization: say public, must-revalidate or s-maxage",
            "RFC 9111 §3.5",
        ),
        NoStoreReason::VaryAny => (
            "Vary is *, or has too many members: name the fields that count",
            "RFC 9111 §4.1",
        ),
        NoStoreReason::NoLifetime => (
            "give it a lifetime: Cache-Control: max-age or s-maxage, CDN-Cache-Control, or Expires",
            "RFC 9111 §3, §4.2.1",
        ),
        NoStoreReason::SetCookie => (
            "it has Set-Cookie: say public or s-maxage if all may get that cookie, or no-cache=\"set-cookie\"",
            "RFC 9111 §7.3",
        ),
        NoStoreReason::NotReusable => (
            "it is never fresh: give it a lifetime, or an ETag or Last-Modified to validate it with",
            "RFC 9111 §4.2, §4.3",
        ),
        NoStoreReason::Handler => (
            "the module said so, or an unsafe request has just changed what it shows",
            "coherence.md",
        ),
        NoStoreReason::Unnamed => (
            "the module read what no tag names: let it set a lifetime",
            "caching.md",
        ),
        NoStoreReason::Tags => ("it has too many tags, or malformed ones", "purging.md"),
        NoStoreReason::TooLarge => (
            "it is too large: see cache.object_bytes_max",
            "configuration.md",
        ),
        NoStoreReason::Fenced => (
            "a change touched it while it was made: the next request stores it",
            COHERENCE,
        ),
        NoStoreReason::ReadBehind => (
            "its records are older than what this PoP has applied: the next request stores it",
            COHERENCE,
        ),
        NoStoreReason::Request => (
            "the request has content or conditions that no key contains, or its key is too long",
            "caching.md",
        ),
    };
    Reason::new(text, section)
}

#[cfg(test)]
mod tests;
