//! The history of purges, searched a bounded part at a time.

use crate::store::PurgeRow;
use brink_protocol::{
    Error,
    place::{merged, without_port},
    purge::{PREFIX_SEGMENTS_MAX, Selector, normal_host, normal_url},
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

/// Latest moment of a ULID, in milliseconds since 1970.
const ULID_MS_MAX: u64 = (1 << 48) - 1;

/// `host` of `host/path`.
fn host_of(url: &str) -> &str {
    url.split(['/', '?']).next().unwrap_or(url)
}

/// Whether a purge of `host` ends what is on the host `of`: one that names no port means every port.
fn ends_host(host: &str, of: &str) -> bool {
    host == of || without_port(of) == Some(host)
}

/// Whether a purge of one URL ends another, both in their normal form.
fn ends_url(own: &str, url: &str) -> bool {
    let (host, of) = (host_of(own), host_of(url));
    ends_host(host, of) && own.get(host.len()..) == url.get(of.len()..)
}

/// Whether a purge of a prefix ends a URL, both in their normal form: as far as tags tell paths apart.
fn ends_below(prefix: &str, url: &str) -> bool {
    let (host, of) = (host_of(prefix), host_of(url));
    let path = |place: &str| {
        let path = place.split('?').next().unwrap_or(place);
        let path = merged(path.get(host_of(place).len()..).unwrap_or_default()).into_owned();
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let segments = segments.take(PREFIX_SEGMENTS_MAX);
        segments.map(str::to_owned).collect::<Vec<_>>()
    };
    ends_host(host, of) && path(url).starts_with(&path(prefix))
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
            .map(|to| ulid::Ulid::from_parts(to.min(ULID_MS_MAX), 0).to_string());
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
            Selector::Url(own) => ends_url(own, url),
            Selector::Prefix(prefix) => ends_below(prefix, url),
            Selector::Host(host) => ends_host(host, host_of(url)),
            Selector::Everything => true,
            Selector::Key(_) | Selector::Module(_) => false,
        });
        // Who asks without a port means every port, too.
        let share = |own: &str, host: &str| ends_host(own, host) || ends_host(host, own);
        let is_host = self.host.as_ref().is_none_or(|host| match selector {
            Selector::Url(own) | Selector::Prefix(own) => share(host_of(own), host),
            Selector::Host(own) => share(own, host),
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
    fn what_ended_a_url_is_what_its_tags_say() {
        let deep = |segments: usize| format!("h{}", "/s".repeat(segments));
        let (prefix, below, beside) = (deep(18), deep(17), deep(15));
        let selector_url = |url: &str| Selector::Url(url.into());
        let selector_prefix = |prefix: &str| Selector::Prefix(prefix.into());
        for (selector, url, expected) in [
            (selector_url("h/a?b"), "h:8443/a?b", true),
            (selector_url("h:8443/a"), "h/a", false),
            (selector_url("h/a"), "h/a?b", false),
            (selector_url("h/a"), "h//a", false),
            (Selector::Host("h".into()), "h:8443/a", true),
            (Selector::Host("h:8443".into()), "h/a", false),
            (selector_prefix("h/a"), "h:8443/a/b", true),
            (selector_prefix("h:8443/a"), "h/a/b", false),
            (selector_prefix("h/a"), "h//a/b?c", true),
            (selector_prefix("h/a//b"), "h/a%2Fb", true),
            (selector_prefix("h/a"), "h/ab", false),
            (selector_prefix("h/a/b"), "h/a", false),
            (selector_prefix("h/"), "h:8443/", true),
            (selector_prefix(&prefix), &below, true),
            (selector_prefix(&prefix), &beside, false),
        ] {
            let mut search = search(|_| {});
            search.url = Some(url.into());
            assert_eq!(search.fits(&selector), expected, "{selector:?} {url}");
        }
        for (own, host, expected) in [
            ("h", "h:8443", true),
            ("h:8443", "h", true),
            ("h:8443", "h:8444", false),
            ("g", "h", false),
        ] {
            let mut search = search(|_| {});
            search.host = Some(host.into());
            assert_eq!(
                search.fits(&Selector::Host(own.into())),
                expected,
                "{own} {host}"
            );
        }
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
        let late = search(|s| s.to_ms = Some(1 << 48)).begin().unwrap();
        assert!(made < late);
    }
}
