//! One byte range from a stored body, which is whole or itself a part: RFC 9110 §14, RFC 9111 §3.3.

use super::{condition::strongly_equal, fields::date};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE},
};
use std::ops::Range as Bytes;

/// What a request gets of a whole body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it: no range was asked for, or one that may be ignored (several ranges, another unit, `If-Range` differs).
    Whole,
    /// These bytes, with 206.
    Range(Bytes<usize>),
    /// None: 416.
    Unsatisfiable,
}

/// RFC 9110 §14.2: only `GET` has ranges, and only of a 200.
#[must_use]
pub fn part(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    stored: &HeaderMap,
    length: usize,
) -> Part {
    let mut ranges = request.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else {
        return Part::Whole;
    };
    if *method != Method::GET || status != StatusCode::OK || !holds_if_range(request, stored) {
        return Part::Whole;
    }
    range
        .to_str()
        .ok()
        .and_then(|text| one(text, length))
        .unwrap_or(Part::Whole)
}

/// RFC 9110 §13.1.5: a strong tag, or a date that is exactly `Last-Modified` and old enough to be strong (§8.8.2.2).
fn holds_if_range(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(wanted) = request.get(IF_RANGE) else {
        return true;
    };
    if wanted.as_bytes().starts_with(b"\"") || wanted.as_bytes().starts_with(b"W/") {
        return stored
            .get(ETAG)
            .is_some_and(|etag| strongly_equal(etag.as_bytes(), wanted.as_bytes()));
    }
    let (Some(wanted), Some(modified)) = (date(request, &IF_RANGE), date(stored, &LAST_MODIFIED))
    else {
        return false;
    };
    let strong = date(stored, &DATE)
        .and_then(|at| at.duration_since(modified).ok())
        .is_some_and(|age| age.as_secs() >= 1);
    wanted == modified && strong
}

/// `bytes=FIRST-[LAST]` or `bytes=-SUFFIX`. None if it is none of these.
fn one(text: &str, length: usize) -> Option<Part> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    // Far beyond any length, so that two different numbers are not taken for one.
    let number = |text: &str| -> Option<u128> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u128::MAX))
    };
    let at_most_length = |at: u128| usize::try_from(at).unwrap_or(usize::MAX).min(length);
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(match suffix {
            0 => Part::Unsatisfiable,
            _ if length == 0 => Part::Unsatisfiable,
            _ => Part::Range(length - at_most_length(suffix)..length),
        });
    }
    let first = number(first)?;
    let end = match last {
        "" => length,
        last => {
            let last = number(last)?;
            if last < first {
                return None;
            }
            at_most_length(last.saturating_add(1))
        }
    };
    let first = at_most_length(first);
    Some(if first >= length {
        Part::Unsatisfiable
    } else {
        Part::Range(first..end)
    })
}

/// Where a part lies in its representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its first byte.
    pub first: usize,
    /// Bytes of the whole representation.
    pub complete: usize,
}

impl Held {
    /// Where the content of a 206 lies, which has `length` bytes. None if its `Content-Range` does not say so: it is another
    /// unit's, of several parts, of unknown length, or contradicts the content. RFC 9110 §14.4, §15.3.7.
    ///
    /// There are origins that count the last byte wrongly. Where the content is as long as `Content-Length` says and is
    /// said to reach the end, the end is where it ends.
    #[must_use]
    pub fn of(response: &HeaderMap, length: usize) -> Option<Self> {
        let (first, last, complete) = said(response)?;
        if last - first + 1 == length {
            return Some(Self { first, complete });
        }
        let is_whole = number(response.get(CONTENT_LENGTH)?.to_str().ok()?) == Some(length);
        let complete = first.checked_add(length)?;
        (is_whole && length > 0 && says_end(response)).then_some(Self { first, complete })
    }

    /// Whether the `length` bytes that are held answer a request: it asks for a range of them.
    #[must_use]
    pub fn answers(
        self,
        method: &Method,
        request: &HeaderMap,
        stored: &HeaderMap,
        length: usize,
    ) -> bool {
        let part = part(method, request, StatusCode::OK, stored, self.complete);
        matches!(part, Part::Range(range) if self.place(&range, length).is_some())
    }

    /// Where a range of the representation lies in the `length` bytes that are held.
    #[must_use]
    pub fn place(self, range: &Bytes<usize>, length: usize) -> Option<Bytes<usize>> {
        let place = range.start.checked_sub(self.first)?..range.end.checked_sub(self.first)?;
        (place.end <= length).then_some(place)
    }
}

/// Whether a 206 says of itself where one part lies. See [`Held::of`].
#[must_use]
pub fn is_one_part(response: &HeaderMap) -> bool {
    said(response).is_some()
}

fn says_end(response: &HeaderMap) -> bool {
    said(response).is_some_and(|(_, last, complete)| last + 1 == complete)
}

/// `bytes FIRST-LAST/COMPLETE`, if that can be.
fn said(response: &HeaderMap) -> Option<(usize, usize, usize)> {
    let mut lines = response.get_all(CONTENT_RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let (unit, rest) = line.to_str().ok()?.trim().split_once(' ')?;
    let (range, complete) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let [first, last, complete] = [number(first)?, number(last)?, number(complete)?];
    let is_possible = unit.eq_ignore_ascii_case("bytes") && first <= last && last < complete;
    is_possible.then_some((first, last, complete))
}

fn number(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// `Content-Range` of a 206. RFC 9110 §14.4.
#[must_use]
pub fn content_range(range: &Bytes<usize>, length: usize) -> Option<HeaderValue> {
    let last = range.end.checked_sub(1)?;
    HeaderValue::try_from(format!("bytes {}-{last}/{length}", range.start)).ok()
}

/// `Content-Range` of a 416.
#[must_use]
pub fn unsatisfied(length: usize) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("bytes */{length}")).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(n, v)| (http::HeaderName::from_static(n), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn parts() {
        for (range, expected) in [
            ("bytes=0-1", Part::Range(0..2)),
            ("bytes=1-", Part::Range(1..11)),
            ("bytes=-1", Part::Range(10..11)),
            ("bytes=-99", Part::Range(0..11)),
            ("bytes=5-999999999999999999999999", Part::Range(5..11)),
            ("BYTES=5-5", Part::Range(5..6)),
            ("bytes=11-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            (
                "bytes=18446744073709551615-18446744073709551616",
                Part::Unsatisfiable,
            ),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes", Part::Whole),
        ] {
            let request = map(&[("range", range)]);
            let got = part(
                &Method::GET,
                &request,
                StatusCode::OK,
                &HeaderMap::new(),
                11,
            );
            assert_eq!(got, expected, "{range}");
        }
    }

    #[test]
    fn held() {
        for (content_range, content_length, length, expected) in [
            ("bytes 4-9/10", None, 6, Some((4, 10))),
            ("Bytes 0-4/10", None, 5, Some((0, 10))),
            ("bytes 4-9/10", Some("5"), 5, Some((4, 9))),
            ("bytes 4-9/10", None, 5, None),
            ("bytes 4-8/10", Some("4"), 4, None),
            ("bytes 4-9/10", Some("0"), 0, None),
            ("bytes 4-9/*", None, 6, None),
            ("bytes */10", None, 6, None),
            ("bytes 4-9/9", None, 6, None),
            ("bytes 9-4/10", None, 6, None),
            ("lines 4-9/10", None, 6, None),
            (
                "bytes 0-18446744073709551615/18446744073709551616",
                None,
                6,
                None,
            ),
        ] {
            let mut fields = vec![("content-range", content_range)];
            fields.extend(content_length.map(|length| ("content-length", length)));
            let held = Held::of(&map(&fields), length);
            let expected = expected.map(|(first, complete)| Held { first, complete });
            assert_eq!(
                held, expected,
                "{content_range} {content_length:?} {length}"
            );
        }
        assert!(!is_one_part(&map(&[
            ("content-range", "bytes 0-1/9"),
            ("content-range", "bytes 3-4/9")
        ])));
    }

    #[test]
    fn what_a_part_answers() {
        let held = Held {
            first: 4,
            complete: 10,
        };
        let stored = map(&[("etag", "\"a\"")]);
        for (request, length, answers) in [
            (&[("range", "bytes=4-9")][..], 6, true),
            (&[("range", "bytes=-5")], 6, true),
            (&[("range", "bytes=6-")], 6, true),
            (&[("range", "bytes=5-6")], 6, true),
            (&[("range", "bytes=3-5")], 6, false),
            (&[("range", "bytes=6-")], 5, false),
            (&[("range", "bytes=10-")], 6, false),
            (&[], 6, false),
            (&[("range", "bytes=4-9"), ("if-range", "\"a\"")], 6, true),
            (&[("range", "bytes=4-9"), ("if-range", "\"b\"")], 6, false),
        ] {
            let got = held.answers(&Method::GET, &map(request), &stored, length);
            assert_eq!(got, answers, "{request:?} {length}");
            assert!(!held.answers(&Method::HEAD, &map(request), &stored, length));
        }
        assert_eq!(held.place(&(5..7), 6), Some(1..3));
    }

    #[test]
    fn if_range() {
        let (day, later) = (
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Mon, 07 Nov 1994 08:49:37 GMT",
        );
        type Fields<'a> = &'a [(&'static str, &'a str)];
        let cases: [(&str, Fields<'_>, bool); 7] = [
            ("\"a\"", &[("etag", "\"a\"")], true),
            ("\"b\"", &[("etag", "\"a\"")], false),
            ("W/\"a\"", &[("etag", "W/\"a\"")], false),
            (day, &[("last-modified", day), ("date", later)], true),
            (day, &[("last-modified", day), ("date", day)], false),
            (later, &[("last-modified", day), ("date", later)], false),
            ("nonsense", &[("last-modified", day)], false),
        ];
        for (wanted, stored, ranged) in cases {
            let request = map(&[("range", "bytes=0-0"), ("if-range", wanted)]);
            let got = part(&Method::GET, &request, StatusCode::OK, &map(stored), 5);
            assert_eq!(got == Part::Range(0..1), ranged, "{wanted} {stored:?}");
        }
    }

    proptest! {
        #[test]
        fn inside_the_body(text in "(bytes=)?[0-9]{0,3}-?[0-9]{0,3}", length in 0usize..200) {
            if let Ok(value) = HeaderValue::from_str(&text) {
                let mut request = HeaderMap::new();
                request.insert(RANGE, value);
                if let Part::Range(range) = part(&Method::GET, &request, StatusCode::OK, &HeaderMap::new(), length) {
                    prop_assert!(range.start < range.end && range.end <= length);
                    prop_assert!(content_range(&range, length).is_some());
                }
            }
        }
    }
}
