//! What of a request is part of its cache key, by the rules of its route, and what is taken off it on the way so that nothing
//! else can change an answer that others get.
//!
//! | attack | what stands against it |
//! |---|---|
//! | an unkeyed field (`X-Forwarded-Host`, `X-Original-URL`) changes the answer | [`remove_claims`]; by rule every field that is not listed |
//! | another method by a field (`X-HTTP-Method-Override`) | [`remove_claims`] |
//! | a field in the name that CGI and WSGI make of it (`X_Forwarded_Host`, `Accept_Language`) | [`remove_claims`] |
//! | a body on `GET` | no key: nothing stored answers, nothing is stored |
//! | a parameter within another (`?utm_x=1;callback=evil`) | what the rule leaves out goes as a whole, by its decoded name |
//! | a parameter twice | both are part of the key, in their order |
//! | a path that the origin reads in another way (`/account/x.css`, `%2f`) | the whole path is the key; no lifetime by suffix |
//! | a field that is too long for the origin | errors are stored only with a lifetime of their own; by rule the field is taken off |

mod device;

pub use device::{DEVICE_CLASS, Device};

use crate::http::vary;
use ::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT,
        FORWARDED, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
        PRAGMA, RANGE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT, VIA,
    },
};
use brink_protocol::caching::{KeyRules, QueryRule};
use std::borrow::Cow;

/// Parts the values of a key's extra part; no field has it.
const SEPARATOR: char = '\u{1f}';
/// Fields that rules of fields let pass: the cache heeds them itself, they are for the next hop, or they change no answer.
const HEEDED: [HeaderName; 23] = [
    ACCEPT_ENCODING,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_LENGTH,
    COOKIE,
    EXPECT,
    HOST,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    PRAGMA,
    RANGE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    VIA,
    HeaderName::from_static("cdn-loop"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];
/// What origins and frameworks are known to believe of where a request came from, or of what it asked for, instead of what it
/// says itself. Beside all that begin with `x-forwarded-`.
const CLAIMS: [HeaderName; 9] = [
    FORWARDED,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-original-host"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-host-override"),
];
/// What they believe of what is to be done with it.
const OVERRIDES: [HeaderName; 4] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-http-path-override"),
];

/// Fields that no key knows by their other name (see [`is_disguised`]), beside [`HEEDED`] and all claims: beginnings.
const DISGUISED: [&str; 5] = ["accept-", "content-", "sec-", "user-agent", "x-"];

/// Whether a field claims where a request came from or what it asked for: no part of any cache key.
#[must_use]
pub fn is_claim(name: &HeaderName) -> bool {
    is_in(&CLAIMS, name, |name| name.starts_with("x-forwarded-"))
}

/// Takes off what a request that may be answered from the cache claims of itself and what no key contains.
pub fn remove_claims(request: &mut HeaderMap) {
    let is_override = |name: &HeaderName| is_in(&OVERRIDES, name, |_| false);
    retain(request, |name| {
        !is_claim(name) && !is_override(name) && !is_disguised(name)
    });
}

/// Whether a field is one of `list`, or its name as text `is` one, when `_` is read as `-`: CGI, WSGI and Rack call both the same.
fn is_in(list: &[HeaderName], name: &HeaderName, is: impl Fn(&str) -> bool) -> bool {
    match hyphened(name) {
        None => list.contains(name) || is(name.as_str()),
        Some(name) => list.iter().any(|listed| *listed == *name) || is(&name),
    }
}

/// Whether an origin may take a field for another that the cache heeds, or that `Vary` names, by which it has no value.
fn is_disguised(name: &HeaderName) -> bool {
    hyphened(name).is_some_and(|name| {
        let begins = |beginning: &&str| name.starts_with(*beginning);
        HEEDED.iter().any(|heeded| *heeded == *name) || DISGUISED.iter().any(begins)
    })
}

/// A name with `-` for each `_`; none if it has no `_`.
fn hyphened(name: &HeaderName) -> Option<String> {
    let name = name.as_str();
    name.contains('_').then(|| name.replace('_', "-"))
}

fn retain(headers: &mut HeaderMap, stays: impl Fn(&HeaderName) -> bool) {
    if headers.keys().all(&stays) {
        return;
    }
    let gone: Vec<HeaderName> = headers.keys().filter(|n| !stays(n)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// The rules of one route, ready to be applied.
#[derive(Debug, Clone, Default)]
pub struct Keying {
    rules: KeyRules,
    headers: Vec<HeaderName>,
    is_plain: bool,
}

impl Keying {
    /// Of rules in normal form; names that are none are left out.
    #[must_use]
    pub fn new(rules: &KeyRules) -> Self {
        let names = rules.headers.iter().flatten();
        Self {
            headers: names.filter_map(|name| name.parse().ok()).collect(),
            is_plain: *rules == KeyRules::default(),
            rules: rules.clone(),
        }
    }

    /// There are no rules: the target as it is, and nothing else.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The query is not part of the key as it was sent.
    #[must_use]
    pub fn changes_query(&self) -> bool {
        self.rules.query != QueryRule::All || self.rules.sort_query
    }

    /// Which cookies a request has is part of the key, and it has no others.
    #[must_use]
    pub fn keys_cookies(&self) -> bool {
        self.rules.cookies.is_some()
    }

    /// Answers are told apart by what may be a secret of the caller.
    #[must_use]
    pub fn keys_secrets(&self) -> bool {
        let has_cookies = self.rules.cookies.as_ref().is_some_and(|c| !c.is_empty());
        has_cookies || self.headers.contains(&AUTHORIZATION)
    }

    /// The target that is part of the key, and that is asked for where the answer may be stored.
    #[must_use]
    pub fn target<'a>(&self, target: &'a str) -> Cow<'a, str> {
        if !self.changes_query() {
            return Cow::Borrowed(target);
        }
        let Some((path, query)) = target.split_once('?') else {
            return Cow::Borrowed(target);
        };
        let counts = |parameter: &&str| !parameter.is_empty() && self.counts(name_of(parameter));
        let mut kept: Vec<&str> = query.split('&').filter(counts).collect();
        if self.rules.sort_query {
            // Stable: values of one name stay in their order, which may mean something.
            kept.sort_by_cached_key(|parameter| decoded(name_of(parameter)).into_owned());
        }
        match kept.is_empty() {
            true => Cow::Borrowed(path),
            false => Cow::Owned(format!("{path}?{}", kept.join("&"))),
        }
    }

    /// Whether a parameter of this name is part of the key.
    fn counts(&self, name: &str) -> bool {
        let name = decoded(name);
        let is_listed = |names: &[String]| {
            names.iter().any(|listed| match listed.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => *name == **listed,
            })
        };
        match &self.rules.query {
            QueryRule::All => true,
            QueryRule::Only(names) => is_listed(names),
            QueryRule::Without(names) => !is_listed(names),
        }
    }

    /// Takes what is no part of the key off the fields of a request whose answer may be stored, those aside that plugins
    /// `set_on_way` (answers vary by these), and gives what of them is: the extra part of the key. None: a value is no text, or
    /// all are too long; then there is no key, and nothing is stored.
    #[must_use]
    pub fn apply(&self, request: &mut HeaderMap, set_on_way: &[HeaderName]) -> Option<String> {
        self.apply_to(request, set_on_way, Device::of)
    }

    /// The same of a request to which another PoP has applied them: what the kind of device was read from is gone, and
    /// [`DEVICE_CLASS`] says it.
    #[must_use]
    pub fn apply_again(
        &self,
        request: &mut HeaderMap,
        set_on_way: &[HeaderName],
    ) -> Option<String> {
        self.apply_to(request, set_on_way, Device::told)
    }

    fn apply_to(
        &self,
        request: &mut HeaderMap,
        set_on_way: &[HeaderName],
        device: impl Fn(&HeaderMap) -> Device,
    ) -> Option<String> {
        if self.is_plain {
            return Some(String::new());
        }
        let mut extra = Some(String::new());
        let mut add = |kind: char, text: Option<String>| {
            extra = match (extra.take(), text) {
                (Some(extra), Some(text)) if extra.is_empty() => Some(format!("{kind}{text}")),
                (Some(extra), Some(text)) => Some(format!("{extra}{SEPARATOR}{kind}{text}")),
                _ => None,
            };
        };
        let device = self.rules.device.then(|| device(request));
        if let Some(device) = device {
            self.tell_device(device, request, set_on_way);
            add('d', Some(device.as_str().to_owned()));
        }
        if self.rules.cookies.is_some() && !set_on_way.contains(&COOKIE) {
            add('c', self.keep_cookies(request));
        }
        if self.rules.headers.is_some() {
            retain(request, |name| {
                HEEDED.contains(name)
                    || self.headers.contains(name)
                    || set_on_way.contains(name)
                    || (device.is_some() && *name == DEVICE_CLASS)
                    || name.as_str().starts_with("brink-")
            });
            if !self.headers.is_empty() {
                let selection = vary::selection(&self.headers, request);
                let line = |text: String| text.trim_end().replace('\n', &SEPARATOR.to_string());
                add('h', selection.map(line));
            }
        }
        extra.filter(|extra| extra.len() <= vary::SELECTION_BYTES_MAX)
    }

    /// Puts the kind of a device in the place of the fields that it was read from.
    fn tell_device(&self, device: Device, request: &mut HeaderMap, set_on_way: &[HeaderName]) {
        let is_kept = |name: &HeaderName| self.headers.contains(name) || set_on_way.contains(name);
        retain(request, |name| {
            let is_of_device = *name == USER_AGENT || name.as_str().starts_with("sec-ch-ua");
            !is_of_device || is_kept(name)
        });
        request.insert(DEVICE_CLASS, HeaderValue::from_static(device.as_str()));
    }

    /// Leaves the cookies that count, and gives them as text. A line that is no text is no cookie.
    fn keep_cookies(&self, request: &mut HeaderMap) -> Option<String> {
        let names = self.rules.cookies.as_deref().unwrap_or_default();
        let mut kept: Vec<&str> = Vec::new();
        for line in request.get_all(COOKIE) {
            let Ok(line) = line.to_str() else { continue };
            kept.extend(line.split(';').map(str::trim).filter(|cookie| {
                let name = cookie.split('=').next().unwrap_or_default();
                names.iter().any(|listed| listed == name.trim())
            }));
        }
        // Stable: of two with one name the first may be the one that is read.
        kept.sort_by_key(|cookie| cookie.split('=').next().unwrap_or_default().trim());
        let text = kept.join("; ");
        request.remove(COOKIE);
        if !text.is_empty() {
            request.insert(COOKIE, HeaderValue::from_str(&text).ok()?);
        }
        Some(text)
    }
}

/// A key's extra part in words that give no secret away: of what kind (`device`, `cookie` or `header`), and what it is.
#[must_use]
pub fn described(extra: &str) -> Vec<(&'static str, String)> {
    let mut is_header = false;
    let mut parts = Vec::new();
    for part in extra.split(SEPARATOR).filter(|part| !part.is_empty()) {
        // Lines of fields come last, and only the first of them says what they are.
        let text = match (is_header, part.split_at_checked(1)) {
            (false, Some(("d", device))) => {
                parts.push(("device", device.to_owned()));
                continue;
            }
            (false, Some(("c", cookies))) => {
                let names = cookies
                    .split(';')
                    .map(|cookie| name_of(cookie).trim().to_owned());
                let names = names.filter(|name| !name.is_empty());
                parts.extend(names.map(|name| ("cookie", name)));
                continue;
            }
            (false, Some(("h", line))) => line,
            _ => part,
        };
        is_header = true;
        parts.push(("header", vary::without_secret(text).to_owned()));
    }
    parts
}

/// The name of `NAME=VALUE`, or of `NAME`.
fn name_of(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or(parameter)
}

/// A parameter's name without its encoding: `+` is a space, `%XX` a byte. What is not UTF-8 then stays as it is.
fn decoded(name: &str) -> Cow<'_, str> {
    if !name.contains(['%', '+']) {
        return Cow::Borrowed(name);
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |b: &u8| {
            char::from(*b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let encoded = match (first, after) {
            (b'%', [high, low, ..]) => digit(high).zip(digit(low)),
            _ => None,
        };
        rest = match encoded {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                after.get(2..).unwrap_or_default()
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                after
            }
        };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(name), Cow::Owned)
}

#[cfg(test)]
mod tests;
