//! The end of a listener.

use brink_listener::Limits;
use http::Request;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Event, Security, Server, within};
use crate::http2;
use crate::http3::{self, get};

#[tokio::test]
async fn requests_in_flight_finish_over_tcp() {
    let mut server = Server::start(Security::Plain, Limits::default()).await;
    let mut idle = TcpStream::connect(server.tcp).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    idle.read_exact(&mut [0; 15]).await.unwrap();
    let mut silent = TcpStream::connect(server.tcp).await.unwrap();

    let mut busy = TcpStream::connect(server.tcp).await.unwrap();
    busy.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(within(server.events.recv()).await, Some(Event::Began));
    let mut sender = http2::plain(&server).await;
    let request = Request::get("http://a/wait")
        .body(brink_listener::Body::empty())
        .unwrap();
    let waiting = tokio::spawn(sender.send_request(request));
    assert_eq!(within(server.events.recv()).await, Some(Event::Began));

    server.stop();
    within(idle.read_to_end(&mut Vec::new())).await.unwrap();
    within(silent.read_to_end(&mut Vec::new())).await.unwrap();
    server.sample.release.add_permits(2);
    let mut answer = String::new();
    within(busy.read_to_string(&mut answer)).await.unwrap();
    assert!(
        answer.contains("connection: close") && answer.ends_with("waited"),
        "{answer}"
    );
    let response = within(waiting).await.unwrap().unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "waited"
    );
    let address = server.tcp;
    server.ended().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn requests_in_flight_finish_over_quic() {
    let mut server = Server::start(Security::Tls, Limits::default()).await;
    let mut sender = http3::connect(&server).await;
    let mut stream = sender.send_request(get("/wait")).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(within(server.events.recv()).await, Some(Event::Began));
    server.stop();
    // Told to go away, or turned away: not answered.
    let late = async { while http3::ask(&mut sender, get("/")).await.is_ok() {} };
    within(late).await;
    server.sample.release.add_permits(1);
    assert_eq!(
        within(http3::receive(&mut stream)).await.unwrap().body,
        b"waited"
    );
    server.ended().await;
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off() {
    for security in [Security::Plain, Security::Tls] {
        let mut limits = Limits::default();
        limits.drain_ms_max = 200;
        let mut server = Server::start(security, limits).await;
        let (mut kept, mut busy) = (None, None);
        if security == Security::Tls {
            let mut sender = http3::connect(&server).await;
            let mut stream = sender.send_request(get("/wait")).await.unwrap();
            stream.finish().await.unwrap();
            kept = Some((sender, stream));
        } else {
            let mut stream = TcpStream::connect(server.tcp).await.unwrap();
            stream
                .write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .unwrap();
            busy = Some(stream);
        }
        assert_eq!(within(server.events.recv()).await, Some(Event::Began));
        server.stop();
        if let Some((_, stream)) = &mut kept {
            assert!(within(http3::receive(stream)).await.is_err());
        }
        if let Some(mut stream) = busy {
            let mut answer = Vec::new();
            let _ = within(stream.read_to_end(&mut answer)).await;
            assert!(answer.is_empty());
        }
        assert_eq!(within(server.events.recv()).await, Some(Event::Dropped));
        server.ended().await;
    }
}

#[tokio::test]
async fn idle_connections_end() {
    let mut limits = Limits::default();
    limits.idle_ms_max = 200;
    limits.header_ms_max = 100;
    let server = Server::start(Security::Tls, limits).await;
    let quic = http3::quic(&server.client(), server.quic.unwrap()).await;
    let (mut driver, mut sender) = h3::client::new(h3_quinn::Connection::new(quic.clone()))
        .await
        .unwrap();
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    assert_eq!(
        http3::ask(&mut sender, get("/")).await.unwrap().body,
        b"hello"
    );
    within(quic.closed()).await;
    let mut silent = TcpStream::connect(server.tcp).await.unwrap();
    // In a handshake that does not begin; its own limit is longer than the test may take.
    server.stop();
    // Reset, if it was not accepted before the stop.
    let _ = within(silent.read_to_end(&mut Vec::new())).await;
    server.ended().await;
}
