//! `Cache-Control`, `CDN-Cache-Control` and `Surrogate-Control` as values.

use super::fields::{lines, members, unquoted};
use http::{HeaderMap, HeaderName, header::CACHE_CONTROL};

/// What this cache calls itself as a surrogate, in `Surrogate-Capability` and `Surrogate-Control`.
pub const SURROGATE_DEVICE: &str = "brink";

/// Largest delta-seconds; what is more counts as this. RFC 9111 §1.2.2.
pub const DELTA_SECONDS_MAX: u64 = 1 << 31;
/// Most members of a directive field that are read.
const MEMBERS_MAX: usize = 100;

/// `Brink-Cache-Control`: for this platform alone, so that no other cache sees it. RFC 9213 §2.
pub const BRINK_CACHE_CONTROL: HeaderName = HeaderName::from_static("brink-cache-control");
/// `CDN-Cache-Control`: RFC 9213 §3.1.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// `Surrogate-Control`: Edge Architecture Specification 1.0 §2.
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// Directives of a response. RFC 9111 §5.2.2, RFC 5861.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseDirectives {
    /// `max-age`; a value that is not a number counts as 0.
    pub max_age: Option<u64>,
    /// `s-maxage`; likewise.
    pub s_maxage: Option<u64>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache` without field names.
    pub no_cache: bool,
    /// `private` without field names.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate` or `proxy-revalidate`.
    pub must_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `stale-while-revalidate`.
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error`.
    pub stale_if_error: Option<u64>,
    /// Fields named by `no-cache="..."` and `private="..."`: not stored.
    pub fields: Vec<HeaderName>,
    /// They come from a field for surrogates or CDNs: `Expires` does not count beside them. RFC 9213 §2.2.
    pub targeted: bool,
}

impl ResponseDirectives {
    /// The directives that count for this cache: of `Brink-Cache-Control` or else `CDN-Cache-Control` if it is a valid,
    /// non-empty dictionary (RFC 9213 §2.2), else of `Surrogate-Control` if that has `max-age` or `no-store`, else of
    /// `Cache-Control`.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        targeted(headers, &BRINK_CACHE_CONTROL)
            .or_else(|| targeted(headers, &CDN_CACHE_CONTROL))
            .or_else(|| surrogate(headers))
            .unwrap_or_else(|| {
                let mut directives = Self::default();
                for (name, value) in list(headers, &CACHE_CONTROL) {
                    directives.add(&name, value.as_deref());
                }
                directives
            })
    }

    /// The first of two equal directives counts. RFC 9111 §4.2.1.
    fn add(&mut self, name: &str, value: Option<&str>) {
        let seconds = |slot: &mut Option<u64>| {
            if slot.is_none() {
                *slot = Some(value.and_then(delta_seconds).unwrap_or(0));
            }
        };
        match name {
            "max-age" => seconds(&mut self.max_age),
            "s-maxage" => seconds(&mut self.s_maxage),
            "stale-while-revalidate" => seconds(&mut self.stale_while_revalidate),
            "stale-if-error" => seconds(&mut self.stale_if_error),
            "no-store" => self.no_store = true,
            "public" => self.public = true,
            "must-revalidate" | "proxy-revalidate" => self.must_revalidate = true,
            "must-understand" => self.must_understand = true,
            "no-cache" => self.no_cache |= !self.add_fields(value),
            "private" => self.private |= !self.add_fields(value),
            _ => {}
        }
    }

    /// Adds one directive of `Surrogate-Control`.
    fn add_surrogate(&mut self, member: &str) {
        let Some((name, value)) = directive(member) else {
            return;
        };
        match (
            name.as_str(),
            value.as_deref().and_then(|v| v.split_once('+')),
        ) {
            ("max-age", Some((lifetime, grace))) => {
                self.add("max-age", Some(lifetime));
                self.add("stale-while-revalidate", Some(grace));
            }
            // A PoP is remote: it is not where the origin is.
            ("no-store-remote", _) => self.no_store = true,
            (name, _) => self.add(name, value.as_deref()),
        }
    }

    /// Whether `value` named fields; if one of the names is none, the directive counts as a whole.
    fn add_fields(&mut self, value: Option<&str>) -> bool {
        let names = value
            .unwrap_or("")
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let names: Result<Vec<HeaderName>, _> = names.take(MEMBERS_MAX).map(str::parse).collect();
        match names {
            Ok(names) if !names.is_empty() => {
                self.fields.extend(names);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
}

/// RFC 9213 §2.1: a structured dictionary, ignored as a whole if it is not one, or if a directive's type is wrong.
fn targeted(headers: &HeaderMap, name: &HeaderName) -> Option<ResponseDirectives> {
    if !headers.contains_key(name) {
        return None;
    }
    let lines = headers.get_all(name).iter();
    let text = lines
        .map(|v| v.to_str().ok())
        .collect::<Option<Vec<_>>>()?
        .join(",");
    let dictionary: sfv::Dictionary = sfv::Parser::new(&text).parse().ok()?;
    let mut directives = ResponseDirectives {
        targeted: true,
        ..ResponseDirectives::default()
    };
    for (key, entry) in &dictionary {
        let sfv::ListEntry::Item(item) = entry else {
            return None;
        };
        let name = key.as_str();
        match (&item.bare_item, name) {
            (sfv::BareItem::Integer(seconds), _) => {
                directives.add(name, Some(i64::from(*seconds).max(0).to_string().as_str()));
            }
            (_, "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error") => {
                return None;
            }
            (sfv::BareItem::Boolean(true), _) => directives.add(name, None),
            (sfv::BareItem::String(fields), _) => directives.add(name, Some(fields.as_str())),
            (_, _) => {}
        }
    }
    (!dictionary.is_empty()).then_some(directives)
}

/// Edge Architecture Specification 1.0 §2.1: `max-age=LIFETIME+GRACE` lets a stale answer be served for the grace while it is
/// validated; `;DEVICE` after a directive makes it one for that device alone, which goes before one for all.
fn surrogate(headers: &HeaderMap) -> Option<ResponseDirectives> {
    if !headers.contains_key(&SURROGATE_CONTROL) {
        return None;
    }
    let mut directives = ResponseDirectives {
        targeted: true,
        ..ResponseDirectives::default()
    };
    let read: Vec<&str> = lines(headers, &SURROGATE_CONTROL)
        .flat_map(members)
        .take(MEMBERS_MAX)
        .collect();
    let ours = read.iter().filter_map(|member| {
        let (directive, device) = member.split_once(';')?;
        (device.trim() == SURROGATE_DEVICE).then(|| directive.trim())
    });
    let of_all = read.iter().copied().filter(|member| !member.contains(';'));
    for member in ours.chain(of_all) {
        directives.add_surrogate(member);
    }
    (directives.max_age.is_some() || directives.no_store).then_some(directives)
}

/// Directives of a request. RFC 9111 §5.2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestDirectives {
    /// `max-age`.
    pub max_age: Option<u64>,
    /// `min-fresh`.
    pub min_fresh: Option<u64>,
    /// `max-stale`; without a value it is the largest.
    pub max_stale: Option<u64>,
    /// `no-cache`.
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
}

impl RequestDirectives {
    /// The directives of a request. Costs one look-up if there are none.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        if !headers.contains_key(&CACHE_CONTROL) {
            return directives;
        }
        for (name, value) in list(headers, &CACHE_CONTROL) {
            let seconds = value.as_deref().and_then(delta_seconds);
            match name.as_str() {
                "max-age" => directives.max_age = directives.max_age.or(seconds),
                "min-fresh" => directives.min_fresh = directives.min_fresh.or(seconds),
                "max-stale" if value.is_none() => directives.max_stale = Some(DELTA_SECONDS_MAX),
                "max-stale" => directives.max_stale = directives.max_stale.or(seconds),
                "no-cache" => directives.no_cache = true,
                "no-store" => directives.no_store = true,
                "only-if-cached" => directives.only_if_cached = true,
                _ => {}
            }
        }
        directives
    }
}

/// RFC 9111 §1.2.2: digits only, saturating.
fn delta_seconds(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX).min(DELTA_SECONDS_MAX))
}

/// The directives of a field: names in lower case, values without quotes. What is not `token[=value]` is left out.
fn list(headers: &HeaderMap, field: &HeaderName) -> impl Iterator<Item = (String, Option<String>)> {
    lines(headers, field)
        .flat_map(members)
        .take(MEMBERS_MAX)
        .filter_map(directive)
}

/// One directive: its name in lower case, its value without quotes. None if it is not `token[=value]`.
fn directive(member: &str) -> Option<(String, Option<String>)> {
    let (name, value) = match member.split_once('=') {
        Some((name, value)) => (name, Some(unquoted(value))),
        None => (member, None),
    };
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (!name.is_empty() && name.bytes().all(token)).then(|| (name.to_ascii_lowercase(), value))
}

#[cfg(test)]
mod tests;
