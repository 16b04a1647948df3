//! How far bridges are, as records that people can read.

use super::COLLECTION;
use crate::{
    Error,
    events::shard,
    store::{Action, Store, Transaction, Write},
};
use brink_protocol::{
    TenantName,
    address::PartitionAddress,
    link::Condition,
    record::{Entry, GET_MANY_MAX, Key},
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Where the number of the last event that was sent is kept: a partition of the bridge for each shard of streams.
fn sent_key(bridge: &str, stream: &str) -> Key {
    Key {
        collection: COLLECTION.to_owned(),
        partition: format!("send.{bridge}.{:02}", shard(stream)),
        sort: stream.to_owned(),
    }
}

/// Where the offset of the next message of a topic's partition is kept.
pub(super) fn received_key(bridge: &str, partition: i32) -> Key {
    Key {
        collection: COLLECTION.to_owned(),
        partition: format!("receive.{bridge}"),
        sort: format!("{partition:05}"),
    }
}

/// A number as it is kept.
pub(super) fn encode(number: u64) -> Bytes {
    number.to_string().into()
}

/// A kept number; 0: there is none.
pub(super) fn decode(entry: Option<&Entry>) -> Result<u64, Error> {
    let Some(entry) = entry else {
        return Ok(0);
    };
    let text = std::str::from_utf8(&entry.value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::corrupt("place of a bridge", "it is not a number"))
}

/// The number of the last event of each stream that was sent, in the order asked.
pub(super) async fn sent(
    store: &dyn Store,
    tenant: &TenantName,
    bridge: &str,
    streams: &[String],
    now_ms: u64,
) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::with_capacity(streams.len());
    for some in streams.chunks(GET_MANY_MAX) {
        let keys: Vec<Key> = some.iter().map(|stream| sent_key(bridge, stream)).collect();
        for entry in store.get_many(tenant, &keys, now_ms).await? {
            numbers.push(decode(entry.as_ref())?);
        }
    }
    Ok(numbers)
}

/// Notes what was sent: one transaction for each shard.
pub(super) async fn note_sent(
    store: &dyn Store,
    tenant: &TenantName,
    bridge: &str,
    sent: &BTreeMap<String, u64>,
    now_ms: u64,
) -> Result<(), Error> {
    let mut shards: BTreeMap<String, Vec<Write>> = BTreeMap::new();
    for (stream, number) in sent {
        let key = sent_key(bridge, stream);
        let writes = shards.entry(key.partition).or_default();
        writes.push(put(key.sort, encode(*number), None));
    }
    for (partition, writes) in shards {
        write(store, of_bridges(tenant, partition), writes, now_ms).await?;
    }
    Ok(())
}

/// A write of one record.
pub(super) fn put(sort: String, value: Bytes, expires_at_ms: Option<u64>) -> Write {
    Write {
        sort,
        action: Action::Put {
            value,
            expires_at_ms,
        },
        condition: Condition::Always,
    }
}

/// A partition of [`COLLECTION`].
pub(super) fn of_bridges(tenant: &TenantName, partition: String) -> PartitionAddress {
    PartitionAddress {
        tenant: tenant.clone(),
        collection: COLLECTION.to_owned(),
        partition,
    }
}

/// Writes records of one partition.
pub(super) async fn write(
    store: &dyn Store,
    partition: PartitionAddress,
    writes: Vec<Write>,
    now_ms: u64,
) -> Result<(), Error> {
    let transaction = Transaction {
        partition,
        seen: Vec::new(),
        writes,
        answer: None,
        now_ms,
    };
    store.commit(transaction).await.map(drop)
}
