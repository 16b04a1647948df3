//! Modules that misbehave: each gets its precise reason, the next request is served, and memory returns.

use crate::{
    guest,
    host::{self, ask, context, get, load, sandbox, tight},
};
use brink_sandbox::{Component, Config, Context, Grants, Limits, RunError};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

const LOOP: &str = "(loop $forever (br $forever))";

/// The fault of a module with this body; then a quick module runs in the same sandbox, in all of its slots.
async fn fault_of(body: &str, limits: &Limits) -> RunError {
    let sandbox = host::with(Config {
        instances_max: 2,
        ..Config::default()
    });
    let module = load(&sandbox, &guest::module(body)).await;
    let fault = ask(&module, limits).await.expect_err("it misbehaves");
    for _ in 0..4 {
        // Not the backtrace: where a trap lies depends on whether the run lost its turn just before it.
        let again = ask(&module, limits).await.unwrap_err();
        assert_eq!(again.to_string(), fault.to_string(), "again");
    }
    while sandbox.instances() > 0 {
        tokio::task::yield_now().await;
    }
    let quick = load(
        &sandbox,
        &guest::module(r#"(call $answer (local.get $out) (i32.const 200) @"quick")"#),
    )
    .await;
    for _ in 0..4 {
        assert_eq!(ask(&quick, limits).await.unwrap().body, "quick");
    }
    assert_eq!(sandbox.instances(), 0);
    fault
}

#[tokio::test]
async fn loops() {
    let fault = fault_of(LOOP, &tight()).await;
    assert_eq!(fault, RunError::CpuTime { limit_ms: 50 });
    assert_eq!((fault.status(), fault.slug()), (504, "module-cpu-time"));
}

#[tokio::test]
async fn loops_while_it_starts() {
    let definitions = format!(
        r#"(func $start {LOOP}) (start $start)
        (func (export "wasi:http/incoming-handler@0.2.10#handle") (param i32 i32))"#
    );
    let sandbox = sandbox();
    let module = load(&sandbox, &guest::component("module", &definitions)).await;
    let fault = ask(&module, &tight()).await.unwrap_err();
    assert_eq!(fault, RunError::CpuTime { limit_ms: 50 });

    let definitions = r#"(func $start unreachable) (start $start)
        (func (export "wasi:http/incoming-handler@0.2.10#handle") (param i32 i32))"#;
    let module = load(&sandbox, &guest::component("module", definitions)).await;
    let fault = ask(&module, &tight()).await.unwrap_err();
    let reason = "wasm `unreachable` instruction executed".into();
    assert_eq!(fault, RunError::Instantiate { reason });
}

#[tokio::test]
async fn allocates() {
    let body = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    let fault = fault_of(body, &tight()).await;
    assert_eq!(fault, RunError::OutOfMemory { limit: 4 << 20 });
    assert_eq!(fault.status(), 500);
}

#[tokio::test]
async fn goes_on_without_the_memory_it_asked_for() {
    let sandbox = sandbox();
    let body = r#"(drop (memory.grow (i32.const 1000)))
        (call $answer (local.get $out) (i32.const 200) @"modest")"#;
    let module = load(&sandbox, &guest::module(body)).await;
    assert_eq!(ask(&module, &tight()).await.unwrap().body, "modest");
}

#[tokio::test]
async fn needs_more_memory_than_it_may_have_from_the_start() {
    let limits = Limits {
        memory_bytes_max: 65_536,
        ..tight()
    };
    let module = load(&sandbox(), &guest::module("")).await;
    let fault = ask(&module, &limits).await.unwrap_err();
    assert_eq!(fault, RunError::OutOfMemory { limit: 65_536 });
}

#[tokio::test]
async fn recurses() {
    let definitions = r#"(func $deeper (param i64) (result i64)
            (i64.add (local.get 0) (call $deeper (i64.add (local.get 0) (i64.const 1)))))
        (func (export "wasi:http/incoming-handler@0.2.10#handle") (param i32 i32)
            (drop (call $deeper (i64.const 0))))"#;
    let sandbox = sandbox();
    let module = load(&sandbox, &guest::component("module", definitions)).await;
    for _ in 0..3 {
        let RunError::Trap { reason, backtrace } = ask(&module, &tight()).await.unwrap_err() else {
            panic!("not a trap");
        };
        assert_eq!(reason, "call stack exhausted");
        assert!(backtrace.len() <= 4096);
    }
}

#[tokio::test]
async fn traps() {
    let cases = [
        ("unreachable", "wasm `unreachable` instruction executed"),
        (
            "(i32.store (i32.const 0x7fffffff) (i32.const 0))",
            "out of bounds memory access",
        ),
        (
            "(drop (i32.div_u (i32.const 1) (i32.sub (local.get $out) (local.get $out))))",
            "integer divide by zero",
        ),
        ("(call $exit (i32.const 1))", "it called exit(1)"),
    ];
    for (body, expected) in cases {
        let fault = fault_of(body, &tight()).await;
        let RunError::Trap { reason, .. } = &fault else {
            panic!("{fault:?}");
        };
        assert_eq!(reason, expected);
        let problem = fault.problem();
        assert_eq!(problem.status, 500);
        assert_eq!(problem.kind, "https://brink.dev/problems/module-trapped");
        let detail = format!("the module trapped: {expected}");
        assert_eq!(problem.detail.as_deref(), Some(detail.as_str()));
    }
}

#[tokio::test]
async fn traps_after_its_answer() {
    // Nothing was sent yet: the client is told.
    let body = r#"(call $answer (local.get $out) (i32.const 200) @"half") unreachable"#;
    let fault = fault_of(body, &tight()).await;
    assert!(matches!(fault, RunError::Trap { .. }), "{fault:?}");

    // The head was sent: the body ends with the reason.
    let body = r"
        (local $body i32)
        (local.set $body (call $respond (local.get $out) (i32.const 200)))
        (call $poll_block (call $after_ns (i64.const 1000000)))
        unreachable";
    let module = load(&sandbox(), &guest::module(body)).await;
    let limits = tight();
    let response = module.handle(get("/"), Context::denied(), &limits).await;
    let fault = host::read(response.unwrap()).await.unwrap_err();
    assert!(matches!(fault, RunError::Trap { .. }), "{fault:?}");
}

/// Writes 4 KiB parts without end.
const ENDLESS: &str = "
    (local $stream i32)
    (local.set $stream (call $open (call $respond (local.get $out) (i32.const 200))))
    (loop $more
        (call $stream_write (local.get $stream) (i32.const 8192) (i32.const 4096) (i32.const 1088))
        (br_if $more (i32.eqz (i32.load8_u (i32.const 1088)))))";

#[tokio::test]
async fn answers_without_end() {
    let fault = fault_of(ENDLESS, &tight()).await;
    assert_eq!(fault, RunError::ResponseTooLarge { limit: 256 << 10 });

    let declared = r#"
        (local $fields i32) (local $response i32)
        (local.set $fields (call $fields_new))
        (call $fields_append (local.get $fields) @"content-length" @"1073741824" (i32.const 256))
        (local.set $response (call $response_new (local.get $fields)))
        (drop (call $set (local.get $out) (local.get $response)))
        (call $poll_block (call $after_ns (i64.const 3600000000000)))"#;
    let fault = fault_of(declared, &tight()).await;
    assert_eq!(fault, RunError::ResponseTooLarge { limit: 256 << 10 });
}

#[tokio::test]
async fn a_reader_that_stops_reading_does_not_hold_an_instance() {
    let sandbox = sandbox();
    let module = load(&sandbox, &guest::module(ENDLESS)).await;
    let limits = Limits {
        wall_time_ms_max: 50,
        response_bytes_max: u64::MAX,
        ..tight()
    };
    let response = module.handle(get("/"), Context::denied(), &limits).await;
    let response = response.unwrap();
    while sandbox.instances() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let fault = host::read(response).await.unwrap_err();
    assert_eq!(fault, RunError::WallTime { limit_ms: 50 });
}

#[tokio::test]
async fn never_answers() {
    let wait = "(call $poll_block (call $after_ns (i64.const 3600000000000)))";
    let limits = Limits {
        wall_time_ms_max: 30,
        ..tight()
    };
    let fault = fault_of(wait, &limits).await;
    assert_eq!(fault, RunError::WallTime { limit_ms: 30 });
    assert_eq!(fault.status(), 504);
}

#[tokio::test]
async fn returns_without_an_answer() {
    assert_eq!(fault_of("", &tight()).await, RunError::NoResponse);
}

#[tokio::test]
async fn answers_that_cannot_be_sent() {
    let respond = |status: u32| {
        format!("(call $finish (call $respond (local.get $out) (i32.const {status})))")
    };
    let declared = |length: &str| {
        format!(
            r#"(local $fields i32) (local $body i32)
            (local.set $fields (call $fields_new))
            (call $fields_append (local.get $fields) @"content-length" @"{length}" (i32.const 256))
            (local.set $body (call $set (local.get $out) (call $response_new (local.get $fields))))
            (call $write (local.get $body) @"1234")"#
        )
    };
    let finished = |length: &str| declared(length) + "(call $finish (local.get $body))";
    let length =
        "it dropped its body before it was finished, or wrote another length than it declared";
    let error = "(call $outparam_set (local.get $out) (i32.const 1) (i32.const 15) (i32.const 0) (i64.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
    for (body, expected) in [
        (respond(101), "its status is 101, it must be 200 to 599"),
        (respond(999), "its status is 999, it must be 200 to 599"),
        (finished("5"), length),
        (finished("3"), length),
        (declared("5"), "its content-length is 5, its body 4 bytes"),
        (
            declared("4") + "(call $body_drop (local.get $body))",
            length,
        ),
        (
            error.to_owned(),
            "it gave the error ErrorCode::HttpRequestDenied instead of a response",
        ),
    ] {
        let RunError::BadResponse { reason } = fault_of(&body, &tight()).await else {
            panic!("{body}");
        };
        assert_eq!(reason, expected, "{body}");
    }
}

#[tokio::test]
async fn bad_header_fields_do_not_get_in() {
    // `wasi:http` refuses them: the module sees the error and goes on.
    let append = |name: &str, value: &str| {
        format!(
            r#"(call $fields_append (local.get $fields) @"{name}" @"{value}" (i32.const 256))
            (call $print_number (i64.load8_u (i32.const 256)))"#
        )
    };
    let body = format!(
        "(local $fields i32) (local.set $fields (call $fields_new)) {} {} {} {}
        (call $finish (call $set (local.get $out) (call $response_new (local.get $fields))))",
        append("x-good", "yes"),
        append("bad name", "x"),
        append("x-split", "a\r\nset-cookie: b"),
        append("transfer-encoding", "chunked"),
    );
    let module = load(&sandbox(), &guest::module(&body)).await;
    let (notes, context) = context();
    let response = module.handle(get("/"), context, &tight()).await.unwrap();
    assert_eq!(notes.all(), ["info: 0", "info: 1", "info: 1", "info: 1"]);
    let headers: Vec<_> = response.headers().keys().map(|n| n.as_str()).collect();
    assert_eq!(headers, ["x-good"]);
}

#[tokio::test]
async fn grants_that_are_missing() {
    let cases = [
        ("(drop (call $now_ms))", "clock"),
        (
            "(call $random_bytes (i32.const 1) (i32.const 256))",
            "random",
        ),
    ];
    for (body, grant) in cases {
        let fault = fault_of(body, &tight()).await;
        let RunError::Trap { reason, .. } = fault else {
            panic!("{fault:?}");
        };
        let expected =
            format!("brink:platform/{grant} was called, and the deployment has no grant `{grant}`");
        assert_eq!(reason, expected);
    }
    let body = "(call $random_bytes (i32.const 4097) (i32.const 256))";
    let module = load(&sandbox(), &guest::module(body)).await;
    let granted = Context {
        grants: Grants {
            random: true,
            ..Grants::default()
        },
        ..Context::denied()
    };
    let fault = module
        .handle(get("/"), granted, &tight())
        .await
        .unwrap_err();
    let RunError::Trap { reason, .. } = fault else {
        panic!("{fault:?}");
    };
    assert_eq!(
        reason,
        "brink:platform/random was asked for 4097 bytes, the limit is 4096"
    );
}

async fn hold(module: &Component, limits: &Limits) -> brink_sandbox::Body {
    let response = module.handle(get("/"), Context::denied(), limits).await;
    response.unwrap().into_body()
}

#[tokio::test]
async fn too_many_at_a_time() {
    let sandbox = host::with(Config {
        instances_max: 3,
        ..Config::default()
    });
    let endless = load(&sandbox, &guest::module(ENDLESS)).await;
    let other = load(&sandbox, &guest::module(ENDLESS)).await;
    let limits = Limits {
        concurrency_max: 2,
        cpu_time_ms_max: 10_000,
        wall_time_ms_max: 60_000,
        ..tight()
    };
    let first = hold(&endless, &limits).await;
    let second = hold(&endless, &limits).await;
    let fault = ask(&endless, &limits).await.unwrap_err();
    assert_eq!(
        fault.to_string(),
        "too many runs at a time: 2 runs of this module"
    );
    assert_eq!(fault.status(), 503);

    let third = hold(&other, &limits).await;
    let fault = ask(&other, &limits).await.unwrap_err();
    assert_eq!(
        fault.to_string(),
        "too many runs at a time: 3 instances are running"
    );
    drop((first, second, third));
    while sandbox.instances() > 0 {
        tokio::task::yield_now().await;
    }
    drop(hold(&endless, &limits).await);
}

async fn fair() {
    let sandbox = sandbox();
    let (loops, quick) = (
        load(&sandbox, &guest::module(LOOP)).await,
        load(
            &sandbox,
            &guest::module(r#"(call $answer (local.get $out) (i32.const 200) @"quick")"#),
        )
        .await,
    );
    let limits = Limits {
        cpu_time_ms_max: 60_000,
        wall_time_ms_max: 60_000,
        ..tight()
    };
    let ended = Arc::new(AtomicBool::new(false));
    let looping: Vec<_> = (0..4)
        .map(|_| {
            let (loops, limits, ended) = (loops.clone(), limits.clone(), ended.clone());
            tokio::spawn(async move {
                let _ = ask(&loops, &limits).await;
                ended.store(true, SeqCst);
            })
        })
        .collect();
    while sandbox.instances() < 4 {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        assert_eq!(ask(&quick, &limits).await.unwrap().body, "quick");
    }
    assert!(!ended.load(SeqCst), "the loops still run");
    looping.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "current_thread")]
async fn loops_leave_others_their_turn_on_one_thread() {
    fair().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loops_leave_others_their_turn_on_two_threads() {
    fair().await;
}
