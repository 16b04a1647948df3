//! Interim answers of origins on their way to clients.

use std::future::poll_fn;

use tokio::net::TcpStream;

use crate::{
    harness::{before, within},
    raw::{RawClient, RawOrigin, Step, say},
};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nx-my-header: test\r\n\
    set-cookie: a=1\r\nconnection: x-hop\r\nx-hop: 1\r\nbrink-position: core.1=1\r\n\r\n";
const KEPT: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\nhello";

fn script(path: &str) -> Vec<Step> {
    match path {
        "/together" => vec![say(&format!("{HINTS}{KEPT}"))],
        "/apart" => vec![say(HINTS), Step::Wait, say(KEPT)],
        "/processing" => vec![say("HTTP/1.1 102 Processing\r\n\r\n"), say(KEPT)],
        "/continue" => vec![say("HTTP/1.1 100 Continue\r\n\r\n"), say(KEPT)],
        "/many" => vec![
            say(&"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(1000)),
            say(KEPT),
        ],
        "/large" => {
            let field = format!("x-large: {}\r\n", "x".repeat(40_000));
            vec![
                say(&format!("HTTP/1.1 103 Early Hints\r\n{field}\r\n")),
                say(KEPT),
            ]
        }
        "/huge" => {
            let field = format!("x-large: {}\r\n", "x".repeat(1 << 20));
            vec![
                say(&format!("HTTP/1.1 103 Early Hints\r\n{field}\r\n")),
                say(KEPT),
            ]
        }
        "/with-length" => vec![
            say(
                "HTTP/1.1 103 Early Hints\r\ncontent-length: 500\r\ntransfer-encoding: chunked\r\n\r\n",
            ),
            say(KEPT),
        ],
        // The second is no part of the answer.
        "/late" => vec![say(&format!("{KEPT}{HINTS}"))],
        "/never" => vec![say(HINTS), Step::Wait, Step::Close],
        "/head" => vec![
            say(HINTS),
            say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        ],
        _ => vec![say(
            "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 5\r\n\r\nplain",
        )],
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")
}

/// Reads a final answer with five bytes.
async fn read_final(client: &mut RawClient, body: &str) -> String {
    let head = client.head().await;
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert_eq!(client.until(body).await, body);
    head
}

#[tokio::test]
async fn hints_come_before_the_answer_and_are_not_stored() {
    let origin = RawOrigin::start(script).await;
    let edge = before(&origin.url).await;
    let mut client = RawClient::connect(&edge.url).await;
    for path in ["/together", "/apart"] {
        client.say(&get(path)).await;
        let hints = client.head().await;
        assert_eq!(
            hints,
            "http/1.1 103 early hints\r\nlink: </a.css>; rel=preload\r\nx-my-header: test\r\nset-cookie: a=1\r\n\r\n"
        );
        // It came while the origin still thought about the answer.
        origin.go.add_permits(1);
        let head = read_final(&mut client, "hello").await;
        assert!(!head.contains("link"), "{head}");
        // The connection goes on, and what is stored has no hints.
        client.say(&get(path)).await;
        let head = read_final(&mut client, "hello").await;
        assert!(head.contains("; hit"), "{head}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn hints_come_over_http2_and_are_not_stored() {
    let origin = RawOrigin::start(script).await;
    let edge = before(&origin.url).await;
    let address = edge.url.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    for (path, is_hinted) in [
        ("/together", true),
        ("/together", false),
        ("/apart", true),
        ("/apart", false),
        // More than are passed, and one whose fields are too many.
        ("/many", true),
        ("/large", false),
    ] {
        let uri = format!("{}{path}", edge.url);
        let request = http::Request::get(uri).body(()).unwrap();
        let (mut response, _) = sender.send_request(request, true).unwrap();
        let next = within(poll_fn(|cx| response.poll_informational(cx))).await;
        let next = next.transpose().unwrap();
        assert_eq!(next.is_some(), is_hinted, "{path}");
        if let Some(hints) = next {
            assert_eq!(hints.status(), 103);
            assert!(hints.headers().contains_key("link"));
            assert!(!hints.headers().contains_key("x-hop"));
            if path == "/apart" {
                // It came while the origin still thought about the answer.
                origin.go.add_permits(1);
            }
        }
        let response = within(response).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("link"));
        let body = within(response.into_body().data()).await;
        assert_eq!(body.unwrap().unwrap(), "hello");
    }
    edge.stop().await;
}

#[tokio::test]
async fn other_interim_answers_go_on_and_those_of_one_hop_do_not() {
    let origin = RawOrigin::start(script).await;
    let edge = before(&origin.url).await;
    let mut client = RawClient::connect(&edge.url).await;
    client.say(&get("/processing")).await;
    assert_eq!(client.head().await, "http/1.1 102 processing\r\n\r\n");
    read_final(&mut client, "hello").await;
    client.say(&get("/continue")).await;
    read_final(&mut client, "hello").await;
    client.say(&get("/with-length")).await;
    assert_eq!(client.head().await, "http/1.1 103 early hints\r\n\r\n");
    read_final(&mut client, "hello").await;
    // RFC 9110 §15.2: HTTP/1.0 knows none.
    client
        .say("GET /together HTTP/1.0\r\nhost: h\r\n\r\n")
        .await;
    let head = client.head().await;
    assert!(head.starts_with("http/1.0 200"), "{head}");
    edge.stop().await;
}

#[tokio::test]
async fn pipelined_requests_get_their_own_in_order() {
    let origin = RawOrigin::start(script).await;
    let edge = before(&origin.url).await;
    let mut client = RawClient::connect(&edge.url).await;
    let head = "HEAD /head HTTP/1.1\r\nhost: h\r\n\r\n";
    let requests = [
        get("/plain"),
        get("/together"),
        get("/plain"),
        get("/apart"),
        head.to_owned(),
        get("/together"),
        get("/plain"),
    ];
    origin.go.add_permits(1);
    client.say(&requests.concat()).await;
    let hints = async |client: &mut RawClient| {
        let head = client.head().await;
        assert!(head.starts_with("http/1.1 103"), "{head}");
    };
    read_final(&mut client, "plain").await;
    hints(&mut client).await;
    read_final(&mut client, "hello").await;
    read_final(&mut client, "plain").await;
    hints(&mut client).await;
    read_final(&mut client, "hello").await;
    hints(&mut client).await;
    let head = client.head().await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let head = read_final(&mut client, "hello").await;
    assert!(head.contains("; hit"), "{head}");
    read_final(&mut client, "plain").await;
    assert!(client.is_quiet());
    edge.stop().await;
}

#[tokio::test]
async fn hostile_origins_are_bounded() {
    let origin = RawOrigin::start(script).await;
    let edge = before(&origin.url).await;
    let mut client = RawClient::connect(&edge.url).await;
    client.say(&get("/many")).await;
    let mut hints = 0;
    while client.head().await.starts_with("http/1.1 103") {
        hints += 1;
    }
    assert_eq!(hints, 16);
    assert_eq!(client.until("hello").await, "hello");
    client.say(&get("/large")).await;
    read_final(&mut client, "hello").await;
    client.say(&get("/huge")).await;
    let head = client.head().await;
    assert!(head.starts_with("http/1.1 502"), "{head}");
    client.until("}").await;
    let mut client = RawClient::connect(&edge.url).await;
    for _ in 0..3 {
        client.say(&get("/late?x")).await;
        let head = read_final(&mut client, "plain").await;
        assert!(!head.contains("link"));
        client.say(&get("/late")).await;
        read_final(&mut client, "hello").await;
    }
    assert!(client.is_quiet());
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_spoil_the_fill() {
    let origin = RawOrigin::start(script).await;
    let edge = before(&origin.url).await;
    let mut client = RawClient::connect(&edge.url).await;
    client.say(&get("/apart")).await;
    client.head().await;
    drop(client);
    origin.go.add_permits(1);
    let mut other = RawClient::connect(&edge.url).await;
    other.say(&get("/apart")).await;
    // It waits for the fill of the one that is gone, whose hints it does not get.
    read_final(&mut other, "hello").await;
    assert_eq!(origin.heads().len(), 1);
    // Nor does an origin that goes away.
    let mut client = RawClient::connect(&edge.url).await;
    client
        .say(&get("/never").replace("host", "connection: close\r\nhost"))
        .await;
    client.head().await;
    // The origin is asked again, and hints again.
    origin.go.add_permits(10);
    let rest = within(client.rest()).await;
    assert!(rest.contains("\r\n\r\nHTTP/1.1 502"), "{rest}");
    edge.stop().await;
}
