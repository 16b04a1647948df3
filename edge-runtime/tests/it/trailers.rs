//! Trailer sections there and back, and stored.

use crate::{
    harness::{Edge, before, whole, within},
    raw::{RawClient, RawOrigin, Step, say},
};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

const SECTION: &str =
    "x-sum: 1\r\nset-cookie: a=1\r\ncontent-length: 9\r\nbrink-position: core.1=1\r\n";

fn answer(kept: &str, section: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: {kept}\r\n\
         transfer-encoding: chunked\r\ntrailer: x-sum, set-cookie\r\n\r\n5\r\nhello\r\n0\r\n{section}\r\n"
    )
}

fn script(path: &str) -> Vec<Step> {
    match path {
        "/kept" => vec![say(&answer("max-age=60", SECTION))],
        "/passed" | "/upload" => vec![say(&answer("no-store", SECTION))],
        "/slow" => {
            let whole = answer("max-age=60", SECTION);
            let (beginning, end) = whole.split_at(whole.find("0\r\nx-sum").unwrap());
            vec![say(beginning), Step::Wait, say(end)]
        }
        "/long" => {
            let section: String = (0..100).map(|i| format!("x-{i}: 1\r\n")).collect();
            vec![say(&answer("max-age=60", &section))]
        }
        _ => vec![say("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")],
    }
}

fn get(path: &str, te: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: h\r\n{te}\r\n")
}

const TE: &str = "te: trailers\r\nconnection: te\r\n";
const CHUNKS: &str = "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";

async fn started() -> (RawOrigin, Edge) {
    let origin = RawOrigin::start(script).await;
    let edge = before(&origin.url).await;
    (origin, edge)
}

#[tokio::test]
async fn stored_answers_keep_theirs() {
    let (origin, edge) = started().await;
    let mut client = RawClient::connect(&edge.url).await;
    for is_hit in [false, true, true] {
        client.say(&get("/kept", TE)).await;
        let head = client.head().await;
        assert_eq!(head.contains("; hit"), is_hit, "{head}");
        assert!(head.contains("\r\ntrailer: x-sum\r\n") || !is_hit, "{head}");
        assert!(!head.contains("content-length"), "{head}");
        // Neither in the head, nor with what has no place there.
        assert!(!head.contains("x-sum: 1"), "{head}");
        assert_eq!(client.until("\r\n\r\n").await, CHUNKS);
        // Who does not take them gets the length instead.
        client.say(&get("/kept", "")).await;
        let head = client.head().await;
        assert!(
            head.contains("; hit") && !head.contains("\r\ntrailer"),
            "{head}"
        );
        assert!(head.contains("\r\ncontent-length: 5\r\n"), "{head}");
        assert_eq!(client.until("hello").await, "hello");
        // Nor are they of a part.
        client
            .say(&get("/kept", &format!("{TE}range: bytes=1-2\r\n")))
            .await;
        let head = client.head().await;
        assert!(
            head.starts_with("http/1.1 206") && !head.contains("\r\ntrailer"),
            "{head}"
        );
        assert_eq!(client.until("el").await, "el");
        client
            .say("HEAD /kept HTTP/1.1\r\nhost: h\r\nte: trailers\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("http/1.1 200"));
    }
    assert!(client.is_quiet());
    let asked = origin.heads().concat();
    assert!(asked.contains("\r\nte: trailers\r\n"), "{asked}");
    assert!(asked.contains("\r\nconnection: te\r\n"), "{asked}");
    assert_eq!(origin.heads().len(), 1);
    edge.stop().await;
}

#[tokio::test]
async fn what_is_not_stored_or_comes_slowly_has_them_too() {
    let (origin, edge) = started().await;
    let mut client = RawClient::connect(&edge.url).await;
    for path in ["/passed", "/slow", "/slow"] {
        client.say(&get(path, TE)).await;
        let head = client.head().await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        origin.go.add_permits(1);
        assert_eq!(client.until("\r\n\r\n").await, CHUNKS, "{path}");
    }
    // A section that is too long is dropped.
    client.say(&get("/long", TE)).await;
    let head = client.head().await;
    assert!(!head.contains("\r\ntrailer"), "{head}");
    assert_eq!(client.until("hello").await, "hello");
    assert!(client.is_quiet());
    edge.stop().await;
}

#[tokio::test]
async fn requests_have_them_too() {
    let (origin, edge) = started().await;
    let mut client = RawClient::connect(&edge.url).await;
    client
        .say(
            "POST /upload HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, host\r\n\r\n\
             3\r\nabc\r\n0\r\nx-sum: 2\r\nhost: evil\r\nbrink-subject: me\r\n\r\n",
        )
        .await;
    client.head().await;
    client.until("0\r\n\r\n").await;
    let asked = origin.heads().concat();
    assert!(
        asked.ends_with("\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 2\r\n\r\n"),
        "{asked}"
    );
    edge.stop().await;
}

#[tokio::test]
async fn http2_clients_get_them_with_a_length() {
    let (_origin, edge) = started().await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    for is_hit in [false, true] {
        let request = Request::get(format!("{}/kept", edge.url)).header("te", "trailers");
        let response = within(client.request(request.body(Full::default()).unwrap()))
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        let body = within(body.collect()).await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "1");
        assert_eq!(body.trailers().unwrap().len(), 1);
        let answer = whole(http::Response::from_parts(head, Full::new(body.to_bytes())));
        let answer = answer.await.unwrap();
        assert_eq!((answer.body.as_str(), answer.is_hit()), ("hello", is_hit));
        assert_eq!(answer.field("content-length"), "5");
    }
    edge.stop().await;
}
