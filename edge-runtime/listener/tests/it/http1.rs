//! HTTP/1.1, mostly as bytes.

use brink_listener::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Security, Server, status, within};

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.body_bytes_max = 1000;
    limits.header_bytes_max = 16 * 1024;
    limits.header_ms_max = 300;
    limits.body_progress_ms = 300;
    limits
}

#[tokio::test]
async fn requests_get_their_status() {
    let server = Server::start(Security::Plain, limits()).await;
    let long = "x".repeat(20_000);
    let many = "x-a: b\r\n".repeat(120);
    let chunked = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 600, "y".repeat(600));
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 200),
        ("GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 200),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: u@a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost:\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nx\0y: 1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/9.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01 what is this\r\n\r\n".to_owned(), 400),
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 200),
        ("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 405),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n".to_owned(), 501),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431),
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(70_000)), 431),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n".to_owned(), 413),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello".to_owned(), 200),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!".to_owned(), 400),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello".to_owned(), 400),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".to_owned(), 400),
        (format!("POST /echo HTTP/1.1\r\nhost: a\r\n{chunked}"), 200),
        // RFC 9112 §6.1: chunked wins, and what follows is not a second request.
        (format!("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n{chunked}"), 200),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n".to_owned(), 400),
        ("POST /echo HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(), 400),
        (format!("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}"), 413),
        ("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 500),
        ("GET /empty HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 204),
    ] {
        let start: String = request.chars().take(100).collect();
        // Our side is closed: a server that waits for more would fail, one that answers early would not.
        let answer = server.raw(request.as_bytes(), true).await;
        assert_eq!(status(&answer), expected, "{start}\n{answer}");
        if (400..600).contains(&expected) && answer.contains("problem+json") {
            assert!(answer.contains(&format!("\"status\":{expected}")), "{answer}");
        }
    }
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn targets_are_normalised() {
    let server = Server::start(Security::Plain, limits()).await;
    let local = server.tcp;
    for (request, expected) in [
        (
            "GET /seen?x HTTP/1.1\r\nhost: a.example:81\r\n\r\n",
            "GET http://a.example:81/seen?x http/1.1".to_owned(),
        ),
        (
            "GET http://b.example/seen HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET http://b.example/seen http/1.1".to_owned(),
        ),
        (
            "GET https://b.example/seen HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET http://b.example/seen http/1.1".to_owned(),
        ),
        (
            "GET /seen HTTP/1.0\r\n\r\n",
            format!("GET http://{local}/seen http/1.1"),
        ),
    ] {
        let answer = server.raw(request.as_bytes(), true).await;
        assert!(
            answer.trim_end().ends_with(&expected),
            "{request}\n{answer}"
        );
    }
}

#[tokio::test]
async fn a_panic_does_not_end_the_connection() {
    let server = Server::start(Security::Plain, limits()).await;
    let two = "GET /panic HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = server.raw(two.as_bytes(), false).await;
    assert!(
        answer.starts_with("HTTP/1.1 500") && answer.ends_with("hello"),
        "{answer}"
    );
    assert!(answer.contains("HTTP/1.1 200"));
}

#[tokio::test]
async fn nothing_of_a_smuggled_request_is_answered() {
    let server = Server::start(Security::Plain, limits()).await;
    let smuggled = "GET /seen HTTP/1.1\r\nhost: smuggled\r\n\r\n";
    for framing in [
        format!(
            "content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            5 + smuggled.len()
        ),
        "content-length: 0\r\ncontent-length: 40\r\n\r\n".to_owned(),
    ] {
        let request = format!("POST /echo HTTP/1.1\r\nhost: a\r\n{framing}{smuggled}");
        let answer = server.raw(request.as_bytes(), true).await;
        // One framing is chosen and the next message begins where it says: never in the middle of the body.
        // A connection with both lengths must at least not be read otherwise by us than by a sender of chunks.
        let answers = answer.matches("HTTP/1.1 ").count();
        let refused = status(&answer) == 400 && answers == 1;
        let chunked_won = status(&answer) == 200 && framing.contains("chunked");
        assert!(refused || chunked_won, "{framing}\n{answer}");
    }
}

#[tokio::test]
async fn slow_heads_are_cut_off() {
    let server = Server::start(Security::Plain, limits()).await;
    for head in ["", "P", "PRI", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let answer = server.raw(head.as_bytes(), false).await;
        assert!(
            matches!(status_or_none(&answer), None | Some(408)),
            "{head}: {answer}"
        );
    }
}

fn status_or_none(answer: &str) -> Option<u16> {
    answer.starts_with("HTTP/").then(|| status(answer))
}

#[tokio::test]
async fn slow_bodies_fail() {
    let server = Server::start(Security::Plain, limits()).await;
    let request =
        "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 10\r\n\r\nhel";
    let answer = server.raw(request.as_bytes(), false).await;
    assert_eq!(status(&answer), 408, "{answer}");
}

#[tokio::test]
async fn a_half_closed_client_gets_its_answer() {
    let mut server = Server::start(Security::Plain, limits()).await;
    let mut stream = TcpStream::connect(server.tcp).await.unwrap();
    stream
        .write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    within(server.events.recv()).await.unwrap();
    server.sample.release.add_permits(1);
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("waited"), "{answer}");
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let mut limits = limits();
    limits.body_bytes_max = 1_000_000;
    let server = Server::start(Security::Plain, limits).await;
    let mut stream = TcpStream::connect(server.tcp).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 200000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..20 {
        stream.write_all(&[b'z'; 10_000]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn bodies_are_asked_for_only_when_wanted() {
    let server = Server::start(Security::Plain, limits()).await;
    for (path, length, interim, expected) in [
        ("/echo", 5, true, 200),
        ("/echo", 5000, false, 413),
        ("/", 5, false, 200),
    ] {
        let mut stream = TcpStream::connect(server.tcp).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 25];
        within(stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(
            answer.starts_with(b"HTTP/1.1 100 Continue\r\n\r\n"),
            interim,
            "{path} {length}"
        );
        if interim {
            answer.clear();
            stream.write_all(b"hello").await.unwrap();
        }
        within(stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(status(&answer), expected, "{answer}");
    }
}

#[tokio::test]
async fn connections_are_counted() {
    let mut limits = limits();
    limits.connections_per_address_max = 2;
    limits.header_ms_max = 20_000;
    let server = Server::start(Security::Plain, limits).await;
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.tcp).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.read_exact(&mut [0; 15]).await.unwrap();
        open.push(stream);
    }
    assert_eq!(
        server.raw(request, false).await,
        "",
        "the third is turned away"
    );
    let mut first = open.remove(0);
    first.shutdown().await.unwrap();
    within(first.read_to_end(&mut Vec::new())).await.unwrap();
    let again = async {
        // The permit is given back a moment after the socket is closed.
        loop {
            let answer = server.raw(request, true).await;
            if !answer.is_empty() {
                return answer;
            }
        }
    };
    assert_eq!(status(&within(again).await), 200);
}

#[tokio::test]
async fn a_body_that_breaks_off_does_not_end_like_a_whole_one_over_http_1_0() {
    let server = Server::start(Security::Plain, limits()).await;
    for (path, is_whole) in [("/stream", true), ("/broken", false)] {
        let mut stream = TcpStream::connect(server.tcp).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nhost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = within(stream.read_to_end(&mut answer)).await;
        match end {
            Ok(_) => assert!(is_whole && answer.len() > 100_000, "{path}"),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{path}");
                assert!(!is_whole);
            }
        }
    }
}
