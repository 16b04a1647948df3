//! Out: events of a collection's streams as messages of a topic.

use super::{
    cluster::{Cluster, Connected, Partition, Topic},
    message::{OVERHEAD_BYTES, of_event},
    partitioner::partition,
    places,
    waits::Waits,
};
use crate::{
    Error,
    clock::now_ms,
    config::SendConfig,
    events::{SHARDS, follow::Follower, index_partitions, walk::Walk},
    store::Store,
};
use brink_protocol::event::{self, Event, range_after};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use metrics::{Counter, Gauge};
use rskafka::record::Record;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinSet, time::Instant};

/// Streams that wait for one partition of the topic. If there are more, all streams are looked through once there is room.
const WAITING_MAX: usize = 1024;
/// Streams of one message batch.
const STREAMS_MAX: u32 = 256;
/// Events of one stream in a batch.
const EVENTS_MAX: u32 = 100;
/// Bytes of a batch, of which one event may be over it: less than what brokers take by default (1 MiB).
const BATCH_BYTES_MAX: usize = 512 << 10;
/// Streams that are read at a time.
const READS_MAX: usize = 8;
/// How long a stream is waited for in which a number is missing. On an engine with several replicas a commit that is
/// half-way may show later events before earlier ones; it is whole, or given up, long before.
const GAP_MAX: Duration = Duration::from_secs(30);
/// How often such a stream is looked at.
const GAP_POLL: Duration = Duration::from_millis(500);

/// Carries a collection's events to a topic, for good.
pub(super) async fn run(store: Arc<dyn Store>, cluster: Arc<Cluster>, config: SendConfig) {
    let bridge = Arc::new(Sender::new(store, config));
    let mut waits = Waits::default();
    let topic = loop {
        match cluster.topic(&bridge.config.topic).await {
            Ok(topic) => break topic,
            Err(error) => bridge.failed(&error, &mut waits).await,
        }
    };
    let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let topic = Arc::new(topic);
    // Before lanes look through all streams: what is appended meanwhile is heard of.
    let mut follower = Follower::new(Arc::clone(&bridge.store));
    // Ends with the lanes: dropping the set ends its tasks.
    let mut lanes = JoinSet::new();
    let mut inboxes = Vec::new();
    for (&number, index) in topic.partitions.iter().zip(0..) {
        let inbox = Arc::new(Inbox::default());
        inboxes.push(Arc::clone(&inbox));
        let lane = Lane {
            bridge: Arc::clone(&bridge),
            cluster: Arc::clone(&cluster),
            topic: Arc::clone(&topic),
            number,
            has: Box::new(move |stream| partition(stream.as_bytes(), count) == index),
            inbox,
            walk: None,
            waiting: Ring::default(),
            gaps: BTreeMap::new(),
        };
        lanes.spawn(lane.run());
    }
    loop {
        let moved = match follower.next().await {
            Ok(moved) => moved,
            Err(error) => {
                bridge.failed(&error, &mut waits).await;
                continue;
            }
        };
        waits.reset();
        if moved.missed {
            inboxes.iter().for_each(|inbox| inbox.miss());
        }
        let SendConfig {
            tenant, collection, ..
        } = &bridge.config;
        for stream in moved.partitions {
            let lane = partition(stream.partition.as_bytes(), count);
            let inbox = usize::try_from(lane)
                .ok()
                .and_then(|lane| inboxes.get(lane));
            if stream.tenant == *tenant
                && stream.collection == *collection
                && let Some(inbox) = inbox
            {
                inbox.push(stream.partition);
            }
        }
    }
}

/// Says which streams of a lane have new events. Nobody waits for a lane: a partition of the topic that takes nothing holds
/// up no other.
struct Inbox {
    streams: Mutex<Ring>,
    /// Any stream may have new events: at first, and when there was no room.
    missed: AtomicBool,
    wake: Notify,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            streams: Mutex::default(),
            missed: AtomicBool::new(true),
            wake: Notify::new(),
        }
    }
}

/// Names that take turns.
#[derive(Debug, Default)]
struct Ring {
    names: BTreeSet<String>,
    /// Whose turn was last.
    last: String,
}

impl Ring {
    /// All, beginning with the next one.
    fn in_turn(&self) -> impl Iterator<Item = &String> {
        let after = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
        let until = (Bound::Unbounded, Bound::Included(self.last.as_str()));
        let behind = self.names.range::<str, _>(after);
        behind.chain(self.names.range::<str, _>(until))
    }

    /// Takes the next one out.
    fn pop(&mut self) -> Option<String> {
        let next = self.in_turn().next()?.clone();
        self.names.remove(&next);
        self.last.clone_from(&next);
        Some(next)
    }
}

impl Inbox {
    fn push(&self, stream: String) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.names.len() < WAITING_MAX {
            streams.names.insert(stream);
        } else if !streams.names.contains(&stream) {
            self.missed.store(true, Ordering::Relaxed);
        }
        self.wake.notify_one();
    }

    fn miss(&self) {
        self.missed.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Moves streams to others until those are as many as a batch has.
    fn fill(&self, waiting: &mut BTreeSet<String>) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let room = (STREAMS_MAX as usize).saturating_sub(waiting.len());
        waiting.extend(std::iter::from_fn(|| streams.pop()).take(room));
    }
}

/// What the lanes of a bridge share.
struct Sender {
    store: Arc<dyn Store>,
    config: SendConfig,
    sent: Counter,
    skipped: Counter,
    failures: Counter,
    connected: Gauge,
}

impl Sender {
    fn new(store: Arc<dyn Store>, config: SendConfig) -> Self {
        let name = config.name.clone();
        Self {
            sent: metrics::counter!("brink_core_bridge_sent_total", "bridge" => name.clone()),
            skipped: metrics::counter!("brink_core_bridge_skipped_total", "bridge" => name.clone()),
            failures: metrics::counter!("brink_core_bridge_failures_total", "way" => "send", "bridge" => name.clone()),
            connected: metrics::gauge!("brink_core_bridge_connected", "way" => "send", "bridge" => name),
            store,
            config,
        }
    }

    async fn failed(&self, error: &Error, waits: &mut Waits) {
        self.failures.increment(1);
        let SendConfig { name, topic, .. } = &self.config;
        let wait = waits.next();
        tracing::warn!(bridge = name, topic, %error, wait_ms = wait.as_millis(), "events are not sent now");
        tokio::time::sleep(wait).await;
    }

    /// Over all streams of the collection.
    fn walk(&self) -> Walk {
        let SendConfig {
            tenant, collection, ..
        } = &self.config;
        let of = |shard| index_partitions(&*self.store, tenant, collection, shard);
        Walk::over((0..SHARDS).flat_map(of).collect())
    }

    /// The events of a stream that follow a number, and whether there are more.
    async fn events(&self, name: String, after: u64) -> Result<Found, Error> {
        let range = range_after(&self.config.collection, &name, after, EVENTS_MAX);
        let page = self
            .store
            .scan(&self.config.tenant, &range, now_ms())
            .await?;
        let events = page
            .entries
            .iter()
            .map(|entry| event::decode(&entry.sort, &entry.value));
        Ok(Found {
            events: events.collect::<Result<_, _>>()?,
            more: page.more,
            name,
            after,
        })
    }
}

/// What is to be sent of a stream.
#[derive(Debug)]
struct Found {
    name: String,
    after: u64,
    events: Vec<Event>,
    more: bool,
}

impl Found {
    /// Whether a number is missing before or among the events.
    fn has_gap(&self) -> bool {
        let numbers = self.events.iter().map(|event| event.number);
        numbers.zip(self.after + 1..).any(|(is, due)| is != due)
    }
}

/// What goes in one append.
#[derive(Debug, Default)]
struct Batch {
    messages: Vec<(String, Event)>,
    bytes: usize,
    /// The last number of each stream.
    last: BTreeMap<String, u64>,
}

impl Batch {
    /// Takes events as long as there is room; whether all were taken.
    fn add(&mut self, name: &str, events: Vec<Event>) -> bool {
        for event in events {
            let bytes = name.len() + event.payload.len() + OVERHEAD_BYTES;
            if !self.messages.is_empty() && self.bytes + bytes > BATCH_BYTES_MAX {
                return false;
            }
            self.bytes += bytes;
            self.last.insert(name.to_owned(), event.number);
            self.messages.push((name.to_owned(), event));
        }
        true
    }
}

/// Carries the streams that are in one partition of the topic. One append is under way at a time: that keeps the order.
struct Lane {
    bridge: Arc<Sender>,
    cluster: Arc<Cluster>,
    topic: Arc<Topic>,
    number: i32,
    /// Whether a stream is in this partition of the topic.
    has: Box<dyn Fn(&str) -> bool + Send + Sync>,
    inbox: Arc<Inbox>,
    /// Where it is in looking through all streams.
    walk: Option<Walk>,
    waiting: Ring,
    /// Streams in which a number is missing, and since when.
    gaps: BTreeMap<String, Instant>,
}

impl Lane {
    async fn run(mut self) {
        let mut waits = Waits::default();
        loop {
            let Err(error) = self.carry(&mut waits).await;
            self.bridge.failed(&error, &mut waits).await;
            // Whatever the cluster is like now: the next try asks it anew.
            if let Ok(topic) = self.cluster.topic(&self.bridge.config.topic).await {
                self.topic = Arc::new(topic);
            }
        }
    }

    /// Carries until something fails.
    async fn carry(&mut self, waits: &mut Waits) -> Result<std::convert::Infallible, Error> {
        let partition = self.topic.partition(self.number).await?;
        let _connected = Connected::count(&self.bridge.connected);
        loop {
            self.take().await?;
            let batch = self.batch().await?;
            if batch.messages.is_empty() {
                if !self.waiting.names.is_empty() {
                    tokio::time::sleep(GAP_POLL).await;
                }
                continue;
            }
            self.send(&partition, batch).await?;
            waits.reset();
        }
    }

    /// Waits until there is a stream to look at.
    async fn take(&mut self) -> Result<(), Error> {
        loop {
            self.inbox.fill(&mut self.waiting.names);
            if !self.waiting.names.is_empty() {
                return Ok(());
            }
            if let Some(walk) = &mut self.walk {
                match walk
                    .next(&*self.bridge.store, STREAMS_MAX, now_ms())
                    .await?
                {
                    Some(found) => self
                        .waiting
                        .names
                        .extend(found.into_iter().filter(|s| (self.has)(s))),
                    None => self.walk = None,
                }
            } else if self.inbox.missed.swap(false, Ordering::Relaxed) {
                self.walk = Some(self.bridge.walk());
            } else {
                self.inbox.wake.notified().await;
            }
        }
    }

    /// Reads what is to be sent. Streams of which all is in the batch do not wait any longer.
    async fn batch(&mut self) -> Result<Batch, Error> {
        let bridge = &self.bridge;
        let names: Vec<String> = self.waiting.in_turn().cloned().collect();
        let SendConfig { name, tenant, .. } = &bridge.config;
        let sent = places::sent(&*bridge.store, tenant, name, &names, now_ms()).await?;
        let reads = names
            .into_iter()
            .zip(sent)
            .map(|(name, after)| bridge.events(name, after));
        let mut reads = stream::iter(reads).buffered(READS_MAX);
        let mut batch = Batch::default();
        let mut whole = Vec::new();
        let mut last = self.waiting.last.clone();
        while let Some(found) = reads.try_next().await? {
            if found.has_gap() {
                if is_early(bridge, &mut self.gaps, &found.name) {
                    continue;
                }
                let first = found.events.first().map_or(0, |event| event.number);
                tracing::warn!(
                    bridge = name,
                    stream = found.name,
                    after = found.after,
                    first,
                    "events ended by their lifetime before they were sent"
                );
                bridge.skipped.increment(1);
            }
            self.gaps.remove(&found.name);
            last.clone_from(&found.name);
            if !batch.add(&found.name, found.events) {
                break;
            }
            if !found.more {
                whole.push(found.name);
            }
        }
        // Only now: when a read fails, all of them go on waiting.
        for name in &whole {
            self.waiting.names.remove(name);
        }
        self.waiting.last = last;
        Ok(batch)
    }

    /// Sends, and notes it when it is acknowledged.
    async fn send(&mut self, partition: &Partition, batch: Batch) -> Result<(), Error> {
        let bridge = &self.bridge;
        let SendConfig {
            name,
            tenant,
            collection,
            topic,
        } = &bridge.config;
        let count = batch.messages.len() as u64;
        let message =
            |(stream, event): (String, Event)| of_event(topic, tenant, collection, &stream, event);
        let messages: Vec<Record> = batch.messages.into_iter().map(message).collect();
        // Until all is noted, these streams are not done with.
        let names = batch.last.keys().cloned();
        self.waiting.names.extend(names);
        partition.append(messages).await?;
        places::note_sent(&*bridge.store, tenant, name, &batch.last, now_ms()).await?;
        bridge.sent.increment(count);
        Ok(())
    }
}

/// Whether a missing number may still come.
fn is_early(bridge: &Sender, gaps: &mut BTreeMap<String, Instant>, name: &str) -> bool {
    // The embedded store shows commits whole.
    let since = gaps.entry(name.to_owned()).or_insert_with(Instant::now);
    bridge.store.is_shared() && since.elapsed() < GAP_MAX
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;

    fn event(number: u64, bytes: usize) -> Event {
        Event {
            number,
            kind: "k".into(),
            at_ms: 1,
            payload: Bytes::from(vec![0; bytes]),
        }
    }

    #[test]
    fn a_batch_has_room_for_one_event_of_any_size_and_keeps_whole_beginnings() {
        let large = BATCH_BYTES_MAX;
        let mut batch = Batch::default();
        assert!(batch.add("a", vec![event(4, large)]));
        assert!(!batch.add("b", vec![event(1, 1)]));
        assert_eq!(batch.last, BTreeMap::from([("a".to_owned(), 4)]));
        let mut batch = Batch::default();
        assert!(!batch.add("a", vec![event(4, 10), event(5, 10), event(6, large)]));
        assert_eq!(batch.last, BTreeMap::from([("a".to_owned(), 5)]));
        assert_eq!(batch.messages.len(), 2);
    }

    #[test]
    fn names_take_turns() {
        let mut ring = Ring::default();
        ring.names.extend(["a", "b", "c"].map(str::to_owned));
        for expected in ["a", "b", "c", "a"] {
            let name = ring.pop().unwrap();
            assert_eq!(name, expected);
            // What comes again has to wait for the others.
            ring.names.insert(name);
        }
        ring.last = "b".to_owned();
        let names: Vec<_> = ring.in_turn().collect();
        assert_eq!(names, ["c", "a", "b"]);
    }

    #[test]
    fn nobody_waits_for_a_lane_that_takes_nothing() {
        let inbox = Inbox::default();
        assert!(inbox.missed.swap(false, Ordering::Relaxed));
        for n in 0..WAITING_MAX {
            inbox.push(n.to_string());
        }
        inbox.push("0".into());
        assert!(!inbox.missed.load(Ordering::Relaxed));
        inbox.push("one more".into());
        assert!(inbox.missed.load(Ordering::Relaxed));
        let mut waiting = BTreeSet::from(["x".to_owned()]);
        inbox.fill(&mut waiting);
        assert_eq!(waiting.len(), STREAMS_MAX as usize);
    }

    #[test]
    fn gaps_are_seen() {
        for (after, numbers, has_gap) in [
            (0, &[][..], false),
            (0, &[1, 2], false),
            (3, &[4], false),
            (3, &[5], true),
            (3, &[4, 6], true),
        ] {
            let found = Found {
                name: "a".into(),
                after,
                events: numbers.iter().map(|number| event(*number, 0)).collect(),
                more: false,
            };
            assert_eq!(found.has_gap(), has_gap, "{after} {numbers:?}");
        }
    }
}
