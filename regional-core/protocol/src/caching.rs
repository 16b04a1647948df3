//! What a route says of caching: whether stored answers are compressed, what is part of their key, and how long errors are kept.

use crate::Error;
use serde::{Deserialize, Serialize};

/// Most names on one list of [`KeyRules`].
pub const NAMES_MAX: usize = 64;
/// Longest name on such a list, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest lifetime that a route can give to errors, in seconds.
pub const NEGATIVE_SECONDS_MAX: u16 = 300;
/// Longest lifetime that a route can give to failures of its origin, in seconds.
pub const FAILURE_SECONDS_MAX: u16 = 30;
/// Fields that cannot be listed: they say where a message goes, how it is framed or coded, or have a rule of their own.
const NOT_LISTED: [&str; 17] = [
    "accept-encoding",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a route says of caching. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouteCache {
    /// Stored answers of textual types are compressed (`br`, `zstd`, `gzip`) for clients that accept it. Default true.
    pub compress: bool,
    /// What is part of the key.
    pub key: KeyRules,
    /// How long errors are kept that say nothing of it themselves.
    #[serde(skip_serializing_if = "Negative::is_none")]
    pub negative: Negative,
    /// The route's module runs at the PoP's shield, if it has one that answers, so that many PoPs cost one run. Answers of origins
    /// come that way in any case. Default false: modules run at the PoP that was asked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shield: bool,
}

/// Lifetimes of errors without one of their own. They are stored as any answer is: what they depend on ends them. Never for
/// requests with `Authorization`, or against what the answer says itself. By default there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Negative {
    /// Of 404, 405, 410, 414 and 501, in seconds, up to 300. 0 (the default): none.
    pub seconds: u16,
    /// Of 500, 502, 503 and 504, in seconds, up to 30. 0 (the default): none.
    pub failure_seconds: u16,
}

impl Negative {
    /// It gives no lifetime to anything.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The lifetime of answers with this status, in seconds.
    #[must_use]
    pub fn of(&self, status: u16) -> Option<u64> {
        let seconds = match status {
            404 | 405 | 410 | 414 | 501 => self.seconds.min(NEGATIVE_SECONDS_MAX),
            500 | 502 | 503 | 504 => self.failure_seconds.min(FAILURE_SECONDS_MAX),
            _ => 0,
        };
        (seconds > 0).then_some(seconds.into())
    }
}

impl Default for RouteCache {
    fn default() -> Self {
        Self {
            compress: true,
            key: KeyRules::default(),
            negative: Negative::default(),
            shield: false,
        }
    }
}

impl RouteCache {
    /// Checks lifetimes and lists of names, sorts these, and brings names of fields to lower case.
    ///
    /// # Errors
    /// The name that is not allowed, the list or the lifetime that is too long.
    pub fn normal(mut self) -> Result<Self, Error> {
        let Negative {
            seconds,
            failure_seconds,
        } = self.negative;
        for (what, actual, limit) in [
            ("lifetime of errors", seconds, NEGATIVE_SECONDS_MAX),
            ("lifetime of failures", failure_seconds, FAILURE_SECONDS_MAX),
        ] {
            if actual > limit {
                let (actual, limit) = (actual.into(), limit.into());
                return Err(Error::Limit {
                    what,
                    actual,
                    limit,
                });
            }
        }
        let KeyRules {
            query,
            headers,
            cookies,
            ..
        } = &mut self.key;
        match query {
            QueryRule::All => {}
            QueryRule::Only(names) | QueryRule::Without(names) => {
                normal_names("query parameter of a cache key", names, is_parameter)?;
            }
        }
        if let Some(names) = headers {
            for name in names.iter_mut() {
                name.make_ascii_lowercase();
            }
            normal_names("header field of a cache key", names, is_field)?;
        }
        if let Some(names) = cookies {
            normal_names("cookie of a cache key", names, is_token)?;
        }
        Ok(self)
    }
}

/// What is part of a route's cache keys, beside tenant, scheme, host and path. What a rule leaves out of the key of a `GET` or
/// `HEAD` goes to no module or origin either: it cannot change an answer that others get.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyRules {
    /// Which query parameters count. Default: all, as they were sent.
    pub query: QueryRule,
    /// The parameters that count are sorted by name.
    pub sort_query: bool,
    /// Request fields that are part of the key; others, those aside that the cache itself heeds, are taken off. None (the
    /// default): all are passed on, and answers say by `Vary` which count.
    pub headers: Option<Vec<String>>,
    /// Cookies that are part of the key; others are taken off. None (the default): all are passed on, and an answer to a
    /// request with cookies is stored only if it says that it is for everyone or varies by them.
    pub cookies: Option<Vec<String>>,
    /// The kind of the client's device is part of the key: it is told in `X-Device-Class` (`bot`, `desktop`, `mobile` or
    /// `tablet`) instead of `User-Agent` and `Sec-CH-UA*`.
    pub device: bool,
}

/// Which query parameters are part of the key. A name may end with `*`: all that begin so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum QueryRule {
    /// All.
    #[default]
    All,
    /// These; an empty list: none.
    Only(Vec<String>),
    /// All but these.
    Without(Vec<String>),
}

/// Checks, sorts, takes out what is there twice.
fn normal_names(
    what: &'static str,
    names: &mut Vec<String>,
    is_one: fn(&str) -> bool,
) -> Result<(), Error> {
    if names.len() > NAMES_MAX {
        return Err(Error::Limit {
            what,
            actual: names.len() as u64,
            limit: NAMES_MAX as u64,
        });
    }
    let fits = |name: &&String| !(1..=NAME_BYTES_MAX).contains(&name.len()) || !is_one(name);
    if let Some(wrong) = names.iter().find(fits) {
        return Err(Error::name(
            what,
            wrong,
            "1 to 128 characters of those that such names have",
        ));
    }
    names.sort_unstable();
    names.dedup();
    Ok(())
}

/// As it is when it is decoded.
fn is_parameter(name: &str) -> bool {
    !name.contains(['&', '=', '#']) && !name.chars().any(char::is_control)
}

/// RFC 9110 §5.6.2.
fn is_token(name: &str) -> bool {
    let is_char = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    name.bytes().all(is_char)
}

fn is_field(name: &str) -> bool {
    is_token(name) && !NOT_LISTED.contains(&name) && !name.starts_with("brink-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rules(json: &str) -> Result<RouteCache, String> {
        let rules: RouteCache = serde_json::from_str(json).map_err(|e| e.to_string())?;
        rules.normal().map_err(|e| e.to_string())
    }

    #[test]
    fn rules_are_read_and_brought_in_order() {
        assert_eq!(rules("{}"), Ok(RouteCache::default()));
        assert!(!rules(r#"{"compress": false}"#).unwrap().compress);
        let key = rules(
            r#"{"key": {"query": {"without": ["utm_*", "fbclid", "utm_*"]}, "sort_query": true,
                "headers": ["X-Tier", "accept-language"], "cookies": [], "device": true}}"#,
        );
        let key = key.unwrap().key;
        let without = vec!["fbclid".to_owned(), "utm_*".to_owned()];
        assert_eq!(key.query, QueryRule::Without(without));
        let headers = vec!["accept-language".to_owned(), "x-tier".to_owned()];
        assert_eq!((key.headers, key.cookies), (Some(headers), Some(vec![])));
        let negative = rules(r#"{"negative": {"seconds": 300, "failure_seconds": 5}}"#);
        let negative = negative.unwrap().negative;
        for (status, seconds) in [
            (404, Some(300)),
            (501, Some(300)),
            (503, Some(5)),
            (403, None),
            (200, None),
        ] {
            assert_eq!(negative.of(status), seconds, "{status}");
        }
        assert_eq!(Negative::default().of(404), None);
        // What says nothing of it is what it was.
        let plain = serde_json::to_string(&RouteCache::default()).unwrap();
        assert!(
            !plain.contains("negative") && !plain.contains("shield"),
            "{plain}"
        );
        assert!(rules(r#"{"shield": true}"#).unwrap().shield);
        let many = format!(r#"{{"key": {{"cookies": {:?}}}}}"#, vec!["a"; 65]);
        for wrong in [
            r#"{"compres": true}"#,
            r#"{"key": {"query": {"only": ["a&b"]}}}"#,
            r#"{"key": {"query": {"only": [""]}}}"#,
            r#"{"key": {"query": "none"}}"#,
            r#"{"key": {"headers": ["a b"]}}"#,
            r#"{"key": {"headers": ["Cookie"]}}"#,
            r#"{"key": {"headers": ["Host"]}}"#,
            r#"{"key": {"headers": ["Brink-Session"]}}"#,
            r#"{"key": {"cookies": ["a;b"]}}"#,
            r#"{"negative": {"seconds": 301}}"#,
            r#"{"negative": {"failure_seconds": 31}}"#,
            r#"{"negative": {"seconds": -1}}"#,
            r#"{"negative": {"404": 1}}"#,
            &many,
        ] {
            assert!(rules(wrong).is_err(), "{wrong}");
        }
    }
}
