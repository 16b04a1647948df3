//! Parts of one representation that are put together: RFC 9110 §15.3.7.3, RFC 9111 §3.4.
//!
//! A stored part is one stretch of bytes. One that comes and touches it makes it longer; one that lies apart takes its place.

use super::{
    freshen::freshen,
    range::{Held, content_range},
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG},
};
use std::ops::Range;

/// Most bytes that are asked for to make a part whole: whoever waits for the whole gets nothing before they have come.
pub const MISSING_BYTES_MAX: usize = 1 << 20;

/// Fields that check the content of the message that they come with, which a combined one has no more.
const OF_CONTENT: [HeaderName; 2] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
];

/// What two parts make together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combined {
    /// The bytes of the representation that they cover.
    pub covers: Range<usize>,
    /// All bytes of the representation.
    pub complete: usize,
    /// Of the stored part's bytes those before the new ones.
    pub before: Range<usize>,
    /// Of the stored part's bytes those behind the new ones.
    pub after: Range<usize>,
}

impl Combined {
    /// Nothing is missing any more: it is a 200.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.covers == (0..self.complete)
    }
}

/// What a stored part and a new one make together, with so many bytes each; none: there is a gap between them, or they are of
/// representations of different lengths.
#[must_use]
pub fn combined(
    (stored, stored_bytes): (Held, usize),
    (new, new_bytes): (Held, usize),
) -> Option<Combined> {
    let of = |held: Held, bytes: usize| Some(held.first..held.first.checked_add(bytes)?);
    let (old, now) = (of(stored, stored_bytes)?, of(new, new_bytes)?);
    let touch = old.start <= now.end && now.start <= old.end;
    if stored.complete != new.complete || !touch || old.end.max(now.end) > new.complete {
        return None;
    }
    let until = now.start.clamp(old.start, old.end) - old.start;
    let from = now.end.clamp(old.start, old.end) - old.start;
    Some(Combined {
        covers: old.start.min(now.start)..old.end.max(now.end),
        complete: new.complete,
        before: 0..until,
        after: from..stored_bytes,
    })
}

/// Whether two parts are of the same representation: they have the same strong entity tag, and the same coding.
#[must_use]
pub fn are_of_one(stored: &HeaderMap, new: &HeaderMap) -> bool {
    strong_tag(stored).is_some_and(|tag| strong_tag(new) == Some(tag))
        && stored.get(CONTENT_ENCODING) == new.get(CONTENT_ENCODING)
}

/// The fields of what a stored part and a new one make: the new ones go before the stored. RFC 9111 §3.4.
#[must_use]
pub fn fields(mut stored: HeaderMap, new: HeaderMap, combined: &Combined) -> HeaderMap {
    freshen(&mut stored, new);
    for name in OF_CONTENT {
        stored.remove(name);
    }
    match content_range(&combined.covers, combined.complete) {
        Some(range) if !combined.is_whole() => stored.insert(CONTENT_RANGE, range),
        Some(_) | None => stored.remove(CONTENT_RANGE),
    };
    stored
}

/// What is asked for to make a stored part whole: `Range`, and `If-Range` so that another representation comes as a whole. None:
/// it has no strong validator, lies in the middle, or too much is missing.
#[must_use]
pub fn missing(
    (stored, bytes): (Held, usize),
    fields: &HeaderMap,
) -> Option<(HeaderValue, HeaderValue)> {
    let tag = strong_tag(fields)?.clone();
    let end = stored.first.checked_add(bytes)?;
    let (range, missing) = match (stored.first, end) {
        (0, end) if end < stored.complete => (format!("bytes={end}-"), stored.complete - end),
        (first, end) if first > 0 && end == stored.complete => {
            (format!("bytes=0-{}", first - 1), first)
        }
        _ => return None,
    };
    if missing > MISSING_BYTES_MAX {
        return None;
    }
    Some((HeaderValue::try_from(range).ok()?, tag))
}

/// RFC 9110 §8.8.3: one tag in quotes, and not weak.
fn strong_tag(fields: &HeaderMap) -> Option<&HeaderValue> {
    let mut tags = fields.get_all(ETAG).iter();
    let (tag, None) = (tags.next()?, tags.next()) else {
        return None;
    };
    let bytes = tag.as_bytes();
    (bytes.len() >= 2 && bytes.starts_with(b"\"") && bytes.ends_with(b"\"")).then_some(tag)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        fields.iter().map(pair).collect()
    }

    proptest! {
        /// A naive model keeps each byte by its place: two stretches are one exactly if nothing is missing between.
        #[test]
        fn as_sets_of_bytes(complete in 1usize..30, parts in prop::collection::vec((0usize..30, 1usize..30), 1..8)) {
            let whole: Vec<u8> = (0..complete).map(|at| u8::try_from(at).unwrap()).collect();
            let mut held: Option<(usize, Vec<u8>)> = None;
            for (first, length) in parts {
                let first = first % complete;
                let end = (first + length).min(complete);
                let (new, bytes) = (Held { first, complete }, &whole[first..end]);
                let Some((old_first, old)) = held.take() else {
                    held = Some((first, bytes.to_vec()));
                    continue;
                };
                let mut model: BTreeMap<usize, u8> = BTreeMap::new();
                model.extend(old.iter().enumerate().map(|(at, byte)| (old_first + at, *byte)));
                model.extend(bytes.iter().enumerate().map(|(at, byte)| (first + at, *byte)));
                let (low, high) = (*model.keys().next().unwrap(), *model.keys().last().unwrap());
                let is_one = model.len() == high - low + 1;
                let made = combined((Held { first: old_first, complete }, old.len()), (new, bytes.len()));
                prop_assert_eq!(made.is_some(), is_one);
                held = Some(match made {
                    None => (first, bytes.to_vec()),
                    Some(made) => {
                        prop_assert_eq!(&made.covers, &(low..high + 1));
                        prop_assert_eq!(made.is_whole(), model.len() == complete);
                        let joined = [&old[made.before], bytes, &old[made.after]].concat();
                        prop_assert_eq!(&joined, &model.into_values().collect::<Vec<_>>());
                        (made.covers.start, joined)
                    }
                });
            }
        }

        /// What is asked for is what is missing.
        #[test]
        fn what_is_missing(complete in 1usize..30, first in 0usize..30, length in 1usize..30) {
            let first = first % complete;
            let end = (first + length).min(complete);
            let stored = (Held { first, complete }, end - first);
            let asked = missing(stored, &map(&[("etag", "\"a\"")]));
            let is_at_an_end = (first == 0) != (end == complete);
            prop_assert_eq!(asked.is_some(), is_at_an_end);
            if let Some((range, tag)) = asked {
                let wanted = if first == 0 { format!("bytes={end}-") } else { format!("bytes=0-{}", first - 1) };
                prop_assert_eq!(range, wanted);
                prop_assert_eq!(tag, "\"a\"");
            }
        }
    }

    #[test]
    fn parts_of_different_lengths_and_hostile_numbers() {
        let held = |first, complete| Held { first, complete };
        assert_eq!(combined((held(0, 10), 5), (held(5, 11), 6)), None);
        assert_eq!(combined((held(0, 10), 5), (held(6, 10), 4)), None);
        assert_eq!(combined((held(0, 10), 5), (held(5, 10), 6)), None);
        let end = usize::MAX;
        assert_eq!(combined((held(0, end), 5), (held(end, end), 6)), None);
        assert_eq!(
            missing((held(end, end), 6), &map(&[("etag", "\"a\"")])),
            None
        );
        let far = held(0, MISSING_BYTES_MAX + 6);
        assert_eq!(missing((far, 5), &map(&[("etag", "\"a\"")])), None);
    }

    #[test]
    fn representations() {
        for (stored, new, one) in [
            (&[("etag", "\"a\"")][..], &[("etag", "\"a\"")][..], true),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
            (&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], false),
            (&[], &[], false),
            (&[("etag", "a")], &[("etag", "a")], false),
            (
                &[("etag", "\"a\""), ("content-encoding", "gzip")],
                &[("etag", "\"a\"")],
                false,
            ),
        ] {
            assert_eq!(
                are_of_one(&map(stored), &map(new)),
                one,
                "{stored:?} {new:?}"
            );
        }
        for weak in [
            &[("etag", "W/\"a\"")][..],
            &[],
            &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
        ] {
            assert_eq!(
                missing(
                    (
                        Held {
                            first: 0,
                            complete: 9
                        },
                        5
                    ),
                    &map(weak)
                ),
                None
            );
        }
    }

    #[test]
    fn fields_of_the_new_go_first() {
        let stored = map(&[
            ("etag", "\"a\""),
            ("x-a", "1"),
            ("x-b", "1"),
            ("content-md5", "x"),
            ("content-range", "bytes 0-4/10"),
        ]);
        let new = map(&[
            ("etag", "\"a\""),
            ("x-a", "2"),
            ("content-digest", "y"),
            ("content-range", "bytes 5-6/10"),
        ]);
        let held = |first| Held {
            first,
            complete: 10,
        };
        let part = combined((held(0), 5), (held(5), 2)).unwrap();
        let expected = map(&[
            ("etag", "\"a\""),
            ("x-a", "2"),
            ("x-b", "1"),
            ("content-range", "bytes 0-6/10"),
        ]);
        assert_eq!(fields(stored.clone(), new.clone(), &part), expected);
        let whole = combined((held(0), 5), (held(5), 5)).unwrap();
        assert!(!fields(stored, new, &whole).contains_key("content-range"));
    }
}
