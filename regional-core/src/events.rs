//! Streams of events as operators see them, and the index of streams.
//!
//! A stream is a set of records ([`brink_protocol::event`]). Commands append to the one of their partition in their own
//! transaction; here they are appended by themselves, read in pages, and found: before the first event of a stream is
//! committed, the stream is noted in [`STREAMS`], so that whoever begins to follow a collection finds all of its streams.

pub mod follow;
pub mod walk;

use crate::{
    Error,
    refusal::Refusal,
    store::{Action, Answer, Commit, NewAnswer, Seen, Store, Transaction, Write},
};
use brink_protocol::{
    Digest, ModuleName, Position, TenantName,
    address::PartitionAddress,
    event::{
        self, APPENDS_MAX, EventPage, HEAD_SORT, check_kind, check_limit, check_payload,
        event_sort, head_key, range_after,
    },
    link::Condition,
    record::{Bound, Entry, Range, check_partition, check_value, is_platform},
};
use bytes::Bytes;
use std::sync::Arc;

/// Collection of the index of streams: partition `COLLECTION.SHARD`, sort key the partition that has a stream.
pub const STREAMS: &str = "_streams";
/// Into how many partitions the streams of one collection are spread, in the index and in the places of a projection.
pub const SHARDS: u32 = 16;
/// How often an append is repeated because others appended meanwhile.
const ATTEMPTS_MAX: u32 = 16;
/// Under which command's name the answers of appends are kept. No command's key has a space, so none is mixed up.
const APPEND: &str = "append";

/// In which of the [`SHARDS`] a partition is. Always the same: FNV-1a.
#[must_use]
pub fn shard(partition: &str) -> u32 {
    let hash = partition.bytes().fold(0x811c_9dc5u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    // The low bits alone hardly differ between short names.
    (hash ^ (hash >> 16)) % SHARDS
}

/// The partition of the index that holds a shard of a collection's streams.
#[must_use]
pub fn index_partition(collection: &str, shard: u32) -> String {
    format!("{collection}.{shard:02}")
}

/// Notes a stream in the index. To be done before its first event is committed.
///
/// # Errors
/// The store's.
pub async fn register(
    store: &dyn Store,
    stream: &PartitionAddress,
    now_ms: u64,
) -> Result<(), Error> {
    let transaction = Transaction {
        partition: PartitionAddress {
            tenant: stream.tenant.clone(),
            collection: store.collection_for(STREAMS, stream),
            partition: index_partition(&stream.collection, shard(&stream.partition)),
        },
        seen: Vec::new(),
        writes: vec![Write {
            sort: stream.partition.clone(),
            action: Action::Put {
                value: Bytes::new(),
                expires_at_ms: None,
            },
            condition: Condition::Absent,
        }],
        answer: None,
        now_ms,
    };
    // A conflict: it is noted already.
    store.commit(transaction).await.map(|_| ())
}

/// Notes the stream of a transaction in the index, if the transaction appends its first events.
///
/// # Errors
/// The store's.
pub async fn register_new(store: &dyn Store, transaction: &Transaction) -> Result<(), Error> {
    let is_first = transaction
        .writes
        .iter()
        .any(|write| write.sort == HEAD_SORT)
        && transaction
            .seen
            .iter()
            .any(|seen| matches!(seen, Seen::Record { sort, version: None } if sort == HEAD_SORT));
    if is_first {
        register(store, &transaction.partition, transaction.now_ms).await?;
    }
    Ok(())
}

/// The partitions of the index that hold a shard of a collection's streams: one for each region that has some alone.
#[must_use]
pub fn index_partitions(
    store: &dyn Store,
    tenant: &TenantName,
    collection: &str,
    shard: u32,
) -> Vec<PartitionAddress> {
    let at = |collection_of_index| PartitionAddress {
        tenant: tenant.clone(),
        collection: collection_of_index,
        partition: index_partition(collection, shard),
    };
    store.collections_of(STREAMS).into_iter().map(at).collect()
}

/// The streams of one partition of the index, after one of them.
///
/// # Errors
/// The store's.
pub async fn streams(
    store: &dyn Store,
    index: &PartitionAddress,
    after: Option<String>,
    limit: u32,
    now_ms: u64,
) -> Result<(Vec<String>, bool), Error> {
    let range = Range {
        collection: index.collection.clone(),
        partition: index.partition.clone(),
        lower: after.map_or(Bound::Unbounded, Bound::Exclusive),
        upper: Bound::Unbounded,
        limit,
        descending: false,
    };
    let page = store.scan(&index.tenant, &range, now_ms).await?;
    let names = page.entries.into_iter().map(|entry| entry.sort).collect();
    Ok((names, page.more))
}

/// An event to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// See [`event::Event::kind`].
    pub kind: String,
    /// See [`event::Event::payload`].
    pub payload: Bytes,
    /// See [`brink_protocol::record::check_value`].
    pub lifetime_ms: Option<u64>,
}

/// What was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendedEvents {
    /// The number of the first.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
    /// Where in the log.
    pub position: Position,
}

/// Streams of events.
#[derive(Clone)]
pub struct Events {
    store: Arc<dyn Store>,
}

impl Events {
    /// Over a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Events of a stream after a number, oldest first.
    ///
    /// # Errors
    /// A limit, or the store's.
    pub async fn read(
        &self,
        tenant: &TenantName,
        (collection, partition): (&str, &str),
        after: u64,
        limit: u32,
        now_ms: u64,
    ) -> Result<EventPage, Error> {
        check_limit(limit)?;
        let scan = async |after, limit| {
            let range = range_after(collection, partition, after, limit);
            self.store.scan(tenant, &range, now_ms).await
        };
        let found = scan(after, limit).await?;
        let oldest = if after == 0 {
            None
        } else {
            scan(0, 1).await?.entries.pop()
        };
        let head = head_key(collection, partition);
        let head = self.store.get(tenant, &head, now_ms).await?;
        Ok(event::page(found, head.as_ref(), oldest.as_ref())?)
    }

    /// The number of the newest event that there ever was in a stream; 0: none. One read, where a page takes up to three.
    ///
    /// # Errors
    /// The store's.
    pub async fn newest(
        &self,
        tenant: &TenantName,
        (collection, partition): (&str, &str),
        now_ms: u64,
    ) -> Result<u64, Error> {
        let head = head_key(collection, partition);
        let head = self.store.get(tenant, &head, now_ms).await?;
        Ok(head.map_or(Ok(0), |head| event::decode_head(&head.value))?)
    }

    /// Appends events to a stream. With an idempotency key the same append answers the same again for 24 hours.
    ///
    /// # Errors
    /// A limit, a key that was used for another append, or the store's.
    pub async fn append(
        &self,
        stream: PartitionAddress,
        events: Vec<NewEvent>,
        idempotency_key: Option<&str>,
        now_ms: u64,
    ) -> Result<AppendedEvents, Refusal> {
        check(&stream, &events)?;
        let input = digest(&stream, &events);
        for _ in 0..ATTEMPTS_MAX {
            let head = head_key(&stream.collection, &stream.partition);
            let head = self.store.get(&stream.tenant, &head, now_ms).await?;
            let (first, transaction) = appending(&stream, &events, head.as_ref(), now_ms)?;
            let last = first + events.len() as u64 - 1;
            let answer = idempotency_key
                .map(|key| new_answer(key, input, first, last))
                .transpose()?;
            let transaction = Transaction {
                answer,
                ..transaction
            };
            register_new(&*self.store, &transaction).await?;
            match self.store.commit(transaction).await? {
                Commit::Done { position, .. } => {
                    return Ok(AppendedEvents {
                        first,
                        last,
                        position,
                    });
                }
                Commit::Conflict { .. } => {}
                Commit::Answered(answer) => return appended_before(answer, input),
            }
        }
        Err(Refusal::Core(Error::Busy))
    }
}

fn check(stream: &PartitionAddress, events: &[NewEvent]) -> Result<(), Refusal> {
    check_partition(&stream.collection, &stream.partition)?;
    if is_platform(&stream.collection, "") {
        return Err(Refusal::Unfit {
            slug: "forbidden",
            title: "The collection is the platform's",
            detail: format!("nobody appends to {}", stream.collection),
        });
    }
    if !(1..=APPENDS_MAX).contains(&events.len()) {
        return Err(brink_protocol::Error::Limit {
            what: "events of one append (at least 1)",
            actual: events.len() as u64,
            limit: APPENDS_MAX as u64,
        }
        .into());
    }
    for event in events {
        check_kind(&event.kind)?;
        check_payload(&event.payload)?;
        check_value(&[], event.lifetime_ms)?;
    }
    Ok(())
}

/// What an idempotency key was used for.
fn digest(stream: &PartitionAddress, events: &[NewEvent]) -> Digest {
    let mut bytes = Vec::new();
    let mut part = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    };
    part(stream.collection.as_bytes());
    part(stream.partition.as_bytes());
    for event in events {
        part(event.kind.as_bytes());
        part(&event.payload);
        part(&event.lifetime_ms.unwrap_or(0).to_le_bytes());
    }
    Digest::of(&bytes)
}

/// The number of the first event, and a transaction that appends all to a stream whose head is this. To be committed after
/// [`register_new`]; one that conflicts is made anew from a new reading of the head.
///
/// # Errors
/// A limit, or a head that cannot be read.
pub fn appending(
    stream: &PartitionAddress,
    events: &[NewEvent],
    head: Option<&Entry>,
    now_ms: u64,
) -> Result<(u64, Transaction), Error> {
    let newest = head.map_or(Ok(0), |head| event::decode_head(&head.value))?;
    let mut writes = Vec::with_capacity(events.len() + 1);
    for (number, new) in (newest + 1..).zip(events) {
        let action = Action::Put {
            value: event::encode(&new.kind, now_ms, &new.payload)?,
            expires_at_ms: new.lifetime_ms.map(|ms| now_ms.saturating_add(ms)),
        };
        writes.push(Write {
            sort: event_sort(number),
            action,
            condition: Condition::Absent,
        });
    }
    writes.push(Write {
        sort: HEAD_SORT.to_owned(),
        action: Action::Put {
            value: event::encode_head(newest + events.len() as u64),
            expires_at_ms: None,
        },
        condition: head.map_or(Condition::Absent, |head| Condition::Version(head.version)),
    });
    let transaction = Transaction {
        partition: stream.clone(),
        seen: vec![Seen::Record {
            sort: HEAD_SORT.to_owned(),
            version: head.map(|head| head.version),
        }],
        writes,
        answer: None,
        now_ms,
    };
    Ok((newest + 1, transaction))
}

fn new_answer(key: &str, input: Digest, first: u64, last: u64) -> Result<NewAnswer, Error> {
    let command: ModuleName = APPEND.parse()?;
    let output = [first.to_be_bytes(), last.to_be_bytes()].concat();
    Ok(NewAnswer {
        command,
        key: format!("append {key}"),
        input,
        output: output.into(),
        lifetime_ms: crate::store::ANSWER_LIFETIME_MS,
    })
}

fn appended_before(answer: Answer, input: Digest) -> Result<AppendedEvents, Refusal> {
    if answer.input != input {
        return Err(Refusal::Unfit {
            slug: "idempotency-key",
            title: "The key was used before",
            detail: "The idempotency key was used for another append to this stream.".into(),
        });
    }
    let number = |at: usize| {
        let bytes = answer.output.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    };
    match (number(0), number(8)) {
        (Some(first), Some(last)) => Ok(AppendedEvents {
            first,
            last,
            position: answer.position,
        }),
        _ => Err(Refusal::Core(Error::corrupt(
            "answer to an append",
            "it is too short",
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::store::{Options, RedbStore};
    use std::collections::BTreeMap;

    const NOW: u64 = 1_700_000_000_000;

    fn stream(partition: &str) -> PartitionAddress {
        PartitionAddress {
            tenant: "default".parse().unwrap(),
            collection: "orders".into(),
            partition: partition.into(),
        }
    }

    fn new(kind: &str, lifetime_ms: Option<u64>) -> NewEvent {
        NewEvent {
            kind: kind.into(),
            payload: Bytes::from_static(b"{}"),
            lifetime_ms,
        }
    }

    fn events() -> (tempfile::TempDir, Events) {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path(), "core-1".parse().unwrap());
        let store = Arc::new(RedbStore::open(&options).unwrap());
        (directory, Events::new(store))
    }

    fn kinds(page: &EventPage) -> Vec<(u64, &str)> {
        let one = |event: &'_ event::Event| event.number;
        page.events
            .iter()
            .map(|event| (one(event), event.kind.as_str()))
            .collect()
    }

    #[tokio::test]
    async fn streams_are_numbered_read_and_found() {
        let (_directory, events) = events();
        let read = async |after, limit, now| {
            let at = ("orders", "p");
            let tenant = stream("p").tenant;
            events.read(&tenant, at, after, limit, now).await.unwrap()
        };
        assert_eq!(read(0, 10, NOW).await, EventPage::default());
        let first = vec![new("a", Some(10)), new("b", None)];
        let done = events.append(stream("p"), first, None, NOW).await.unwrap();
        assert_eq!((done.first, done.last), (1, 2));
        let second = vec![new("c", None)];
        let done = events.append(stream("p"), second, None, NOW).await.unwrap();
        assert_eq!((done.first, done.last), (3, 3));
        let page = read(0, 2, NOW).await;
        assert_eq!(kinds(&page), [(1, "a"), (2, "b")]);
        assert_eq!((page.more, page.oldest, page.newest), (true, 1, 3));
        let page = read(2, 2, NOW).await;
        assert_eq!(kinds(&page), [(3, "c")]);
        assert_eq!((page.more, page.oldest, page.newest), (false, 1, 3));
        // What has ended is not there any more, and its number is not used again.
        assert_eq!(read(0, 10, NOW + 10).await.oldest, 2);
        let (names, more) = super::streams(
            &*events.store,
            &index_partitions(&*events.store, &stream("p").tenant, "orders", shard("p"))[0],
            None,
            10,
            NOW,
        )
        .await
        .unwrap();
        assert_eq!((names, more), (vec!["p".to_owned()], false));
    }

    #[tokio::test]
    async fn a_key_appends_once() {
        let (_directory, events) = events();
        let append = async |kind: &str, key| {
            let new = vec![new(kind, None)];
            events.append(stream("p"), new, Some(key), NOW).await
        };
        let once = append("a", "k1").await.unwrap();
        assert_eq!(append("a", "k1").await.unwrap(), once);
        assert_eq!(append("a", "k2").await.unwrap().first, 2);
        assert!(matches!(
            append("b", "k1").await,
            Err(Refusal::Unfit { .. })
        ));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn appends_at_one_time_take_numbers_of_their_own() {
        let (_directory, events) = events();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let events = events.clone();
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    while done.len() < 10 {
                        match events
                            .append(stream("p"), vec![new("a", None)], None, NOW)
                            .await
                        {
                            Ok(appended) => done.push(appended.first),
                            Err(Refusal::Core(Error::Busy)) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    done
                })
            })
            .collect();
        let mut numbers = Vec::new();
        for task in tasks {
            numbers.extend(task.await.unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=80).collect::<Vec<u64>>());
    }

    #[tokio::test]
    async fn limits() {
        let (_directory, events) = events();
        let many = (0..=APPENDS_MAX).map(|_| new("a", None)).collect();
        let platform = PartitionAddress {
            collection: "_streams".into(),
            ..stream("p")
        };
        for (at, new) in [
            (stream("p"), vec![]),
            (stream("p"), many),
            (stream("p"), vec![new("a b", None)]),
            (stream("p"), vec![new("a", Some(0))]),
            (stream("a\nb"), vec![new("a", None)]),
            (platform, vec![new("a", None)]),
        ] {
            let refused = events.append(at.clone(), new, None, NOW).await;
            assert!(refused.is_err(), "{at:?}");
        }
    }

    #[test]
    fn shards_are_even() {
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for n in 0..16_000 {
            *counts.entry(shard(&format!("c-{n}"))).or_default() += 1;
        }
        assert_eq!(counts.len(), 16);
        assert!(
            counts.values().all(|n| (700..1300).contains(n)),
            "{counts:?}"
        );
        assert_eq!((shard(""), shard("p")), (shard(""), shard("p")));
        assert_eq!(index_partition("orders", 3), "orders.03");
    }
}
