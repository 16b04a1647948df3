//! Telemetry of a whole process: one binary, so that its one subscriber is the one under test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::convert::Infallible;

use brink_telemetry::{Config, Error, TraceContext, init};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A collector that takes exports and passes their path, type and body on.
async fn collector() -> (String, mpsc::UnboundedReceiver<(String, String, Bytes)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let sender = sender.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    let kind = request.headers()["content-type"]
                        .to_str()
                        .unwrap()
                        .to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    sender.send((path, kind, body)).unwrap();
                    Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
                }
            });
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (endpoint, receiver)
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

fn hex_bytes(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// On one thread: the last export must not need the runtime that the caller blocks... but the
/// collector runs on one of its own here, as it would in another process.
#[test]
fn spans_reach_a_collector_and_init_can_be_repeated() {
    let outside = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (endpoint, mut exports) = outside.block_on(collector());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (here, parent) = runtime.block_on(async {
        let config = Config {
            service: "brink-edge".to_owned(),
            node: "ams".to_owned(),
            log_filter: "off".to_owned(),
            otlp_endpoint: Some(endpoint),
            ..Config::default()
        };
        let telemetry = init(&config).unwrap();

        let again = init(&Config {
            log_filter: "off".to_owned(),
            ..Config::default()
        })
        .unwrap();
        metrics::counter!("it_total").increment(1);
        assert!(again.render_metrics().contains("it_total 1"));
        drop(again);

        let mut headers = http::HeaderMap::new();
        let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", value.parse().unwrap());
        headers.insert("tracestate", "congo=t61".parse().unwrap());
        let parent = TraceContext::from_headers(&headers).unwrap();
        let span = tracing::info_span!("an-exchange-to-find", route = "/orders");
        let here = TraceContext::begin(Some(&parent), &span);
        span.in_scope(|| tracing::info_span!("a-part-of-it").in_scope(|| ()));
        drop(span);
        let mut out = http::HeaderMap::new();
        here.inject(&mut out);
        assert_eq!(out["tracestate"], "congo=t61");
        assert!(here.is_sampled());

        let refused = tracing::info_span!("not-sampled");
        headers.insert("traceparent", value.replace("-01", "-00").parse().unwrap());
        let unsampled = TraceContext::from_headers(&headers).unwrap();
        assert!(!TraceContext::begin(Some(&unsampled), &refused).is_sampled());
        drop(refused);

        telemetry.shutdown();
        (here, parent)
    });
    let (path, kind, body) = outside.block_on(exports.recv()).unwrap();
    assert_eq!(path, "/v1/traces");
    assert_eq!(kind, "application/x-protobuf");
    assert_eq!(here.trace_id(), parent.trace_id());
    for part in [
        b"an-exchange-to-find".to_vec(),
        b"a-part-of-it".to_vec(),
        b"/orders".to_vec(),
        b"brink-edge".to_vec(),
        b"ams".to_vec(),
        hex_bytes(&here.trace_id().to_string()),
        // Our own span by the id that we told others, and the sender's as its parent.
        hex_bytes(&here.span_id().to_string()),
        hex_bytes(&parent.span_id().to_string()),
    ] {
        assert!(contains(&body, &part), "{}", String::from_utf8_lossy(&part));
    }
    assert!(!contains(&body, b"not-sampled"));
}

#[test]
fn mistakes_are_told() {
    let default = Config::default;
    for (config, expected) in [
        (
            Config {
                sample_ratio: 1.5,
                ..default()
            },
            "sample_ratio",
        ),
        (
            Config {
                sample_ratio: f64::NAN,
                ..default()
            },
            "sample_ratio",
        ),
        (
            Config {
                log_filter: "a=b=c".to_owned(),
                ..default()
            },
            "log_filter",
        ),
        (
            Config {
                otlp_endpoint: Some("ftp://x".to_owned()),
                ..default()
            },
            "otlp_endpoint",
        ),
    ] {
        let error: Error = init(&config).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
