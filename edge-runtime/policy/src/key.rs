//! The cache key: RFC 9111 §2.

use brink_protocol::TenantName;
use std::fmt;

/// Longest key that is stored, in bytes; a request with a longer one is passed.
pub const KEY_BYTES_MAX: usize = 16 << 10;

/// Tenant, scheme, host, path and query of a request; for one variant of several also the normalised fields that
/// selected it. The parts stand apart by a line feed, which none of them can have. By a route's rules more of the request
/// follows, before what selects the variant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(Box<str>);

impl CacheKey {
    /// The key of a URI. `host` is in the form of [`brink_protocol::purge::normal_host`].
    #[must_use]
    pub fn new(tenant: &TenantName, scheme: &str, host: &str, path_and_query: &str) -> Self {
        let tenant = tenant.as_str();
        let mut text = String::with_capacity(
            tenant.len() + scheme.len() + host.len() + path_and_query.len() + 3,
        );
        for (index, part) in [tenant, scheme, host, path_and_query]
            .into_iter()
            .enumerate()
        {
            if index > 0 {
                text.push('\n');
            }
            text.push_str(part);
        }
        Self(text.into())
    }

    /// The key of a URI and what else a route's rules make part of it (see [`crate::keying`]), which has no line feed.
    #[must_use]
    pub fn with(
        tenant: &TenantName,
        scheme: &str,
        host: &str,
        path_and_query: &str,
        extra: &str,
    ) -> Self {
        let key = Self::new(tenant, scheme, host, path_and_query);
        match extra {
            "" => key,
            extra => Self(format!("{}\n{extra}", key.0).into()),
        }
    }

    /// The key of the variant that `selected` (the normalised selecting fields, see `http::vary`) stands for.
    #[must_use]
    pub fn variant(&self, selected: &str) -> Self {
        Self(format!("{}\n\n{selected}", self.0).into())
    }

    /// A key that was written as text by [`CacheKey::as_str`].
    #[must_use]
    pub fn from_text(text: String) -> Self {
        Self(text.into())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tenant, scheme, host, path and query, if the text has them.
    #[must_use]
    pub fn parts(&self) -> Option<(&str, &str, &str, &str)> {
        let mut parts = self.0.split('\n');
        Some((parts.next()?, parts.next()?, parts.next()?, parts.next()?))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_differ_where_any_part_differs() {
        let (a, b): (TenantName, TenantName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let keys = [
            CacheKey::new(&a, "https", "h", "/"),
            CacheKey::new(&b, "https", "h", "/"),
            CacheKey::new(&a, "http", "h", "/"),
            CacheKey::new(&a, "https", "h:1", "/"),
            CacheKey::new(&a, "https", "h", "/?"),
            CacheKey::new(&a, "https", "h", "/").variant("accept-language: de"),
            CacheKey::new(&a, "https", "h", "/").variant(""),
            CacheKey::with(&a, "https", "h", "/", "dmobile"),
            CacheKey::with(&a, "https", "h", "/", "dmobile").variant(""),
        ];
        for (i, one) in keys.iter().enumerate() {
            for (j, other) in keys.iter().enumerate() {
                assert_eq!(i == j, one == other);
            }
        }
        assert_eq!(CacheKey::with(&a, "https", "h", "/", ""), keys[0]);
        assert_eq!(keys[7].parts(), Some(("a", "https", "h", "/")));
        assert_eq!(keys[4].parts(), Some(("a", "https", "h", "/?")));
        assert_eq!(CacheKey::from_text(keys[5].as_str().to_owned()), keys[5]);
    }
}
