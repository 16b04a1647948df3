//! Regions: writes go home, pinned records stay there, and a lost region's homes are given to another.

mod centres;

use crate::{
    client::{Control, Link},
    guests,
    server::Server,
};
use brink_core::identity::{issue_core, issue_pop};
use brink_protocol::{
    Position, codec,
    link::{
        CommandAnswer, CommandRequest, Condition, RecordOperation, RecordOutcome, RecordsAnswer,
        RecordsRequest, path,
    },
    record::{Bound, Key, Range, RecordError},
};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

/// Two cores that know each other, `core-1` in the region eu and `core-2` in us, with some configuration each.
pub struct Regions {
    pub eu: Server,
    pub us: Server,
    pub links: [Link; 2],
}

/// Addresses that no other test of this machine takes.
fn addresses() -> [SocketAddr; 2] {
    static PORTS: AtomicU16 = AtomicU16::new(21_000);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 32, high, low | 1);
    [(); 2].map(|()| (address, PORTS.fetch_add(1, Ordering::Relaxed)).into())
}

fn config(node: &str, region: &str, at: SocketAddr, peer: [&str; 2], theirs: SocketAddr) -> String {
    let [name, their_region] = peer;
    format!(
        "node = '{node}'\nregion = '{region}'\n[link]\nlisten = '{at}'\n[prober]\ninterval_ms = 0\n\
         [[peers]]\nname = '{name}'\nlink = '{theirs}'\nregion = '{their_region}'\n"
    )
}

async fn connect(eu: &Server, us: &Server) -> [Link; 2] {
    let pop = eu.directory.path().join("ams");
    [
        Link::connect(eu.addresses.link, &pop).await.unwrap(),
        Link::connect(us.addresses.link, &pop).await.unwrap(),
    ]
}

impl Regions {
    pub async fn start(more: [&str; 2]) -> Self {
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (data, node) = (one.path().join("core"), "core-2".parse().unwrap());
        issue_core(&data, &node, &[], &two.path().join("core")).unwrap();
        let [a, b] = addresses();
        let eu = config("core-1", "eu", a, ["core-2", "us"], b) + more[0];
        let us = config("core-2", "us", b, ["core-1", "eu"], a) + more[1];
        let eu = Server::start_with(one, &eu).await;
        let us = Server::start_with(two, &us).await;
        let pop = eu.directory.path().join("ams");
        issue_pop(&eu.data(), &"ams".parse().unwrap(), &[], &pop).unwrap();
        let links = connect(&eu, &us).await;
        Self { eu, us, links }
    }

    /// Connects anew: what idles for a minute is closed, and declarations take their time.
    pub async fn connect(&mut self) {
        self.links = connect(&self.eu, &self.us).await;
    }
}

pub fn key(collection: &str, partition: &str) -> Key {
    Key {
        collection: collection.into(),
        partition: partition.into(),
        sort: "s".into(),
    }
}

fn request(at_least: &Position, operation: RecordOperation) -> RecordsRequest {
    RecordsRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        at_least: at_least.clone(),
        operation,
    }
}

pub async fn ask(link: &Link, at_least: &Position, operation: RecordOperation) -> RecordsAnswer {
    link.call(path::RECORDS, &request(at_least, operation))
        .await
}

pub async fn put(link: &Link, collection: &str, partition: &str, value: &str) -> RecordsAnswer {
    ask(
        link,
        &Position::default(),
        putting(collection, partition, value),
    )
    .await
}

fn putting(collection: &str, partition: &str, value: &str) -> RecordOperation {
    RecordOperation::Put {
        key: key(collection, partition),
        value: Bytes::copy_from_slice(value.as_bytes()),
        lifetime_ms: None,
        condition: Condition::Always,
    }
}

/// Whether a write is acknowledged: one that is not has no answer in time, or says that it could not be done.
pub async fn is_acknowledged(link: &Link, collection: &str, partition: &str, value: &str) -> bool {
    let request = request(&Position::default(), putting(collection, partition, value));
    let message = codec::encode(&request).unwrap();
    let answer = link.send("POST", path::RECORDS, codec::MEDIA_TYPE, message);
    let answer = answer.await.unwrap();
    if answer.status() == 504 {
        return false;
    }
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let answer: RecordsAnswer = codec::decode(&body).unwrap();
    match answer.outcome {
        Ok(_) => true,
        Err(RecordError::Unavailable(_)) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// The value under a key, read no earlier than a position.
pub async fn read(
    link: &Link,
    at_least: &Position,
    collection: &str,
    partition: &str,
) -> Option<String> {
    let operation = RecordOperation::Get(vec![key(collection, partition)]);
    let answer = ask(link, at_least, operation).await;
    let Ok(RecordOutcome::Entries(entries)) = answer.outcome else {
        panic!("{answer:?}")
    };
    let entry = entries.into_iter().next().unwrap();
    entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

pub fn unavailable(answer: RecordsAnswer) -> String {
    match answer.outcome {
        Err(RecordError::Unavailable(text)) => text,
        other => panic!("{other:?}"),
    }
}

pub async fn geo(control: &Control, collection: &str) {
    let placement = json!({"kind": "geo", "regions": {"eu": "eu", "us": "us"}});
    let path = format!("/v1/collections/{collection}");
    let put = control.json("PUT", &path, json!({"placement": placement}));
    put.await.expect(200);
}

pub async fn deploy_counter(control: &Control) {
    let path = "/v1/modules/count/versions";
    let published = control.send("POST", path, "application/wasm", guests::counter());
    published.await.expect(201);
    let deployed = control.json("POST", "/v1/deployments", json!({"module": "count"}));
    deployed.await.expect(200);
}

pub async fn count(link: &Link, key: Option<&str>) -> CommandAnswer {
    let request = CommandRequest {
        tenant: "default".parse().unwrap(),
        caller: "shop".parse().unwrap(),
        subject: None,
        command: "count".parse().unwrap(),
        collection: "counters".into(),
        partition: "p".into(),
        input: Bytes::new(),
        idempotency_key: key.map(Into::into),
    };
    link.call(path::COMMANDS, &request).await
}

pub fn origins(position: &Position) -> Vec<String> {
    let origins = position.iter().map(|(origin, _)| origin.node.to_string());
    origins.collect()
}

/// With stores of their own each core has its homes' records alone: all else is asked of the other.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_home_elsewhere_is_done_there() {
    let Regions { eu, us, links } = Regions::start(["", ""]).await;
    let [at_eu, at_us] = &links;
    let nowhere = Position::default();
    for server in [&eu, &us] {
        geo(&server.control(), "customers").await;
        let home = json!({"placement": {"kind": "hash"}, "home": "eu"});
        let counters = server.control();
        let counters = counters.json("PUT", "/v1/collections/counters", home);
        counters.await.expect(200);
    }
    let written = put(at_us, "customers", "eu/C1", "Ada").await;
    assert_eq!(written.outcome, Ok(RecordOutcome::Written(1)));
    assert_eq!(origins(&written.position), ["core-1"], "the home's own log");
    for link in &links {
        let found = read(link, &written.position, "customers", "eu/C1").await;
        assert_eq!(found.as_deref(), Some("Ada"));
    }
    let kept = shown(&us, "customers", "us/C2").await;
    assert_eq!(kept, 0);
    put(at_eu, "customers", "us/C2", "Bob")
        .await
        .outcome
        .unwrap();
    assert_eq!(shown(&us, "customers", "us/C2").await, 1);
    let both = RecordOperation::Get(vec![
        key("customers", "us/C2"),
        key("other", "x"),
        key("customers", "eu/C1"),
    ]);
    let Ok(RecordOutcome::Entries(found)) = ask(at_eu, &nowhere, both).await.outcome else {
        panic!("of two homes")
    };
    let found: Vec<_> = found
        .iter()
        .map(|e| e.as_ref().map(|e| &e.value[..]))
        .collect();
    assert_eq!(found, [Some(&b"Bob"[..]), None, Some(&b"Ada"[..])]);
    let scan = RecordOperation::Scan(Range {
        collection: "customers".into(),
        partition: "eu/C1".into(),
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
        limit: 10,
        descending: false,
    });
    let scanned = ask(at_us, &nowhere, scan).await.outcome;
    assert!(matches!(scanned, Ok(RecordOutcome::Page(page)) if page.entries.len() == 1));
    let refused = put(at_us, "customers", "fr/C1", "x").await.outcome;
    assert!(
        matches!(refused, Err(RecordError::Invalid(_))),
        "{refused:?}"
    );

    // The command is deployed at its home alone.
    deploy_counter(&eu.control()).await;
    for _ in 0..2 {
        let counted = count(at_us, Some("once")).await;
        assert_eq!(counted.outcome.unwrap()[0], 1);
        assert_eq!(origins(&counted.position), ["core-1"]);
    }

    // What lies elsewhere is seen when a placement is to be changed.
    let path = "/v1/collections/customers";
    let refused = eu.control().delete(path).await;
    assert_eq!(refused.problem(409), "conflict");

    let _data = eu.stop().await;
    let told = unavailable(put(at_us, "customers", "eu/C1", "late").await);
    assert!(
        told.contains("region eu") && told.contains("nothing was written"),
        "{told}"
    );
    put(at_us, "customers", "us/C2", "Bob")
        .await
        .outcome
        .unwrap();
}

/// How many records of a partition the control API shows.
async fn shown(server: &Server, collection: &str, partition: &str) -> usize {
    let partition = partition.replace('/', "%2F");
    let path = format!("/v1/records/{collection}/{partition}");
    let answer = server.control().get(&path).await.expect(200).json();
    answer["entries"].as_array().unwrap().len()
}
