//! What an edge says of what it would do, beside what it does.

use crate::harness::{Answer, Edge, routed, within};
use brink_listener::{Body, Config, Connection, Listener, Service};
use brink_protocol::caching::{KeyRules, Negative, QueryRule, RouteCache};
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio_util::sync::CancellationToken;

/// Answers by the path, and counts.
#[derive(Default)]
struct Paths(AtomicU64);

impl Service for Paths {
    async fn call(&self, request: Request<Body>, _: Arc<Connection>) -> Response<Body> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let validates = request.headers().contains_key("if-none-match");
        let (status, fields): (u16, &[(&str, &str)]) = match request.uri().path() {
            _ if request.method() == "PUT" => (201, &[]),
            "/fresh" => (
                200,
                &[("cache-control", "max-age=60"), ("cache-tag", "news")],
            ),
            "/stale" if validates => (304, &[("etag", "\"a\"")]),
            "/stale" => (200, &[("cache-control", "max-age=0"), ("etag", "\"a\"")]),
            "/swr" => (
                200,
                &[
                    ("cache-control", "max-age=0, stale-while-revalidate=60"),
                    ("etag", "\"a\""),
                ],
            ),
            "/vary" => (
                200,
                &[
                    ("cache-control", "max-age=60"),
                    ("vary", "cookie, accept-language"),
                    ("etag", "\"v\""),
                ],
            ),
            "/mine" => (200, &[("cache-control", "private")]),
            "/away" => (503, &[]),
            "/forbidden" => (403, &[]),
            "/none-now" => (404, &[("cache-control", "max-age=0")]),
            _ => (404, &[]),
        };
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(Body::full(Bytes::from("It is."))).unwrap()
    }
}

struct Stage {
    edge: Edge,
    paths: Arc<Paths>,
    stop: CancellationToken,
}

impl Stage {
    async fn new(cache: RouteCache) -> Self {
        let config = Config {
            tcp: Some("127.0.0.1:0".parse().unwrap()),
            ..Config::default()
        };
        let listener = Listener::bind(config).await.unwrap();
        let url = format!("http://{}", listener.tcp_addr().unwrap());
        let (paths, stop) = (Arc::new(Paths::default()), CancellationToken::new());
        tokio::spawn(listener.serve(paths.clone(), stop.clone()));
        Self {
            edge: routed(&url, cache).await,
            paths,
            stop,
        }
    }

    async fn explain(&self, path: &str, fields: &[(&str, &str)]) -> Value {
        let url = format!("{}{path}", self.edge.url.trim_end_matches('/'));
        let answer = self.ask(&json!({ "url": url, "headers": fields })).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    async fn ask(&self, asked: &Value) -> Answer {
        within(self.edge.tell_admin("/cache", asked)).await
    }

    async fn end(self) {
        self.edge.stop().await;
        self.stop.cancel();
    }
}

#[tokio::test]
async fn what_is_said_is_what_is_done() {
    let stage = Stage::new(RouteCache::default()).await;
    let no_cache = [("cache-control", "no-cache")];
    let oic = [("cache-control", "only-if-cached")];
    let max_stale = [("cache-control", "max-stale=60")];
    type Fields<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Fields<'_>, &str, &str); 12] = [
        ("/fresh", &[], "fetch", "fwd=uri-miss"),
        ("/fresh", &[], "serve", "; hit"),
        ("/fresh", &no_cache, "validate", "fwd=request"),
        ("/fresh", &[("range", "bytes=0-1")], "serve", "; hit"),
        ("/stale", &oic, "unavailable", ""),
        ("/stale", &[], "fetch", "fwd=uri-miss"),
        ("/stale", &[], "validate", "fwd=stale"),
        ("/stale", &max_stale, "serve-stale", "; hit"),
        ("/swr", &[], "fetch", "fwd=uri-miss"),
        ("/swr", &[], "serve-stale", "; hit"),
        ("/vary", &[("cookie", "a=secret")], "fetch", "fwd=uri-miss"),
        (
            "/vary",
            &[("accept-language", "de")],
            "fetch",
            "fwd=vary-miss",
        ),
    ];
    for (path, fields, verdict, status) in cases {
        let before = stage.paths.0.load(Ordering::Relaxed);
        let told = stage.explain(path, fields).await;
        assert_eq!(
            told["decision"]["verdict"], verdict,
            "{path} {fields:?}: {told:#}"
        );
        let reason = &told["decision"]["reasons"][0];
        assert!(
            reason["source"]
                .as_str()
                .is_some_and(|source| !source.is_empty()),
            "{told:#}"
        );
        assert_eq!(
            stage.paths.0.load(Ordering::Relaxed),
            before,
            "nobody is asked"
        );
        let done = stage.edge.send("GET", path, fields).await;
        let said = done.field("cache-status");
        assert!(said.contains(status), "{path} {fields:?}: {said}");
        assert_eq!(
            done.status == 504,
            verdict == "unavailable",
            "{path} {fields:?}"
        );
    }
    let told = stage.explain("/fresh", &[]).await;
    let freshness = &told["chosen"]["freshness"];
    assert_eq!(freshness["lifetime_seconds"], 60, "{told:#}");
    assert_eq!(
        freshness["lifetime_from"]["text"],
        "max-age of Cache-Control"
    );
    assert_eq!(told["chosen"]["tags"], json!(["name:news"]));
    assert_eq!(told["tenant"], "default");
    assert_eq!(told["pop"], "local");
    stage.end().await;
}

#[tokio::test]
async fn why_nothing_is_stored_and_no_secret() {
    let stage = Stage::new(RouteCache::default()).await;
    stage.edge.get("/mine").await;
    let told = stage.explain("/mine", &[]).await;
    assert_eq!(told["lately_not_stored"]["reason"], "private", "{told:#}");
    assert_eq!(told["lately_not_stored"]["status"], 200);
    assert_eq!(
        told["lately_not_stored"]["to_be_stored"]["source"],
        "RFC 9111 §5.2.2.7"
    );
    let secrets = [
        ("cookie", "sid=very-secret"),
        ("authorization", "Bearer very-secret"),
    ];
    stage.edge.send("GET", "/vary", &secrets[..1]).await;
    let told = stage.explain("/vary", &secrets).await.to_string();
    assert!(
        told.contains("accept-language") && !told.contains("very-secret"),
        "{told}"
    );
    let old = stage
        .edge
        .ask_admin(&format!("/cache?url={}/vary", stage.edge.url))
        .await;
    assert!(!old.body.contains("very-secret"), "{}", old.body);
    for (asked, status, word) in [
        (json!({ "url": "http://" }), 400, "no such URL"),
        (json!({ "url": "ftp://h/" }), 400, "no such URL"),
        (
            json!({ "url": "http://h/", "headers": [["a b", "very-secret"]] }),
            400,
            "no name of a field",
        ),
        (
            json!({ "url": "http://h/", "headers": [["a", "very-secret\n"]] }),
            400,
            "the value of a is none",
        ),
        (
            json!({ "url": "http://h/", "method": "a b" }),
            400,
            "is no method",
        ),
    ] {
        let answer = stage.ask(&asked).await;
        assert_eq!(answer.status, status, "{asked}");
        assert!(
            answer.body.contains(word) && !answer.body.contains("very-secret"),
            "{}",
            answer.body
        );
    }
    stage.end().await;
}

#[tokio::test]
async fn what_is_left_out_of_a_key() {
    let key = KeyRules {
        query: QueryRule::Without(vec!["utm_*".into()]),
        headers: Some(vec!["x-tier".into()]),
        cookies: Some(vec!["lang".into()]),
        ..KeyRules::default()
    };
    let stage = Stage::new(RouteCache {
        key,
        ..RouteCache::default()
    });
    let stage = stage.await;
    let fields = [
        ("cookie", "lang=de; sid=very-secret"),
        ("x-tier", "gold"),
        ("x-other", "1"),
    ];
    let told = stage.explain("/fresh?a=1&utm_source=x", &fields).await;
    assert_eq!(told["key"]["target"], "/fresh?a=1", "{told:#}");
    assert_eq!(
        told["key"]["by_rule"],
        json!([["cookie", "lang"], ["header", "x-tier: gold"]])
    );
    let left_out =
        json!({ "parameters": ["utm_source"], "cookies": ["sid"], "fields": ["x-other"] });
    assert_eq!(told["key"]["left_out"], left_out);
    assert!(!told.to_string().contains("very-secret"));
    stage
        .edge
        .send("GET", "/fresh?utm_source=y&a=1", &fields)
        .await;
    let told = stage.explain("/fresh?a=1", &fields).await;
    assert_eq!(told["decision"]["verdict"], "serve", "{told:#}");
    stage.end().await;
}

#[tokio::test]
async fn errors_are_kept_as_the_route_says() {
    let negative = Negative {
        seconds: 60,
        failure_seconds: 5,
    };
    let stage = Stage::new(RouteCache {
        negative,
        ..RouteCache::default()
    });
    let stage = stage.await;
    let secret = [("authorization", "Bearer a")];
    for (path, is_kept) in [
        ("/gone", true),
        ("/away", true),
        ("/forbidden", false),
        ("/none-now", false),
    ] {
        assert!(!stage.edge.send("GET", path, &secret).await.is_hit());
        let first = stage.edge.get(path).await;
        assert!(
            !first.is_hit(),
            "{path}: nothing is kept for a caller with a secret"
        );
        let second = stage.edge.get(path).await;
        assert_eq!(
            (second.is_hit(), second.status),
            (is_kept, first.status),
            "{path}: {}",
            second.field("cache-status")
        );
    }
    let told = stage.explain("/gone", &[]).await;
    assert_eq!(
        told["chosen"]["freshness"]["lifetime_seconds"], 60,
        "{told:#}"
    );
    assert_eq!(
        told["chosen"]["freshness"]["lifetime_from"]["source"],
        "caching.md"
    );
    // What makes it exist ends it.
    assert_eq!(stage.edge.send("PUT", "/gone", &[]).await.status, 201);
    assert!(!stage.edge.get("/gone").await.is_hit());
    stage.end().await;
    let plain = Stage::new(RouteCache::default()).await;
    plain.edge.get("/gone").await;
    assert!(!plain.edge.get("/gone").await.is_hit());
    plain.end().await;
}
