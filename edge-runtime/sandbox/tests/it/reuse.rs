//! What is left of a run for the next one: nothing in a fresh instance, everything in a reused one, and never anything
//! across components.

use crate::{
    guest,
    host::{self, ask, context, get, load, sandbox},
};
use brink_sandbox::{Component, Config, Context, Limits, RunError};

/// Counts its runs in a global, and answers with the count.
const COUNT: &str = "
    (local $at i32)
    (global.set $count (i64.add (global.get $count) (i64.const 1)))
    (local.set $at (call $digits (global.get $count)))
    (call $answer (local.get $out) (i32.const 200) (local.get $at) (i32.sub (i32.const 3072) (local.get $at)))";

fn reusing(instance_reuse_max: u32) -> Limits {
    Limits {
        instance_reuse_max,
        ..Limits::default()
    }
}

async fn counts(component: &Component, limits: &Limits, times: usize) -> Vec<u32> {
    let mut counts = Vec::new();
    for _ in 0..times {
        let answer = ask(component, limits).await.unwrap();
        counts.push(answer.body.parse().unwrap());
    }
    counts
}

#[tokio::test]
async fn instances() {
    let sandbox = sandbox();
    let bytes = guest::module(COUNT);
    let one = load(&sandbox, &bytes).await;
    let other = load(&sandbox, &bytes).await;
    assert_eq!(counts(&one, &reusing(1), 3).await, [1, 1, 1]);
    assert_eq!(sandbox.instances(), 0);
    assert_eq!(counts(&one, &reusing(3), 7).await, [1, 2, 3, 1, 2, 3, 1]);
    assert_eq!(sandbox.instances(), 1, "one waits");
    assert_eq!(
        counts(&other, &reusing(3), 2).await,
        [1, 2],
        "the same code, but not the same instance"
    );
    let clone = one.clone();
    assert_eq!(
        counts(&clone, &reusing(3), 1).await,
        [2],
        "a clone is the same"
    );
    // Without reuse, a waiting instance is not used either.
    assert_eq!(counts(&one, &reusing(1), 1).await, [1]);
    drop((one, other, clone));
    assert_eq!(sandbox.instances(), 0, "they go with their component");
}

#[tokio::test]
async fn a_fault_ends_an_instance() {
    let sandbox = sandbox();
    let body = format!(
        "(if (i64.eq (global.get $count) (i64.const 2)) (then unreachable)) {}",
        COUNT.replace("(local $at i32)", "")
    );
    let module = load(&sandbox, &guest::module(&format!("(local $at i32) {body}"))).await;
    let limits = reusing(100);
    assert_eq!(counts(&module, &limits, 2).await, [1, 2]);
    let fault = ask(&module, &limits).await.unwrap_err();
    assert!(matches!(fault, RunError::Trap { .. }));
    assert_eq!(sandbox.instances(), 0);
    assert_eq!(counts(&module, &limits, 2).await, [1, 2]);
}

#[tokio::test]
async fn every_run_has_its_own_context_and_limits() {
    let sandbox = sandbox();
    let body = format!(
        "(local $at i32) (call $tenant (i32.const 256)) (call $print_at (i32.const 256)) {}",
        COUNT.replace("(local $at i32)", "")
    );
    let module = load(&sandbox, &guest::module(&body)).await;
    let limits = reusing(10);
    for _ in 0..3 {
        let (notes, context) = context();
        let response = module.handle(get("/"), context, &limits).await.unwrap();
        host::read(response).await.unwrap();
        assert_eq!(notes.all(), ["info: acme"]);
        assert_eq!(
            std::sync::Arc::strong_count(&notes),
            1,
            "a waiting instance holds nothing of the last run"
        );
    }

    let spend = load(
        &sandbox,
        &guest::module(&format!(
            "(local $at i32) (local $left i32) (local.set $left (i32.const 3000000))
            (loop $on (br_if $on (local.tee $left (i32.sub (local.get $left) (i32.const 1))))) {}",
            COUNT.replace("(local $at i32)", "")
        )),
    )
    .await;
    // Each run has the whole budget: together they need more than one of them may.
    let limits = Limits {
        cpu_time_ms_max: 100,
        ..reusing(1000)
    };
    assert_eq!(counts(&spend, &limits, 60).await.last(), Some(&60));
}

#[tokio::test]
async fn idle_instances_make_room() {
    let sandbox = host::with(Config {
        instances_max: 2,
        ..Config::default()
    });
    let bytes = guest::module(COUNT);
    let mut components = Vec::new();
    for _ in 0..5 {
        let component = load(&sandbox, &bytes).await;
        assert_eq!(counts(&component, &reusing(9), 2).await, [1, 2]);
        components.push(component);
    }
    assert_eq!(sandbox.instances(), 2);
}

#[tokio::test]
async fn idle_instances_end_after_a_while() {
    let sandbox = host::with(Config {
        idle_ms_max: 1,
        ..Config::default()
    });
    let module = load(&sandbox, &guest::module(COUNT)).await;
    assert_eq!(counts(&module, &reusing(9), 1).await, [1]);
    while sandbox.instances() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(counts(&module, &reusing(9), 1).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_a_time() {
    let sandbox = host::with(Config {
        instances_max: 64,
        ..Config::default()
    });
    let module = load(&sandbox, &guest::module(COUNT)).await;
    let runs = (0..64).map(|n| {
        let module = module.clone();
        let limits = reusing(if n % 2 == 0 { 1 } else { 5 });
        tokio::spawn(async move {
            for _ in 0..20 {
                let response = module.handle(get("/"), Context::denied(), &limits).await;
                let answer = host::read(response.unwrap()).await.unwrap();
                let count: u32 = answer.body.parse().unwrap();
                assert!(count <= limits.instance_reuse_max, "{count}");
            }
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap();
    }
}
