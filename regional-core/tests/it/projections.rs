//! Projections in a whole core: deployed, killed, operated.

use crate::{
    client::Control,
    guests,
    program::{PATIENCE, Program, admin, start_with},
    server::Server,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::control::{
    AppendedEvents, DeadLetters, DroppedTarget, ProjectionStatus, Replayed,
};
use serde_json::json;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const TARGETS: [&str; 3] = ["x", "y", "z"];

async fn deploy(control: &Control) {
    control
        .send(
            "POST",
            "/v1/modules/tally/versions",
            "application/wasm",
            guests::tally(),
        )
        .await
        .expect(201);
    let deployment = json!({"module": "tally", "config": {"source": "src", "target": "totals"}});
    control
        .json("POST", "/v1/deployments", deployment)
        .await
        .expect(200);
}

/// How many events were applied to a target, and the sum of their numbers.
async fn total(control: &Control, target: &str) -> (u64, u64) {
    let path = format!("/v1/records/totals/{target}");
    let page = control.get(&path).await.expect(200).json();
    let Some(text) = page["entries"][0]["base64"].as_str() else {
        return (0, 0);
    };
    let bytes = STANDARD.decode(text).unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

async fn append(control: &Control, stream: &str, kind: &str, key: &str) -> Option<u64> {
    let new = json!({"collection": "src", "partition": stream, "events": [{"kind": kind}]});
    let fields = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let answer = control
        .try_send("POST", "/v1/events", &fields, new.to_string())
        .await?;
    (answer.status == 200).then(|| answer.parse::<AppendedEvents>().last)
}

async fn status(control: &Control) -> ProjectionStatus {
    let mut all: Vec<ProjectionStatus> = control.get("/v1/projections").await.expect(200).parse();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Asks again until it is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

fn control(program: &Program, directory: &Path) -> Control {
    let token = std::fs::read_to_string(directory.join("core/root.token")).unwrap();
    Control {
        address: program.control,
        ca: directory.join("core/ca/ca.pem"),
        token: Some(token.trim().into()),
    }
}

/// Appends to streams of its own, each event under a key of its own, until the program is gone; goes on from `done`.
async fn append_until_the_end(control: Control, writer: usize, done: Arc<AtomicU64>) {
    loop {
        let n = done.load(Ordering::Relaxed);
        let target = TARGETS[(n % 3) as usize];
        let stream = format!("s{writer}-{}", n % 2);
        let appended = append(&control, &stream, target, &format!("{writer}-{n}")).await;
        if appended.is_none() {
            return;
        }
        done.store(n + 1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_again_and_again_and_each_event_counts_once() {
    const WRITERS: usize = 4;
    let directory = tempfile::tempdir().unwrap();
    let mut program = start_with(directory.path(), "").await;
    deploy(&control(&program, directory.path())).await;
    let done: Vec<Arc<AtomicU64>> = (0..WRITERS).map(|_| Arc::default()).collect();
    let sum = || done.iter().map(|n| n.load(Ordering::Relaxed)).sum::<u64>();
    for round in 0..12 {
        let client = control(&program, directory.path());
        let before = sum();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let done = Arc::clone(&done[writer]);
                tokio::spawn(append_until_the_end(client.clone(), writer, done))
            })
            .collect();
        // Somewhere in the middle of the work on what was appended by then.
        while sum() < before + 5 + 7 * (round % 5) {
            tokio::task::yield_now().await;
        }
        program.child.kill().await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        program = start_with(directory.path(), "").await;
    }
    let client = control(&program, directory.path());
    // What was under way at the last kill may have happened: the key tells.
    let mut newest: Vec<u64> = Vec::new();
    for (writer, n) in done.iter().enumerate() {
        let n = n.load(Ordering::Relaxed);
        for at in [n, n + 1] {
            let target = TARGETS[(at % 3) as usize];
            let stream = format!("s{writer}-{}", at % 2);
            let key = format!("{writer}-{at}");
            newest.push(append(&client, &stream, target, &key).await.unwrap());
        }
    }
    let events: u64 = newest.iter().sum();
    let numbers: u64 = newest.iter().map(|n| n * (n + 1) / 2).sum();
    let totals = async || {
        let mut all = (0, 0);
        for target in TARGETS {
            let (count, sum) = total(&client, target).await;
            all = (all.0 + count, all.1 + sum);
        }
        all
    };
    until(async || status(&client).await.lag == 0).await;
    assert_eq!(totals().await, (events, numbers));
    assert_eq!(status(&client).await.dead_letters, 0);
    let metrics = admin(program.admin, "/metrics").await;
    assert!(
        metrics.contains("brink_core_projection_lag_events"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_projection_gives_up_is_operated() {
    let directory = tempfile::tempdir().unwrap();
    let quiet = "[prober]\ninterval_ms = 0\n[projections]\nattempts_max = 2\n";
    let server = Server::start_with(directory, quiet).await;
    let control = server.control();
    deploy(&control).await;
    let new = json!({"collection": "src", "partition": "s", "events": [
        {"kind": "x"}, {"kind": "x", "payload": 1}, {"kind": "x"}, {"kind": "y"}]});
    control.json("POST", "/v1/events", new).await.expect(200);
    until(async || status(&control).await.lag == 0).await;
    let stands = status(&control).await;
    assert_eq!((stands.streams, stands.dead_letters), (1, 1));
    assert_eq!(stands.problem, None);
    assert_eq!(total(&control, "x").await, (2, 4));
    assert_eq!(total(&control, "y").await, (1, 4));
    let letters = "/v1/projections/tally/dead-letters";
    let listed: DeadLetters = control.get(letters).await.expect(200).parse();
    let letter = &listed.letters[0];
    assert_eq!((letter.event.number, letter.partition.as_str()), (2, "s"));
    assert_eq!(
        (
            letter.target.as_deref(),
            letter.error.as_str(),
            letter.attempts
        ),
        (Some("x"), "no more", 2)
    );
    let retry = format!("{letters}/{}/retry", letter.id);
    let failed = control.send("POST", &retry, "", "").await;
    assert_eq!(failed.problem(422), "projection-failed");
    let one = format!("{letters}/{}", letter.id);
    control.delete(&one).await.expect(204);
    assert_eq!(control.delete(&one).await.problem(404), "not-found");
    // All again: what adds up adds up twice.
    let replayed: Replayed = control
        .json(
            "POST",
            "/v1/projections/tally/replay",
            json!({"from": 3, "partition": "s"}),
        )
        .await
        .expect(202)
        .parse();
    assert_eq!(replayed.replay, 1);
    until(async || total(&control, "y").await == (2, 8)).await;
    assert_eq!(total(&control, "x").await, (3, 7));
    // It survives a restart, and is dropped once it is not deployed.
    let server = server.restart().await;
    let control = server.control();
    let what = json!({"source": "src", "target": "totals"});
    let path = "/v1/projections/tally/drop-target";
    assert_eq!(
        control.json("POST", path, what.clone()).await.problem(409),
        "conflict"
    );
    control.delete("/v1/deployments/tally").await.expect(204);
    let dropped: DroppedTarget = control.json("POST", path, what).await.expect(200).parse();
    assert_eq!(dropped.records, 2);
    assert_eq!(total(&control, "x").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_when_it_is_deployed() {
    let server = Server::start().await;
    let control = server.control();
    control
        .send(
            "POST",
            "/v1/modules/tally/versions",
            "application/wasm",
            guests::tally(),
        )
        .await
        .expect(201);
    for config in [
        json!({}),
        json!({"source": "src"}),
        json!({"source": "src", "target": "_x"}),
        json!({"source": "S", "target": "t"}),
    ] {
        let deployment = json!({"module": "tally", "config": config});
        let refused = control.json("POST", "/v1/deployments", deployment).await;
        assert_eq!(refused.problem(422), "config");
    }
}
