//! Ways by which caches were made to give others an answer that was not meant for them, tried at a PoP before an origin that
//! believes everything it is told.

use crate::harness::{Edge, eventually, routed, within};
use brink_listener::{Body, Config, Connection, Listener, Service};
use brink_protocol::caching::{KeyRules, QueryRule, RouteCache};
use bytes::Bytes;
use http::{Request, Response};
use std::{fmt::Write as _, sync::Arc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Tells what it was asked, and lets everybody have it.
struct Credulous;

impl Service for Credulous {
    async fn call(&self, request: Request<Body>, _: Arc<Connection>) -> Response<Body> {
        let uri = request.uri();
        let mut told = format!("{} {}", request.method(), uri.path_and_query().unwrap());
        let ours = [
            "x-forwarded-for",
            "x-request-id",
            "traceparent",
            "via",
            "forwarded",
        ];
        for (name, value) in request.headers() {
            if !ours.contains(&name.as_str()) {
                write!(told, "\n{name}: {}", value.to_str().unwrap()).unwrap();
            }
        }
        if uri.path() == "/page" {
            told = "All happy families are alike. ".repeat(100);
        }
        Response::builder()
            .header("cache-control", "max-age=60")
            .header("content-type", "text/plain")
            .body(Body::full(Bytes::from(told)))
            .unwrap()
    }
}

struct Origin {
    stop: CancellationToken,
    running: JoinHandle<()>,
}

async fn before_an_origin(key: KeyRules) -> (Origin, Edge) {
    let config = Config {
        tcp: Some("127.0.0.1:0".parse().unwrap()),
        ..Config::default()
    };
    let listener = Listener::bind(config).await.unwrap();
    let url = format!("http://{}", listener.tcp_addr().unwrap());
    let stop = CancellationToken::new();
    let running = tokio::spawn(listener.serve(Arc::new(Credulous), stop.clone()));
    let cache = RouteCache {
        key,
        ..RouteCache::default()
    };
    (Origin { stop, running }, routed(&url, cache).await)
}

async fn end(origin: Origin, edge: Edge) {
    edge.stop().await;
    origin.stop.cancel();
    within(origin.running).await.unwrap();
}

const EVIL: &str = "evil.example";

#[tokio::test]
async fn what_no_key_contains_changes_no_answer() {
    let (origin, edge) = before_an_origin(KeyRules::default()).await;
    for (number, field) in [
        "x-forwarded-host",
        "x-forwarded-server",
        "x-host",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
        "x-method-override",
        "forwarded",
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        let poisoning = edge.send("GET", &path, &[(field, EVIL)]).await;
        assert!(
            !poisoning.body.contains(EVIL),
            "{field}: {}",
            poisoning.body
        );
        let victim = edge.get(&path).await;
        assert!(victim.is_hit() && victim.body == poisoning.body, "{field}");
    }
    end(origin, edge).await;
}

#[tokio::test]
async fn what_a_rule_leaves_out_reaches_nobody() {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let (origin, edge) = before_an_origin(KeyRules {
        query: QueryRule::Without(names(&["utm_*"])),
        sort_query: true,
        headers: Some(names(&["x-tier"])),
        cookies: Some(names(&["lang"])),
        device: true,
    })
    .await;
    let phone = [("user-agent", "evil iPhone"), ("sec-ch-ua-platform", EVIL)];
    let rest = [
        ("x-evil", EVIL),
        ("cookie", "sid=evil; lang=de"),
        ("x-tier", "gold"),
    ];
    let sent: Vec<_> = phone.into_iter().chain(rest).collect();
    let poisoning = edge
        .send(
            "GET",
            "/a?x=1&utm_source=evil;callback=evil&a=2&%75tm_x=evil",
            &sent,
        )
        .await;
    assert!(
        poisoning.body.starts_with("GET /a?a=2&x=1\n"),
        "{}",
        poisoning.body
    );
    assert!(!poisoning.body.contains("evil"), "{}", poisoning.body);
    for told in ["x-device-class: mobile", "x-tier: gold", "cookie: lang=de"] {
        assert!(poisoning.body.contains(told), "{told}");
    }
    let own = [
        ("user-agent", "iPhone"),
        ("cookie", "lang=de"),
        ("x-tier", "gold"),
    ];
    let same = edge.send("GET", "/a?a=2&x=1&utm_medium=mail", &own).await;
    assert!(same.is_hit() && same.body == poisoning.body);
    // Each part tells requests apart.
    for (path, at, value) in [
        ("/a?a=2&x=2", 0, "iPhone"),
        ("/a?a=2&x=1", 0, "Mozilla (Windows)"),
        ("/a?a=2&x=1", 1, "lang=en"),
        ("/a?a=2&x=1", 2, "silver"),
    ] {
        let mut other = own;
        other[at].1 = value;
        assert!(
            !edge.send("GET", path, &other).await.is_hit(),
            "{path} {value}"
        );
    }
    // An unsafe request goes on whole, and ends what is stored for its URL under every key.
    let posted = edge
        .send("POST", "/a?utm_x=1&x=1&a=2", &[("x-evil", EVIL)])
        .await;
    assert!(
        posted.body.starts_with("POST /a?utm_x=1&x=1&a=2\n"),
        "{}",
        posted.body
    );
    assert!(posted.body.contains(EVIL));
    assert!(!edge.send("GET", "/a?a=2&x=1", &own).await.is_hit());
    end(origin, edge).await;
}

#[tokio::test]
async fn paths_are_what_they_are() {
    let (origin, edge) = before_an_origin(KeyRules::default()).await;
    // Each of these is `/account` to some framework: they share nothing with it, nor with each other.
    for path in [
        "/account",
        "/account/x.css",
        "/account;x.css",
        "/account%2Fx.css",
        "/account%00x.css",
        "/account%3Fx.css",
        "/account?x.css",
        "//account",
        "/account/",
    ] {
        let answer = edge.get(path).await;
        assert!(!answer.is_hit(), "{path}");
    }
    for path in [
        "/static/../account",
        "/static/%2e%2e/account",
        "/static/..%2faccount",
    ] {
        assert_eq!(edge.get(path).await.status, 400, "{path}");
    }
    end(origin, edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_sent_in_the_coding_that_is_liked() {
    let (origin, edge) = before_an_origin(KeyRules::default()).await;
    let plain = edge.get("/page").await;
    assert_eq!(plain.field("content-encoding"), "");
    assert_eq!(plain.field("vary"), "accept-encoding");
    for (accepted, coding) in [
        ("gzip, deflate, br", "br"),
        ("gzip;q=0.5, zstd", "zstd"),
        ("gzip", "gzip"),
    ] {
        let length = eventually(async || {
            let head = edge
                .send("HEAD", "/page", &[("accept-encoding", accepted)])
                .await;
            assert!(head.is_hit());
            let is_coded = head.field("content-encoding") == coding;
            is_coded.then(|| head.field("content-length").parse::<usize>().unwrap())
        })
        .await;
        assert!(length < plain.body.len() / 10, "{coding} {length}");
    }
    let again = edge.get("/page").await;
    assert!(again.is_hit() && again.body == plain.body);
    end(origin, edge).await;
}
