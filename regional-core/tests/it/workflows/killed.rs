//! Workflows on one engine, whose programs are killed again and again: each takes effect as a whole or not at all.

use super::Chance;
use crate::{
    client::Control,
    guests,
    link::records,
    members::{Place, until},
    program::Program,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::{
    link::{RecordOperation, RecordOutcome, RecordsAnswer, path},
    record::{Bound, Range},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const CORES: [&str; 2] = ["core-1", "core-2"];
/// How the workflows go, in turn.
const FAULTS: [&str; 4] = [".0", "r4", ".0", "r2"];
/// Clients that start workflows at a time.
const CLIENTS: usize = 4;

/// Where the programs are, of which each may be gone at any moment.
type Addresses = Arc<Mutex<[SocketAddr; 2]>>;

fn control(place: &Place, address: SocketAddr) -> Control {
    let token = std::fs::read_to_string(place.path("root")).unwrap();
    Control {
        address,
        ca: place.path("authority").join("ca/ca.pem"),
        token: Some(token.trim().into()),
    }
}

pub async fn deploy(control: &Control, module: &str, component: bytes::Bytes) {
    let path = format!("/v1/modules/{module}/versions");
    let published = control.send("POST", &path, "application/wasm", component);
    published.await.expect(201);
    let deployed = control.json("POST", "/v1/deployments", json!({"module": module}));
    deployed.await.expect(200);
}

/// Starts a workflow, however often it has to ask for that.
async fn start(place: &Place, addresses: &Addresses, number: usize) {
    let id = format!("w{number:03}");
    let input = STANDARD.encode(format!("{}{id}", FAULTS[number % FAULTS.len()]));
    let body = json!({"id": id, "base64": input}).to_string();
    let fields = [("content-type", "application/json")];
    let started = async || {
        let address = addresses.lock().unwrap()[number % 2];
        let asked = control(place, address);
        let path = "/v1/workflows/fulfil";
        let asking = asked.try_send("POST", path, &fields, body.clone());
        // A core that is killed while it is asked may leave the connection open.
        let answer = tokio::time::timeout(Duration::from_secs(10), asking).await;
        answer.is_ok_and(|answer| answer.is_some_and(|answer| answer.status.is_success()))
    };
    until("a workflow is started", started).await;
}

/// Kills one program after another at moments that a seed decides, and starts each again.
async fn kill(place: &Place, programs: &mut [Program; 2], addresses: &Addresses, kills: usize) {
    let seed = brink_core::clock::now_ms();
    eprintln!("seed {seed}");
    let mut chance = Chance(seed);
    for number in 0..kills {
        tokio::time::sleep(Duration::from_millis(100 + chance.below(1900))).await;
        programs[number % 2].child.kill().await.unwrap();
        programs[number % 2] = place.start(CORES[number % 2]).await;
        addresses.lock().unwrap()[number % 2] = programs[number % 2].control;
    }
}

/// Id -> state, of all.
async fn states(control: &Control) -> BTreeMap<String, String> {
    let page = control.get("/v1/workflows?limit=200").await.expect(200);
    let page: Value = page.json();
    let rows = page["workflows"].as_array().unwrap().iter();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.map(|row| (text(row, "id"), text(row, "state")))
        .collect()
}

/// Record -> how often it took effect, of all partitions.
async fn effects(place: &Place, core: &Program) -> BTreeMap<String, u64> {
    let link = place.link(core).await;
    let mut effects = BTreeMap::new();
    for partition in ["p0", "p1", "p2"] {
        let range = Range {
            collection: "work".into(),
            partition: partition.into(),
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            limit: 1000,
            descending: false,
        };
        let request = records(RecordOperation::Scan(range));
        let answer: RecordsAnswer = link.call(path::RECORDS, &request).await;
        let Ok(RecordOutcome::Page(page)) = answer.outcome else {
            panic!("{:?}", answer.outcome)
        };
        assert!(!page.more);
        let count = |value: &[u8]| u64::from_le_bytes(value.try_into().unwrap());
        let entries = page.entries.into_iter();
        effects.extend(entries.map(|entry| (entry.sort, count(&entry.value))));
    }
    effects
}

async fn killed_while_many_run(workflows: usize, kills: usize) {
    let place = Place::new("w", &CORES).await;
    let mut programs = [place.start(CORES[0]).await, place.start(CORES[1]).await];
    let addresses: Addresses = Arc::new(Mutex::new([0, 1].map(|n| programs[n].control)));
    let first = control(&place, programs[0].control);
    deploy(&first, "effect", guests::effect()).await;
    deploy(&first, "fulfil", guests::fives()).await;
    let began = Instant::now();
    let starts = async {
        let (place, addresses) = (&place, &addresses);
        let clients = (0..CLIENTS).map(|client| async move {
            for number in (client..workflows).step_by(CLIENTS) {
                start(place, addresses, number).await;
            }
        });
        futures_util::future::join_all(clients).await;
    };
    tokio::join!(starts, kill(&place, &mut programs, &addresses, kills));
    let last = control(&place, programs[0].control);
    until("all have ended", async || {
        let states = states(&last).await;
        let is_over = |state: &String| state == "completed" || state == "failed";
        states.len() == workflows && states.values().all(is_over)
    })
    .await;
    let (states, effects) = (states(&last).await, effects(&place, &programs[0]).await);
    let took = began.elapsed();
    check(&states, &effects);
    eprintln!("{workflows} workflows, {kills} kills of two programs, {took:?}");
}

/// Each did all of its steps, or undid those that it did; each step once.
fn check(states: &BTreeMap<String, String>, effects: &BTreeMap<String, u64>) {
    let mut expected = BTreeMap::new();
    for (number, (id, state)) in states.iter().enumerate() {
        let fault = FAULTS[number % FAULTS.len()];
        let steps = match fault.strip_prefix('r') {
            None => 5,
            Some(refused) => refused.parse().unwrap(),
        };
        let is_good = steps == 5;
        assert_eq!(state, if is_good { "completed" } else { "failed" }, "{id}");
        for step in 0..steps {
            expected.insert(format!("{id}/s{step}"), 1);
            if !is_good {
                expected.insert(format!("{id}/u{step}"), 1);
            }
        }
    }
    assert_eq!(*effects, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_killed_while_many_workflows_run() {
    killed_while_many_run(40, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes"]
async fn programs_are_killed_many_times_while_many_workflows_run() {
    killed_while_many_run(200, 40).await;
}
