//! Commands and plugins.

use crate::{
    guest,
    host::{context, load, sandbox, tight},
};
use brink_sandbox::{
    Context, Limits, RequestAction, RequestHead, ResponseAction, ResponseHead, RunError, World,
};
use http::{HeaderMap, Method, StatusCode};
use std::time::{Duration, UNIX_EPOCH};

/// The result lies at 256: its case, then address and length.
fn result(case: u32, text: &str) -> String {
    format!(
        r#"(local $at i32) (local $size i32)
        @"{text}" (local.set $size) (local.set $at)
        (i32.store8 (i32.const 256) (i32.const {case}))
        (i32.store (i32.const 260) (local.get $at)) (i32.store (i32.const 264) (local.get $size))
        (i32.const 256)"#
    )
}

#[tokio::test]
async fn commands() {
    let sandbox = sandbox();
    let limits = tight();
    let run = async |body: &str, context: Context| {
        let command = load(&sandbox, &guest::command(body)).await;
        assert_eq!(command.world(), World::Command);
        command.execute(b"input".to_vec(), context, &limits).await
    };
    let denied = Context::denied;
    assert_eq!(
        run(&result(0, "done"), denied()).await,
        Ok(Ok(b"done".to_vec()))
    );
    assert_eq!(
        run(&result(1, "refused"), denied()).await,
        Ok(Err(b"refused".to_vec()))
    );
    let fault = run("unreachable", denied()).await.unwrap_err();
    assert!(matches!(fault, RunError::Trap { .. }), "{fault:?}");
    let fault = run("(loop $on (br $on)) unreachable", denied()).await;
    assert_eq!(fault.unwrap_err(), RunError::CpuTime { limit_ms: 50 });

    let large = "(drop (memory.grow (i32.const 8)))
        (i32.store (i32.const 260) (i32.const 0)) (i32.store (i32.const 264) (i32.const 262145)) (i32.const 256)";
    let fault = run(large, denied()).await.unwrap_err();
    assert_eq!(fault, RunError::ResponseTooLarge { limit: 256 << 10 });

    // It sees its input, the transaction's moment, and its records.
    let (notes, mut context) = context();
    context.now = Some(UNIX_EPOCH + Duration::from_secs(1));
    let body = result(0, "").replacen(
        "(i32.store8",
        r#"(call $print (local.get $address) (local.get $length))
        (call $print_number (call $now_ms))
        (call $records_delete @"stock" @"ams" @"a" (i32.const 256))
        (i32.store8"#,
        1,
    );
    assert_eq!(run(&body, context).await, Ok(Ok(Vec::new())));
    assert_eq!(
        notes.all(),
        ["info: input", "unnamed", "info: 1000", "delete stock/ams/a"]
    );
}

#[tokio::test]
async fn commands_are_never_reused() {
    let sandbox = sandbox();
    let body = format!(
        "(if (i64.ne (global.get $count) (i64.const 0)) (then unreachable))
        (global.set $count (i64.const 1)) {}",
        result(0, "first").replace("(local $at i32) (local $size i32)", "")
    );
    let body = format!("(local $at i32) (local $size i32) {body}");
    let command = load(&sandbox, &guest::command(&body)).await;
    let limits = Limits {
        instance_reuse_max: 100,
        ..Limits::default()
    };
    for _ in 0..3 {
        let answer = command
            .execute(Vec::new(), Context::denied(), &limits)
            .await;
        assert_eq!(answer, Ok(Ok(b"first".to_vec())));
    }
    assert_eq!(sandbox.instances(), 0);
}

#[tokio::test]
async fn calls_of_another_world() {
    let sandbox = sandbox();
    let command = load(&sandbox, &guest::command(&result(0, ""))).await;
    let fault = crate::host::ask(&command, &Limits::default()).await;
    assert_eq!(
        fault.unwrap_err().to_string(),
        "the component is a command, it has no incoming-handler"
    );
}

fn request_head() -> RequestHead {
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", "secret".parse().unwrap());
    RequestHead {
        method: Method::GET,
        scheme: "https".into(),
        authority: "shop.example".into(),
        path_and_query: "/a?b".parse().unwrap(),
        headers,
        client_address: "192.0.2.7".into(),
    }
}

/// A plugin that returns what lies at 256.
///
/// A request head is flat: method, scheme, authority, path-and-query, headers, client-address, two values each.
fn plugin(on_request: &str, on_response: &str) -> bytes::Bytes {
    guest::component(
        "plugin",
        &format!(
            r#"(func (export "on-request")
                (param $method i32) (param $method_length i32) (param i32 i32 i32 i32)
                (param $path i32) (param $path_length i32)
                (param $headers i32) (param $headers_length i32)
                (param $client i32) (param $client_length i32) (result i32)
                {on_request} (i32.const 256))
            (func (export "on-response")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
                (param $status i32) (param $headers i32) (param $headers_length i32) (result i32)
                {on_response} (i32.const 256))"#
        ),
    )
}

#[tokio::test]
async fn plugins() {
    let sandbox = sandbox();
    let limits = Limits::default();

    let passes = plugin(
        "(call $print (local.get $method) (local.get $method_length))
        (call $print (local.get $path) (local.get $path_length))
        (call $print (local.get $client) (local.get $client_length))
        (call $print_at (local.get $headers))
        (call $print_at (i32.add (local.get $headers) (i32.const 8)))",
        "(call $print_number (i64.extend_i32_u (local.get $status)))",
    );
    let passes = load(&sandbox, &passes).await;
    assert_eq!(passes.world(), World::Plugin);
    let (notes, context) = context();
    let action = passes
        .on_request(&request_head(), context.clone(), &limits)
        .await;
    assert!(matches!(action, Ok(RequestAction::Pass)), "{action:?}");
    let head = || ResponseHead {
        status: StatusCode::NOT_FOUND,
        headers: HeaderMap::new(),
    };
    let request = request_head();
    let action = passes.on_response(&request, head(), context, &limits);
    assert!(matches!(action.await, Ok(ResponseAction::Pass)));
    assert_eq!(
        notes.all(),
        [
            "info: GET",
            "info: /a?b",
            "info: 192.0.2.7",
            "info: x-api-key",
            "info: secret",
            "info: 404"
        ]
    );

    // `answer` is case 2; the response at 260: status, headers, body.
    let answer = |status: u32| {
        format!(
            r#"(local $at i32) (local $size i32) @"no key" (local.set $size) (local.set $at)
            (i32.store8 (i32.const 256) (i32.const 2))
            (i32.store16 (i32.const 260) (i32.const {status}))
            (i32.store (i32.const 264) (i32.const 0)) (i32.store (i32.const 268) (i32.const 0))
            (i32.store (i32.const 272) (local.get $at)) (i32.store (i32.const 276) (local.get $size))"#
        )
    };
    let answers = load(&sandbox, &plugin(&answer(401), &answer(502))).await;
    let action = answers
        .on_request(&request_head(), Context::denied(), &limits)
        .await;
    let Ok(RequestAction::Answer(response)) = action else {
        panic!("{action:?}");
    };
    assert_eq!(response.status(), 401);
    assert_eq!(response.body().as_ref(), b"no key");
    let action = answers
        .on_response(&request_head(), head(), Context::denied(), &limits)
        .await;
    let Ok(ResponseAction::Answer(response)) = action else {
        panic!("{action:?}");
    };
    assert_eq!(response.status(), 502);

    let wrong = load(&sandbox, &plugin(&answer(99), &answer(1000))).await;
    let fault = wrong
        .on_request(&request_head(), Context::denied(), &limits)
        .await;
    assert_eq!(
        fault.unwrap_err().to_string(),
        "the module's answer cannot be sent: its status is 99, it must be 200 to 599"
    );

    // `change` is case 1; the change at 260: a path or none, fields that are set, names that are removed.
    let change = r#"(local $at i32) (local $size i32)
        (i32.store8 (i32.const 256) (i32.const 1)) (i32.store8 (i32.const 260) (i32.const 0))
        (i32.store (i32.const 272) (local.get $headers)) (i32.store (i32.const 276) (i32.const 1))
        @"x-client" (local.set $size) (local.set $at)
        (i32.store (i32.const 320) (local.get $at)) (i32.store (i32.const 324) (local.get $size))
        (i32.store (i32.const 280) (i32.const 320)) (i32.store (i32.const 284) (i32.const 1))"#;
    let changes = load(&sandbox, &plugin(change, "")).await;
    let action = changes
        .on_request(&request_head(), Context::denied(), &limits)
        .await;
    let Ok(RequestAction::Change(change)) = action else {
        panic!("{action:?}");
    };
    assert_eq!(change.path_and_query, None);
    assert_eq!(change.set, request_head().headers, "to what it was before");
    assert_eq!(change.remove, ["x-client"]);

    // `change` is case 1 of a response action; the head at 260.
    let change = "(i32.store8 (i32.const 256) (i32.const 1))
        (i32.store16 (i32.const 260) (i32.const 203))
        (i32.store (i32.const 264) (i32.const 0)) (i32.store (i32.const 268) (i32.const 0))";
    let changes = load(&sandbox, &plugin("", change)).await;
    let action = changes
        .on_response(&request_head(), head(), Context::denied(), &limits)
        .await;
    let Ok(ResponseAction::Change(head)) = action else {
        panic!("{action:?}");
    };
    assert_eq!(head.status, 203);
}

#[tokio::test]
async fn plugins_that_fail_and_plugins_that_are_reused() {
    let sandbox = sandbox();
    let limits = Limits {
        instance_reuse_max: 10,
        ..tight()
    };
    let body = "(global.set $count (i64.add (global.get $count) (i64.const 1)))
        (call $print_number (global.get $count))
        (if (i64.eq (global.get $count) (i64.const 3)) (then (loop $on (br $on))))";
    let plugin = load(&sandbox, &plugin(body, "")).await;
    let (notes, context) = context();
    for expected in [true, true, false, true] {
        let action = plugin
            .on_request(&request_head(), context.clone(), &limits)
            .await;
        assert_eq!(action.is_ok(), expected, "{action:?}");
    }
    assert_eq!(notes.all(), ["info: 1", "info: 2", "info: 3", "info: 1"]);
}
