//! Events: streams of numbered facts, one stream for each partition, kept as records of that partition.
//!
//! An event is a record whose sort key is [`event_sort`] of its number. The record under [`HEAD_SORT`] holds the newest
//! number. Whoever appends reads the head and names it among what the transaction has seen, so that no two appends can
//! take one number; numbers are never used again, also when events have ended by their lifetime.

mod projection;

pub use projection::{SOURCE, TARGET, collections};

use crate::{
    Error, codec,
    record::{Bound, Entry, Key, PLATFORM_SORT, Page, Range, SCAN_LIMIT_MAX},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Longest kind, in bytes.
pub const KIND_BYTES_MAX: usize = 128;
/// Largest payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 10;
/// Most events that one run of a command may append.
pub const APPENDS_MAX: usize = 100;
/// Most events of one page.
pub const PAGE_MAX: u32 = SCAN_LIMIT_MAX;
/// The sort key of the record that holds the newest number.
pub const HEAD_SORT: &str = "\u{1}h";

/// What sort keys of events begin with.
const EVENT_SORT: &str = "\u{1}e";
/// Behind the sort keys of all events.
const AFTER_EVENTS: &str = "\u{1}f";
/// Digits of a number in a sort key: the largest number has as many.
const DIGITS: usize = 20;
/// How values are laid out now; another way of doing it gets another number.
const LAYOUT: u8 = 1;

const _: () = assert!(PLATFORM_SORT == '\u{1}');

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 1 in its stream, without gaps.
    pub number: u64,
    /// What happened, in the words of its author: 1 to [`KIND_BYTES_MAX`] visible ASCII characters.
    pub kind: String,
    /// When the command that appended it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// At most [`PAYLOAD_BYTES_MAX`].
    pub payload: Bytes,
}

/// A part of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventPage {
    /// Oldest first.
    pub events: Vec<Event>,
    /// There are more: go on after the last number.
    pub more: bool,
    /// The oldest event that is kept; 0: none.
    pub oldest: u64,
    /// The newest event that there ever was; 0: none.
    pub newest: u64,
}

/// What the value of an event's record holds; the number is in the sort key.
#[derive(Serialize, Deserialize)]
struct Stored {
    layout: u8,
    kind: String,
    at_ms: u64,
    payload: Bytes,
}

/// Checks a kind.
///
/// # Errors
/// Says what would be allowed.
pub fn check_kind(kind: &str) -> Result<(), Error> {
    if !(1..=KIND_BYTES_MAX).contains(&kind.len()) || !kind.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::name(
            "kind of event",
            kind,
            "1 to 128 visible ASCII characters",
        ));
    }
    Ok(())
}

/// Checks a payload's size.
///
/// # Errors
/// It is over [`PAYLOAD_BYTES_MAX`].
pub fn check_payload(payload: &[u8]) -> Result<(), Error> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::Limit {
            what: "bytes in an event's payload",
            actual: payload.len() as u64,
            limit: PAYLOAD_BYTES_MAX as u64,
        });
    }
    Ok(())
}

/// Checks how many events are asked for.
///
/// # Errors
/// It is 0 or over [`PAGE_MAX`].
pub fn check_limit(limit: u32) -> Result<(), Error> {
    if (1..=PAGE_MAX).contains(&limit) {
        return Ok(());
    }
    Err(Error::Limit {
        what: "events of one page (at least 1)",
        actual: limit.into(),
        limit: PAGE_MAX.into(),
    })
}

/// The sort key of an event.
#[must_use]
pub fn event_sort(number: u64) -> String {
    format!("{EVENT_SORT}{number:0DIGITS$}")
}

/// The number of the event that has this sort key; none: it is no event's.
#[must_use]
pub fn number_of(sort: &str) -> Option<u64> {
    let digits = sort.strip_prefix(EVENT_SORT)?;
    if digits.len() != DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Whether a record with this sort key is an event or the head of a stream.
#[must_use]
pub fn is_of_stream(sort: &str) -> bool {
    sort == HEAD_SORT || number_of(sort).is_some()
}

/// The key of a stream's head.
#[must_use]
pub fn head_key(collection: &str, partition: &str) -> Key {
    Key {
        collection: collection.to_owned(),
        partition: partition.to_owned(),
        sort: HEAD_SORT.to_owned(),
    }
}

/// The range of the events after a number, oldest first. With `after` 0 and `limit` 1 it finds the oldest that is kept.
#[must_use]
pub fn range_after(collection: &str, partition: &str, after: u64, limit: u32) -> Range {
    Range {
        collection: collection.to_owned(),
        partition: partition.to_owned(),
        lower: Bound::Exclusive(event_sort(after)),
        upper: Bound::Exclusive(AFTER_EVENTS.to_owned()),
        limit,
        descending: false,
    }
}

/// The value of an event's record.
///
/// # Errors
/// A limit.
pub fn encode(kind: &str, at_ms: u64, payload: &Bytes) -> Result<Bytes, Error> {
    check_kind(kind)?;
    check_payload(payload)?;
    codec::encode(&Stored {
        layout: LAYOUT,
        kind: kind.to_owned(),
        at_ms,
        payload: payload.clone(),
    })
}

/// Reads an event from its record.
///
/// # Errors
/// The sort key is no event's, or the value is not what [`encode`] makes.
pub fn decode(sort: &str, value: &[u8]) -> Result<Event, Error> {
    let number =
        number_of(sort).ok_or_else(|| Error::malformed("event", "its sort key is no event's"))?;
    check_layout(value)?;
    let stored: Stored = codec::decode(value)?;
    check_kind(&stored.kind)?;
    check_payload(&stored.payload)?;
    Ok(Event {
        number,
        kind: stored.kind,
        at_ms: stored.at_ms,
        payload: stored.payload,
    })
}

/// The value of a stream's head.
#[must_use]
pub fn encode_head(newest: u64) -> Bytes {
    let mut bytes = vec![LAYOUT];
    bytes.extend_from_slice(&newest.to_be_bytes());
    bytes.into()
}

/// The newest number, from the head's value.
///
/// # Errors
/// It is not what [`encode_head`] makes.
pub fn decode_head(value: &[u8]) -> Result<u64, Error> {
    check_layout(value)?;
    let number = value.get(1..).and_then(|rest| rest.try_into().ok());
    number
        .map(u64::from_be_bytes)
        .ok_or_else(|| Error::malformed("head of a stream", "it has another length"))
}

fn check_layout(value: &[u8]) -> Result<(), Error> {
    match value.first() {
        Some(&LAYOUT) => Ok(()),
        Some(other) => Err(Error::malformed(
            "event",
            format!("it is laid out in way {other}, and {LAYOUT} is known here"),
        )),
        None => Err(Error::malformed("event", "it is empty")),
    }
}

/// A page of events, from the page of records that [`range_after`] found, the head's value, and the oldest event's sort
/// key (of use only where `after` was not 0).
///
/// # Errors
/// A record that is no event.
pub fn page(found: Page, head: Option<&Entry>, oldest: Option<&Entry>) -> Result<EventPage, Error> {
    let events = found
        .entries
        .iter()
        .map(|entry| decode(&entry.sort, &entry.value))
        .collect::<Result<Vec<_>, _>>()?;
    let last = events.last().map_or(0, |event| event.number);
    // The head may have been read before the events were.
    let newest = head
        .map_or(Ok(0), |head| decode_head(&head.value))?
        .max(last);
    let oldest = oldest.and_then(|entry| number_of(&entry.sort));
    Ok(EventPage {
        oldest: oldest
            .or(events.first().map(|event| event.number))
            .unwrap_or(0),
        newest,
        more: found.more,
        events,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sort_keys() {
        for (sort, number) in [
            ("\u{1}e00000000000000000001", Some(1)),
            ("\u{1}e18446744073709551615", Some(u64::MAX)),
            ("\u{1}e18446744073709551616", None),
            ("\u{1}e1", None),
            ("\u{1}e+0000000000000000001", None),
            ("\u{1}h", None),
            ("e00000000000000000001", None),
            ("", None),
        ] {
            assert_eq!(number_of(sort), number, "{sort:?}");
        }
        assert!(is_of_stream(HEAD_SORT) && is_of_stream(&event_sort(7)));
        assert!(!is_of_stream("\u{1}c"));
    }

    #[test]
    fn ranges_hold_events_and_no_head() {
        let range = range_after("c", "p", 3, 10);
        assert!(range.contains(&event_sort(4)) && range.contains(&event_sort(u64::MAX)));
        for sort in [&event_sort(3), HEAD_SORT, "", "a", "\u{1}c"] {
            assert!(!range.contains(sort), "{sort:?}");
        }
        assert!(check_limit(0).is_err() && check_limit(1001).is_err() && check_limit(1).is_ok());
    }

    #[test]
    fn pages_know_their_ends() {
        let entry = |sort: String, value: Bytes| Entry {
            sort,
            value,
            version: 1,
            lifetime_ms: None,
        };
        let event = |number: u64| entry(event_sort(number), encode("k", 5, &Bytes::new()).unwrap());
        let found = |numbers: &[u64]| Page {
            entries: numbers.iter().map(|n| event(*n)).collect(),
            more: false,
        };
        let head = entry(HEAD_SORT.into(), encode_head(7));
        for (numbers, head, oldest, expected) in [
            (&[][..], None, None, (0, 0)),
            (&[], Some(&head), None, (0, 7)),
            (&[3, 4], Some(&head), None, (3, 7)),
            (&[5, 6], Some(&head), Some(&event(2)), (2, 7)),
            // The head was read before the newest event was there.
            (&[8], Some(&head), None, (8, 8)),
        ] {
            let page = page(found(numbers), head, oldest).unwrap();
            assert_eq!((page.oldest, page.newest), expected, "{numbers:?}");
        }
    }

    #[test]
    fn limits() {
        let large = Bytes::from(vec![0; PAYLOAD_BYTES_MAX + 1]);
        let long = "x".repeat(KIND_BYTES_MAX + 1);
        for (kind, payload) in [
            ("", Bytes::new()),
            ("a b", Bytes::new()),
            ("é", Bytes::new()),
            (long.as_str(), Bytes::new()),
            ("k", large),
        ] {
            assert!(encode(kind, 0, &payload).is_err(), "{kind:?}");
        }
        let value = encode("k", 1, &Bytes::from(vec![0; PAYLOAD_BYTES_MAX])).unwrap();
        assert!(value.len() < PAYLOAD_BYTES_MAX + 64);
        for wrong in [&[][..], &[9], &[LAYOUT], &[LAYOUT, 200, 1]] {
            assert!(decode(&event_sort(1), wrong).is_err(), "{wrong:?}");
            assert!(decode_head(wrong).is_err(), "{wrong:?}");
        }
        let longer = [value.as_ref(), b"x"].concat();
        assert!(decode(&event_sort(1), &longer).is_err());
    }

    proptest! {
        #[test]
        fn sort_keys_are_in_the_order_of_numbers(a in any::<u64>(), b in any::<u64>()) {
            prop_assert_eq!(event_sort(a).cmp(&event_sort(b)), a.cmp(&b));
            prop_assert_eq!(number_of(&event_sort(a)), Some(a));
            prop_assert_eq!(decode_head(&encode_head(a)).unwrap(), a);
        }

        #[test]
        fn events_and_back(number in any::<u64>(), kind in "[!-~]{1,128}", at_ms in any::<u64>(),
                           payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            let payload = Bytes::from(payload);
            let value = encode(&kind, at_ms, &payload).unwrap();
            let event = decode(&event_sort(number), &value).unwrap();
            prop_assert_eq!(event, Event { number, kind, at_ms, payload });
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&event_sort(1), &bytes);
            let _ = decode_head(&bytes);
        }
    }
}
