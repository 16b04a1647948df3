//! HTTP origins of a route: which there are, in what order they are asked, how each is reached and watched.

use crate::{Error, purge::normal_host};
use serde::{Deserialize, Serialize};

/// Most origins of one route.
pub const ORIGINS_MAX: usize = 16;
/// Largest weight of an origin.
pub const WEIGHT_MAX: u32 = 1_000;
/// Most requests in flight to one origin from one PoP that a route may allow, and most that may wait.
pub const IN_FLIGHT_LIMIT: u32 = 100_000;
/// Longest time that a route may allow for anything, in milliseconds.
pub const TIME_MS_LIMIT: u32 = 600_000;
/// Shortest interval between two health checks, in milliseconds.
pub const CHECK_INTERVAL_MS_MIN: u32 = 100;
/// Longest path of a health check, in bytes.
const CHECK_PATH_BYTES_MAX: usize = 2_048;
/// Most checks in a row that may be asked for.
const CHECKS_MAX: u32 = 100;

/// The origins of a route, and how they are chosen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OriginGroup {
    /// 1 to 16, the preferred one first.
    pub members: Vec<Origin>,
    /// Which of those that are well is asked first.
    #[serde(default)]
    pub choice: Choice,
    /// Of a hundred requests so many may be repeated, beside one a second; 0 to 100. Default 20.
    #[serde(default = "retry_percent")]
    pub retry_percent: u32,
}

/// One origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Origin {
    /// `http[s]://HOST[:PORT]`.
    pub url: String,
    /// What it is told as `Host`, `HOST[:PORT]`. Default: the host of `url`, which TLS names in any case.
    #[serde(default)]
    pub host: Option<String>,
    /// Which HTTP it is spoken to in.
    #[serde(default)]
    pub protocol: OriginProtocol,
    /// Its share where requests are spread, 1 to 1,000. Default 1.
    #[serde(default = "weight")]
    pub weight: u32,
    /// Requests in flight from one PoP, from their head to the end of the answer's body. Over HTTP/1.1 each has a connection
    /// of its own. Default 1,024.
    #[serde(default = "in_flight_max")]
    pub in_flight_max: u32,
    /// Requests that may wait for their turn beyond that; more go to the next origin, or are answered 503. Default 256.
    #[serde(default = "queue_max")]
    pub queue_max: u32,
    /// How long they may wait, in milliseconds. Default 1,000.
    #[serde(default = "queue_ms_max")]
    pub queue_ms_max: u32,
    /// Time to connect, TLS included, in milliseconds. Default: `origin.connect_ms_max` of the PoP.
    #[serde(default)]
    pub connect_ms_max: Option<u32>,
    /// Time from the end of the request to the head of the answer, in milliseconds. Default: `origin.response_ms_max` of
    /// the PoP.
    #[serde(default)]
    pub first_byte_ms_max: Option<u32>,
    /// Time between two pieces of the answer's body, in milliseconds. Default: `origin.body_idle_ms_max` of the PoP.
    #[serde(default)]
    pub between_bytes_ms_max: Option<u32>,
    /// How it is asked whether it is well. Default: it is not asked; what becomes of requests says it.
    #[serde(default)]
    pub health: Option<HealthCheck>,
}

/// Which of the origins that are well is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Choice {
    /// The first one in the list.
    #[default]
    Failover,
    /// Of two that are drawn by weight, the one with fewer requests in flight for its weight.
    Spread,
}

/// Which HTTP an origin is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OriginProtocol {
    /// Over TLS what it chooses (ALPN), else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
}

/// Asks an origin, over and over, whether it is well. Each PoP asks by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthCheck {
    /// Path and query of a `GET` that a well origin answers with a status from 200 to 299.
    pub path: String,
    /// Time between two checks, a tenth more or less, in milliseconds; at least 100. Default 5,000.
    #[serde(default = "interval_ms")]
    pub interval_ms: u32,
    /// Time for a check, in milliseconds. Default 2,000.
    #[serde(default = "check_ms_max")]
    pub timeout_ms: u32,
    /// Checks in a row that must pass before one that was down gets requests again. Default 2.
    #[serde(default = "healthy_after")]
    pub healthy_after: u32,
    /// Checks in a row that must fail before it gets none. Default 3.
    #[serde(default = "unhealthy_after")]
    pub unhealthy_after: u32,
}

fn retry_percent() -> u32 {
    20
}
fn weight() -> u32 {
    1
}
fn in_flight_max() -> u32 {
    1_024
}
fn queue_max() -> u32 {
    256
}
fn queue_ms_max() -> u32 {
    1_000
}
fn interval_ms() -> u32 {
    5_000
}
fn check_ms_max() -> u32 {
    2_000
}
fn healthy_after() -> u32 {
    2
}
fn unhealthy_after() -> u32 {
    3
}

impl OriginGroup {
    /// Origins in order of preference, all else by default.
    #[must_use]
    pub fn of<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> Self {
        Self {
            members: urls.into_iter().map(Origin::new).collect(),
            choice: Choice::default(),
            retry_percent: retry_percent(),
        }
    }

    /// Checks every value, and brings URLs and hosts to their normal form.
    ///
    /// # Errors
    /// The first value that is not allowed.
    pub fn normal(mut self) -> Result<Self, Error> {
        limit("origins of a route", self.members.len(), 1, ORIGINS_MAX)?;
        limit("repeated requests of a hundred", self.retry_percent, 0, 100)?;
        self.members = self
            .members
            .into_iter()
            .map(Origin::normal)
            .collect::<Result<_, _>>()?;
        for (at, member) in self.members.iter().enumerate() {
            let mut before = self.members.iter().take(at);
            if before.any(|before| before.url == member.url && before.host == member.host) {
                return Err(Error::name("origin", &member.url, "one origin only once"));
            }
        }
        Ok(self)
    }
}

impl Origin {
    /// An origin with nothing but its URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            host: None,
            protocol: OriginProtocol::default(),
            weight: weight(),
            in_flight_max: in_flight_max(),
            queue_max: queue_max(),
            queue_ms_max: queue_ms_max(),
            connect_ms_max: None,
            first_byte_ms_max: None,
            between_bytes_ms_max: None,
            health: None,
        }
    }

    fn normal(mut self) -> Result<Self, Error> {
        self.url = normal_url(&self.url)?;
        if let Some(host) = &self.host {
            normal_host(host)?;
            self.host = Some(host.to_ascii_lowercase());
        }
        limit("weight of an origin", self.weight, 1, WEIGHT_MAX)?;
        let in_flight = self.in_flight_max;
        limit("requests in flight", in_flight, 1, IN_FLIGHT_LIMIT)?;
        limit("waiting requests", self.queue_max, 0, IN_FLIGHT_LIMIT)?;
        let queue_ms = self.queue_ms_max;
        limit("milliseconds of waiting", queue_ms, 0, TIME_MS_LIMIT)?;
        for time in [
            self.connect_ms_max,
            self.first_byte_ms_max,
            self.between_bytes_ms_max,
        ]
        .into_iter()
        .flatten()
        {
            limit("milliseconds for an origin", time, 1, TIME_MS_LIMIT)?;
        }
        self.health.as_ref().map_or(Ok(()), HealthCheck::check)?;
        Ok(self)
    }
}

impl HealthCheck {
    /// A check of `path`, all else by default.
    #[must_use]
    pub fn of(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            interval_ms: interval_ms(),
            timeout_ms: check_ms_max(),
            healthy_after: healthy_after(),
            unhealthy_after: unhealthy_after(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let is_path = self.path.starts_with('/')
            && self.path.len() <= CHECK_PATH_BYTES_MAX
            && self
                .path
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'#' && b != b'"' && b != b'<' && b != b'>');
        if !is_path {
            let rule = "/ and visible ASCII without #, at most 2048 bytes";
            return Err(Error::name("path of a health check", &self.path, rule));
        }
        let interval = self.interval_ms;
        let least = CHECK_INTERVAL_MS_MIN;
        limit(
            "milliseconds between checks",
            interval,
            least,
            TIME_MS_LIMIT,
        )?;
        limit("milliseconds of a check", self.timeout_ms, 1, TIME_MS_LIMIT)?;
        limit("checks in a row", self.healthy_after, 1, CHECKS_MAX)?;
        limit("checks in a row", self.unhealthy_after, 1, CHECKS_MAX)
    }
}

/// `http[s]://HOST[:PORT]` in lower case, without a slash at its end. It has no user, path or query: what is asked for is the
/// request's alone.
///
/// # Errors
/// It is anything else.
pub fn normal_url(url: &str) -> Result<String, Error> {
    let wrong = || Error::name("origin", url, "http[s]://HOST[:PORT]");
    let lower = url.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://").ok_or_else(wrong)?;
    if scheme != "http" && scheme != "https" {
        return Err(wrong());
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    normal_host(authority).map_err(|_| wrong())?;
    let port = authority
        .rsplit_once(':')
        .filter(|(_, port)| !port.ends_with(']'));
    if port.is_some_and(|(_, port)| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err(wrong());
    }
    Ok(format!("{scheme}://{authority}"))
}

fn limit<N: TryInto<u64>>(what: &'static str, actual: N, least: N, most: N) -> Result<(), Error> {
    let number = |n: N| n.try_into().unwrap_or(u64::MAX);
    let (actual, least, most) = (number(actual), number(least), number(most));
    if actual < least {
        return Err(Error::malformed(what, format!("{actual} is below {least}")));
    }
    if actual > most {
        return Err(Error::Limit {
            what,
            actual,
            limit: most,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::deployment::Target;

    #[test]
    fn urls() {
        for (url, normal) in [
            ("http://a", Some("http://a")),
            ("HTTPS://A.example:8443/", Some("https://a.example:8443")),
            ("http://[::1]:80", Some("http://[::1]:80")),
            ("http://[::1]", Some("http://[::1]")),
            ("ftp://a", None),
            ("a:80", None),
            ("http://", None),
            ("http://u:p@a", None),
            ("http://a/b", None),
            ("http://a//", None),
            ("http://a?b", None),
            ("http://a:0", None),
            ("http://a:65536", None),
            ("http://a:", None),
            ("http://a b", None),
            ("http://a\r\nx: y", None),
        ] {
            assert_eq!(normal_url(url).ok().as_deref(), normal, "{url}");
        }
    }

    #[test]
    fn groups() {
        let group = OriginGroup::of(["http://A/", "http://b"]).normal().unwrap();
        assert_eq!(group.members.first().unwrap().url, "http://a");
        type Change = fn(&mut OriginGroup);
        let changes: [(&str, Change); 12] = [
            ("none", |g| g.members.clear()),
            ("too many", |g| {
                g.members = (0..17)
                    .map(|n| Origin::new(format!("http://{n}")))
                    .collect();
            }),
            ("twice", |g| {
                g.members = vec![Origin::new("http://a"), Origin::new("http://A/")]
            }),
            ("percent", |g| g.retry_percent = 101),
            ("weight", |g| {
                g.members.iter_mut().for_each(|m| m.weight = 0)
            }),
            ("in flight", |g| {
                g.members.iter_mut().for_each(|m| m.in_flight_max = 0)
            }),
            ("queue", |g| {
                g.members.iter_mut().for_each(|m| m.queue_max = 100_001)
            }),
            ("time", |g| {
                g.members
                    .iter_mut()
                    .for_each(|m| m.first_byte_ms_max = Some(0))
            }),
            ("host", |g| {
                g.members
                    .iter_mut()
                    .for_each(|m| m.host = Some("a/b".into()))
            }),
            ("check's path", |g| {
                g.members
                    .iter_mut()
                    .for_each(|m| m.health = Some(check("x", 100)))
            }),
            ("check's path", |g| {
                g.members
                    .iter_mut()
                    .for_each(|m| m.health = Some(check("/ x", 100)))
            }),
            ("interval", |g| {
                g.members
                    .iter_mut()
                    .for_each(|m| m.health = Some(check("/", 99)))
            }),
        ];
        for (what, change) in changes {
            let mut group = OriginGroup::of(["http://a", "http://b"]);
            change(&mut group);
            assert!(group.normal().is_err(), "{what}");
        }
    }

    fn check(path: &str, interval_ms: u32) -> HealthCheck {
        HealthCheck {
            interval_ms,
            ..HealthCheck::of(path)
        }
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let short = r#"{"origins":{"members":[{"url":"http://a"},{"url":"http://b"}]}}"#;
        let target: Target = serde_json::from_str(short).unwrap();
        assert_eq!(
            target,
            Target::Origins(OriginGroup::of(["http://a", "http://b"]))
        );
        let long = serde_json::to_string(&target).unwrap();
        assert_eq!(serde_json::from_str::<Target>(&long).unwrap(), target);
        let bytes = crate::codec::encode(&target).unwrap();
        assert_eq!(crate::codec::decode::<Target>(&bytes).unwrap(), target);
        let wrong = r#"{"origins":{"members":[{"url":"http://a","wieght":2}]}}"#;
        assert!(serde_json::from_str::<Target>(wrong).is_err());
        // One origin is written as ever, and read from bytes as ever.
        let one: Target = serde_json::from_str(r#"{"origin":"http://a"}"#).unwrap();
        assert_eq!(one, Target::Origin("http://a".into()));
        let bytes = crate::codec::encode(&one).unwrap();
        assert!(bytes.starts_with(&[1, 8]));
    }
}
