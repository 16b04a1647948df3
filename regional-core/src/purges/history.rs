//! The history of purges, searched a bounded part at a time.

use crate::store::PurgeRow;
use brink_protocol::{
    Error,
    purge::{Selector, normal_host, normal_url},
};

/// Purges that one search looks at.
pub(super) const LOOKED_AT_MAX: usize = 1000;
/// Bytes of selectors that one search looks at: a purge may have a megabyte of them.
pub(super) const LOOKED_AT_BYTES_MAX: usize = 8 << 20;
/// Purges that are read at a time.
pub(super) const READ_MAX: usize = 16;
/// Most purges of one answer.
pub const LIST_MAX: usize = 100;

/// What is looked for; all that is named must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// A kind of selector: `key`, `url`, `prefix`, `host`, `module`, `everything`.
    pub selector: Option<String>,
    /// Purges that ended what carries this name.
    pub key: Option<String>,
    /// Purges that ended this URL: itself, below a prefix, on its host, or with everything.
    pub url: Option<String>,
    /// Purges that ended something of this host.
    pub host: Option<String>,
    /// Who asked: the id of a token, `module:NAME`.
    pub by: Option<String>,
    /// Not before, in milliseconds since 1970.
    pub from_ms: Option<u64>,
    /// Before, in milliseconds since 1970.
    pub to_ms: Option<u64>,
    /// Where to go on.
    pub before: Option<String>,
    /// 1 to [`LIST_MAX`].
    pub limit: usize,
}

const KINDS: [&str; 6] = ["key", "url", "prefix", "host", "module", "everything"];

fn kind(selector: &Selector) -> &'static str {
    match selector {
        Selector::Key(_) => "key",
        Selector::Url(_) => "url",
        Selector::Prefix(_) => "prefix",
        Selector::Host(_) => "host",
        Selector::Module(_) => "module",
        Selector::Everything => "everything",
    }
}

/// Bytes of a purge's selectors, about.
pub(super) fn bytes(row: &PurgeRow) -> usize {
    let bytes = |selector: &Selector| match selector {
        Selector::Key(key) => key.as_str().len(),
        Selector::Url(text) | Selector::Prefix(text) | Selector::Host(text) => text.len(),
        Selector::Module(name) => name.as_str().len(),
        Selector::Everything => 0,
    };
    row.purge.selectors.iter().map(bytes).sum()
}

/// `host` of `host/path`.
fn host_of(url: &str) -> &str {
    url.split(['/', '?']).next().unwrap_or(url)
}

/// Whether a prefix in its normal form matches a URL in its normal form.
fn is_below(url: &str, prefix: &str) -> bool {
    let path = url.split('?').next().unwrap_or(url);
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Search {
    /// Brings URL and host to the form in which selectors are kept.
    ///
    /// # Errors
    /// One of them, or the kind of selector, is not allowed.
    pub(super) fn normal(mut self) -> Result<Self, Error> {
        if let Some(kind) = &self.selector
            && !KINDS.contains(&kind.as_str())
        {
            return Err(Error::Malformed {
                what: "selector",
                reason: format!("it is one of {}", KINDS.join(", ")),
            });
        }
        self.url = self.url.map(|url| normal_url(&url)).transpose()?;
        self.host = self.host.map(|host| normal_host(&host)).transpose()?;
        self.limit = self.limit.clamp(1, LIST_MAX);
        Ok(self)
    }

    /// Before which id to begin: ids begin with the moment at which they were made.
    pub(super) fn begin(&self) -> Option<String> {
        let by_time = self
            .to_ms
            .map(|to| ulid::Ulid::from_parts(to, 0).to_string());
        match (self.before.clone(), by_time) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether all older purges are too old.
    pub(super) fn is_over(&self, row: &PurgeRow) -> bool {
        self.from_ms.is_some_and(|from| row.at_ms < from)
    }

    pub(super) fn matches(&self, row: &PurgeRow) -> bool {
        let by = self.by.as_ref().is_none_or(|by| row.by == *by);
        let to = self.to_ms.is_none_or(|to| row.at_ms < to);
        by && to && !self.is_over(row) && row.purge.selectors.iter().any(|one| self.fits(one))
    }

    fn fits(&self, selector: &Selector) -> bool {
        let is_kind = self
            .selector
            .as_deref()
            .is_none_or(|name| name == kind(selector));
        let is_key = self.key.as_ref().is_none_or(|key| match selector {
            Selector::Key(own) => own.as_str() == key,
            other => *other == Selector::Everything,
        });
        let is_url = self.url.as_ref().is_none_or(|url| match selector {
            Selector::Url(own) => own == url,
            Selector::Prefix(prefix) => is_below(url, prefix),
            Selector::Host(host) => host == host_of(url),
            Selector::Everything => true,
            Selector::Key(_) | Selector::Module(_) => false,
        });
        let is_host = self.host.as_ref().is_none_or(|host| match selector {
            Selector::Url(own) | Selector::Prefix(own) => host_of(own) == host,
            Selector::Host(own) => own == host,
            Selector::Everything => true,
            Selector::Key(_) | Selector::Module(_) => false,
        });
        is_kind && is_key && is_url && is_host
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn search(change: fn(&mut Search)) -> Search {
        let mut search = Search::default();
        change(&mut search);
        search.normal().unwrap()
    }

    #[test]
    fn what_a_search_finds() {
        let key = Selector::Key("sku:1".parse().unwrap());
        let url = Selector::Url("a.example/x/y?z".into());
        let prefix = Selector::Prefix("a.example/x".into());
        let host = Selector::Host("a.example".into());
        let all = [&key, &url, &prefix, &host, &Selector::Everything];
        let found = |search: Search| all.map(|selector| search.fits(selector));
        for (search, expected) in [
            (search(|_| {}), [true; 5]),
            (
                search(|s| s.key = Some("sku:1".into())),
                [true, false, false, false, true],
            ),
            (
                search(|s| s.url = Some("https://A.example/x/y?z".into())),
                [false, true, true, true, true],
            ),
            (
                search(|s| s.url = Some("a.example/xx".into())),
                [false, false, false, true, true],
            ),
            (
                search(|s| s.host = Some("A.example:443".into())),
                [false, true, true, true, true],
            ),
            (
                search(|s| s.selector = Some("prefix".into())),
                [false, false, true, false, false],
            ),
        ] {
            assert_eq!(found(search.clone()), expected, "{search:?}");
        }
        let wrong = Search {
            selector: Some("keys".into()),
            ..Search::default()
        };
        assert!(wrong.normal().is_err());
    }

    #[test]
    fn ids_are_ordered_by_time() {
        let made = ulid::Ulid::from_parts(5_000, u128::MAX).to_string();
        let begin = search(|s| s.to_ms = Some(5_001)).begin().unwrap();
        assert!(made < begin);
        let both = search(|s| {
            s.to_ms = Some(5_001);
            s.before = Some("00".into());
        });
        assert_eq!(both.begin().as_deref(), Some("00"));
    }
}
