//! Requests and answers of modules that behave.

use crate::{
    guest,
    host::{self, ask, context, get, load, sandbox},
};
use brink_sandbox::{Context, Grants, Limits, World};
use http_body_util::BodyExt;

/// Answers with the body that it was sent.
const ECHO: &str = r#"
    (local $stream i32) (local $body i32)
    (call $request_consume (local.get $request) (i32.const 256))
    (call $incoming_stream (i32.load (i32.const 260)) (i32.const 264))
    (local.set $stream (i32.load (i32.const 268)))
    (call $stream_read (local.get $stream) (i64.const 1000) (i32.const 272))
    (call $answer (local.get $out) (i32.const 201) (i32.load (i32.const 276)) (i32.load (i32.const 280)))
"#;

#[tokio::test]
async fn answers() {
    let sandbox = sandbox();
    let hello = load(
        &sandbox,
        &guest::module(r#"(call $answer (local.get $out) (i32.const 200) @"hello")"#),
    )
    .await;
    assert_eq!(hello.world(), World::Module);
    let answer = ask(&hello, &Limits::default()).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));

    let echo = load(&sandbox, &guest::module(ECHO)).await;
    let request = http::Request::post("http://shop.example/a")
        .body(host::full("a body"))
        .unwrap();
    let response = echo
        .handle(request, Context::denied(), &Limits::default())
        .await
        .unwrap();
    assert_eq!(response.body().size_hint_exact(), Some(6));
    let answer = host::read(response).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (201, "a body"));
    assert_eq!(sandbox.instances(), 0, "fresh instances end with their run");
}

trait Exact {
    fn size_hint_exact(&self) -> Option<u64>;
}

impl Exact for brink_sandbox::Body {
    fn size_hint_exact(&self) -> Option<u64> {
        http_body::Body::size_hint(self).exact()
    }
}

#[tokio::test]
async fn sees_authority_and_path() {
    let sandbox = sandbox();
    let body = r"
        (call $request_authority (local.get $request) (i32.const 256))
        (call $print_at (i32.const 260))
        (call $request_path (local.get $request) (i32.const 256))
        (call $print_at (i32.const 260))
        (call $finish (call $respond (local.get $out) (i32.const 200)))";
    let module = load(&sandbox, &guest::module(body)).await;
    let (notes, context) = context();
    for request in [
        get("/a?b"),
        http::Request::get("/c")
            .header("host", "other.example")
            .body(host::empty())
            .unwrap(),
        http::Request::get("/d").body(host::empty()).unwrap(),
    ] {
        let response = module
            .handle(request, context.clone(), &Limits::default())
            .await;
        assert_eq!(response.unwrap().status(), 200);
    }
    assert_eq!(
        notes.all(),
        [
            "info: shop.example",
            "info: /a?b",
            "info: other.example",
            "info: /c",
            "info: localhost",
            "info: /d",
        ]
    );
}

/// Writes `times` times 4 KiB.
fn long(times: u32, before: &str, after: &str) -> String {
    format!(
        r#"(local $body i32) (local $stream i32) (local $left i32)
        (local.set $body (call $respond (local.get $out) (i32.const 200)))
        (local.set $stream (call $open (local.get $body)))
        (local.set $left (i32.const {times}))
        (memory.fill (i32.const 8192) (i32.const 97) (i32.const 4096))
        {before}
        (loop $more
            (call $stream_write (local.get $stream) (i32.const 8192) (i32.const 4096) (i32.const 1088))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $more (local.get $left)))
        (call $stream_drop (local.get $stream))
        {after}"#
    )
}

#[tokio::test]
async fn long_answers_are_streamed() {
    let sandbox = sandbox();
    let finish = "(call $finish (local.get $body))";
    for times in [1, 2, 16, 17, 18, 40, 200] {
        let module = load(&sandbox, &guest::module(&long(times, "", finish))).await;
        for reuse in [1, 3, 3] {
            let limits = Limits {
                instance_reuse_max: reuse,
                ..Limits::default()
            };
            let answer = ask(&module, &limits).await.unwrap();
            assert_eq!(answer.body.len(), times as usize * 4096);
            assert!(answer.body.bytes().all(|b| b == b'a'));
        }
    }
}

#[tokio::test]
async fn a_body_that_is_never_finished_ends_with_its_instance() {
    let sandbox = sandbox();
    for times in [1, 40] {
        let module = load(&sandbox, &guest::module(&long(times, "", ""))).await;
        for reuse in [1, 10] {
            let limits = Limits {
                instance_reuse_max: reuse,
                ..Limits::default()
            };
            let answer = ask(&module, &limits).await.unwrap();
            assert_eq!(answer.body.len(), times as usize * 4096, "reuse {reuse}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_run() {
    let sandbox = sandbox();
    let module = load(&sandbox, &guest::module(&long(100_000, "", ""))).await;
    let limits = Limits {
        response_bytes_max: u64::MAX,
        ..Limits::default()
    };
    let response = module
        .handle(get("/"), Context::denied(), &limits)
        .await
        .unwrap();
    let mut body = response.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(sandbox.instances(), 1);
    drop(body);
    while sandbox.instances() > 0 {
        tokio::task::yield_now().await;
    }

    // Before there is an answer: the future itself goes.
    let wait = "(call $poll_block (call $after_ns (i64.const 3600000000000)))";
    let waits = load(&sandbox, &guest::module(wait)).await;
    let limits = Limits::default();
    let run = waits.handle(get("/"), Context::denied(), &limits);
    tokio::select! {
        biased;
        _ = run => panic!("it waits for an hour"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(sandbox.instances(), 0);
}

#[tokio::test]
async fn heads_without_content() {
    let sandbox = sandbox();
    let finish = "(call $finish (local.get $body))";
    let module = load(&sandbox, &guest::module(&long(100, "", finish))).await;
    let request = http::Request::head("https://shop.example/")
        .body(host::empty())
        .unwrap();
    let limits = Limits::default();
    let response = module.handle(request, Context::denied(), &limits).await;
    let answer = host::read(response.unwrap()).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));

    for status in [204, 304] {
        let body = format!(r#"(call $answer (local.get $out) (i32.const {status}) @"no content")"#);
        let module = load(&sandbox, &guest::module(&body)).await;
        let answer = ask(&module, &limits).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (status, ""));
        assert!(answer.headers.is_empty(), "{:?}", answer.headers);
    }
}

const OUTBOUND: &str = r#"
    (local $sent i32) (local $future i32)
    (local.set $sent (call $out_request_new (call $fields_new)))
    (drop (call $out_request_authority (local.get $sent) (i32.const 1) @"api.example"))
    (drop (call $out_request_path (local.get $sent) (i32.const 1) @"/x?y"))
    (call $out_handle (local.get $sent) (i32.const 0) (i32.const 0) (i32.const 256))
    (local.set $future (i32.load (i32.const 264)))
    (call $poll_block (call $future_subscribe (local.get $future)))
    (call $future_get (local.get $future) (i32.const 320))
    (if (i32.load8_u (i32.const 336))
        (then (call $finish (call $respond (local.get $out) (i32.add (i32.const 500) (i32.load8_u (i32.const 344))))))
        (else (call $finish (call $respond (local.get $out) (call $incoming_status (i32.load (i32.const 344)))))))
"#;

#[tokio::test]
async fn outbound_requests() {
    let sandbox = sandbox();
    let module = load(&sandbox, &guest::module(OUTBOUND)).await;
    let (notes, granted) = context();
    let limits = Limits::default();
    let response = module.handle(get("/"), granted.clone(), &limits).await;
    assert_eq!(response.unwrap().status(), 418);
    let sent = "GET https://api.example/x?y EgressTimeouts { connect: None, first_byte: None, between_bytes: None }";
    assert_eq!(notes.all(), [sent]);

    let refused = Context {
        grants: Grants::default(),
        ..granted
    };
    let response = module.handle(get("/"), refused, &limits).await;
    // `HTTP-request-denied` is case 15 of wasi:http's error-code.
    assert_eq!(response.unwrap().status(), 515);
    assert_eq!(notes.all().len(), 1, "nothing was sent");
}

#[tokio::test]
async fn foreign_components_have_a_world_without_files_and_network() {
    let sandbox = sandbox();
    let body = r#"
        (local $stream i32)
        (local.set $stream (call $get_stdout))
        (call $stream_write (local.get $stream) @"one line\nand an" (i32.const 1088))
        (call $stream_write (local.get $stream) @"other" (i32.const 1088))
        (call $stream_write (call $get_stderr) @"a warning\n" (i32.const 1088))
        (call $get_environment (i32.const 256))
        (call $print_number (i64.load32_u (i32.const 260)))
        (call $get_directories (i32.const 256))
        (call $print_number (i64.load32_u (i32.const 260)))
        (call $finish (call $respond (local.get $out) (i32.const 200)))"#
        .replace("\\n", "\n");
    let module = load(&sandbox, &guest::module(&body)).await;
    let (notes, context) = context();
    let response = module.handle(get("/"), context, &Limits::default()).await;
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(
        notes.all(),
        [
            "info: one line stream=stdout",
            "warn: a warning stream=stderr",
            "info: 0",
            "info: 0",
            "info: and another stream=stdout",
        ]
    );
}
