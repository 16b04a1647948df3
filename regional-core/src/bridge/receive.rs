//! In: messages of a topic as events of a collection's streams.

use super::{
    cluster::{Cluster, Connected, Found, Partition, READ_BYTES_MAX, READ_BYTES_MIN},
    letters,
    message::{self, Dead, Message},
    noted::{self, Noted},
    places::{self, received_key},
    waits::Waits,
};
use crate::{
    Error,
    clock::now_ms,
    config::ReceiveConfig,
    events::{self, NewEvent},
    store::{Action, Commit, Seen, Store, Write},
};
use brink_protocol::{
    address::PartitionAddress,
    event::{APPENDS_MAX, head_key},
    link::Condition,
    record::Key,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use metrics::{Counter, Gauge};
use rskafka::record::RecordAndOffset;
use std::{collections::BTreeMap, sync::Arc};
use tokio::task::JoinSet;

/// Streams that are appended to at a time.
const APPENDS_AT_ONCE: usize = 16;
/// Bytes of payloads of one append, of which one message may be over it.
const APPEND_BYTES_MAX: usize = 1 << 20;
/// How often an append is repeated at once because others appended meanwhile.
const ATTEMPTS_MAX: u32 = 16;

/// Carries a topic's messages into a collection, for good.
pub(super) async fn run(store: Arc<dyn Store>, cluster: Arc<Cluster>, config: ReceiveConfig) {
    let bridge = Arc::new(Receiver::new(store, config));
    let mut waits = Waits::default();
    let partitions = loop {
        match cluster.topic(&bridge.config.topic).await {
            Ok(topic) => break topic.partitions,
            Err(error) => bridge.failed(&error, &mut waits).await,
        }
    };
    let mut lanes = JoinSet::new();
    for number in partitions {
        let (bridge, cluster) = (Arc::clone(&bridge), Arc::clone(&cluster));
        lanes.spawn(async move {
            let mut waits = Waits::default();
            loop {
                let Err(error) = bridge.carry(&cluster, number, &mut waits).await;
                bridge.failed(&error, &mut waits).await;
            }
        });
    }
    while lanes.join_next().await.is_some() {}
}

/// What the lanes of a bridge share.
struct Receiver {
    store: Arc<dyn Store>,
    config: ReceiveConfig,
    received: Counter,
    dead: Counter,
    lost: Counter,
    failures: Counter,
    connected: Gauge,
}

impl Receiver {
    fn new(store: Arc<dyn Store>, config: ReceiveConfig) -> Self {
        let name = config.name.clone();
        Self {
            received: metrics::counter!("brink_core_bridge_received_total", "bridge" => name.clone()),
            dead: metrics::counter!("brink_core_bridge_dead_letters_total", "bridge" => name.clone()),
            lost: metrics::counter!("brink_core_bridge_lost_total", "bridge" => name.clone()),
            failures: metrics::counter!("brink_core_bridge_failures_total", "way" => "receive", "bridge" => name.clone()),
            connected: metrics::gauge!("brink_core_bridge_connected", "way" => "receive", "bridge" => name),
            store,
            config,
        }
    }

    async fn failed(&self, error: &Error, waits: &mut Waits) {
        self.failures.increment(1);
        let ReceiveConfig { name, topic, .. } = &self.config;
        let wait = waits.next();
        tracing::warn!(bridge = name, topic, %error, wait_ms = wait.as_millis(), "messages are not received now");
        tokio::time::sleep(wait).await;
    }

    /// Carries the messages of one partition until something fails.
    async fn carry(
        &self,
        cluster: &Cluster,
        number: i32,
        waits: &mut Waits,
    ) -> Result<std::convert::Infallible, Error> {
        let topic = cluster.topic(&self.config.topic).await?;
        let partition = topic.partition(number).await?;
        let _connected = Connected::count(&self.connected);
        let mut next = self.begin(&partition, number).await?;
        let mut bytes = READ_BYTES_MAX;
        loop {
            let found = partition.read(next, bytes).await?;
            waits.reset();
            let is_one_batch = bytes <= READ_BYTES_MIN;
            let found = match found {
                Found::Messages(found) => found,
                Found::Unreadable(reason) if is_one_batch => return Err(unreadable(next, &reason)),
                Found::Mark | Found::Unreadable(_) => {
                    bytes = READ_BYTES_MIN;
                    // A mark has one offset.
                    next += i64::from(is_one_batch);
                    continue;
                }
            };
            bytes = bytes.saturating_mul(4).min(READ_BYTES_MAX);
            let Some(last) = found.last() else {
                continue;
            };
            let after = last.offset + 1;
            let count = found.len() as u64;
            self.take(number, found).await?;
            self.note(number, after).await?;
            self.received.increment(count);
            next = after;
        }
    }

    /// The offset to go on from.
    async fn begin(&self, partition: &Partition, number: i32) -> Result<i64, Error> {
        let key = received_key(&self.config.name, number);
        let kept = self.store.get(&self.config.tenant, &key, now_ms()).await?;
        let (oldest, end) = (partition.oldest().await?, partition.end().await?);
        if kept.is_none() {
            return Ok(oldest);
        }
        let place = i64::try_from(places::decode(kept.as_ref())?).unwrap_or(i64::MAX);
        if place > end {
            let reason = format!(
                "partition {number} ends at {end}, and was read up to {place}: the topic was made anew; give the bridge another name"
            );
            return Err(Error::kafka("reading a topic", reason));
        }
        if place < oldest {
            self.lost.increment(oldest.abs_diff(place));
            tracing::error!(
                bridge = self.config.name,
                topic = self.config.topic,
                partition = number,
                place,
                oldest,
                "messages were dropped by the topic before they were received"
            );
        }
        Ok(place.max(oldest))
    }

    async fn note(&self, number: i32, next: i64) -> Result<(), Error> {
        let key = received_key(&self.config.name, number);
        let value = places::encode(next.unsigned_abs());
        let write = places::put(key.sort, value, None);
        let at = places::of_bridges(&self.config.tenant, key.partition);
        places::write(&*self.store, at, vec![write], now_ms()).await
    }

    /// Appends messages, those of one key in their order.
    async fn take(&self, number: i32, found: Vec<RecordAndOffset>) -> Result<(), Error> {
        let mut streams: BTreeMap<String, Vec<Message>> = BTreeMap::new();
        let ReceiveConfig { topic, kind, .. } = &self.config;
        for one in found {
            match message::read(topic, one, kind) {
                Ok(message) => {
                    let stream = streams.entry(message.partition.clone()).or_default();
                    stream.push(message);
                }
                Err(dead) => self.keep(number, *dead).await?,
            }
        }
        stream::iter(streams)
            .map(|(stream, messages)| async move {
                for some in pieces(&messages) {
                    match self.append(number, &stream, some).await {
                        // The key is none of this collection's: no other try would find it otherwise.
                        Err(Error::Limit(error)) => {
                            for message in some {
                                self.keep(number, message.dead(error.to_string())).await?;
                            }
                        }
                        appended => appended?,
                    }
                }
                Ok(())
            })
            .buffer_unordered(APPENDS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn keep(&self, number: i32, dead: Dead) -> Result<(), Error> {
        letters::keep(&*self.store, &self.config, number, dead, now_ms()).await?;
        self.dead.increment(1);
        Ok(())
    }

    /// Appends messages of one key that were not appended yet, and notes them, in one transaction.
    async fn append(&self, number: i32, stream: &str, messages: &[Message]) -> Result<(), Error> {
        let ReceiveConfig {
            name,
            tenant,
            collection,
            ..
        } = &self.config;
        let address = PartitionAddress {
            tenant: tenant.clone(),
            collection: collection.clone(),
            partition: stream.to_owned(),
        };
        let noted = noted::key(collection, stream, name, number);
        let keys = [head_key(collection, stream), noted];
        for _ in 0..ATTEMPTS_MAX {
            let now = now_ms();
            let found = self.store.get_many(tenant, &keys, now).await?;
            let (head, row) = (
                found.first().and_then(Option::as_ref),
                found.get(1).and_then(Option::as_ref),
            );
            let mut noted = Noted::decode(row)?;
            let fresh = messages.iter().filter(|message| noted.is_new(message));
            let new: Vec<NewEvent> = fresh.map(new_event).collect();
            if new.is_empty() {
                return Ok(());
            }
            let (_, mut transaction) = events::appending(&address, &new, head, now)?;
            let [_, Key { sort, .. }] = &keys;
            let version = row.map(|entry| entry.version);
            transaction.seen.push(Seen::Record {
                sort: sort.clone(),
                version,
            });
            transaction.writes.push(Write {
                sort: sort.clone(),
                action: Action::Put {
                    value: noted.encode()?,
                    expires_at_ms: None,
                },
                condition: version.map_or(Condition::Absent, Condition::Version),
            });
            events::register_new(&*self.store, &transaction).await?;
            if let Commit::Done { .. } = self.store.commit(transaction).await? {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }
}

fn unreadable(offset: i64, reason: &str) -> Error {
    let reason = format!(
        "the messages at offset {offset} cannot be read, which is so if a header has no value: delete the messages up to there at \
         the broker, and the others are received ({reason})"
    );
    Error::kafka("reading a topic", reason)
}

/// Cuts messages into what one append takes.
fn pieces(mut messages: &[Message]) -> Vec<&[Message]> {
    let mut pieces = Vec::new();
    while !messages.is_empty() {
        let mut bytes = 0usize;
        let fits = |message: &&Message| {
            bytes = bytes.saturating_add(message.payload.len());
            bytes <= APPEND_BYTES_MAX
        };
        let count = messages.iter().take(APPENDS_MAX).take_while(fits).count();
        let (piece, rest) = messages.split_at(count.max(1).min(messages.len()));
        pieces.push(piece);
        messages = rest;
    }
    pieces
}

fn new_event(message: &Message) -> NewEvent {
    NewEvent {
        kind: message.kind.clone(),
        payload: message.payload.clone(),
        lifetime_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn appends_are_bounded_in_number_and_bytes() {
        let message = |bytes: usize| Message {
            offset: 0,
            partition: "p".into(),
            kind: "k".into(),
            payload: Bytes::from(vec![0; bytes]),
            sent: None,
        };
        const HALF: usize = APPEND_BYTES_MAX / 2;
        for (sizes, expected) in [
            (vec![], vec![]),
            (vec![1; APPENDS_MAX + 1], vec![APPENDS_MAX, 1]),
            (vec![HALF, HALF, 1], vec![2, 1]),
            (vec![1, 2 * HALF, 1], vec![1, 1, 1]),
            (vec![2 * HALF + 1, 1, HALF], vec![1, 2]),
        ] {
            let messages: Vec<Message> = sizes.into_iter().map(message).collect();
            let lengths: Vec<usize> = pieces(&messages).iter().map(|some| some.len()).collect();
            assert_eq!(lengths, expected);
        }
    }
}
