//! Workflows that are killed at every point: they complete or are compensated, and what they do happens once.

mod control;
mod killed;
mod mortal;
mod world;

use self::mortal::{Death, Mortal};
use self::world::{Engine, PATIENCE, Platform, name, request, start, tenant};
use brink_core::refusal::Refusal;
use brink_protocol::{
    control::WorkflowPhase,
    workflow::{StartWorkflow, WorkflowError},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Kills a process at every operation (every so many-th), before it and after it, and lets another go on.
async fn killed_everywhere(
    world: &Platform,
    fault: &str,
    stride: usize,
    expected: WorkflowPhase,
) -> usize {
    let mut lives = 0;
    for after in [false, true] {
        for number in (0..).step_by(stride) {
            let death = match after {
                false => Death::Before(number),
                true => Death::After(number),
            };
            let id = format!(
                "{fault}-{}-{number}",
                if after { "after" } else { "before" }
            );
            let has_lived = world.live(&id, fault, death).await.is_some();
            if !has_lived {
                world.live(&id, fault, Death::Never).await.unwrap();
            }
            let phase = world.check(&id, &format!("{fault} {death:?}")).await;
            assert_eq!(phase, expected, "{fault} {death:?}");
            lives += 1;
            if has_lived {
                break;
            }
        }
    }
    lives
}

macro_rules! killed {
    ($($test:ident: $fault:literal, $stride:literal => $phase:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let (world, phase) = (Platform::new(100).await, WorkflowPhase::$phase);
            let lives = killed_everywhere(&world, $fault, $stride, phase).await;
            eprintln!("workflow {}: killed at {lives} points", $fault);
            assert!(lives > 20, "{lives}");
        }
    )*};
}

killed! {
    killed_at_every_point_of_the_good_way: "good", 1 => Completed;
    killed_at_every_point_when_the_1st_step_refuses: "r@0", 1 => Failed;
    killed_at_every_point_when_the_2nd_step_refuses: "r@1", 1 => Failed;
    killed_at_every_point_when_the_3rd_step_refuses: "r@2", 1 => Failed;
    killed_at_every_point_when_the_4th_step_refuses: "r@3", 1 => Failed;
    killed_at_every_point_when_the_5th_step_refuses: "r@4", 1 => Failed;
    // Its eight attempts are alike.
    killed_at_every_7th_point_when_a_step_traps: "t@3", 7 => Failed;
}

/// Each operation fails once in a life, done or not: nobody takes that for an answer of what was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_at_any_point_changes_nothing() {
    let world = Platform::new(100).await;
    for (fault, phase) in [
        ("good", WorkflowPhase::Completed),
        ("r@3", WorkflowPhase::Failed),
    ] {
        let id = format!("whole-{fault}");
        let operations = world.live(&id, fault, Death::Never).await.unwrap();
        for number in 0..operations {
            for death in [Death::Fails(number), Death::Loses(number)] {
                let id = format!("{fault}-{death:?}");
                world.live(&id, fault, death).await.unwrap();
                let found = world.check(&id, &format!("{fault} {death:?}")).await;
                assert_eq!(found, phase, "{fault} {death:?}");
            }
        }
        eprintln!("workflow {fault}: the store failed at {operations} points");
    }
}

/// Killed at so many points on a CQL engine, for each way that a workflow may go.
async fn killed_on_an_engine(stride: usize) {
    let world = Platform::on(Engine::Cql, 20).await;
    for (fault, phase) in [
        ("good", WorkflowPhase::Completed),
        ("r@4", WorkflowPhase::Failed),
        ("r@2", WorkflowPhase::Failed),
    ] {
        let started = Instant::now();
        let lives = killed_everywhere(&world, fault, stride, phase).await;
        let took = started.elapsed();
        eprintln!("workflow {fault} on the engine: killed at {lives} points in {took:?}");
        assert!(lives * stride > 20, "{lives}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_13th_point_on_an_engine() {
    killed_on_an_engine(13).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes"]
async fn killed_at_every_point_on_an_engine() {
    killed_on_an_engine(1).await;
}

/// A generator of numbers that a seed decides.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Two cores over one store, each of which dies again and again at points that a seed decides, while forty workflows run
/// that go well or fail, and some are cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_cores_that_die_again_and_again() {
    let seed = brink_core::clock::now_ms();
    eprintln!("seed {seed}");
    let world = Platform::new(20).await;
    let mut chance = Chance(seed);
    let faults = ["good", "r@0", "r@2", "r@4", "good", "r@3"];
    let ids: Vec<(String, &str)> = (0..40).map(|n| (format!("w{n}"), faults[n % 6])).collect();
    let left = || async {
        let mut left = 0;
        for (id, _) in &ids {
            let instance = world.instance(id).await;
            let is_over = instance.is_some_and(|instance| instance.has_ended());
            left += usize::from(!is_over || world.due(id).await > 0);
        }
        left
    };
    let mut lives = 0;
    let started = Instant::now();
    while left().await > 0 {
        let left_now = left().await;
        assert!(
            started.elapsed() < PATIENCE,
            "seed {seed}: {left_now} are left in life {lives}"
        );
        let death = |chance: &mut Chance| match lives < 40 {
            true => Death::After(20 + chance.below(150) as usize),
            false => Death::Never,
        };
        let stores = ["core-1", "core-2"].map(|node| {
            let store = Mortal::new(Arc::clone(&world.store), death(&mut chance));
            (node, store)
        });
        let mut running = Vec::new();
        for (node, store) in &stores {
            let workflows = world.process_named(node, store);
            let ids = ids.clone();
            let cancelled = chance.below(40) as usize;
            running.push(tokio::spawn(async move {
                let run = workflows.run(CancellationToken::new());
                let client = async {
                    for (number, (id, fault)) in ids.iter().enumerate() {
                        start(&workflows, id, fault).await;
                        if number == cancelled {
                            // It may have ended already.
                            let _ = workflows.cancel(&tenant(), &name(), id, "test").await;
                        }
                    }
                };
                tokio::join!(run, client);
            }));
        }
        let done = world.until(|| async { left().await == 0 });
        tokio::select! {
            () = stores[0].1.died() => {}
            () = stores[1].1.died() => {}
            () = done => {}
        }
        stores.iter().for_each(|(_, store)| store.kill());
        running.iter().for_each(tokio::task::JoinHandle::abort);
        lives += 1;
    }
    let mut completed = 0;
    for (id, fault) in &ids {
        let phase = world.check(id, &format!("seed {seed}, {id} {fault}")).await;
        completed += usize::from(phase == WorkflowPhase::Completed);
        assert!(
            phase == WorkflowPhase::Failed || *fault == "good",
            "seed {seed}, {id}"
        );
    }
    eprintln!("{lives} lives of two cores, {completed} of 40 completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_starts_one_workflow() {
    let world = Platform::new(20).await;
    assert!(world.live("a", "good", Death::Never).await.is_some());
    let store = Mortal::new(Arc::clone(&world.store), Death::Never);
    let workflows = world.process(&store);
    let again = workflows.answer(request("a", "good")).await;
    assert_eq!(again.outcome, Ok(false));
    let other = workflows.answer(request("a", "r@1")).await.outcome;
    assert!(matches!(other, Err(WorkflowError::Invalid(_))), "{other:?}");
    let unknown = StartWorkflow {
        name: "effect".parse().unwrap(),
        ..request("b", "good")
    };
    let unknown = workflows.answer(unknown).await.outcome;
    assert!(
        matches!(unknown, Err(WorkflowError::Denied(_))),
        "a command is none: {unknown:?}"
    );
    for id in ["", "a b"] {
        let wrong = workflows.answer(request(id, "good")).await.outcome;
        assert!(matches!(wrong, Err(WorkflowError::Invalid(_))), "{wrong:?}");
    }
    let starts = (0..20).map(|_| workflows.answer(request("c", "good")));
    let outcomes = futures_util::future::join_all(starts).await;
    let new = outcomes
        .iter()
        .filter(|answer| answer.outcome == Ok(true))
        .count();
    assert_eq!(new, 1, "{outcomes:?}");
    let listed = workflows
        .list(&tenant(), (None, None), None, 10)
        .await
        .unwrap();
    let ids: Vec<_> = listed
        .instances
        .iter()
        .map(|(_, id, _)| id.as_str())
        .collect();
    assert_eq!(ids, ["c", "a"], "the newest first");
    let completed = Some(WorkflowPhase::Completed);
    let listed = workflows
        .list(&tenant(), (None, completed), None, 10)
        .await
        .unwrap();
    assert!(listed.instances.iter().any(|(_, id, _)| id == "a"));
    let none = workflows
        .list(&"other".parse().unwrap(), (None, None), None, 10)
        .await;
    assert!(none.unwrap().instances.is_empty(), "tenants see their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_open_than_may_be() {
    let world = Platform::new(20).await;
    let store = Mortal::new(Arc::clone(&world.store), Death::Never);
    let workflows = world.process_with("core-1", &store, 3);
    for id in ["a", "b", "c"] {
        let answer = workflows.answer(request(id, "waits")).await;
        assert_eq!(answer.outcome, Ok(true));
    }
    let refused = workflows.answer(request("d", "good")).await.outcome;
    let Err(WorkflowError::Unavailable(text)) = refused else {
        panic!("{refused:?}");
    };
    assert!(text.starts_with("3 workflows are open"), "{text}");
    let known = workflows.answer(request("a", "waits")).await;
    assert_eq!(known.outcome, Ok(false), "it was there");
    let others = StartWorkflow {
        tenant: "other".parse().unwrap(),
        ..request("a", "good")
    };
    let others = workflows.answer(others).await.outcome;
    assert!(
        matches!(others, Err(WorkflowError::Denied(_))),
        "{others:?}"
    );
    let cancelled = workflows.cancel(&tenant(), &name(), "b", "test").await;
    cancelled.unwrap();
    let started = Instant::now();
    while workflows.answer(request("d", "good")).await.outcome != Ok(true) {
        assert!(started.elapsed() < PATIENCE, "there is room again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whose row of the due index is gone is looked at again when an operator says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_looks_at_is_looked_at_again() {
    let world = Platform::new(20).await;
    let store = Mortal::new(Arc::clone(&world.store), Death::Never);
    let workflows = world.process(&store);
    let is_left = || async {
        let Some(instance) = world.instance("w").await else {
            return false;
        };
        let due_at_ms = instance.due.map_or(0, |due| due.at_ms);
        due_at_ms > instance.started_at_ms + 3_600_000 && world.due("w").await == 1
    };
    start(&workflows, "w", "waits").await;
    world.until(is_left).await;
    world.lose_due("w").await;
    assert_eq!(world.due("w").await, 0);
    let retried = workflows.retry(&tenant(), &name(), "w").await;
    retried.unwrap();
    world.until(is_left).await;
    world.lose_due("w").await;
    let cancelled = workflows.cancel(&tenant(), &name(), "w", "test").await;
    cancelled.unwrap();
    let has_ended = || async { world.instance("w").await.unwrap().has_ended() };
    world.until(has_ended).await;
    for changed in [
        workflows.retry(&tenant(), &name(), "w").await,
        workflows.cancel(&tenant(), &name(), "w", "test").await,
    ] {
        assert!(matches!(changed, Err(Refusal::Conflict(_))), "{changed:?}");
    }
}

/// What is removed from indices leaves nothing that is gone through for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_leaves_no_rows_of_indices() {
    let world = Platform::new(20).await;
    world.live("a", "good", Death::Never).await.unwrap();
    let mut after = None;
    let mut rows = Vec::new();
    loop {
        let found = world.store.partitions(None, after.as_ref(), 100).await;
        let found = found.unwrap();
        for partition in &found {
            if partition.collection.starts_with("_workflows-") {
                rows.extend(world.store.kept(partition, None, 100).await.unwrap());
            }
        }
        after = found.into_iter().next_back();
        if after.is_none() {
            break;
        }
    }
    assert_eq!(rows.len(), 1, "that it was there: {rows:?}");
}
