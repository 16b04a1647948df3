//! `Brink-Coherence`: what a PoP knew when it answered, for those who ask (RFC 9651 dictionary).
//!
//! - `position="core-1.1=42"`: the answer is not older than this, unless `Cache-Status` says that it is stale.
//! - `bound=312`: the PoP knew every change that any core had acknowledged so many milliseconds before the answer.
//! - `silent`: instead of `bound`, where nothing vouches for any: the feed has not proven anything yet.
//! - `stored="core-1.1=40"`: it comes from the cache, and was made of what was there at this position.
//!
//! A request asks with `Brink-Coherence: ?1`; a route shows it on every answer with `show_coherence`.

use crate::cache::Cache;
use brink_protocol::Position;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

/// Name of the field, in requests and answers.
pub const COHERENCE_FIELD: HeaderName = HeaderName::from_static("brink-coherence");

/// What the PoP knew at one moment. Taken before the cache is asked: what is served afterwards is not older.
#[derive(Debug, Clone)]
pub struct Vouched {
    position: Position,
    /// How old this knowledge was at most, at `at`.
    bound: Option<Duration>,
    at: Instant,
}

impl Vouched {
    /// What the PoP knows now.
    #[must_use]
    pub fn of(cache: &Cache, at: Instant) -> Self {
        // The bound first: a claim that is proven in between would vouch for more than the position.
        let bound = cache.staleness_bound(at);
        Self {
            position: cache.position(),
            bound,
            at,
        }
    }

    /// The field of an answer that leaves at `now`; `stored`: the position of the entry that it was made of.
    #[must_use]
    pub fn field(&self, stored: Option<&Position>, now: Instant) -> Option<HeaderValue> {
        let mut text = format!("position=\"{}\"", self.position);
        // Writing to a String does not fail.
        let _ = match self.bound {
            Some(bound) => {
                let bound = bound.saturating_add(now.saturating_duration_since(self.at));
                write!(
                    text,
                    ", bound={}",
                    bound.as_millis().min(u128::from(u32::MAX))
                )
            }
            None => write!(text, ", silent"),
        };
        if let Some(stored) = stored {
            let _ = write!(text, ", stored=\"{stored}\"");
        }
        HeaderValue::try_from(text).ok()
    }
}

/// Whether a request asks for it: `?1`, with or without parameters. RFC 9651 §3.3.6.
#[must_use]
pub fn is_asked(headers: &HeaderMap) -> bool {
    headers.get(COHERENCE_FIELD).is_some_and(|value| {
        let item = value.as_bytes().split(|b| *b == b';').next();
        item.is_some_and(|item| item.trim_ascii() == b"?1")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_say_what_is_known() {
        let at = Instant::now();
        let vouched = |position: &str, bound| Vouched {
            position: position.parse().unwrap(),
            bound,
            at,
        };
        let later = at + Duration::from_millis(12);
        let known = vouched("core-1.1=42,core-2.1=7", Some(Duration::from_millis(300)));
        let stored = "core-1.1=40".parse().unwrap();
        for (vouched, stored, field) in [
            (
                &known,
                None,
                r#"position="core-1.1=42,core-2.1=7", bound=312"#,
            ),
            (
                &known,
                Some(&stored),
                r#"position="core-1.1=42,core-2.1=7", bound=312, stored="core-1.1=40""#,
            ),
            (&vouched("", None), None, r#"position="", silent"#),
        ] {
            assert_eq!(vouched.field(stored, later).unwrap(), field);
        }
    }

    #[test]
    fn only_true_asks() {
        for (value, asks) in [
            ("?1", true),
            (" ?1 ;a=b", true),
            ("?0", false),
            ("1", false),
            ("true", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(COHERENCE_FIELD, HeaderValue::from_static(value));
            assert_eq!(is_asked(&headers), asks, "{value}");
        }
        assert!(!is_asked(&HeaderMap::new()));
    }
}
