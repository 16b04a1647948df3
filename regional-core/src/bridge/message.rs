//! Events as messages, and messages as events.

use brink_protocol::{
    Digest, TenantName,
    event::{Event, check_kind, check_payload},
    record::check_partition,
};
use bytes::Bytes;
use rskafka::{
    chrono::DateTime,
    record::{Record, RecordAndOffset},
};
use std::collections::BTreeMap;

/// Header: whose event it is.
const TENANT: &str = "brink-tenant";
/// Header: the collection that it is from.
const COLLECTION: &str = "brink-collection";
/// Header: its number in its stream, in decimal digits.
const NUMBER: &str = "brink-event";
/// Header: its kind.
const KIND: &str = "brink-kind";
/// Header: the digest of all that a bridge has sent, and of the topic that it was sent to. A message that another program
/// has put under another key or into another topic, or changed, has it no more, whatever headers it took along.
const ORIGIN: &str = "brink-origin";
/// Digits of that digest.
const ORIGIN_DIGITS: usize = 32;

/// What is in a message beside key and payload, in bytes; never less than it really is.
pub(super) const OVERHEAD_BYTES: usize = 512;

/// The message of an event of a stream, for a topic.
pub(super) fn of_event(
    topic: &str,
    tenant: &TenantName,
    collection: &str,
    partition: &str,
    event: Event,
) -> Record {
    let number = event.number.to_string();
    let origin = origin([
        topic.as_bytes(),
        tenant.as_str().as_bytes(),
        collection.as_bytes(),
        partition.as_bytes(),
        number.as_bytes(),
        event.kind.as_bytes(),
        &event.payload,
    ]);
    let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let at_ms = i64::try_from(event.at_ms).unwrap_or(i64::MAX);
    Record {
        key: Some(partition.as_bytes().to_vec()),
        value: Some(event.payload.to_vec()),
        headers: BTreeMap::from([
            header(TENANT, tenant.as_str()),
            header(COLLECTION, collection),
            header(NUMBER, &number),
            header(KIND, &event.kind),
            header(ORIGIN, &origin),
        ]),
        timestamp: DateTime::from_timestamp_millis(at_ms).unwrap_or_default(),
    }
}

/// The digest of what a bridge sends: topic, tenant, collection, key, number, kind and payload.
fn origin(parts: [&[u8]; 7]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    let mut digits = Digest::of(&bytes).hex();
    digits.truncate(ORIGIN_DIGITS);
    digits
}

/// A message that can be an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) offset: i64,
    /// Its key.
    pub(super) partition: String,
    pub(super) kind: String,
    pub(super) payload: Bytes,
    /// Which event it is, if it is as a bridge has sent it to this topic.
    pub(super) sent: Option<Sent>,
}

/// The event that a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// `TENANT/COLLECTION`.
    pub(super) from: String,
    /// Its number in the stream of the message's key.
    pub(super) number: u64,
}

/// A message that cannot, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dead {
    pub(super) offset: i64,
    pub(super) reason: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
}

impl Message {
    /// What is kept of it if its collection does not take it.
    pub(super) fn dead(&self, reason: String) -> Dead {
        Dead {
            offset: self.offset,
            reason,
            key: Some(self.partition.as_bytes().to_vec()),
            value: Some(self.payload.to_vec()),
        }
    }
}

/// Reads a message of a topic. One without a value is an event without a payload.
pub(super) fn read(topic: &str, found: RecordAndOffset, kind: &str) -> Result<Message, Box<Dead>> {
    let RecordAndOffset { record, offset } = found;
    match check(&record, kind) {
        Ok((partition, kind)) => Ok(Message {
            offset,
            partition,
            kind,
            sent: sent(topic, &record),
            payload: record.value.unwrap_or_default().into(),
        }),
        Err(reason) => Err(Box::new(Dead {
            offset,
            reason,
            key: record.key,
            value: record.value,
        })),
    }
}

fn sent(topic: &str, record: &Record) -> Option<Sent> {
    let header = |name: &str| std::str::from_utf8(record.headers.get(name)?).ok();
    let (tenant, collection) = (header(TENANT)?, header(COLLECTION)?);
    let expected = origin([
        topic.as_bytes(),
        tenant.as_bytes(),
        collection.as_bytes(),
        record.key.as_deref()?,
        record.headers.get(NUMBER)?,
        record.headers.get(KIND)?,
        record.value.as_deref()?,
    ]);
    if header(ORIGIN)? != expected {
        return None;
    }
    let tenant: TenantName = tenant.parse().ok()?;
    check_partition(collection, "p").ok()?;
    Some(Sent {
        from: format!("{tenant}/{collection}"),
        number: header(NUMBER)?.parse().ok()?,
    })
}

fn check(record: &Record, kind: &str) -> Result<(String, String), String> {
    let key = record.key.as_deref().ok_or("it has no key")?;
    let partition = std::str::from_utf8(key).map_err(|_| "its key is not UTF-8")?;
    check_partition("c", partition).map_err(|error| format!("its key: {error}"))?;
    let kind = match record.headers.get(KIND) {
        Some(kind) => std::str::from_utf8(kind).map_err(|_| "its kind is not UTF-8")?,
        None => kind,
    };
    check_kind(kind).map_err(|error| error.to_string())?;
    let payload = record.value.as_deref().unwrap_or_default();
    check_payload(payload).map_err(|error| error.to_string())?;
    Ok((partition.to_owned(), kind.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::event::PAYLOAD_BYTES_MAX;

    fn record(key: Option<&[u8]>, kind: Option<&[u8]>, value: Option<Vec<u8>>) -> RecordAndOffset {
        let headers = kind.map(|kind| (KIND.to_owned(), kind.to_vec()));
        RecordAndOffset {
            record: Record {
                key: key.map(<[u8]>::to_vec),
                value,
                headers: headers.into_iter().collect(),
                timestamp: DateTime::default(),
            },
            offset: 7,
        }
    }

    fn placed() -> Record {
        let event = Event {
            number: 3,
            kind: "placed".into(),
            at_ms: 1_700_000_000_000,
            payload: Bytes::from_static(b"{}"),
        };
        let tenant = "default".parse().unwrap();
        of_event("topic", &tenant, "orders", "pärt", event)
    }

    fn read_of(topic: &str, record: Record) -> Message {
        read(topic, RecordAndOffset { record, offset: 7 }, "message").unwrap()
    }

    #[test]
    fn an_event_goes_out_and_comes_back() {
        let sent = placed();
        let size = sent.approximate_size();
        assert!(size < "pärt".len() + 2 + OVERHEAD_BYTES);
        assert_eq!(sent.timestamp.timestamp_millis(), 1_700_000_000_000);
        assert_eq!(sent.headers.get(NUMBER).unwrap(), b"3");
        let message = Message {
            offset: 7,
            partition: "pärt".into(),
            kind: "placed".into(),
            payload: Bytes::from_static(b"{}"),
            sent: Some(Sent {
                from: "default/orders".into(),
                number: 3,
            }),
        };
        assert_eq!(read_of("topic", sent), message);
    }

    #[test]
    fn what_others_make_of_a_message_is_not_that_event_again() {
        let changed = |change: &dyn Fn(&mut Record)| {
            let mut record = placed();
            change(&mut record);
            read_of("topic", record).sent
        };
        assert!(changed(&|_| {}).is_some());
        assert!(changed(&|record| record.timestamp = DateTime::default()).is_some());
        assert_eq!(
            changed(&|record| record.key = Some(b"other".to_vec())),
            None
        );
        assert_eq!(changed(&|record| record.value = Some(b"[]".to_vec())), None);
        for header in [TENANT, COLLECTION, NUMBER, KIND, ORIGIN] {
            let gone = changed(&|record| drop(record.headers.remove(header)));
            assert_eq!(gone, None, "{header}");
            let other = changed(&|record| drop(record.headers.insert(header.into(), b"9".into())));
            assert_eq!(other, None, "{header}");
        }
        assert_eq!(read_of("other", placed()).sent, None);
    }

    #[test]
    fn what_cannot_be_an_event_is_dead() {
        let large = vec![0; PAYLOAD_BYTES_MAX + 1];
        for (found, reason) in [
            (record(None, None, None), "no key"),
            (record(Some(b""), None, None), "its key"),
            (record(Some(b"\xff"), None, None), "not UTF-8"),
            (record(Some(b"a\nb"), None, None), "its key"),
            (record(Some(b"k"), Some(b"a b"), None), "kind"),
            (record(Some(b"k"), Some(b"\xff"), None), "kind"),
            (record(Some(b"k"), None, Some(large)), "payload"),
        ] {
            let dead = read("topic", found, "message").unwrap_err();
            assert!(dead.reason.contains(reason), "{reason}: {dead:?}");
        }
        let empty = read("topic", record(Some(b"k"), None, None), "message").unwrap();
        assert_eq!((empty.kind.as_str(), empty.payload.len()), ("message", 0));
        assert_eq!(empty.sent, None);
    }
}
