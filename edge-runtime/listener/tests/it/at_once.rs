//! Requests of HTTP/1.1 that are answered without hyper, among those that are not.

use brink_listener::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Event, LARGE, Security, Server, within};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

#[tokio::test]
async fn all_kinds_are_answered_in_order() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let requests = [
        (get("/at-once"), "a http"),
        (get("/"), "hello"),
        (get("/at-once"), "a http"),
        (get("/at-once"), "a http"),
        (get("/at-once/panic"), "hello"),
        (get("/stream"), ""),
        (get("/at-once"), "a http"),
        ("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n".into(), ""),
        (get("/at-once/large"), ""),
        (
            "GET /at-once HTTP/1.1\r\nhost: B:1\r\n\r\n".into(),
            "B:1 http",
        ),
        (
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\necho".into(),
            "echo",
        ),
        (get("/at-once"), "hello"),
    ];
    let last = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let all = requests.iter().map(|(request, _)| request.as_str());
    let all = all.chain([last]).collect::<String>();
    // At once, and byte by byte.
    for size in [all.len(), 1] {
        let mut stream = TcpStream::connect(server.tcp).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut reads, mut writes) = stream.split();
        let send = async {
            for piece in all.as_bytes().chunks(size) {
                writes.write_all(piece).await.unwrap();
            }
        };
        let mut answers = Vec::new();
        let read = reads.read_to_end(&mut answers);
        let (_, read) = within(async { tokio::join!(send, read) }).await;
        read.unwrap();
        let text = String::from_utf8(answers).unwrap();
        let answers: Vec<&str> = text.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
        assert_eq!(answers.len(), requests.len() + 1, "{}", &text[..2000]);
        for ((request, body), answer) in requests.iter().zip(&answers) {
            let (_, seen) = answer.split_once("\r\n\r\n").unwrap();
            match request.as_str() {
                large if large.contains("/large") => assert_eq!(seen.len(), LARGE),
                stream if stream.contains("/stream") => assert!(seen.ends_with("\r\n0\r\n\r\n")),
                _ => assert_eq!(seen, *body, "{request}"),
            }
        }
    }
}

#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    for host in ["", "a b", "u@a", "a:x", "[::1", "a/b"] {
        let request = format!("GET /at-once HTTP/1.1\r\nhost: {host}\r\n\r\n");
        // After a good one, whose host is known.
        let answer = server
            .raw((get("/at-once") + &request).as_bytes(), true)
            .await;
        assert!(answer.contains("HTTP/1.1 400"), "{host}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{host}: {answer}");
    }
}

#[tokio::test]
async fn a_long_answer_is_written_whole_when_the_listener_stops() {
    let mut server = Server::start(Security::Plain, Limits::default()).await;
    let mut stream = TcpStream::connect(server.tcp).await.unwrap();
    let mut waits = TcpStream::connect(server.tcp).await.unwrap();
    stream
        .write_all(get("/at-once/large").as_bytes())
        .await
        .unwrap();
    stream.read_exact(&mut [0; 100]).await.unwrap();
    // The service is at work elsewhere, and between two requests here.
    waits
        .write_all((get("/at-once") + &get("/wait")).as_bytes())
        .await
        .unwrap();
    assert_eq!(within(server.events.recv()).await, Some(Event::Began));
    server.stop();
    server.sample.release.add_permits(1);
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() > LARGE - 100, "{}", rest.len());
    let mut answers = String::new();
    within(waits.read_to_string(&mut answers)).await.unwrap();
    assert!(answers.ends_with("waited"), "{answers}");
    server.ended().await;
}

#[tokio::test]
async fn over_tls_too() {
    let server = Server::start(Security::Tls, Limits::default()).await;
    let two = get("/at-once") + "GET /at-once HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut stream = crate::tls::http1(&server).await;
    stream.write_all(two.as_bytes()).await.unwrap();
    let mut answers = String::new();
    within(stream.read_to_string(&mut answers)).await.unwrap();
    assert!(
        answers.contains("a https") && answers.ends_with("hello"),
        "{answers}"
    );
    // Announced in both, each as the other.
    assert_eq!(answers.matches("alt-svc: h3=").count(), 2, "{answers}");
}
