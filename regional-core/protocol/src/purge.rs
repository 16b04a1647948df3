//! What a purge matches.

use crate::{Error, ModuleName, TenantName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most selectors of one purge.
pub const SELECTORS_MAX: usize = 256;
/// Longest name of a cache tag, in bytes (as Fastly's surrogate keys and Cloudflare's cache tags).
pub const TAG_NAME_BYTES_MAX: usize = 1024;
/// Most names on one response.
pub const TAG_NAMES_MAX: usize = 128;
/// Longest URL or prefix, in bytes.
pub const URL_BYTES_MAX: usize = 8192;

/// Longest host name, in bytes. RFC 1035 §2.3.4.
pub const HOST_BYTES_MAX: usize = 255;

/// A name that an author gives to responses: a surrogate key. 1 to 1024 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct TagName(Box<str>);

impl TagName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for TagName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if (1..=TAG_NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic())
        {
            Ok(Self(text.into()))
        } else {
            Err(Error::name(
                "cache tag",
                text,
                "1 to 1024 visible ASCII characters",
            ))
        }
    }
}

impl TryFrom<String> for TagName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<TagName> for String {
    fn from(name: TagName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing that a purge matches. Always within one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Selector {
    /// Responses that carry the name.
    Key(TagName),
    /// All variants of one URL, of every method that is cached: `host[:port]/path[?query]`, without the scheme.
    Url(String),
    /// All URLs of a host below a path: `host[:port]/path`. `/a` matches `/a` and `/a/b`, not `/ab`; `/a/` the same.
    Prefix(String),
    /// All URLs of a host: `host[:port]`.
    Host(String),
    /// What one module answered.
    Module(ModuleName),
    /// Everything of the tenant.
    Everything,
}

/// A purge as it stands in the change log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Purge {
    /// A ULID.
    pub id: String,
    /// Whose entries.
    pub tenant: TenantName,
    /// 1 to [`SELECTORS_MAX`].
    pub selectors: Vec<Selector>,
    /// Soft: the entries become stale, and may be served so where stale answers are allowed. Hard: they are gone.
    pub soft: bool,
}

/// Brings a URL of a purge (with or without scheme) to the form of [`Selector::Url`]: scheme dropped, host in lower
/// case, default port dropped, an empty path made `/`, a fragment dropped.
///
/// # Errors
/// It is empty, over [`URL_BYTES_MAX`], or has no host.
pub fn normal_url(url: &str) -> Result<String, Error> {
    const RULE: &str = "http[s]://HOST[:PORT]/PATH[?QUERY], at most 8192 bytes of visible ASCII";
    let wrong = || Error::name("URL", url, RULE);
    if url.len() > URL_BYTES_MAX || !url.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong());
    }
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?', '#']) => {
            if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
                return Err(wrong());
            }
            rest
        }
        _ => url,
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    let host = normal_host(host).map_err(|_| wrong())?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("{host}{slash}{path}"))
}

/// Brings `host[:port]` to lower case and drops port 80 and 443. RFC 3986 §3.2.2 and §3.2.3, without percent-encoding.
///
/// # Errors
/// It is empty, or not a name, an IPv4 address or a bracketed IPv6 address with at most one port.
pub fn normal_host(host: &str) -> Result<String, Error> {
    let wrong = || Error::name("host", host, "HOST[:PORT]");
    let (name, port) = match host.rfind(':') {
        Some(colon) if !host.ends_with(']') => {
            let (name, port) = host.split_at(colon);
            (name, port.get(1..).unwrap_or_default())
        }
        _ => (host, ""),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let address = |b: u8| b.is_ascii_hexdigit() || b":.".contains(&b);
    let valid = match name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(inner) => !inner.is_empty() && inner.bytes().all(address),
        None => !name.is_empty() && name.bytes().all(plain),
    };
    let digits = port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    if name.len() > HOST_BYTES_MAX || !valid || !digits || (port.is_empty() && host.ends_with(':'))
    {
        return Err(wrong());
    }
    let mut normal = name.to_ascii_lowercase();
    if !["", "80", "443"].contains(&port) {
        normal.push(':');
        normal.push_str(port);
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, normal) in [
            ("https://Example.com:443/a?b#c", Some("example.com/a?b")),
            ("http://example.com:80", Some("example.com/")),
            ("example.com/a", Some("example.com/a")),
            ("localhost:8443?x=1", Some("localhost:8443/?x=1")),
            ("https://[::1]:8443/a", Some("[::1]:8443/a")),
            ("", None),
            ("/a", None),
            ("ftp://example.com/", None),
            ("https://exa mple.com/", None),
            ("https://user@example.com/", None),
            (
                "example.com/to?u=http://other/",
                Some("example.com/to?u=http://other/"),
            ),
            ("://example.com/", None),
            ("h:80:80", None),
            ("h:", None),
            (":80", None),
            ("h:123456/", None),
            ("[::1]", Some("[::1]/")),
            ("[]:80", None),
        ] {
            assert_eq!(normal_url(url).ok().as_deref(), normal, "{url}");
        }
    }

    #[test]
    fn tag_names() {
        for (name, valid) in [
            ("a", true),
            ("sku/1:é", false),
            ("a b", false),
            ("", false),
            ("order:01J", true),
        ] {
            assert_eq!(name.parse::<TagName>().is_ok(), valid, "{name}");
        }
    }
}
