//! One component, without a core.

use crate::{
    guest,
    harness::{Edge, common, start, within},
};
use brink_edge::standalone::Serve;
use bytes::Bytes;
use http_body::Frame;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use std::{
    convert::Infallible,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

fn serve(component: PathBuf) -> Serve {
    Serve {
        component,
        config: Vec::new(),
        grants: Vec::new(),
        instance_reuse: 1,
        common: common(),
    }
}

async fn serving(body: &str) -> Edge {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.wasm");
    std::fs::write(&path, guest::module(body)).unwrap();
    let serve = serve(path);
    let mut settings = serve.common.file().standalone().unwrap();
    settings.sandbox.instances_max = 20;
    let sandbox = settings.sandbox.clone();
    start(settings, async |assembled| {
        serve.deploy(assembled, sandbox).await.unwrap()
    })
    .await
}

#[tokio::test]
async fn a_component_answers_and_is_answered_for() {
    let edge = serving(
        r#"(call $cache_lifetime (i32.const 60)) (call $answer (local.get $out) (i32.const 200) @"hello")"#,
    )
    .await;
    let first = edge.get("/a?b").await;
    assert_eq!((first.status.as_u16(), first.body.as_str()), (200, "hello"));
    assert!(
        first
            .field("cache-status")
            .starts_with("brink-local; fwd=uri-miss; stored"),
        "{first:?}"
    );
    let second = edge.get("/a?b").await;
    assert!(second.is_hit() && second.body == "hello", "{second:?}");
    assert_ne!(first.field("x-request-id"), second.field("x-request-id"));
    assert_eq!(first.field("x-request-id").len(), 26);
    let head = edge.send("HEAD", "/a?b", &[]).await;
    assert_eq!(
        (head.body.as_str(), head.field("content-length")),
        ("", "5")
    );
    let head = edge.send("HEAD", "/unseen", &[]).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
    let post = edge.send("POST", "/a?b", &[]).await;
    assert!(!post.is_hit() && post.body == "hello", "{post:?}");
    let purge = edge.send("PURGE", "/a?b", &[]).await;
    assert_eq!(purge.status, 405);
    assert!(purge.body.contains("no core"), "{}", purge.body);
    edge.stop().await;
}

/// A body whose length nobody is told.
struct Untold(Option<Bytes>);

impl http_body::Body for Untold {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(Frame::data).map(Ok))
    }
}

#[tokio::test]
async fn a_body_that_no_field_tells_of_keeps_an_answer_out_of_the_cache() {
    let edge = serving(
        r#"(call $cache_lifetime (i32.const 60)) (call $answer (local.get $out) (i32.const 200) @"hello")"#,
    )
    .await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let status = async |path: &str, body: Untold| {
        let request = http::Request::get(format!("{}{path}", edge.url));
        let answer = within(client.request(request.body(body).unwrap())).await;
        let answer = answer.unwrap();
        let status = answer.headers()["cache-status"].to_str().unwrap();
        status.to_owned()
    };
    let fat = || Untold(Some(Bytes::from_static(b"x")));
    let bypass = "brink-local; fwd=bypass; detail=request";
    assert_eq!(status("/", fat()).await, bypass);
    let first = edge.get("/").await;
    assert!(first.field("cache-status").contains("fwd=uri-miss; stored"));
    assert_eq!(status("/", fat()).await, bypass);
    assert!(edge.get("/").await.is_hit());
    edge.stop().await;
}

#[tokio::test]
async fn the_callers_identity_keeps_an_answer_private_and_cookies_that_nobody_reads_do_not() {
    let shared = r#"(call $cache_lifetime (i32.const 60)) (call $answer (local.get $out) (i32.const 200) @"hello")"#;
    let edge = serving(shared).await;
    for is_hit in [false, true] {
        let answer = edge.send("GET", "/", &[("cookie", "a=1")]).await;
        assert_eq!(answer.is_hit(), is_hit, "{answer:?}");
    }
    edge.stop().await;
    let edge = serving(&format!("(call $subject (i32.const 256)) {shared}")).await;
    for _ in 0..2 {
        assert!(!edge.get("/").await.is_hit());
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_component_that_fails_is_answered_for_and_runs_again() {
    for (body, status, kind) in [
        ("(unreachable)", 500, "module-trapped"),
        ("(loop $on (br $on))", 504, "module-cpu-time"),
        ("(nop)", 500, "module-no-response"),
        (
            r#"(call $records_get @"stock" @"ams" @"sku-1" (i32.const 256))
            (call $answer (local.get $out)
                (select (i32.const 403) (i32.const 200) (i32.load8_u (i32.const 256))) @"records denied")"#,
            403,
            "records denied",
        ),
    ] {
        let edge = serving(body).await;
        for _ in 0..2 {
            let answer = edge.get("/").await;
            assert_eq!(answer.status.as_u16(), status, "{body}: {answer:?}");
            assert!(answer.body.contains(kind), "{body}: {}", answer.body);
            if status >= 500 {
                assert_eq!(answer.field("content-type"), "application/problem+json");
                assert!(
                    answer.body.contains(answer.field("x-request-id")),
                    "{}",
                    answer.body
                );
            }
        }
        edge.stop().await;
    }
}

#[tokio::test]
async fn what_is_no_module_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.wasm");
    let settings = || serve(path.clone()).common.file().standalone().unwrap();
    for (bytes, reason) in [
        (b"text".to_vec(), "this is not WebAssembly"),
        (
            guest::plugin("", "").to_vec(),
            "only modules answer requests",
        ),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let (given, sandbox) = (settings(), settings().sandbox);
        let edge = start(given, async |assembled| {
            let error = serve(path.clone())
                .deploy(assembled, sandbox)
                .await
                .unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        })
        .await;
        assert_eq!(edge.get("/").await.status, 404);
        edge.stop().await;
    }
}
