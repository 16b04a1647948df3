//! What a purge matches.

use crate::{Error, ModuleName, TenantName};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

/// Most selectors of one purge.
pub const SELECTORS_MAX: usize = 256;
/// Longest name of a cache tag, in bytes (as Fastly's surrogate keys and Cloudflare's cache tags).
pub const TAG_NAME_BYTES_MAX: usize = 1024;
/// Most names on one response.
pub const TAG_NAMES_MAX: usize = 128;
/// Longest URL or prefix, in bytes.
pub const URL_BYTES_MAX: usize = 8192;
/// Deepest segment of a path that a prefix can tell apart. A purge of a deeper prefix ends everything below its first 16
/// segments.
pub const PREFIX_SEGMENTS_MAX: usize = 16;

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
/// case, default port dropped, an empty path made `/`, a fragment dropped, path and query as [`normal_path`] and
/// [`normal_query`] have them.
///
/// # Errors
/// It is empty, over [`URL_BYTES_MAX`], has no host, or has spaces.
pub fn normal_url(url: &str) -> Result<String, Error> {
    const RULE: &str = "http[s]://HOST[:PORT]/PATH[?QUERY], at most 8192 bytes, without spaces";
    let wrong = || Error::name("URL", url, RULE);
    let is_visible = |b: u8| b.is_ascii_graphic() || !b.is_ascii();
    if url.len() > URL_BYTES_MAX || !url.bytes().all(is_visible) {
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
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let path = normal_path(path).ok_or_else(wrong)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let normal = format!("{host}{slash}{path}{}", normal_query(query));
    if normal.len() > URL_BYTES_MAX {
        return Err(wrong());
    }
    Ok(normal)
}

/// The one spelling of a path (without a query) that routes, cache keys and purges share: unreserved characters are not
/// encoded, all else that is encoded is so in upper case, and what is no ASCII is encoded (RFC 3986 §6.2.2). None if it
/// has segments `.` or `..`, however these and the slashes around them are encoded: clients resolve them before they
/// ask, and an origin that did it instead would answer for another path than the route was found by.
#[must_use]
pub fn normal_path(path: &str) -> Option<Cow<'_, str>> {
    let bytes = path.as_bytes();
    let is_plain = |b: &u8| b.is_ascii_graphic() && *b != b'%' && *b != b'\\';
    if bytes.iter().all(is_plain) && !path.contains("/.") {
        return Some(Cow::Borrowed(path));
    }
    let mut normal = String::with_capacity(bytes.len() + 16);
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let (byte, is_encoded) = match encoded(rest) {
            Some(byte) => (byte, true),
            None => (*first, b"%\\".contains(first) || !first.is_ascii_graphic()),
        };
        let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        rest = match encoded(rest) {
            Some(_) => rest.get(3..).unwrap_or_default(),
            None => after,
        };
        if is_encoded && !is_unreserved {
            // Writing to a String does not fail.
            let _ = write!(normal, "%{byte:02X}");
        } else {
            normal.push(char::from(byte));
        }
    }
    let slashed = normal.replace("%2F", "/").replace("%5C", "/");
    let mut segments = slashed.split(['/', '\\']);
    if segments.any(|segment| segment == "." || segment == "..") {
        return None;
    }
    Some(Cow::Owned(normal))
}

/// The one spelling of a query that cache keys and purges share: what is no ASCII is encoded. All else stays as it was
/// sent, for only its server knows which spellings are the same.
#[must_use]
pub fn normal_query(query: &str) -> Cow<'_, str> {
    if query.is_ascii() {
        return Cow::Borrowed(query);
    }
    let mut normal = String::with_capacity(query.len() + 32);
    for byte in query.bytes() {
        if byte.is_ascii() {
            normal.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(normal, "%{byte:02X}");
        }
    }
    Cow::Owned(normal)
}

/// The byte that `text` begins with in its encoded form `%XX`.
fn encoded(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    Some(digit(*high)? << 4 | digit(*low)?)
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
        let long = format!("h/{}", "x".repeat(URL_BYTES_MAX));
        let longer_when_encoded = format!("h/?{}", "\u{e9}".repeat(URL_BYTES_MAX / 4));
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
            ("h/%7euser/%c3%a9?q=%7e", Some("h/~user/%C3%A9?q=%7e")),
            ("h/a/../b", None),
            ("h/\u{e9}?\u{e9}=%c3%a9", Some("h/%C3%A9?%C3%A9=%c3%a9")),
            ("m\u{fc}nchen.example/", None),
            ("h/a?b c", None),
            (&long, None),
            (&longer_when_encoded, None),
        ] {
            assert_eq!(normal_url(url).ok().as_deref(), normal, "{url}");
        }
    }

    #[test]
    fn paths() {
        for (path, normal) in [
            ("/a/b.c/.well-known/..x/~", Some("/a/b.c/.well-known/..x/~")),
            ("/%61%2D%2e%7e%5f", Some("/a-.~_")),
            ("/a%2fb%3f", Some("/a%2Fb%3F")),
            ("/\u{e9}/%c3%a9", Some("/%C3%A9/%C3%A9")),
            ("/%/%4/%zz/%%34%31", Some("/%25/%254/%25zz/%2541")),
            ("//a//", Some("//a//")),
            ("/a\\b", Some("/a%5Cb")),
            ("*", Some("*")),
            ("", Some("")),
            ("/.", None),
            ("/a/..", None),
            ("/a/./b", None),
            ("/a/%2e%2E/b", None),
            ("/a%2f..%2Fb", None),
            ("/a\\..\\b", None),
            ("/a%5c..%5cb", None),
        ] {
            let found = normal_path(path);
            assert_eq!(found.as_deref(), normal, "{path}");
            if let Some(found) = found {
                assert_eq!(normal_path(&found).as_deref(), Some(&*found), "{path}");
            }
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
