//! `brink:platform/events`, `event-append` and `workflows`: every call reaches the host, and what it answers comes back.

use crate::{
    guest,
    host::{context, load, sandbox},
    platform::{CASE, ERROR_CASE, check},
};
use brink_sandbox::{Context, Limits, inspect};

#[tokio::test]
async fn streams_are_read() {
    // The page at 264: the list, more, oldest, newest; an event: number, kind, time, payload.
    let read = format!(
        r#"(local $at i32)
        (call $events_read @"orders" @"c-1" (i64.const 4) (i32.const 50) (i32.const 256)) {CASE}
        (call $print_number (i64.load32_u (i32.const 268)))
        (call $print_number (i64.load8_u (i32.const 272)))
        (call $print_number (i64.load (i32.const 280)))
        (call $print_number (i64.load (i32.const 288)))
        (local.set $at (i32.load (i32.const 264)))
        (call $print_number (i64.load (local.get $at)))
        (call $print_at (i32.add (local.get $at) (i32.const 8)))
        (call $print_number (i64.load offset=16 (local.get $at)))
        (call $print_at (i32.add (local.get $at) (i32.const 24)))"#
    );
    check(
        &read,
        &[
            "read orders/c-1 4 50",
            "info: 0",
            "info: 1",
            "info: 1",
            "info: 2",
            "info: 9",
            "info: 5",
            "info: order.placed",
            "info: 5",
            "info: payload",
        ],
    )
    .await;
    for (call, says) in [
        (
            r#"(call $events_read @"orders" @"" (i64.const 0) (i32.const 1) (i32.const 256))"#,
            r#"info: partition key "" is not valid: 1 to 512 bytes without control characters"#,
        ),
        (
            r#"(call $events_read @"orders" @"c" (i64.const 0) (i32.const 0) (i32.const 256))"#,
            "info: events of one page (at least 1) is 0, the limit is 1000",
        ),
        (
            r#"(call $events_read @"orders" @"c" (i64.const 0) (i32.const 1001) (i32.const 256))"#,
            "info: events of one page (at least 1) is 1001, the limit is 1000",
        ),
    ] {
        let body = format!("{call} {CASE} {ERROR_CASE} (call $print_at (i32.const 272))");
        check(&body, &["info: 1", "info: 0", says]).await;
    }
}

/// What a command that appends prints.
async fn appended(kind: &str, payload_bytes: u32, lifetime: &str) -> Vec<String> {
    let body = format!(
        r#"(call $events_append @"{kind}" (i32.const 8192) (i32.const {payload_bytes}) {lifetime} (i32.const 256))
        {CASE} (if (i32.load8_u (i32.const 256))
            (then (call $print_at (i32.const 272)))
            (else (call $print_number (i64.load (i32.const 264)))))
        (i32.store8 (i32.const 512) (i32.const 0)) (i32.store (i32.const 516) (i32.const 0))
        (i32.store (i32.const 520) (i32.const 0)) (i32.const 512)"#
    );
    let body = format!("(drop (memory.grow (i32.const 8))) {body}");
    let command = load(&sandbox(), &guest::command(&body)).await;
    let (notes, context) = context();
    let limits = Limits::default();
    let answer = command.execute(Vec::new(), context, &limits).await;
    assert_eq!(answer.unwrap(), Ok(Vec::new()));
    notes.all()
}

#[tokio::test]
async fn events_are_appended() {
    let (stays, day) = (
        "(i32.const 0) (i64.const 0)",
        "(i32.const 1) (i64.const 86400000)",
    );
    assert_eq!(
        appended("stock.counted", 0, stays).await,
        [r#"append stock.counted b"" None"#, "info: 0", "info: 10"]
    );
    let [asked, ..] = &appended("a", 256 << 10, day).await[..] else {
        panic!("nothing was noted");
    };
    assert!(asked.ends_with("Some(86400000)"), "{}", asked.len());
    for (kind, bytes, lifetime, says) in [
        (
            "",
            0,
            stays,
            r#"kind of event "" is not valid: 1 to 128 visible ASCII characters"#,
        ),
        (
            "a b",
            0,
            stays,
            r#"kind of event "a b" is not valid: 1 to 128 visible ASCII characters"#,
        ),
        (
            "a",
            (256 << 10) + 1,
            stays,
            "bytes in an event's payload is 262145, the limit is 262144",
        ),
        (
            "a",
            0,
            "(i32.const 1) (i64.const 0)",
            "the lifetime of an event is 1 to 316224000000 ms",
        ),
    ] {
        let notes = appended(kind, bytes, lifetime).await;
        assert_eq!(notes, ["info: 1", &format!("info: {says}")]);
    }
}

#[tokio::test]
async fn modules_append_nothing() {
    let body = r#"(call $events_append @"a" @"b" (i32.const 0) (i64.const 0) (i32.const 256))
        (i32.const 0)"#;
    // The import is there in the world of commands alone.
    let inspected = inspect(&guest::command(body)).unwrap();
    assert!(
        inspected
            .imports
            .contains(&"brink:platform/event-append@0.1.0".to_owned())
    );
    let denied = Context::denied();
    let refused = denied
        .event_log
        .append("a".into(), bytes::Bytes::new(), None)
        .await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn workflows_are_started_and_looked_up() {
    // Errors have no number in them: cases at 256 and 260, the text at 264.
    let started = "(call $print_number (i64.load8_u (i32.const 260)))";
    let start = |name: &str, id: &str| {
        format!(
            r#"(call $workflows_start @"{name}" @"{id}" @"input" (i32.const 256)) {CASE} {started}"#
        )
    };
    check(
        &start("fulfil", "order-1"),
        &[r#"start fulfil order-1 b"input""#, "info: 0", "info: 1"],
    )
    .await;
    let text = "(call $print_at (i32.const 264))";
    check(
        &format!("{} {text}", start("fulfil", "away")),
        &[
            r#"start fulfil away b"input""#,
            "info: 1",
            "info: 2",
            "info: the core is away",
        ],
    )
    .await;
    check(
        &format!("{} {text}", start("fulfil", "order 1")),
        &[
            "info: 1",
            "info: 0",
            r#"info: workflow's id "order 1" is not valid: 1 to 128 visible ASCII characters"#,
        ],
    )
    .await;
    let get = |id: &str| {
        format!(
            r#"(call $workflows_get @"fulfil" @"{id}" (i32.const 256)) {CASE} {started}
            (call $print_number (i64.load8_u (i32.const 264)))"#
        )
    };
    check(
        &get("open"),
        &["where fulfil open", "info: 0", "info: 1", "info: 1"],
    )
    .await;
    check(
        &format!("{} (call $print_at (i32.const 268))", get("done")),
        &[
            "where fulfil done",
            "info: 0",
            "info: 1",
            "info: 3",
            "info: no stock",
        ],
    )
    .await;
    let absent =
        format!(r#"(call $workflows_get @"fulfil" @"absent" (i32.const 256)) {CASE} {started}"#);
    check(&absent, &["where fulfil absent", "info: 0", "info: 0"]).await;
}
