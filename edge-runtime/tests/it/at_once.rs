//! Hits over HTTP/1.1 that do not pass through the pipeline: they must not be told from those that do.

use crate::harness::{Edge, before, within};
use brink_listener::{Body, Config, Connection, Listener, Service};
use bytes::Bytes;
use http::{Request, Response};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Pages(AtomicU32);

impl Service for Pages {
    async fn call(&self, request: Request<Body>, _: Arc<Connection>) -> Response<Body> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let kept = Response::builder().header("cache-control", "max-age=60");
        let (response, body) = match request.uri().path() {
            "/text" => (
                kept.header("content-type", "text/plain")
                    .header("x-twice", "a")
                    .header("x-twice", "b")
                    .header("etag", "\"1\""),
                Bytes::from("hello ".repeat(500)),
            ),
            "/image" => (
                kept.header("content-type", "image/png"),
                vec![7; 100_000].into(),
            ),
            "/absent" => (kept.status(404), "no".into()),
            "/moved" => (kept.status(301).header("location", "/text"), Bytes::new()),
            "/none" => (kept.status(204), Bytes::new()),
            "/before" => (kept.header("cache-status", "other; hit"), "x".into()),
            "/varies" => (kept.header("vary", "accept-language"), "x".into()),
            "/old" => (kept.header("age", "7"), "x".into()),
            _ => (Response::builder(), "fresh".into()),
        };
        response.body(Body::full(body)).unwrap()
    }
}

async fn edge(pages: Arc<Pages>) -> Edge {
    let config = Config {
        tcp: Some("127.0.0.1:0".parse().unwrap()),
        ..Config::default()
    };
    let listener = Listener::bind(config).await.unwrap();
    let origin = format!("http://{}", listener.tcp_addr().unwrap());
    tokio::spawn(listener.serve(pages, CancellationToken::new()));
    before(&origin).await
}

/// What a client sees: the status line, the fields, the body.
#[derive(Debug, PartialEq)]
struct Seen {
    status: String,
    fields: BTreeMap<String, Vec<String>>,
    body: Vec<u8>,
}

struct Client(TcpStream);

impl Client {
    async fn new(edge: &Edge) -> Self {
        let address = edge.url.trim_start_matches("http://").trim_end_matches('/');
        Self(TcpStream::connect(address).await.unwrap())
    }

    async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// One answer; `has_body` is false for `HEAD`.
    async fn answer(&mut self, has_body: bool) -> Seen {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(self.0.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().to_owned();
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            fields
                .entry(name.to_owned())
                .or_default()
                .push(value.to_owned());
        }
        let length = fields
            .get("content-length")
            .map_or(0, |l| l[0].parse().unwrap());
        let mut body = vec![0; if has_body { length } else { 0 }];
        within(self.0.read_exact(&mut body)).await.unwrap();
        Seen {
            status,
            fields,
            body,
        }
    }

    async fn get(&mut self, path: &str, more: &str) -> Seen {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n{more}\r\n"))
            .await;
        self.answer(true).await
    }
}

#[tokio::test]
async fn both_ways_give_the_same_answer() {
    let pages = Arc::new(Pages::default());
    let edge = edge(Arc::clone(&pages)).await;
    let mut client = Client::new(&edge).await;
    // The pipeline alone reads the trace of a request; a broken one says nothing.
    let long_way = "traceparent: x\r\n";
    for path in [
        "/text", "/image", "/absent", "/moved", "/none", "/before", "/varies", "/old",
    ] {
        for accepted in [
            "",
            "accept-encoding: gzip, br\r\n",
            "accept-encoding: identity\r\n",
        ] {
            // One fills the cache; another may have a coding made.
            for _ in 0..2 {
                client.get(path, accepted).await;
            }
            let asked = pages.0.load(Ordering::Relaxed);
            let mut short = client.get(path, accepted).await;
            let mut long = client.get(path, &format!("{accepted}{long_way}")).await;
            assert_eq!(pages.0.load(Ordering::Relaxed), asked, "{path}");
            for seen in [&mut short, &mut long] {
                let id = seen.fields.remove("x-request-id").unwrap();
                assert_eq!((id.len(), id[0].len()), (1, 26), "{path}");
                assert!(
                    seen.fields["cache-status"][0].contains("brink-local; hit"),
                    "{seen:?}"
                );
                // A second may pass between the two.
                seen.fields.remove("age").unwrap();
                seen.fields.remove("cache-status").unwrap();
            }
            assert_eq!(short, long, "{path} {accepted}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn requests_of_all_kinds_share_a_connection() {
    let edge = edge(Arc::default()).await;
    let mut client = Client::new(&edge).await;
    let of = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: h\r\n{more}\r\n")
    };
    client.get("/image", "").await;
    let all = [
        of("GET", "/image", ""),
        of("HEAD", "/image", ""),
        of("GET", "/image", "range: bytes=0-9\r\n"),
        of("GET", "/absent", ""),
        of("GET", "/a/../b", ""),
        of("GET", "/image", ""),
        of("GET", "/image", "if-none-match: *\r\n"),
        of("GET", "/image?x=%7e", ""),
        of("POST", "/echo", "content-length: 2\r\n"),
    ];
    client.send(&(all.concat() + "xy")).await;
    client.send(&of("GET", "/image", "")).await;
    let mut statuses = Vec::new();
    for is_head in [
        false, true, false, false, false, false, false, false, false, false,
    ] {
        let seen = client.answer(!is_head && statuses.len() != 6).await;
        statuses.push(seen.status.split(' ').nth(1).unwrap().to_owned());
    }
    let expected = [
        "200", "200", "206", "404", "400", "200", "304", "200", "200", "200",
    ];
    assert_eq!(statuses, expected);
    edge.stop().await;
}
