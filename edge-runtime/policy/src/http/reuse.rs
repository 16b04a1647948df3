//! What to do with a stored response: RFC 9111 §4, RFC 5861, and what a silent feed means.

use super::{directives::RequestDirectives, storable::Lifetime};
use brink_protocol::deployment::WhenDisconnected;

/// Whether the stored response can be called fresh as far as changes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Changes are heard of: it is what it was.
    Connected,
    /// The feed has been silent for longer than the lease; the route's choice counts.
    Silent(WhenDisconnected),
}

/// A stored response and the request that it may answer.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// How long it may be used.
    pub lifetime: &'a Lifetime,
    /// Its current age, in seconds.
    pub age_seconds: u64,
    /// It was purged softly: stale, whatever its age.
    pub soft_purged: bool,
}

/// Why a stale response is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StaleReason {
    /// `stale-while-revalidate`: serve it, and validate it beside.
    WhileRevalidate,
    /// `stale-if-error`: no better answer came.
    IfError,
    /// The request's `max-stale`.
    MaxStale,
    /// The feed is silent and the route wants it.
    Disconnected,
}

impl StaleReason {
    /// A token for `Cache-Status: detail`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WhileRevalidate => "stale-while-revalidate",
            Self::IfError => "stale-if-error",
            Self::MaxStale => "max-stale",
            Self::Disconnected => "disconnected",
        }
    }
}

/// What to do with a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// It is fresh.
    Serve,
    /// It is stale, and may be served.
    ServeStale(StaleReason),
    /// Ask whether it still holds: it is stale, or may not be used without.
    Validate,
    /// Ask: the request wants a fresher one.
    ValidateForRequest,
    /// 504: the request wants no other than a stored one (`only-if-cached`), and this will not do.
    OnlyIfCached,
    /// 503: the feed is silent and the route wants to fail.
    Disconnected,
}

/// Seconds of freshness that are left; negative: stale for so long.
#[must_use]
pub fn ttl(lifetime: &Lifetime, age_seconds: u64) -> i64 {
    let [fresh, age] =
        [lifetime.fresh_seconds, age_seconds].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    fresh.saturating_sub(age)
}

/// RFC 9111 §4.2, §4.2.4, §5.2.1.
#[must_use]
pub fn reuse(request: &RequestDirectives, stored: &Stored<'_>, connection: Connection) -> Reuse {
    let forward = |reuse| {
        if request.only_if_cached {
            Reuse::OnlyIfCached
        } else {
            reuse
        }
    };
    let Stored {
        lifetime,
        age_seconds,
        soft_purged,
    } = *stored;
    let left = ttl(lifetime, age_seconds);
    let staleness = (-left).max(0).unsigned_abs();
    if request.no_cache {
        return forward(Reuse::ValidateForRequest);
    }
    let too_old = request.max_age.is_some_and(|max| age_seconds > max);
    let too_soon = request
        .min_fresh
        .is_some_and(|min| left < i64::try_from(min).unwrap_or(i64::MAX));
    let max_stale = request.max_stale.is_some_and(|max| staleness <= max);
    if (too_old && !max_stale) || too_soon {
        return forward(Reuse::ValidateForRequest);
    }
    if left > 0 && !lifetime.always_validate && !soft_purged {
        return match connection {
            Connection::Connected => Reuse::Serve,
            Connection::Silent(WhenDisconnected::ServeStale) => {
                Reuse::ServeStale(StaleReason::Disconnected)
            }
            Connection::Silent(WhenDisconnected::Revalidate) => forward(Reuse::Validate),
            Connection::Silent(WhenDisconnected::Fail) => Reuse::Disconnected,
        };
    }
    // What may not be served fresh without being asked for, may not be served stale.
    let serves_stale = match connection {
        Connection::Connected | Connection::Silent(WhenDisconnected::ServeStale) => true,
        Connection::Silent(WhenDisconnected::Revalidate | WhenDisconnected::Fail) => false,
    };
    if !lifetime.must_revalidate && !lifetime.always_validate && serves_stale {
        if staleness <= lifetime.while_revalidate_seconds && lifetime.while_revalidate_seconds > 0 {
            return Reuse::ServeStale(StaleReason::WhileRevalidate);
        }
        if max_stale {
            return Reuse::ServeStale(StaleReason::MaxStale);
        }
    }
    forward(Reuse::Validate)
}

/// Whether a stored response may be served because validating it failed: the origin is away or answered 500, 502, 503
/// or 504 (RFC 5861 §4), or the feed is silent and the route allows it, then for at most `stale_seconds_max`. Not if it is
/// silent and the route wants to fail.
#[must_use]
pub fn reuse_after_failure(
    stored: &Stored<'_>,
    connection: Connection,
    stale_seconds_max: u64,
) -> Option<StaleReason> {
    let Stored {
        lifetime,
        age_seconds,
        ..
    } = *stored;
    if lifetime.always_validate || connection == Connection::Silent(WhenDisconnected::Fail) {
        return None;
    }
    let staleness = (-ttl(lifetime, age_seconds)).max(0).unsigned_abs();
    if lifetime.must_revalidate && (staleness > 0 || stored.soft_purged) {
        return None;
    }
    if lifetime.if_error_seconds > 0 && staleness <= lifetime.if_error_seconds {
        return Some(StaleReason::IfError);
    }
    match connection {
        Connection::Connected | Connection::Silent(WhenDisconnected::Fail) => None,
        Connection::Silent(WhenDisconnected::Revalidate | WhenDisconnected::ServeStale) => {
            (staleness <= stale_seconds_max).then_some(StaleReason::Disconnected)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Connection::{Connected, Silent};

    const PLAIN: RequestDirectives = RequestDirectives {
        max_age: None,
        min_fresh: None,
        max_stale: None,
        no_cache: false,
        no_store: false,
        only_if_cached: false,
    };

    fn lifetime() -> Lifetime {
        Lifetime::fresh_for(60)
    }

    #[test]
    fn by_request() {
        for (request, age, expected) in [
            (PLAIN, 0, Reuse::Serve),
            (PLAIN, 59, Reuse::Serve),
            (PLAIN, 60, Reuse::Validate),
            (
                RequestDirectives {
                    no_cache: true,
                    ..PLAIN
                },
                0,
                Reuse::ValidateForRequest,
            ),
            (
                RequestDirectives {
                    max_age: Some(10),
                    ..PLAIN
                },
                10,
                Reuse::Serve,
            ),
            (
                RequestDirectives {
                    max_age: Some(10),
                    ..PLAIN
                },
                11,
                Reuse::ValidateForRequest,
            ),
            (
                RequestDirectives {
                    max_age: Some(0),
                    ..PLAIN
                },
                0,
                Reuse::Serve,
            ),
            (
                RequestDirectives {
                    min_fresh: Some(50),
                    ..PLAIN
                },
                10,
                Reuse::Serve,
            ),
            (
                RequestDirectives {
                    min_fresh: Some(50),
                    ..PLAIN
                },
                11,
                Reuse::ValidateForRequest,
            ),
            (
                RequestDirectives {
                    max_stale: Some(10),
                    ..PLAIN
                },
                70,
                Reuse::ServeStale(StaleReason::MaxStale),
            ),
            (
                RequestDirectives {
                    max_stale: Some(10),
                    ..PLAIN
                },
                71,
                Reuse::Validate,
            ),
            (
                RequestDirectives {
                    only_if_cached: true,
                    ..PLAIN
                },
                59,
                Reuse::Serve,
            ),
            (
                RequestDirectives {
                    only_if_cached: true,
                    ..PLAIN
                },
                60,
                Reuse::OnlyIfCached,
            ),
        ] {
            let stored = Stored {
                lifetime: &lifetime(),
                age_seconds: age,
                soft_purged: false,
            };
            assert_eq!(
                reuse(&request, &stored, Connected),
                expected,
                "{request:?} {age}"
            );
        }
    }

    #[test]
    fn by_response_and_connection() {
        let swr = Lifetime {
            while_revalidate_seconds: 30,
            ..lifetime()
        };
        let must = Lifetime {
            must_revalidate: true,
            ..swr
        };
        let always = Lifetime {
            always_validate: true,
            ..swr
        };
        let while_revalidate = Reuse::ServeStale(StaleReason::WhileRevalidate);
        for (lifetime, age, soft, connection, expected) in [
            (swr, 60, false, Connected, while_revalidate),
            (swr, 90, false, Connected, while_revalidate),
            (swr, 91, false, Connected, Reuse::Validate),
            (swr, 5, true, Connected, while_revalidate),
            (
                swr,
                60,
                false,
                Silent(WhenDisconnected::ServeStale),
                while_revalidate,
            ),
            (
                swr,
                60,
                false,
                Silent(WhenDisconnected::Revalidate),
                Reuse::Validate,
            ),
            (lifetime(), 5, true, Connected, Reuse::Validate),
            (must, 60, false, Connected, Reuse::Validate),
            (must, 5, true, Connected, Reuse::Validate),
            (always, 5, false, Connected, Reuse::Validate),
            (
                lifetime(),
                5,
                false,
                Silent(WhenDisconnected::Fail),
                Reuse::Disconnected,
            ),
            (
                lifetime(),
                5,
                false,
                Silent(WhenDisconnected::Revalidate),
                Reuse::Validate,
            ),
            (
                lifetime(),
                5,
                false,
                Silent(WhenDisconnected::ServeStale),
                Reuse::ServeStale(StaleReason::Disconnected),
            ),
            (
                lifetime(),
                65,
                false,
                Silent(WhenDisconnected::ServeStale),
                Reuse::Validate,
            ),
        ] {
            let stored = Stored {
                lifetime: &lifetime,
                age_seconds: age,
                soft_purged: soft,
            };
            assert_eq!(
                reuse(&PLAIN, &stored, connection),
                expected,
                "{lifetime:?} {age} {soft} {connection:?}"
            );
        }
    }

    #[test]
    fn after_failure() {
        let sie = Lifetime {
            if_error_seconds: 30,
            ..lifetime()
        };
        let must = Lifetime {
            must_revalidate: true,
            ..sie
        };
        let always = Lifetime {
            always_validate: true,
            ..sie
        };
        let disconnected = Some(StaleReason::Disconnected);
        for (lifetime, age, connection, expected) in [
            (sie, 90, Connected, Some(StaleReason::IfError)),
            (sie, 91, Connected, None),
            (lifetime(), 61, Connected, None),
            (
                lifetime(),
                61,
                Silent(WhenDisconnected::ServeStale),
                disconnected,
            ),
            (
                lifetime(),
                5,
                Silent(WhenDisconnected::Revalidate),
                disconnected,
            ),
            (lifetime(), 161, Silent(WhenDisconnected::Revalidate), None),
            (lifetime(), 5, Silent(WhenDisconnected::Fail), None),
            (sie, 61, Silent(WhenDisconnected::Fail), None),
            (must, 61, Silent(WhenDisconnected::ServeStale), None),
            (always, 5, Silent(WhenDisconnected::ServeStale), None),
        ] {
            let stored = Stored {
                lifetime: &lifetime,
                age_seconds: age,
                soft_purged: false,
            };
            assert_eq!(
                reuse_after_failure(&stored, connection, 100),
                expected,
                "{lifetime:?} {age} {connection:?}"
            );
        }
    }
}
