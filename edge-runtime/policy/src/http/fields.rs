//! Reading of field values: lists, quoted strings, dates; which fields are hop-by-hop.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE},
};
use std::time::{Duration, SystemTime};

/// The lines of a field that are text, in order.
pub fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    lines.filter_map(|line| line.to_str().ok())
}

/// The members of a list, without the space around them; commas in quoted strings do not part. After a quote that is not closed
/// all commas do: it must not hide a `no-store` behind it. RFC 9110 §5.6.1.
pub fn members(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    let mut quotes = true;
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut opened, mut escaped) = (None, false);
        let mut end = text.bytes().enumerate().position(|(at, b)| {
            if escaped {
                escaped = false;
            } else if opened.is_some() && b == b'\\' {
                escaped = true;
            } else if b == b'"' && quotes {
                opened = opened.xor(Some(at));
            } else {
                return b == b',' && opened.is_none();
            }
            false
        });
        if let Some(opened) = opened {
            // Once and for all: the line is not read through again for each of its members.
            quotes = false;
            let after = text.get(opened..).and_then(|after| after.find(','));
            end = after.map(|at| opened + at);
        }
        let (member, after) = match end {
            Some(at) => (text.get(..at).unwrap_or(""), text.get(at + 1..)),
            None => (text, None),
        };
        rest = after;
        Some(member.trim_matches([' ', '\t']))
    })
    .filter(|member| !member.is_empty())
}

/// A quoted string without quotes and escapes; other text as it is. RFC 9110 §5.6.4.
#[must_use]
pub fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    text
}

/// The first line of a field as a date; what is none is none. See [`super::date::parse`].
#[must_use]
pub fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    super::date::parse(headers.get(name)?.to_str().ok()?.trim())
}

/// The first moment that no date can name: the year 10000 has five digits.
const DATE_SECONDS_END: u64 = 253_402_300_800;

/// `time` as a field value; a time before 1970 as the beginning of 1970. None from the year 10000 on. RFC 9110 §5.6.7.
#[must_use]
pub fn date_value(time: SystemTime) -> Option<HeaderValue> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO);
    if since.as_secs() >= DATE_SECONDS_END {
        return None;
    }
    HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)).ok()
}

/// Fields that are for the next hop alone, beside those that `Connection` names. RFC 9110 §7.6.1. `Trailer` is not: what it
/// announces goes on.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Removes the fields that are for the next hop alone. RFC 9110 §7.6.1.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = lines(headers, &CONNECTION)
            .flat_map(members)
            .filter_map(|name| name.parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists() {
        for (value, expected) in [
            ("a, b", &["a", "b"][..]),
            (",a,,b ,\t", &["a", "b"]),
            ("a=\"x,y\", b", &["a=\"x,y\"", "b"]),
            ("a=\"x\\\",y\", b", &["a=\"x\\\",y\"", "b"]),
            ("\"open, b", &["\"open", "b"]),
            ("a=\"x\", \"open, b, c", &["a=\"x\"", "\"open", "b", "c"]),
            ("\"a\\\", b", &["\"a\\\"", "b"]),
            ("", &[]),
        ] {
            assert_eq!(members(value).collect::<Vec<_>>(), expected, "{value}");
        }
        assert_eq!(unquoted("\"a\\\"b\\\\\""), "a\"b\\");
        assert_eq!(unquoted("\""), "\"");
    }

    #[test]
    fn hop_by_hop() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-One"),
            ("connection", "x-two"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-connection", "close"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-three"]);
    }

    proptest! {
        #[test]
        fn members_lose_nothing_but_space_and_commas(value in "[a-c,\" \\\\]{0,30}") {
            let kept: String = members(&value).collect::<Vec<_>>().concat();
            let strip = |text: &str| text.replace([' ', ',', '\t'], "");
            prop_assert_eq!(strip(&kept), strip(&value));
        }
    }
}
