//! Power failures: `kill -9` of the core and of PoPs, and a core that is away.

use crate::harness::{Stack, order, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use xtask::platform::CorePorts;

const AVAILABILITY: &str = "/inventory/availability/A-1";

/// Places orders at both PoPs, one after the other, until told to stop; keeps the ids of those that were acknowledged.
fn place_orders(stack: &Stack, stop: &AtomicBool, placed: &Mutex<Vec<String>>, writer: usize) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!(
            "idempotency-key: {writer}-{number}-{}",
            placed.lock().unwrap().len()
        );
        let answer = stack
            .curl(writer % 2, "/orders")
            .header(&key)
            .json(&order("A-1", 1))
            .try_send();
        if let Some(answer) = answer.ok().filter(|answer| answer.status == 201) {
            placed
                .lock()
                .unwrap()
                .push(answer.json()["id"].as_str().unwrap().to_owned());
        }
    }
}

/// Lets two writers place orders until `goal` in all are acknowledged, then kills the core while they go on; `before` is
/// done just before that. Answers where the core was.
#[track_caller]
fn kill_core_during_orders(
    stack: &mut Stack,
    placed: &Mutex<Vec<String>>,
    goal: usize,
    before: impl FnOnce(&Stack),
) -> CorePorts {
    let stop = AtomicBool::new(false);
    let mut core = stack.core.take().unwrap();
    let stack = &*stack;
    thread::scope(|scope| {
        for writer in 0..2 {
            let stop = &stop;
            scope.spawn(move || place_orders(stack, stop, placed, writer));
        }
        until("orders", || {
            (placed.lock().unwrap().len() >= goal).then_some(())
        });
        before(stack);
        core.running.kill();
        stop.store(true, Ordering::Relaxed);
    });
    core.ports()
}

#[test]
fn the_core_is_killed_during_writes() {
    let mut stack = Stack::shop();
    let placed = Mutex::new(Vec::new());
    for round in 1..=3 {
        let ports = kill_core_during_orders(&mut stack, &placed, round * 10, |_| {});
        stack.start_core(ports);
        stack.settled();
    }
    let placed = placed.into_inner().unwrap();
    for (number, id) in placed.iter().enumerate() {
        stack
            .get(number % 2, &format!("/orders/C1/{id}"))
            .expect(200);
    }
    let stock = stack
        .control
        .get("/v1/records/stock/AMS1?limit=1000")
        .unwrap();
    let text = stock.to_string();
    for id in &placed {
        assert!(
            text.contains(&format!("hold/{id}")),
            "the reservation of order {id} is gone"
        );
    }
    // Whoever was not told may still have got it, but nothing is counted twice.
    let available = stack.get(0, AVAILABILITY).expect(200).json()["available"]
        .as_u64()
        .unwrap();
    let holds = text.matches("\"hold/").count() as u64;
    assert_eq!(
        available,
        2_000 - holds,
        "{} orders were acknowledged",
        placed.len()
    );
    stack
        .curl(1, "/orders")
        .json(&order("A-1", 1))
        .send()
        .expect(201);
}

#[test]
fn everything_is_killed_during_writes() {
    let mut stack = Stack::shop();
    let placed = Mutex::new(Vec::new());
    for round in 1..=2 {
        let ports = kill_core_during_orders(&mut stack, &placed, round * 10, |stack| {
            for pop in &stack.pops {
                pop.running.signal(Signal::KILL);
            }
        });
        let pops = [stack.kill_pop(0), stack.kill_pop(0)];
        stack.start_core(ports);
        for (number, (name, ports)) in pops.iter().enumerate() {
            stack.start_pop(number, name, *ports);
        }
        stack.settled();
    }
    for (number, id) in placed.into_inner().unwrap().iter().enumerate() {
        stack
            .get(number % 2, &format!("/orders/C1/{id}"))
            .expect(200);
    }
}

#[test]
fn the_core_is_killed_during_imports() {
    let mut stack = Stack::empty();
    let line = |number: u64| json!({"collection": "n", "partition": "p", "sort": format!("{number:06}"), "value": number});
    let mut acknowledged = 0;
    for _ in 0..3 {
        let mut core = stack.core.take().unwrap();
        let ports = core.ports();
        let control = stack.control.clone();
        let goal = acknowledged + 5;
        thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let mut number = acknowledged;
                let body = |number| line(number).to_string();
                while control
                    .post(
                        "/v1/records/import",
                        "application/x-ndjson",
                        body(number).as_bytes(),
                    )
                    .is_ok()
                {
                    number += 1;
                }
                number
            });
            until("records", || {
                let page = stack.control.get("/v1/records/n/p?limit=1000").ok()?;
                (page["entries"].as_array()?.len() as u64 >= goal).then_some(())
            });
            core.running.kill();
            acknowledged = writer.join().unwrap();
        });
        drop(core);
        stack.start_core(ports);
        let page = stack.control.get("/v1/records/n/p?limit=1000").unwrap();
        let found = page["entries"].as_array().unwrap().len() as u64;
        assert!(
            found >= acknowledged,
            "{found} of {acknowledged} acknowledged records are there"
        );
    }
}

/// Whether a file of the folder holds the text. Files are sparse: only those with data are read.
fn on_disk(folder: &Path, text: &str) -> bool {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files
        .filter(|file| file.metadata().unwrap().blocks() > 0)
        .map(|file| fs::read(file.path()).unwrap())
        .any(|bytes| {
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        })
}

#[test]
fn a_pop_is_killed_and_keeps_its_disk_tier() {
    let mut stack = Stack::shop();
    let paths: Vec<String> = (0..20)
        .map(|number| format!("/hello?name=n{number}"))
        .collect();
    for path in &paths {
        stack.get(0, path).expect(200);
    }
    stack.get(0, AVAILABILITY).expect(200);
    stack.get(0, AVAILABILITY).expect(200).hit();
    stack.get(0, "/inventory/items/A-1").expect(200);
    let tier = stack.site.pop_data("ams").join("cache/disk");
    until("the disk tier to have the last", || {
        on_disk(&tier, "Hello, n19!").then_some(())
    });

    let purged = stack.url(0, "/inventory/items/A-1");
    let (name, ports) = stack.kill_pop(0);
    // While it is down: a purge, a write, and nobody who could tell it.
    let purge = stack
        .ask("/v1/purges")
        .json(&json!({"urls": [purged]}))
        .send()
        .expect(202)
        .json();
    stack
        .curl(0, "/orders")
        .json(&order("A-1", 5))
        .send()
        .expect(201);
    let id = purge["id"].as_str().unwrap();
    let status = stack
        .ask(&format!("/v1/purges/{id}?wait=all&timeout=200"))
        .send()
        .expect(200)
        .json();
    assert_eq!(status["waiting"], json!(["ams"]), "{status}");

    stack.start_pop(0, &name, ports);
    stack.settled();
    stack.get(0, "/inventory/items/A-1").expect(200).miss();
    assert_eq!(
        stack.get(0, AVAILABILITY).expect(200).json()["available"],
        1_995
    );
    let status = stack
        .ask(&format!("/v1/purges/{id}?wait=all&timeout=20000"))
        .send()
        .expect(200)
        .json();
    assert_eq!(status["waiting"], json!([]), "{status}");
    let hits: Vec<_> = paths
        .iter()
        .map(|path| stack.get(0, path).expect(200))
        .filter(|answer| answer.is_hit())
        .collect();
    assert!(!hits.is_empty(), "nothing came back from the disk");
    assert!(
        hits.iter()
            .any(|answer| answer.cache_status().contains("disk")),
        "{:?}",
        hits[0]
    );
}

#[test]
fn the_core_is_away() {
    let mut stack = Stack::shop();
    for pop in 0..2 {
        stack.get(pop, AVAILABILITY).expect(200);
        stack.get(pop, "/hello").expect(200);
    }
    let ports = stack.kill_core();
    let uncached =
        |stack: &Stack, pop: usize| stack.curl(pop, "/inventory/availability/B-2").send();
    for pop in 0..2 {
        stack.get(pop, "/hello").expect(200);
        let answer = stack.get(pop, AVAILABILITY).expect(200);
        assert_eq!(answer.json()["available"], 2_000);
        let answer = uncached(&stack, pop);
        assert!([502, 503, 504].contains(&answer.status), "{answer:?}");
        let status = answer.status;
        answer.problem(status);
    }
    // Once the lease is over, what is served says so.
    let marked = until("the lease to end", || {
        let answer = stack.get(0, AVAILABILITY).expect(200);
        let status = answer.cache_status().to_owned();
        (status.contains("stale") || status.contains("ttl=-") || status.contains("disconnected"))
            .then_some(answer)
    });
    assert_eq!(marked.json()["available"], 2_000);
    stack.start_core(ports);
    stack.settled();
    assert_eq!(uncached(&stack, 0).expect(200).json()["available"], 2_000);
    let body: Value = stack
        .curl(1, "/orders")
        .json(&order("A-1", 1))
        .send()
        .expect(201)
        .json();
    assert!(body["id"].is_string());
    until("the new number", || {
        (stack.get(0, AVAILABILITY).json()["available"] == 1_999).then_some(())
    });
}
