//! Projections and workflows.

use crate::{
    guest,
    host::{context, load, sandbox, tight},
};
use brink_protocol::{
    event::Event,
    workflow::{Decision, Outcome, Step, StepCall},
};
use brink_sandbox::{Context, Limits, RunError, World, inspect};
use bytes::Bytes;
use std::time::{Duration, UNIX_EPOCH};

fn event(number: u64) -> Event {
    Event {
        number,
        kind: "order.placed".into(),
        at_ms: 5,
        payload: Bytes::from(format!("payload {number}")),
    }
}

/// A projection: `target` gives what lies at 256; so does `apply`.
fn projection(target: &str, apply: &str) -> Bytes {
    guest::component(
        "projection",
        &format!(
            r#"(func (export "target") (param $partition i32) (param $length i32)
                (param $number i64) (param $kind i32) (param $kind_length i32) (param $at_ms i64)
                (param $payload i32) (param $payload_length i32) (result i32) {target} (i32.const 256))
            (func (export "apply") (param $partition i32) (param $length i32)
                (param $events i32) (param $count i32) (result i32) {apply} (i32.const 256))"#
        ),
    )
}

/// Stores a case, and a text's address and length behind it.
fn give(case: u32, at: u32, text: &str) -> String {
    format!(
        r#"@"{text}" (local.set $size) (local.set $text)
        (i32.store8 (i32.const 256) (i32.const {case}))
        (i32.store (i32.const {at}) (local.get $text)) (i32.store (i32.const {}) (local.get $size))"#,
        at + 4
    )
}

const LOCALS: &str = "(local $text i32) (local $size i32)";

#[tokio::test]
async fn projections() {
    let sandbox = sandbox();
    let limits = Limits {
        instance_reuse_max: 10,
        ..tight()
    };
    let target = format!(
        "{LOCALS} (call $print (local.get $partition) (local.get $length)) (call $print_number (local.get $number))
        (call $print (local.get $kind) (local.get $kind_length)) (call $print_number (local.get $at_ms))
        (call $print (local.get $payload) (local.get $payload_length)) {}",
        give(1, 260, "customer-1")
    );
    let apply = format!(
        r#"{LOCALS} (call $print (local.get $partition) (local.get $length))
        (call $print_number (i64.extend_i32_u (local.get $count)))
        (call $print_number (i64.load offset=32 (local.get $events)))
        (call $print_at (i32.add (local.get $events) (i32.const 56)))
        (call $print_number (call $now_ms))
        (call $records_delete @"by-customer" @"customer-1" @"a" (i32.const 512)) {}"#,
        give(0, 260, "")
    );
    let bytes = projection(&target, &apply);
    assert_eq!(inspect(&bytes).unwrap().world, World::Projection);
    assert!(inspect(&bytes).unwrap().grants_needed().clock);
    let component = load(&sandbox, &bytes).await;
    let (notes, mut context) = context();
    context.now = Some(UNIX_EPOCH + Duration::from_secs(1));
    let answer = component
        .project_target("ams", &event(4), context.clone(), &limits)
        .await;
    assert_eq!(answer, Ok(Some("customer-1".into())));
    let events = [event(4), event(5)];
    let applied = component
        .project_apply("ams", &events, context, &limits)
        .await;
    assert_eq!(applied, Ok(Ok(())));
    assert_eq!(
        notes.all(),
        [
            "info: ams",
            "info: 4",
            "info: order.placed",
            "info: 5",
            "info: payload 4",
            "info: ams",
            "info: 2",
            "info: 5",
            "info: payload 5",
            "unnamed",
            "info: 1000",
            "delete by-customer/customer-1/a",
        ]
    );
    assert_eq!(sandbox.instances(), 0, "none is kept");

    let none = projection("(i32.store8 (i32.const 256) (i32.const 0))", "unreachable");
    let none = load(&sandbox, &none).await;
    let denied = Context::denied;
    let answer = none.project_target("p", &event(1), denied(), &limits).await;
    assert_eq!(answer, Ok(None));
    let fault = none.project_apply("p", &events, denied(), &limits).await;
    assert!(matches!(fault, Err(RunError::Trap { .. })), "{fault:?}");

    let refuses = format!("{LOCALS} {}", give(1, 260, "no such customer"));
    let wrong = format!("{LOCALS} {}", give(1, 260, ""));
    let refuses = load(&sandbox, &projection(&wrong, &refuses)).await;
    let refused = refuses.project_apply("p", &events, denied(), &limits).await;
    assert_eq!(refused, Ok(Err(b"no such customer".to_vec())));
    let fault = refuses
        .project_target("p", &event(1), denied(), &limits)
        .await;
    assert!(fault.unwrap_err().to_string().contains("no partition key"));
}

#[test]
fn projections_read_no_events_and_workflows_no_clock() {
    let reads = r#"(call $events_read @"c" @"p" (i64.const 0) (i32.const 1) (i32.const 512))"#;
    let error = inspect(&projection(reads, "")).unwrap_err().to_string();
    assert!(error.contains("brink:platform/events@0.1.0"), "{error}");
    let error = inspect(&workflow("(drop (call $now_ms)) (i32.const 0)")).unwrap_err();
    assert!(
        error.to_string().contains("brink:platform/clock@0.1.0"),
        "{error}"
    );
}

fn workflow(body: &str) -> Bytes {
    guest::component(
        "workflow",
        &format!(
            r#"(func (export "decide") (param $input i32) (param $length i32)
                (param $outcomes i32) (param $count i32) (result i32) {body})"#
        ),
    )
}

/// Stores a text's address and length.
fn text(at: u32, text: &str) -> String {
    format!(
        r#"@"{text}" (local.set $size) (local.set $text)
        (i32.store (i32.const {at}) (local.get $text)) (i32.store (i32.const {}) (local.get $size))"#,
        at + 4
    )
}

/// A step call that begins there.
fn step_call(at: u32, texts: [&str; 4]) -> String {
    let put = |(n, t): (u32, &str)| text(at + 8 * n, t);
    (0..).zip(texts).map(put).collect()
}

#[tokio::test]
async fn workflows() {
    let sandbox = sandbox();
    let limits = tight();
    // A decision's case at 256, what it holds at 264.
    let body = format!(
        "{LOCALS} (call $print (local.get $input) (local.get $length))
        (if (i32.eqz (local.get $count)) (then
            (i32.store8 (i32.const 256) (i32.const 0)) {} (i32.store8 (i32.const 296) (i32.const 1)) {}
            (return (i32.const 256))))
        (call $print_number (i64.load8_u (local.get $outcomes)))
        (call $print_at (i32.add (local.get $outcomes) (i32.const 4)))
        (if (i32.eq (local.get $count) (i32.const 1)) (then
            (i32.store8 (i32.const 256) (i32.const 1)) (i64.store (i32.const 264) (i64.const 60000))
            (return (i32.const 256))))
        (call $print_number (i64.load8_u offset=12 (local.get $outcomes)))
        (i32.store8 (i32.const 256) (i32.const 2)) {} (i32.const 256)",
        step_call(264, ["reserve", "stock", "ams", "3"]),
        step_call(300, ["release", "stock", "ams", "-3"]),
        text(264, "done")
    );
    let component = load(&sandbox, &workflow(&body)).await;
    assert_eq!(component.world(), World::Workflow);
    let (notes, context) = context();
    let call = |command: &str, input: &'static str| StepCall {
        command: command.parse().unwrap(),
        collection: "stock".into(),
        partition: "ams".into(),
        input: Bytes::from(input),
    };
    let done = Outcome::Done(Bytes::from_static(b"reserved"));
    for (outcomes, decision) in [
        (
            vec![],
            Decision::Call(Step {
                call: call("reserve", "3"),
                compensation: Some(call("release", "-3")),
            }),
        ),
        (vec![done.clone()], Decision::Wait(60_000)),
        (
            vec![done, Outcome::Elapsed],
            Decision::Complete(Bytes::from_static(b"done")),
        ),
    ] {
        let decided = component.decide(b"input".to_vec(), &outcomes, context.clone(), &limits);
        assert_eq!(decided.await, Ok(decision));
    }
    assert_eq!(
        notes.all(),
        [
            "info: input",
            "info: input",
            "info: 0",
            "info: reserved",
            "info: input",
            "info: 0",
            "info: reserved",
            "info: 2",
        ]
    );
}

#[tokio::test]
async fn decisions_outside_the_limits_are_faults() {
    let sandbox = sandbox();
    let call = |texts| {
        format!(
            "{LOCALS} (i32.store8 (i32.const 256) (i32.const 0)) {} (i32.store8 (i32.const 296) (i32.const 0))
            (i32.const 256)",
            step_call(264, texts)
        )
    };
    let ends = "(drop (memory.grow (i32.const 8))) (i32.store8 (i32.const 256) (i32.const 3))
        (i32.store (i32.const 264) (i32.const 0)) (i32.store (i32.const 268) (i32.const 262145)) (i32.const 256)";
    let wait = "(i32.store8 (i32.const 256) (i32.const 1)) (i64.store (i32.const 264) (i64.const -1)) (i32.const 256)";
    for (body, says) in [
        (call(["No", "stock", "ams", ""]), "module name \"No\""),
        (
            call(["reserve", "Stock", "ams", ""]),
            "collection \"Stock\"",
        ),
        (ends.to_owned(), "bytes in a workflow's result is 262145"),
        (
            wait.to_owned(),
            "milliseconds of a wait is 18446744073709551615",
        ),
    ] {
        let component = load(&sandbox, &workflow(&body)).await;
        let fault = component
            .decide(Vec::new(), &[], Context::denied(), &tight())
            .await
            .unwrap_err();
        assert!(matches!(fault, RunError::BadResponse { .. }), "{fault:?}");
        assert!(fault.to_string().contains(says), "{fault}");
    }
}

#[tokio::test]
async fn a_workflow_decides_the_same_again() {
    // What languages read when they start: the time and chance.
    let body = format!(
        "{LOCALS} (call $wall_now (i32.const 512)) (call $print_number (i64.load (i32.const 512)))
        (call $print_number (call $wasi_random))
        (i32.store8 (i32.const 256) (i32.const 2)) {} (i32.const 256)",
        text(264, "")
    );
    let component = load(&sandbox(), &workflow(&body)).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (notes, context) = context();
        let decided = component.decide(Vec::new(), &[], context, &tight()).await;
        assert_eq!(decided, Ok(Decision::Complete(Bytes::new())));
        seen.push(notes.all());
    }
    assert_eq!(seen[0].len(), 2);
    assert_eq!(seen[0][0], "info: 0");
    assert_eq!(seen[0], seen[1]);
}
