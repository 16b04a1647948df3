//! Events: one stream for each partition, in order, numbered from 1 without gaps.
//!
//! A command appends to the stream of its partition ([`append`]): its events are committed together with its writes, or not at all.
//! Modules and commands read streams ([`Stream`]); what a module read becomes a tag of its answer, and the next event takes the
//! answer out of every cache. A [`projection!`](crate::projection!) makes records of events; [`crate::sourced`] makes a
//! partition's state of them, with snapshots.
//!
//! ```
//! use brink_sdk::{events::{self, Stream}, testing::Platform};
//! # let platform = Platform::new();
//! # platform.within("orders", "c-1");
//! // In a command that runs over the partition `orders / c-1`:
//! events::append_json("order.placed", &"o-17")?;
//!
//! let page = Stream::of("orders", "c-1").after(0).read()?;
//! assert_eq!((page.newest, page.more), (1, false));
//! assert_eq!(page.events[0].kind, "order.placed");
//! assert_eq!(page.events[0].json::<String>()?, "o-17");
//! # Ok::<(), brink_sdk::Problem>(())
//! ```

use crate::bindings::module::brink::platform::{event_types, events as wit};
use crate::host;
use crate::problem::Problem;
use crate::records::Error;
use serde::{Serialize, de::DeserializeOwned};

/// Most events of one page.
pub const PAGE_MAX: u32 = 1000;
/// Largest payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 10;
/// Most events that one run of a command may append.
pub const APPENDS_MAX: usize = 100;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Counts from 1 in its stream.
    pub number: u64,
    /// What happened, in the words of its author.
    pub kind: String,
    /// When the command that appended it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// What is known of it.
    pub payload: Vec<u8>,
}

impl Event {
    pub(crate) fn of(event: event_types::Event) -> Self {
        Self {
            number: event.number,
            kind: event.kind,
            at_ms: event.at_ms,
            payload: event.payload,
        }
    }

    /// The payload as JSON.
    ///
    /// # Errors
    /// It is not the JSON expected.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.payload).map_err(|error| {
            Problem::new(500, "Internal error").detail(format!(
                "event {} ({}) is not the JSON expected: {error}",
                self.number, self.kind
            ))
        })
    }
}

/// A part of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Oldest first.
    pub events: Vec<Event>,
    /// There are more: go on with [`Stream::after`] the last number.
    pub more: bool,
    /// The oldest event that is kept; 0: none.
    pub oldest: u64,
    /// The newest event that there ever was; 0: none.
    pub newest: u64,
}

/// The stream of one partition, to be read from some number on.
#[derive(Debug, Clone)]
#[must_use = "a stream is not read before `read`"]
pub struct Stream {
    collection: String,
    partition: String,
    after: u64,
    limit: u32,
}

impl Stream {
    /// The stream of a partition, from the oldest event that is kept, at most 100 events.
    pub fn of(collection: impl Into<String>, partition: impl Into<String>) -> Self {
        Self {
            collection: collection.into(),
            partition: partition.into(),
            after: 0,
            limit: 100,
        }
    }

    /// Only events after this number.
    pub fn after(mut self, number: u64) -> Self {
        self.after = number;
        self
    }

    /// At most this many events, 1 to [`PAGE_MAX`]; brought into these bounds.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit.clamp(1, PAGE_MAX);
        self
    }

    /// Reads it. A page may have fewer events than the limit and say that there are more.
    ///
    /// # Errors
    /// The partition is not allowed, or the core could not be reached.
    pub fn read(&self) -> Result<Page, Error> {
        let page: wit::Page =
            host::events::read(&self.collection, &self.partition, self.after, self.limit)?;
        Ok(Page {
            events: page.events.into_iter().map(Event::of).collect(),
            more: page.more,
            oldest: page.oldest,
            newest: page.newest,
        })
    }
}

/// Appends an event to the stream of the command's partition; its number. `kind`: 1 to 128 visible ASCII characters.
///
/// # Errors
/// Kind or payload are not allowed, the run has appended [`APPENDS_MAX`] events, or the core's store could not be reached.
pub fn append(kind: &str, payload: &[u8]) -> Result<u64, Error> {
    Ok(host::event_append::append(kind, payload, None)?)
}

/// Appends an event that is dropped after this many milliseconds. Its number is not used again.
///
/// # Errors
/// As [`append`].
pub fn append_for(kind: &str, payload: &[u8], lifetime_ms: u64) -> Result<u64, Error> {
    Ok(host::event_append::append(
        kind,
        payload,
        Some(lifetime_ms),
    )?)
}

/// Appends an event whose payload is JSON.
///
/// # Errors
/// As [`append`], and if the value has no JSON form.
pub fn append_json<T: Serialize + ?Sized>(kind: &str, payload: &T) -> Result<u64, Error> {
    let payload = serde_json::to_vec(payload).map_err(|error| {
        Error::Invalid(format!("the payload of {kind} has no JSON form: {error}"))
    })?;
    append(kind, &payload)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::Platform;

    #[test]
    fn pages_go_on() {
        let platform = Platform::new();
        for n in 1..=5 {
            platform.event("orders", "c", "placed", &n);
        }
        let stream = Stream::of("orders", "c").limit(2);
        let numbers = |page: &Page| page.events.iter().map(|e| e.number).collect::<Vec<_>>();
        let first = stream.read().unwrap();
        assert_eq!((numbers(&first), first.more), (vec![1, 2], true));
        let last = stream.clone().after(4).read().unwrap();
        assert_eq!((numbers(&last), last.more), (vec![5], false));
        assert_eq!((last.oldest, last.newest), (1, 5));
        let none = Stream::of("orders", "other").read().unwrap();
        assert_eq!((none.oldest, none.newest, none.more), (0, 0, false));
        let page = Stream::of("orders", "c").limit(0).read().unwrap();
        assert_eq!(page.events.len(), 1, "the limit is at least 1");
    }

    #[test]
    fn commands_append_in_their_partition_alone() {
        let platform = Platform::new();
        assert!(matches!(append("a", b""), Err(Error::Denied(_))));
        platform.within("orders", "c");
        assert_eq!(append("a", b"1").unwrap(), 1);
        assert_eq!(append_for("b", b"2", 1000).unwrap(), 2);
        let large = vec![0; PAYLOAD_BYTES_MAX + 1];
        for (kind, payload) in [("", &[][..]), ("a b", &[]), ("a", &large)] {
            assert!(matches!(append(kind, payload), Err(Error::Invalid(_))));
        }
        for _ in 2..APPENDS_MAX {
            append("a", b"").unwrap();
        }
        assert!(matches!(append("a", b""), Err(Error::Invalid(_))));
        assert_eq!(platform.events("orders", "c").len(), APPENDS_MAX);
        assert_eq!(platform.events("orders", "d"), []);
    }

    #[test]
    fn what_is_not_json_is_named() {
        let event = Event {
            number: 3,
            kind: "placed".to_owned(),
            at_ms: 0,
            payload: b"{".to_vec(),
        };
        let problem = event.json::<u8>().unwrap_err();
        assert!(
            problem.to_string().contains("event 3 (placed)"),
            "{problem}"
        );
    }
}
