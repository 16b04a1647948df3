//! What a route says of caching, as flags.

use brink_protocol::caching::{KeyRules, Negative, QueryRule, RouteCache};
use clap::Args;

/// See [`RouteCache`].
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Caching")]
pub(crate) struct Caching {
    /// Do not compress stored answers
    #[arg(long)]
    pub(crate) no_compress: bool,
    /// Of the query this parameter is part of the cache key, the others are taken off; may be repeated
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["ignore_query", "no_query"]
    )]
    pub(crate) key_query: Vec<String>,
    /// Of the query this parameter is no part of the cache key, and is taken off; may be repeated, and end with *
    #[arg(long, value_name = "NAME", conflicts_with = "no_query")]
    pub(crate) ignore_query: Vec<String>,
    /// The query is no part of the cache key, and is taken off
    #[arg(long)]
    pub(crate) no_query: bool,
    /// Parameters of the query are sorted by name
    #[arg(long)]
    pub(crate) sort_query: bool,
    /// This request field is part of the cache key, others are taken off; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "no_headers")]
    pub(crate) key_header: Vec<String>,
    /// Request fields that the cache does not heed itself are taken off
    #[arg(long)]
    pub(crate) no_headers: bool,
    /// This cookie is part of the cache key, others are taken off; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "no_cookies")]
    pub(crate) key_cookie: Vec<String>,
    /// Cookies are taken off
    #[arg(long)]
    pub(crate) no_cookies: bool,
    /// The kind of device is part of the cache key: X-Device-Class says it instead of User-Agent
    #[arg(long)]
    pub(crate) key_device: bool,
    /// Keep 404, 405, 410, 414 and 501 that have no lifetime of their own for so long, up to 300
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=300))]
    pub(crate) negative: u16,
    /// Keep 500, 502, 503 and 504 that have no lifetime of their own for so long, up to 30
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=30))]
    pub(crate) negative_failures: u16,
    /// Run the module at the PoP's shield, if it has one
    #[arg(long)]
    pub(crate) shield: bool,
}

impl Caching {
    /// What the flags say; none: there are no flags.
    pub(crate) fn rules(&self) -> Option<RouteCache> {
        let list = |names: &[String], none: bool| match none || !names.is_empty() {
            true => Some(names.to_vec()),
            false => None,
        };
        let query = if !self.ignore_query.is_empty() {
            QueryRule::Without(self.ignore_query.clone())
        } else if let Some(names) = list(&self.key_query, self.no_query) {
            QueryRule::Only(names)
        } else {
            QueryRule::All
        };
        let rules = RouteCache {
            compress: !self.no_compress,
            key: KeyRules {
                query,
                sort_query: self.sort_query,
                headers: list(&self.key_header, self.no_headers),
                cookies: list(&self.key_cookie, self.no_cookies),
                device: self.key_device,
            },
            negative: Negative {
                seconds: self.negative,
                failure_seconds: self.negative_failures,
            },
            shield: self.shield,
        };
        (rules != RouteCache::default()).then_some(rules)
    }
}

/// A route's rules in few words, for lists.
pub(crate) fn described(cache: &RouteCache) -> String {
    let KeyRules {
        query,
        sort_query,
        headers,
        cookies,
        device,
    } = &cache.key;
    let mut words = Vec::new();
    if !cache.compress {
        words.push("no-compress".to_owned());
    }
    match query {
        QueryRule::All => {}
        QueryRule::Only(names) => words.push(format!("query={}", names.join("+"))),
        QueryRule::Without(names) => words.push(format!("query-without={}", names.join("+"))),
    }
    if *sort_query {
        words.push("sort-query".to_owned());
    }
    if let Some(names) = headers {
        words.push(format!("headers={}", names.join("+")));
    }
    if let Some(names) = cookies {
        words.push(format!("cookies={}", names.join("+")));
    }
    if *device {
        words.push("device".to_owned());
    }
    let Negative {
        seconds,
        failure_seconds,
    } = cache.negative;
    for (name, seconds) in [
        ("negative", seconds),
        ("negative-failures", failure_seconds),
    ] {
        if seconds > 0 {
            words.push(format!("{name}={seconds}"));
        }
    }
    if cache.shield {
        words.push("shield".to_owned());
    }
    words.join(",")
}
