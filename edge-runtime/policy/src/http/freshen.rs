//! Storing and updating the fields of a response: RFC 9111 §3.1, §3.2, §4.3.4.

use super::{
    condition::strongly_equal,
    directives::{BRINK_CACHE_CONTROL, ResponseDirectives, SURROGATE_CONTROL},
    fields::remove_hop_by_hop,
};
use crate::names::{CACHE_TAG, SURROGATE_KEY};
use http::{
    HeaderMap, HeaderName,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, TRAILER},
};

/// Checks the content of the message that carries it, which a 304 does not have. RFC 1864.
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
/// Likewise: RFC 9530 §2. (`Repr-Digest` is of the representation, and may be updated.)
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Removes what is for the next hop alone and what is for us alone: `Brink-Cache-Control`, `Surrogate-Control`,
/// `Surrogate-Key`, `Cache-Tag`.
pub fn remove_own(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in [
        BRINK_CACHE_CONTROL,
        SURROGATE_CONTROL,
        SURROGATE_KEY,
        CACHE_TAG,
    ] {
        headers.remove(name);
    }
}

/// Makes of a response's fields those that are stored: RFC 9111 §3.1, without what `no-cache="..."` and
/// `private="..."` name.
pub fn retain_storable(headers: &mut HeaderMap) {
    for name in ResponseDirectives::of(headers).fields {
        headers.remove(name);
    }
    remove_own(headers);
}

/// Gives the answer to the request that fetched a response what [`retain_storable`] took for being named: it is fresh from the
/// origin, and this caller's own. RFC 9111 §5.2.2.4, §5.2.2.7.
pub fn restore_unstored(headers: &mut HeaderMap, received: &HeaderMap) {
    for name in ResponseDirectives::of(received).fields {
        if !headers.contains_key(&name) {
            for value in received.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    remove_own(headers);
}

/// Whether a 304 speaks of this stored response. RFC 9111 §4.3.4: a strong validator in it must be the stored one.
#[must_use]
pub fn selects(stored: &HeaderMap, update: &HeaderMap) -> bool {
    match update.get(ETAG) {
        Some(etag) if !etag.as_bytes().starts_with(b"W/") => stored
            .get(ETAG)
            .is_some_and(|own| strongly_equal(own.as_bytes(), etag.as_bytes())),
        Some(_) | None => true,
    }
}

/// Puts the fields of a 304 in the place of the stored ones, except those that the stored content depends on.
/// RFC 9111 §3.2.
pub fn freshen(stored: &mut HeaderMap, mut update: HeaderMap) {
    remove_hop_by_hop(&mut update);
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, TRAILER] {
        update.remove(name);
    }
    for name in [CONTENT_MD5, CONTENT_DIGEST] {
        update.remove(name);
    }
    let names: Vec<HeaderName> = update.keys().cloned().collect();
    for name in names {
        stored.remove(&name);
        for value in update.get_all(&name) {
            stored.append(name.clone(), value.clone());
        }
    }
    super::vary::complete(stored);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn freshened() {
        let mut stored = map(&[
            ("content-type", "a/b"),
            ("content-length", "5"),
            ("content-md5", "x"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=1"),
            ("x-kept", "1"),
        ]);
        freshen(
            &mut stored,
            map(&[
                ("content-type", "c/d"),
                ("content-length", "0"),
                ("content-md5", "y"),
                ("content-digest", "sha-256=:y:"),
                ("set-cookie", "a=2"),
                ("set-cookie", "c=2"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
            ]),
        );
        let expected = map(&[
            ("content-type", "c/d"),
            ("content-length", "5"),
            ("content-md5", "x"),
            ("set-cookie", "a=2"),
            ("set-cookie", "c=2"),
            ("x-kept", "1"),
        ]);
        assert_eq!(stored, expected);
    }

    #[test]
    fn selected() {
        for (stored, update, expected) in [
            (&[("etag", "\"a\"")][..], &[("etag", "\"a\"")][..], true),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
            (&[("etag", "\"a\"")], &[("etag", "W/\"b\"")], true),
            (&[], &[("etag", "\"b\"")], false),
            (&[("etag", "\"a\"")], &[], true),
        ] {
            assert_eq!(
                selects(&map(stored), &map(update)),
                expected,
                "{stored:?} {update:?}"
            );
        }
    }

    #[test]
    fn stored_fields() {
        let mut headers = map(&[
            (
                "cache-control",
                "private=\"x-a\", no-cache=\"x-b, x-c\", max-age=5",
            ),
            ("x-a", "1"),
            ("x-b", "1"),
            ("x-c", "1"),
            ("x-d", "1"),
            ("surrogate-key", "k"),
            ("cache-tag", "k"),
            ("keep-alive", "1"),
            ("brink-cache-control", "&"),
        ]);
        let received = headers.clone();
        retain_storable(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["cache-control", "x-d"]);
        restore_unstored(&mut headers, &received);
        let whole = ["cache-control", "x-d", "x-a", "x-b", "x-c"];
        assert_eq!(headers.keys().collect::<Vec<_>>(), whole);
    }
}
