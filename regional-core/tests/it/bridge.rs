//! The bridge to Kafka, with a real broker: events go out to a topic and come back into another collection, while the
//! broker and the core are killed.

use crate::{
    client::Control,
    program::{Program, start_with},
};
use brink_engines::{Broker, BrokerOptions, PASSWORD, USER};
use brink_listener::client::ClientTls;
use brink_protocol::control::ShownEvents;
use rskafka::{
    chrono::DateTime,
    client::{
        Client, ClientBuilder, Credentials, SaslConfig,
        partition::{Compression, PartitionClient, UnknownTopicHandling},
    },
    record::Record,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet};

const STREAMS: usize = 100;
const EVENTS: u64 = 100;
/// Events of one append.
const AT_ONCE: u64 = 10;
const PARTITIONS: i32 = 4;
const WRITERS: usize = 8;
/// Far beyond what all of it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);
const PAUSE: Duration = Duration::from_millis(100);

async fn broker(options: BrokerOptions) -> Broker {
    let started = tokio::task::spawn_blocking(move || Broker::start(&options));
    started.await.unwrap().unwrap()
}

async fn restart(mut broker: Broker) -> Broker {
    let restarted = tokio::task::spawn_blocking(move || {
        broker.kill();
        broker.restart().map(|()| broker)
    });
    restarted.await.unwrap().unwrap()
}

async fn client(address: SocketAddr) -> Client {
    let builder = ClientBuilder::new(vec![address.to_string()]);
    builder.build().await.unwrap()
}

async fn make_topic(client: Client, partitions: i32) {
    let controller = client.controller_client().unwrap();
    controller
        .create_topic("orders", partitions, 1, 10_000)
        .await
        .unwrap();
}

fn configuration(broker: SocketAddr) -> String {
    format!(
        "[kafka]\nbrokers = [\"{broker}\"]\n\
         [[kafka.send]]\nname = \"out\"\ncollection = \"orders\"\ntopic = \"orders\"\n\
         [[kafka.receive]]\nname = \"in\"\ntopic = \"orders\"\ncollection = \"copies\"\n"
    )
}

fn control(directory: &Path, program: &Program) -> Control {
    let token = std::fs::read_to_string(directory.join("core/root.token")).unwrap();
    Control {
        address: program.control,
        ca: directory.join("core/ca/ca.pem"),
        token: Some(token.trim().into()),
    }
}

/// Appends events of one stream, each append as often as it takes.
async fn append(control: watch::Receiver<Control>, stream: usize, done: Arc<AtomicUsize>) {
    for first in (1..=EVENTS).step_by(AT_ONCE.try_into().unwrap()) {
        let events: Vec<Value> = (first..first + AT_ONCE)
            .map(|n| json!({"kind": "placed", "payload": {"n": n}}))
            .collect();
        let body =
            json!({"collection": "orders", "partition": format!("o{stream}"), "events": events});
        let key = format!("{stream}-{first}");
        loop {
            let control = control.borrow().clone();
            let body = body.to_string();
            let fields = [
                ("content-type", "application/json"),
                ("idempotency-key", &key),
            ];
            if let Some(answer) = control.try_send("POST", "/v1/events", &fields, body).await
                && answer.status == 200
            {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        done.fetch_add(AT_ONCE.try_into().unwrap(), Ordering::Relaxed);
    }
}

async fn reached(done: &AtomicUsize, count: usize) {
    while done.load(Ordering::Relaxed) < count {
        tokio::time::sleep(PAUSE).await;
    }
}

async fn copies(control: &Control, stream: &str) -> ShownEvents {
    let path = format!("/v1/events?collection=copies&partition={stream}&limit=1000");
    control.get(&path).await.expect(200).parse()
}

/// Kind, and what `n` is in the payload.
fn shown(page: &ShownEvents) -> Vec<(u64, &str, u64)> {
    let n = |payload: &Value| payload["n"].as_u64().unwrap_or(0);
    let one = |event: &'_ brink_protocol::control::ShownEvent| {
        event
            .payload
            .as_deref()
            .map_or(0, |raw| n(&serde_json::from_str(raw.get()).unwrap()))
    };
    page.events
        .iter()
        .map(|event| (event.number, event.kind.as_str(), one(event)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_out_and_back_while_broker_and_core_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(BrokerOptions::default()).await;
    let address = broker.address();
    make_topic(client(address).await, PARTITIONS).await;
    let mut program = start_with(directory.path(), &configuration(address)).await;
    let (tell, controls) = watch::channel(control(directory.path(), &program));
    let done = Arc::new(AtomicUsize::new(0));
    let appending = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let mut writers = JoinSet::new();
            for stream in 0..STREAMS {
                if writers.len() >= WRITERS {
                    writers.join_next().await.unwrap().unwrap();
                }
                writers.spawn(append(controls.clone(), stream, Arc::clone(&done)));
            }
            while let Some(writer) = writers.join_next().await {
                writer.unwrap();
            }
        }
    });
    let all = STREAMS * usize::try_from(EVENTS).unwrap();
    let everything = async {
        reached(&done, all / 4).await;
        let broker = restart(broker).await;
        reached(&done, all / 2).await;
        program.child.kill().await.unwrap();
        program = start_with(directory.path(), &configuration(address)).await;
        tell.send_replace(control(directory.path(), &program));
        reached(&done, all * 3 / 4).await;
        let broker = restart(broker).await;
        appending.await.unwrap();
        let control = control(directory.path(), &program);
        let expected: Vec<_> = (1..=EVENTS).map(|n| (n, "placed", n)).collect();
        for stream in 0..STREAMS {
            let name = format!("o{stream}");
            while copies(&control, &name).await.newest < EVENTS {
                tokio::time::sleep(PAUSE).await;
            }
            assert_eq!(shown(&copies(&control, &name).await), expected, "{name}");
        }
        topic_is_whole(address).await;
        dead_letters_are_kept(address, &control).await;
        drop(broker);
    };
    tokio::time::timeout(PATIENCE, everything).await.unwrap();
}

/// Every event is in the topic, those of a key in one partition and, repetitions apart, in order.
async fn topic_is_whole(address: SocketAddr) {
    let client = client(address).await;
    let mut last: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let mut homes: BTreeMap<Vec<u8>, BTreeSet<i32>> = BTreeMap::new();
    for number in 0..PARTITIONS {
        let partition = client
            .partition_client("orders", number, UnknownTopicHandling::Error)
            .await
            .unwrap();
        let mut offset = 0;
        loop {
            let (records, _) = partition
                .fetch_records(offset, 1..1 << 20, 100)
                .await
                .unwrap();
            let Some(end) = records.last() else {
                break;
            };
            offset = end.offset + 1;
            for found in records {
                let key = found.record.key.unwrap();
                let event = String::from_utf8(found.record.headers["brink-event"].clone()).unwrap();
                let event: u64 = event.parse().unwrap();
                homes.entry(key.clone()).or_default().insert(number);
                let last = last.entry(key).or_default();
                assert!(event <= *last + 1, "{event} after {last}");
                *last = event.max(*last);
            }
        }
    }
    assert_eq!(last.len(), STREAMS);
    assert!(last.values().all(|last| *last == EVENTS), "{last:?}");
    assert!(homes.values().all(|homes| homes.len() == 1), "{homes:?}");
}

fn message(key: Option<&str>) -> Record {
    Record {
        key: key.map(|key| key.as_bytes().to_vec()),
        value: Some(br#"{"n": 7}"#.to_vec()),
        headers: BTreeMap::new(),
        timestamp: DateTime::default(),
    }
}

/// A message that cannot be an event is kept, and does not hold up the next.
async fn dead_letters_are_kept(address: SocketAddr, control: &Control) {
    let client = client(address).await;
    let partition = client
        .partition_client("orders", 0, UnknownTopicHandling::Error)
        .await
        .unwrap();
    let messages = vec![message(None), message(Some("late"))];
    partition
        .produce(messages, Compression::Gzip)
        .await
        .unwrap();
    while copies(control, "late").await.newest < 1 {
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(shown(&copies(control, "late").await), [(1, "message", 7)]);
    let path = "/v1/records/_bridge/dead.in";
    let text = String::from_utf8(control.get(path).await.expect(200).body.to_vec()).unwrap();
    assert!(text.contains("it has no key"), "{text}");
}

/// As a user of the brokers, over TLS.
async fn secured_client(broker: &Broker) -> Client {
    let tls = ClientTls::new(broker.authority().unwrap()).config(&[]);
    let login = Credentials::new(USER.to_owned(), PASSWORD.to_owned());
    ClientBuilder::new(vec![broker.address().to_string()])
        .tls_config(Arc::new(tls.unwrap()))
        .sasl_config(SaslConfig::Plain(login))
        .build()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_logs_in_at_brokers_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let options = BrokerOptions {
        authentication: true,
        tls: true,
        ..BrokerOptions::default()
    };
    let broker = broker(options).await;
    make_topic(secured_client(&broker).await, PARTITIONS).await;
    let ca = broker.authority().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, format!("{PASSWORD}\n")).unwrap();
    for (round, login) in (1..).zip(["plain", "scram-sha-512"]) {
        let secured = format!(
            "ca = {ca:?}\nuser = \"{USER}\"\npassword_file = {secret:?}\nlogin = \"{login}\"\n[[kafka.send]]"
        );
        let text = configuration(broker.address()).replacen("[[kafka.send]]", &secured, 1);
        let mut program = start_with(directory.path(), &text).await;
        let control = control(directory.path(), &program);
        let body = json!({"collection": "orders", "partition": "p", "events": [{"kind": "k"}]});
        control.json("POST", "/v1/events", body).await.expect(200);
        let back = async {
            while copies(&control, "p").await.newest < round {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, back).await.unwrap();
        let metrics = crate::program::admin(program.admin, "/metrics").await;
        let sent = "brink_core_bridge_sent_total{bridge=\"out\"} 1";
        assert!(metrics.contains(sent), "{login}: {metrics}");
        program.child.kill().await.unwrap();
    }
    // Whoever is not to be trusted gets no event.
    let text = configuration(broker.address());
    let other = directory.path().join("core/ca/ca.pem");
    let secured = format!("ca = {other:?}\n[[kafka.send]]");
    let text = text.replacen("[[kafka.send]]", &secured, 1);
    let program = start_with(directory.path(), &text).await;
    let refused = async {
        let failures = "brink_core_bridge_failures_total{way=\"send\",bridge=\"out\"} ";
        loop {
            let metrics = crate::program::admin(program.admin, "/metrics").await;
            let mut found = metrics
                .lines()
                .filter_map(|line| line.strip_prefix(failures));
            if found.next().is_some_and(|count| count != "0") {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_transactions_are_received_and_copies_of_others_are_not_lost() {
    const COUNT: u64 = 25;
    let directory = tempfile::tempdir().unwrap();
    let broker = broker(BrokerOptions::default()).await;
    let address = broker.address();
    make_topic(client(address).await, 1).await;
    let broker = tokio::task::spawn_blocking(move || {
        let count = COUNT.try_into().unwrap();
        broker.append_in_transactions("orders", "t", count).unwrap();
        broker
    });
    let broker = broker.await.unwrap();
    let program = start_with(directory.path(), &configuration(address)).await;
    let control = control(directory.path(), &program);
    let expected: Vec<_> = (1..=COUNT).map(|n| (n, "message", n)).collect();
    let received = async {
        while copies(&control, "t").await.newest < COUNT {
            tokio::time::sleep(PAUSE).await;
        }
        assert_eq!(shown(&copies(&control, "t").await), expected);
        let events: Vec<Value> = (1..=3)
            .map(|n| json!({"kind": "placed", "payload": {"n": n}}))
            .collect();
        for stream in ["a", "b"] {
            let body = json!({"collection": "orders", "partition": stream, "events": events});
            control.json("POST", "/v1/events", body).await.expect(200);
            while copies(&control, stream).await.newest < 3 {
                tokio::time::sleep(PAUSE).await;
            }
        }
        // Behind the transactions, of which each has a message and the mark of its end.
        let sent = messages_after(address, 2 * COUNT).await;
        assert_eq!(sent.len(), 6);
        // Another program puts all of them under one key, headers and all; the same again is another message of its own.
        for _ in 0..2 {
            let rekeyed = sent.iter().cloned().map(|record| Record {
                key: Some(b"all".to_vec()),
                ..record
            });
            produce(address, rekeyed.collect()).await;
        }
        // What was sent is sent again: as bridges do.
        produce(address, sent).await;
        produce(address, vec![message(Some("end"))]).await;
        for (stream, newest) in [("all", 12), ("end", 1)] {
            while copies(&control, stream).await.newest < newest {
                tokio::time::sleep(PAUSE).await;
            }
        }
        for stream in ["a", "b"] {
            assert_eq!(copies(&control, stream).await.newest, 3, "{stream}");
        }
    };
    tokio::time::timeout(PATIENCE, received).await.unwrap();
    drop(broker);
}

async fn only_partition(address: SocketAddr) -> PartitionClient {
    let client = client(address).await;
    let partition = client.partition_client("orders", 0, UnknownTopicHandling::Error);
    partition.await.unwrap()
}

async fn produce(address: SocketAddr, messages: Vec<Record>) {
    let partition = only_partition(address).await;
    let produced = partition.produce(messages, Compression::Gzip).await;
    produced.unwrap();
}

/// What is in the topic from an offset on.
async fn messages_after(address: SocketAddr, offset: u64) -> Vec<Record> {
    let partition = only_partition(address).await;
    let offset = offset.try_into().unwrap();
    let (found, _) = partition
        .fetch_records(offset, 1..1 << 20, 100)
        .await
        .unwrap();
    found.into_iter().map(|found| found.record).collect()
}
