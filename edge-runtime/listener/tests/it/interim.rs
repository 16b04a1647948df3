//! Interim answers over each protocol.

use std::future::poll_fn;

use brink_listener::Limits;
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Security, Server, within};
use crate::{http2, http3};

#[tokio::test]
async fn http1_sends_them_at_once_and_in_order() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let mut stream = TcpStream::connect(server.tcp).await.unwrap();
    let request = "GET /hints?wait HTTP/1.1\r\nhost: a\r\n\r\n";
    // Behind an answer that is long on its way.
    let large = "GET /large HTTP/1.1\r\nhost: a\r\n\r\n";
    let both = format!("{large}{request}");
    stream.write_all(both.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    within(async {
        while !read.ends_with(b"link: </b>\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
        }
    })
    .await;
    let hint = |link: &str| format!("HTTP/1.1 103 Early Hints\r\nlink: {link}\r\n\r\n");
    let hints = hint("</a>") + &hint("</b>");
    assert!(read.ends_with(format!("y{hints}").as_bytes()));
    server.sample.release.add_permits(1);
    let mut rest = Vec::new();
    within(async {
        while !rest.ends_with(b"taken true") {
            assert_ne!(stream.read_buf(&mut rest).await.unwrap(), 0);
        }
    })
    .await;
    let rest = String::from_utf8(rest).unwrap();
    let last = rest.strip_prefix(&hint("</c>")).unwrap();
    assert!(last.starts_with("HTTP/1.1 200 OK\r\n"), "{last}");
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn http1_0_has_none() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let answer = server
        .raw(b"GET /hints HTTP/1.0\r\nhost: a\r\n\r\n", false)
        .await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(answer.ends_with("taken false"), "{answer}");
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn http2_sends_them_at_once() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let mut sender = http2::library(&server).await;
    // One that is answered without waiting has sent its own before.
    let (mut at_once, _) = sender.send_request(hints(""), true).unwrap();
    let (mut waiting, _) = sender.send_request(hints("?wait"), true).unwrap();
    for response in [&mut at_once, &mut waiting] {
        for link in ["</a>", "</b>"] {
            let hint = within(poll_fn(|cx| response.poll_informational(cx)));
            let hint = hint.await.unwrap().unwrap();
            assert_eq!(hint.status(), 103);
            assert_eq!(hint.headers()["link"], link);
        }
    }
    server.sample.release.add_permits(1);
    let hint = within(poll_fn(|cx| waiting.poll_informational(cx))).await;
    assert_eq!(hint.unwrap().unwrap().headers()["link"], "</c>");
    for response in [at_once, waiting] {
        let response = within(response).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = within(response.into_body().data()).await.unwrap().unwrap();
        assert_eq!(body, "taken true");
    }
    server.stop();
    server.ended().await;
}

fn hints(query: &str) -> Request<()> {
    let uri = format!("http://a.example/hints{query}");
    Request::get(uri).body(()).unwrap()
}

#[tokio::test]
async fn http2_clients_that_wait_are_told_to_go_on() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let mut sender = http2::library(&server).await;
    for (path, is_asked) in [("/echo", true), ("/", false)] {
        let request = Request::post(format!("http://a.example{path}"))
            .header("expect", "100-continue")
            .body(())
            .unwrap();
        let (mut response, mut body) = sender.send_request(request, false).unwrap();
        let told = within(poll_fn(|cx| response.poll_informational(cx))).await;
        let told = told.transpose().unwrap();
        assert_eq!(told.is_some(), is_asked);
        if let Some(told) = told {
            assert_eq!(told.status(), StatusCode::CONTINUE);
            body.send_data("go".into(), true).unwrap();
        }
        let response = within(response).await.unwrap();
        let answer = within(response.into_body().data()).await.unwrap().unwrap();
        assert_eq!(answer, if is_asked { "go" } else { "hello" });
    }
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn http3_sends_them_at_once() {
    let server = Server::start(Security::Tls, Limits::default()).await;
    let mut sender = http3::connect(&server).await;
    let mut stream = sender
        .send_request(http3::get("/hints?wait"))
        .await
        .unwrap();
    stream.finish().await.unwrap();
    for link in ["</a>", "</b>"] {
        let hint = within(stream.recv_response()).await.unwrap();
        assert_eq!(hint.status(), StatusCode::from_u16(103).unwrap());
        assert_eq!(hint.headers()["link"], link);
    }
    server.sample.release.add_permits(1);
    let hint = within(stream.recv_response()).await.unwrap();
    assert_eq!(hint.headers()["link"], "</c>");
    let answer = within(http3::receive(&mut stream)).await.unwrap();
    assert_eq!(answer.head.status(), 200);
    assert_eq!(answer.body, b"taken true");
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_itself_alone() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let mut slow = TcpStream::connect(server.tcp).await.unwrap();
    let large = "GET /large HTTP/1.1\r\nhost: a\r\n\r\n".repeat(4);
    let hints = "GET /hints HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let all = format!("{large}{hints}");
    slow.write_all(all.as_bytes()).await.unwrap();
    let other = server
        .raw(
            b"GET /hints HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
            false,
        )
        .await;
    assert_eq!(other.matches("HTTP/1.1 103").count(), 2);
    let mut all = Vec::new();
    within(slow.read_to_end(&mut all)).await.unwrap();
    let end = String::from_utf8_lossy(all.get(12_000_000..).unwrap());
    let end = end.trim_start_matches('y');
    assert_eq!(end.matches("HTTP/1.1 103").count(), 2, "{end}");
    assert!(end.ends_with("taken true"), "{end}");
    server.stop();
    server.ended().await;
}
