//! Modules that read streams of events, and start workflows.

use crate::{
    deployments::{change, deployment, route, running},
    guest,
    harness::Edge,
    scripted::{Asked, Core, Offers, Reply},
};
use brink_protocol::{
    Digest,
    change::{ChangeKind, Phase, RecordChange},
    codec,
    deployment::{DeploymentTable, Grants, Limits, World, default_tenant},
    event::{HEAD_SORT, encode, encode_head, event_sort},
    link::{FeedMessage, RecordOperation, RecordOutcome, RecordsAnswer, RecordsRequest, path},
    record::{Entry, Page},
    workflow::{
        Deployed, INSTANCES, Instance, StartWorkflow, StartWorkflowAnswer, WorkflowError,
        instance_key,
    },
};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// What the core holds: the payloads of the stream `orders / c`, the value of each other record, and where its log ends.
#[derive(Default)]
struct Held {
    events: Vec<&'static str>,
    instance: Option<Bytes>,
    position: u64,
}

fn entry(sort: String, value: Bytes) -> Entry {
    Entry {
        sort,
        value,
        version: 1,
        lifetime_ms: None,
    }
}

impl Held {
    fn answer(&self, question: &Bytes) -> Bytes {
        let request: RecordsRequest = codec::decode(question).unwrap();
        let outcome = match request.operation {
            RecordOperation::Get(keys) => {
                let find = |sort: &str| match sort {
                    HEAD_SORT if !self.events.is_empty() => {
                        Some(encode_head(self.events.len() as u64))
                    }
                    "" => self.instance.clone(),
                    _ => None,
                };
                let entries = keys.into_iter().map(|key| {
                    let found = find(&key.sort);
                    found.map(|value| entry(key.sort, value))
                });
                RecordOutcome::Entries(entries.collect())
            }
            RecordOperation::Scan(range) => {
                let events = (1..).zip(&self.events).map(|(number, payload)| {
                    let payload = Bytes::from_static(payload.as_bytes());
                    let value = encode("order.placed", 5, &payload).unwrap();
                    entry(event_sort(number), value)
                });
                let inside: Vec<Entry> = events.filter(|e| range.contains(&e.sort)).collect();
                let limit = range.limit as usize;
                RecordOutcome::Page(Page {
                    more: inside.len() > limit,
                    entries: inside.into_iter().take(limit).collect(),
                })
            }
            other => panic!("{other:?}"),
        };
        let answer = RecordsAnswer {
            position: format!("core.1={}", self.position).parse().unwrap(),
            outcome: Ok(outcome),
        };
        codec::encode(&answer).unwrap()
    }
}

/// A PoP with one module at `/it`, and its core.
struct Shop {
    core: Core,
    edge: Edge,
    feed: Asked,
    held: Arc<Mutex<Held>>,
    _data: TempDir,
}

impl Shop {
    async fn new(module: Bytes) -> Self {
        let mut core = Core::start(Offers::Both).await;
        let data = tempfile::tempdir().unwrap();
        let table = DeploymentTable {
            revision: 1,
            deployments: vec![deployment("it", &module, World::Module)],
            routes: vec![route("/it", "it", &[])],
        };
        core.deploy(&table, &[&module]);
        let held = Arc::new(Mutex::new(Held {
            position: 1,
            ..Held::default()
        }));
        let answers = Arc::clone(&held);
        let reply = move |question: &Bytes| answers.lock().unwrap().answer(question);
        core.set(path::RECORDS, Reply::To(Arc::new(reply)));
        let (edge, feed) = running(&mut core, data.path(), &table).await;
        Self {
            core,
            edge,
            feed,
            held,
            _data: data,
        }
    }

    /// Records of a partition were written, and the PoP has heard of it.
    async fn written(&self, collection: &str, partition: &str, sorts: &[&str]) {
        let sequence = {
            let mut held = self.held.lock().unwrap();
            held.position += 1;
            held.position
        };
        self.feed
            .say(&records(sequence, collection, partition, sorts));
        let position = format!("core.1={sequence}");
        self.edge
            .until(|status| status["position"] == position)
            .await;
    }

    async fn stop(self) {
        self.edge.stop().await;
        self.core.stop().await;
    }
}

fn records(sequence: u64, collection: &str, partition: &str, sorts: &[&str]) -> FeedMessage {
    change(
        sequence,
        ChangeKind::Records {
            partition: brink_protocol::address::PartitionAddress {
                tenant: default_tenant(),
                collection: collection.into(),
                partition: partition.into(),
            },
            records: sorts
                .iter()
                .map(|sort| RecordChange {
                    sort: (*sort).into(),
                    version: Some(1),
                })
                .collect(),
            phase: Phase::Written,
        },
    )
}

/// Answers with the payload of the first event after a number, 404 if there is none, 503 if it cannot be read. To be kept
/// for a minute.
fn teller(after: u64) -> Bytes {
    guest::module(&format!(
        r#"(local $at i32)
        (call $cache_lifetime (i32.const 60))
        (call $events_read @"orders" @"c" (i64.const {after}) (i32.const 10) (i32.const 256))
        (if (i32.load8_u (i32.const 256))
            (then (call $answer (local.get $out) (i32.const 503) @"away"))
            (else (if (i32.load (i32.const 268))
                (then
                    (local.set $at (i32.load (i32.const 264)))
                    (call $answer (local.get $out) (i32.const 200)
                        (i32.load offset=24 (local.get $at)) (i32.load offset=28 (local.get $at))))
                (else (call $answer (local.get $out) (i32.const 404) @"none")))))"#
    ))
}

#[tokio::test]
async fn the_next_event_takes_an_answer_out_of_the_cache() {
    for after in [0, 1] {
        let shop = Shop::new(teller(after)).await;
        let told = async || {
            let answer = shop.edge.get("/it").await;
            (answer.is_hit(), answer.body)
        };
        assert_eq!(told().await, (false, "none".to_owned()));
        assert_eq!(told().await, (true, "none".to_owned()));
        shop.held.lock().unwrap().events = vec!["one", "two"];
        // The head is written with each event; here it is the event alone that says so.
        let sort = event_sort(2);
        shop.written("orders", "c", &[&sort]).await;
        let first = if after == 0 { "one" } else { "two" };
        assert_eq!(told().await, (false, first.to_owned()));
        assert_eq!(told().await, (true, first.to_owned()));
        // Records beside the stream, and other streams, have nothing to do with it.
        shop.written("orders", "c", &["sku-1"]).await;
        shop.written("orders", "d", &[&sort, HEAD_SORT]).await;
        assert_eq!(told().await, (true, first.to_owned()));
        shop.written("orders", "c", &[HEAD_SORT]).await;
        assert_eq!(told().await, (false, first.to_owned()));
        shop.stop().await;
    }
}

#[tokio::test]
async fn streams_that_cannot_be_read_are_said_to_be() {
    let shop = Shop::new(teller(0)).await;
    shop.core.set(path::RECORDS, Reply::Status(503, "{}"));
    assert_eq!(shop.edge.get("/it").await.body, "away");
    let damaged = RecordsAnswer {
        position: "core.1=1".parse().unwrap(),
        outcome: Ok(RecordOutcome::Entries(vec![Some(entry(
            HEAD_SORT.into(),
            Bytes::from_static(b"?"),
        ))])),
    };
    shop.core.set(path::RECORDS, Reply::message(&damaged));
    assert_eq!(shop.edge.get("/it").await.body, "away");
    shop.stop().await;
}

/// Starts a workflow on `POST`-like requests; says whether it did.
fn starter() -> Bytes {
    guest::module(
        r#"(call $workflows_start @"fulfil" @"order-1" @"input" (i32.const 256))
        (if (i32.load8_u (i32.const 256))
            (then (call $answer (local.get $out) (i32.const 503) (i32.load (i32.const 264)) (i32.load (i32.const 268))))
            (else (if (i32.load8_u (i32.const 260))
                (then (call $answer (local.get $out) (i32.const 201) @"started"))
                (else (call $answer (local.get $out) (i32.const 200) @"was there")))))"#,
    )
}

#[tokio::test]
async fn workflows_are_started_at_the_core() {
    let mut shop = Shop::new(starter()).await;
    let says = |outcome| StartWorkflowAnswer {
        position: "core.1=1".parse().unwrap(),
        outcome,
    };
    let away = Err(WorkflowError::Denied("there is none".into()));
    for (outcome, status, body) in [
        (Ok(true), 201, "started"),
        (Ok(false), 200, "was there"),
        (away, 503, "there is none"),
    ] {
        shop.core
            .set(path::WORKFLOWS, Reply::message(&says(outcome)));
        let answer = shop.edge.send("POST", "/it", &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.as_str()),
            (status, body)
        );
    }
    let mut asked = Vec::new();
    while let Ok((path, body)) = shop.core.questions.try_recv() {
        if path == path::WORKFLOWS {
            asked.push(codec::decode::<StartWorkflow>(&body).unwrap());
        }
    }
    assert_eq!(asked.len(), 3);
    let expected = StartWorkflow {
        tenant: default_tenant(),
        caller: "it".parse().unwrap(),
        subject: None,
        name: "fulfil".parse().unwrap(),
        id: "order-1".into(),
        input: Bytes::from_static(b"input"),
    };
    assert_eq!(asked[0], expected);
    shop.stop().await;
}

/// Answers with where a workflow stands, 404 if there is none. To be kept for a minute.
fn looker() -> Bytes {
    guest::module(
        r#"(call $cache_lifetime (i32.const 60))
        (call $workflows_get @"fulfil" @"order-1" (i32.const 256))
        (if (i32.load8_u (i32.const 256)) (then (call $answer (local.get $out) (i32.const 503) @"away")) (else
        (if (i32.eqz (i32.load8_u (i32.const 260))) (then (call $answer (local.get $out) (i32.const 404) @"none")) (else
        (if (i32.eqz (i32.load8_u (i32.const 264))) (then (call $answer (local.get $out) (i32.const 200) @"running"))
        (else (call $answer (local.get $out) (i32.const 200) (i32.load (i32.const 268)) (i32.load (i32.const 272)))))))))"#,
    )
}

fn instance(completed: Option<&'static str>) -> Bytes {
    let instance = Instance {
        deployed: Some(Deployed {
            version: 1,
            digest: Digest::of(b""),
            config: Default::default(),
            limits: Limits::default(),
            grants: Grants::default(),
        }),
        run: 7,
        caller: None,
        subject: None,
        input: Bytes::new(),
        started_at_ms: 1,
        ended_at_ms: u64::from(completed.is_some()),
        steps: Vec::new(),
        completed: completed.map(|bytes| Bytes::from_static(bytes.as_bytes())),
        failure: None,
        stuck: None,
        unreached: 0,
        failed: 0,
        not_before_ms: 0,
        last_error: None,
        due: None,
        at_work: None,
    };
    instance.encode().unwrap()
}

#[tokio::test]
async fn where_a_workflow_stands_follows_its_steps() {
    let shop = Shop::new(looker()).await;
    let stands = async || {
        let answer = shop.edge.get("/it").await;
        (answer.is_hit(), answer.body)
    };
    let key = instance_key(&"fulfil".parse().unwrap(), "order-1");
    assert_eq!(key.collection, INSTANCES);
    for (held, body) in [
        (None, "none"),
        (Some(instance(None)), "running"),
        (Some(instance(Some("done"))), "done"),
    ] {
        shop.held.lock().unwrap().instance = held;
        shop.written(&key.collection, &key.partition, &[&key.sort])
            .await;
        assert_eq!(stands().await, (false, body.to_owned()));
        assert_eq!(stands().await, (true, body.to_owned()));
    }
    shop.stop().await;
}
