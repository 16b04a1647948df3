//! What the host notes down while a module runs, for the answer's place in the cache.

use brink_policy::http::{
    ResponseDirectives, storable,
    storable::{Candidate, has_lifetime},
};
use brink_protocol::{Position, tag::Tag};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use std::time::{Duration, Instant, SystemTime};

/// What the host noted down during a run, and during those of the modules that it called.
#[derive(Debug, Default)]
pub struct Collected {
    /// Records and ranges that were read, names that the module gave, modules that it called.
    pub tags: Vec<Tag>,
    /// `cache.set-lifetime` of the module that answers; of several the last.
    pub lifetime: Option<Duration>,
    /// What modules that it called said of theirs: the least.
    pub lifetime_max: Option<Duration>,
    /// When the first of the records that were read ends by its own lifetime.
    pub until: Option<Instant>,
    /// `cache.no-store`, or something that was asked for did not come.
    pub no_store: bool,
    /// The caller's identity was asked for.
    pub private: bool,
    /// Credentials that were looked for in the client's request, each once.
    pub credentials: Vec<HeaderName>,
    /// Something was read that no tag names.
    pub unnamed: bool,
    /// The earliest position at which records were read; none if none were.
    pub read: Option<Position>,
    /// Everything that was read, merged: no later read may show less.
    pub seen: Position,
    /// Where its writes are in the log.
    pub written: Position,
    /// The core could not be reached for something.
    pub core_away: bool,
}

impl Collected {
    /// Records were read at `position`: of several reads the earliest counts, for each origin the least.
    pub(super) fn read_at(&mut self, position: &Position) {
        self.seen.merge(position);
        let Some(before) = &self.read else {
            self.read = Some(position.clone());
            return;
        };
        let mut earliest = Position::default();
        for (origin, sequence) in position.iter() {
            earliest.advance(origin, sequence.min(before.get(origin)));
        }
        self.read = Some(earliest);
    }

    /// A record that was read ends then.
    pub(super) fn ends(&mut self, until: Option<Instant>) {
        self.until = earlier(self.until, until);
    }

    /// A module that was called wants its answer kept no longer than this.
    pub(super) fn lasts(&mut self, lifetime: Duration) {
        self.lifetime_max = earlier(self.lifetime_max, Some(lifetime));
    }

    /// A module that was called has answered like this. What it said by the platform's interfaces is noted already, its
    /// lifetime too if `has_spoken`; the fields say the rest.
    pub(super) fn called(&mut self, status: StatusCode, headers: &HeaderMap, has_spoken: bool) {
        let directives = ResponseDirectives::of(headers);
        self.private |= directives.private;
        // What a fault makes of the answer holds only for now.
        self.no_store |= directives.no_store || status.is_server_error();
        if has_spoken {
            return;
        }
        if directives.no_cache {
            self.lasts(Duration::ZERO);
        } else if let Some(seconds) =
            fresh_seconds(status, headers).filter(|_| has_lifetime(headers))
        {
            self.lasts(Duration::from_secs(seconds));
        }
    }

    /// The lifetime that the answer is given in the cache: what its module set, and no more than what the answers and
    /// records that it is made of have left. None: what its fields say, which is no more.
    #[must_use]
    pub fn lifetime(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        now: Instant,
    ) -> Option<Duration> {
        let left = self.until.map(|until| until.saturating_duration_since(now));
        let Some(bound) = earlier(self.lifetime_max, left) else {
            return self.lifetime;
        };
        if let Some(lifetime) = self.lifetime {
            return Some(lifetime.min(bound));
        }
        // Without a lifetime, or to be validated each time: a bound must not make it one that lasts.
        if ResponseDirectives::of(headers).no_cache || (self.unnamed && !has_lifetime(headers)) {
            return None;
        }
        let fresh = Duration::from_secs(fresh_seconds(status, headers)?);
        (bound < fresh).then_some(bound)
    }
}

fn earlier<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// How long the fields of an answer to `GET` let it be fresh; none: they do not let it be stored.
fn fresh_seconds(status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    let judged = storable(&Candidate {
        method: &Method::GET,
        request: &HeaderMap::new(),
        request_no_store: false,
        status,
        response: headers,
        by_origin: false,
        lifetime: None,
        negative: brink_protocol::caching::Negative::default(),
        received: SystemTime::now(),
    });
    judged.ok().map(|lifetime| lifetime.fresh_seconds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_earliest_position_of_several_reads_counts() {
        for (reads, earliest, seen) in [
            (vec!["a.1=5"], "a.1=5", "a.1=5"),
            (vec!["a.1=5", "a.1=7"], "a.1=5", "a.1=7"),
            (vec!["a.1=7", "a.1=5"], "a.1=5", "a.1=7"),
            (
                vec!["a.1=7,b.1=2", "a.1=5,b.1=3"],
                "a.1=5,b.1=2",
                "a.1=7,b.1=3",
            ),
            (vec!["a.1=7", "b.1=3"], "", "a.1=7,b.1=3"),
        ] {
            let mut collected = Collected::default();
            for read in &reads {
                collected.read_at(&read.parse().unwrap());
            }
            assert_eq!(collected.read.unwrap().to_string(), earliest, "{reads:?}");
            assert_eq!(collected.seen.to_string(), seen, "{reads:?}");
        }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lifetime_is_no_longer_than_those_of_what_the_answer_is_made_of() {
        let max_age = headers(&[("cache-control", "max-age=60")]);
        let none = headers(&[]);
        for (own, called, left, fields, expected) in [
            (None, None, None, &max_age, None),
            (Some(9), None, None, &max_age, Some(9)),
            (Some(9), Some(5), None, &none, Some(5)),
            (Some(9), Some(50), None, &none, Some(9)),
            (Some(9), Some(7), Some(3), &none, Some(3)),
            (None, Some(5), None, &max_age, Some(5)),
            (None, Some(90), None, &max_age, None),
            (None, None, Some(0), &max_age, Some(0)),
            // Nothing lets it last: a bound does not either.
            (None, Some(5), None, &none, None),
        ] {
            let now = Instant::now();
            let mut collected = Collected {
                lifetime: own.map(|n| n * SECOND),
                ..Collected::default()
            };
            if let Some(called) = called {
                collected.lasts(called * SECOND);
            }
            collected.ends(left.map(|n| now + n * SECOND));
            let lifetime = collected.lifetime(StatusCode::OK, fields, now);
            assert_eq!(
                lifetime,
                expected.map(|n| n * SECOND),
                "{own:?} {called:?} {left:?}"
            );
        }
    }

    #[test]
    fn a_bound_makes_nothing_last_that_does_not() {
        let modified = headers(&[("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")]);
        let mut collected = Collected::default();
        collected.lasts(SECOND);
        let lifetime = |collected: &Collected, fields| {
            collected.lifetime(StatusCode::OK, fields, Instant::now())
        };
        assert_eq!(
            lifetime(&collected, &modified),
            Some(SECOND),
            "a heuristic one"
        );
        collected.unnamed = true;
        assert_eq!(lifetime(&collected, &modified), None);
        collected.unnamed = false;
        let validated = headers(&[("cache-control", "no-cache"), ("etag", "\"1\"")]);
        assert_eq!(lifetime(&collected, &validated), None);
    }

    #[test]
    fn what_called_modules_answer_joins() {
        for (status, fields, spoken, no_store, private, bound) in [
            (200, &[][..], false, false, false, None),
            (
                200,
                &[("cache-control", "max-age=5")],
                false,
                false,
                false,
                Some(5),
            ),
            (
                200,
                &[("cache-control", "max-age=5")],
                true,
                false,
                false,
                None,
            ),
            (
                200,
                &[("cache-control", "no-cache")],
                false,
                false,
                false,
                Some(0),
            ),
            (
                200,
                &[("cache-control", "no-cache")],
                true,
                false,
                false,
                None,
            ),
            (
                200,
                &[("cache-control", "no-store")],
                true,
                true,
                false,
                None,
            ),
            (
                200,
                &[("cache-control", "private")],
                true,
                false,
                true,
                None,
            ),
            (503, &[], true, true, false, None),
            (404, &[], true, false, false, None),
        ] {
            let mut collected = Collected::default();
            let status = StatusCode::from_u16(status).unwrap();
            collected.called(status, &headers(fields), spoken);
            assert_eq!(
                (
                    collected.no_store,
                    collected.private,
                    collected.lifetime_max
                ),
                (no_store, private, bound.map(Duration::from_secs)),
                "{status} {fields:?} {spoken}"
            );
        }
    }
}
