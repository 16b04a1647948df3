//! What a stream knows of the messages that were appended to it: a platform row of its own partition, written in the
//! transaction that appends them.

use super::message::Message;
use crate::Error;
use brink_protocol::record::{Entry, Key, PLATFORM_SORT};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most collections whose events are known apart; of further ones a repetition is not seen.
const SOURCES_MAX: usize = 32;

/// What was appended of one partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Noted {
    /// The offset of the next message.
    next: i64,
    /// `TENANT/COLLECTION` -> the number of the last event that another bridge has sent from there, under this key.
    events: BTreeMap<String, u64>,
}

/// Where it is kept.
pub(super) fn key(collection: &str, stream: &str, bridge: &str, partition: i32) -> Key {
    Key {
        collection: collection.to_owned(),
        partition: stream.to_owned(),
        sort: format!("{PLATFORM_SORT}b{bridge}/{partition:05}"),
    }
}

impl Noted {
    /// Reads what is kept.
    pub(super) fn decode(entry: Option<&Entry>) -> Result<Self, Error> {
        let Some(entry) = entry else {
            return Ok(Self::default());
        };
        serde_json::from_slice(&entry.value)
            .map_err(|error| Error::corrupt("what a bridge has noted", error))
    }

    /// As it is kept.
    pub(super) fn encode(&self) -> Result<Bytes, Error> {
        let json = serde_json::to_vec(self);
        Ok(json
            .map_err(|error| Error::corrupt("what a bridge has noted", error))?
            .into())
    }

    /// Whether a message is not in the stream yet; it is noted then.
    pub(super) fn is_new(&mut self, message: &Message) -> bool {
        if message.offset < self.next {
            return false;
        }
        self.next = message.offset + 1;
        let Some(sent) = &message.sent else {
            return true;
        };
        let is_known = self.events.contains_key(&sent.from);
        if !is_known && self.events.len() >= SOURCES_MAX {
            return true;
        }
        let last = self.events.entry(sent.from.clone()).or_insert(0);
        let is_new = sent.number > *last;
        *last = sent.number.max(*last);
        is_new
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bridge::message::Sent;

    fn message(offset: i64, sent: Option<(&str, u64)>) -> Message {
        Message {
            offset,
            partition: "p".into(),
            kind: "k".into(),
            payload: Bytes::new(),
            sent: sent.map(|(from, number)| Sent {
                from: from.into(),
                number,
            }),
        }
    }

    #[test]
    fn what_comes_again_is_not_new() {
        let mut noted = Noted::default();
        for (offset, sent, is_new) in [
            (0, None, true),
            (0, None, false),
            (3, Some(("a/c", 1)), true),
            (4, Some(("a/c", 2)), true),
            // Sent again from the first on.
            (5, Some(("a/c", 1)), false),
            (6, Some(("a/c", 2)), false),
            (7, Some(("a/c", 3)), true),
            (8, Some(("b/c", 1)), true),
            (7, Some(("b/c", 2)), false),
            (9, Some(("b/c", 2)), true),
            // No bridge has sent it as it is, whatever its headers say.
            (10, None, true),
        ] {
            assert_eq!(noted.is_new(&message(offset, sent)), is_new, "{offset}");
            let entry = Entry {
                sort: String::new(),
                value: noted.encode().unwrap(),
                version: 1,
                lifetime_ms: None,
            };
            assert_eq!(Noted::decode(Some(&entry)).unwrap(), noted);
        }
    }

    #[test]
    fn what_is_noted_is_bounded() {
        let mut noted = Noted::default();
        for offset in 0..100 {
            assert!(noted.is_new(&message(offset, Some((&format!("a/{offset}"), 1)))));
        }
        assert_eq!(noted.events.len(), SOURCES_MAX);
    }
}
