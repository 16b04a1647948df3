//! Trailer sections: what of them goes on, and is stored. RFC 9110 §6.5.

use super::{
    directives::{BRINK_CACHE_CONTROL, CDN_CACHE_CONTROL, SURROGATE_CONTROL},
    fields::remove_hop_by_hop,
    interim::remove_internal,
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT_RANGES, AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
        CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, COOKIE, DATE, EXPECT, EXPIRES, HOST,
        IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION,
        MAX_FORWARDS, PRAGMA, RANGE, RETRY_AFTER, SET_COOKIE, TRAILER, VARY, WARNING,
        WWW_AUTHENTICATE,
    },
};

/// Most lines of a trailer section; one with more does not go on.
const LINES_MAX: usize = 64;
/// Most bytes of a trailer section; one with more does not go on.
const BYTES_MAX: usize = 16 << 10;

/// Fields that must be known before the content, or that mean something else there. RFC 9110 §6.5.1: framing, routing,
/// modifiers of requests, authentication, control data, how the content is to be read.
const FORBIDDEN: [HeaderName; 32] = [
    ACCEPT_RANGES,
    AGE,
    AUTHORIZATION,
    BRINK_CACHE_CONTROL,
    CACHE_CONTROL,
    CDN_CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    DATE,
    EXPECT,
    EXPIRES,
    HOST,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    LOCATION,
    MAX_FORWARDS,
    PRAGMA,
    RANGE,
    RETRY_AFTER,
    SET_COOKIE,
    SURROGATE_CONTROL,
    TRAILER,
    VARY,
    WARNING,
    WWW_AUTHENTICATE,
];

/// The trailer section that goes on; it may be empty. A section that is too long is dropped, which RFC 9110 §6.5.1 leaves
/// to whoever forwards.
#[must_use]
pub fn forwarded(mut section: HeaderMap) -> HeaderMap {
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    if section.len() > LINES_MAX || section.iter().map(bytes).sum::<usize>() > BYTES_MAX {
        return HeaderMap::new();
    }
    remove_hop_by_hop(&mut section);
    for name in &FORBIDDEN {
        section.remove(name);
    }
    remove_internal(&mut section);
    section
}

/// The value of `Trailer` that announces a section; none for an empty one. RFC 9110 §6.6.2.
#[must_use]
pub fn announced(section: &HeaderMap) -> Option<HeaderValue> {
    if section.is_empty() {
        return None;
    }
    let names: Vec<&str> = section.keys().map(HeaderName::as_str).collect();
    HeaderValue::try_from(names.join(", ")).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn section(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut section = HeaderMap::new();
        for (name, value) in fields {
            section.append(*name, value.parse().unwrap());
        }
        section
    }

    #[test]
    fn what_may_stand_behind_the_content_goes_on() {
        let came = section(&[
            ("etag", "\"a\""),
            ("server-timing", "a"),
            ("server-timing", "b"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=1"),
            ("cache-control", "public"),
            ("cdn-cache-control", "max-age=9"),
            ("brink-position", "core.1=1"),
            ("host", "h"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
        ]);
        let kept = forwarded(came);
        assert_eq!(
            kept,
            section(&[
                ("etag", "\"a\""),
                ("server-timing", "a"),
                ("server-timing", "b")
            ])
        );
        let names = announced(&kept).unwrap();
        let mut names: Vec<&str> = names.to_str().unwrap().split(", ").collect();
        names.sort_unstable();
        assert_eq!(names, ["etag", "server-timing"]);
        assert_eq!(announced(&HeaderMap::new()), None);
    }

    #[test]
    fn long_sections_are_dropped() {
        let long = "x".repeat(BYTES_MAX);
        assert!(forwarded(section(&[("a", &long)])).is_empty());
        assert!(forwarded(section(&[("a", "b"); LINES_MAX + 1])).is_empty());
        assert_eq!(
            forwarded(section(&[("a", "b"); LINES_MAX])).len(),
            LINES_MAX
        );
    }

    proptest! {
        /// Once filtered, there is nothing left to filter.
        #[test]
        fn filtering_is_done_once(names in proptest::collection::vec("[a-z]{1,3}|age|host|vary|te", 0..20)) {
            let mut section = HeaderMap::new();
            for name in &names {
                section.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("1"));
            }
            let once = forwarded(section);
            prop_assert_eq!(forwarded(once.clone()), once.clone());
            prop_assert!(!once.contains_key("te") && !once.contains_key(HOST));
        }
    }
}
