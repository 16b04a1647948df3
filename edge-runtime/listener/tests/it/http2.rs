//! HTTP/2 by hyper's client and by the library below it, with prior knowledge and over TLS.

use std::sync::Arc;

use brink_listener::client::{ALPN_HTTP1, ALPN_HTTP2};
use brink_listener::{Body, Limits};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{Event, Security, Server, within};

pub(crate) async fn handshake<I>(stream: I) -> SendRequest<Body>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) async fn plain(server: &Server) -> SendRequest<Body> {
    handshake(TcpStream::connect(server.tcp).await.unwrap()).await
}

/// The library's own client, which tells of interim answers.
pub(crate) async fn library(server: &Server) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(server.tcp).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("http://a.example{path}"))
        .body(Body::empty())
        .unwrap()
}

async fn text(sender: &mut SendRequest<Body>, request: Request<Body>) -> (StatusCode, String) {
    let response = within(sender.send_request(request)).await.unwrap();
    let status = response.status();
    let body = within(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn over_tls_with_alpn_and_post_quantum_keys() {
    let server = Server::start(Security::Tls, Limits::default()).await;
    for (alpn, expected) in [
        (&[ALPN_HTTP2, ALPN_HTTP1][..], "h2"),
        (&[ALPN_HTTP1], "http/1.1"),
        (&[], "http/1.1"),
    ] {
        let connector = TlsConnector::from(Arc::new(server.client().config(alpn).unwrap()));
        let stream = TcpStream::connect(server.tcp).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        let group = stream
            .get_ref()
            .1
            .negotiated_key_exchange_group()
            .unwrap()
            .name();
        assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
        let request = Request::get("https://localhost/seen")
            .body(Body::empty())
            .unwrap();
        let response = if expected == "h2" {
            within(handshake(stream).await.send_request(request))
                .await
                .unwrap()
        } else {
            let io = TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            let mut request = request;
            *request.uri_mut() = "/seen".parse().unwrap();
            request
                .headers_mut()
                .insert("host", HeaderValue::from_static("localhost"));
            within(sender.send_request(request)).await.unwrap()
        };
        let quic = server.quic.unwrap();
        assert_eq!(quic.port(), server.tcp.port());
        let alt_svc = response
            .headers()
            .get("alt-svc")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(alt_svc, format!("h3=\":{}\"; ma=86400", quic.port()));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let expected = format!("GET https://localhost/seen {expected} localhost ");
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let mut sender = plain(&server).await;
    let response = within(sender.send_request(get("/stream"))).await.unwrap();
    let collected = within(response.into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-check"], "sum");
    assert_eq!(collected.to_bytes().len(), 100_000);

    let mut trailers = HeaderMap::new();
    trailers.insert("x-sent", HeaderValue::from_static("1"));
    let frames = (0..200)
        .map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![1; 10_000]))))
        .chain([Ok(Frame::trailers(trailers))]);
    let body = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
    let request = Request::post("http://a.example/echo").body(body).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(response.headers()["x-sent"], "1");
    let body = within(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(body.len(), 2_000_000);
}

#[tokio::test]
async fn requests_get_their_status() {
    let mut limits = Limits::default();
    limits.body_bytes_max = 1000;
    limits.header_bytes_max = 16 * 1024;
    let server = Server::start(Security::Plain, limits).await;
    let mut sender = plain(&server).await;
    let with = |name: &'static str, value: String| {
        let mut request = get("/");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let mut many = get("/");
    for _ in 0..101 {
        many.headers_mut()
            .append("x-a", HeaderValue::from_static("b"));
    }
    let mut large = get("/echo");
    *large.body_mut() = Body::from(vec![1; 1001]);
    let streamed = (0..3).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![1; 500]))));
    let streamed = Body::stream(StreamBody::new(futures_util::stream::iter(streamed)));
    let streamed = Request::post("http://a.example/echo")
        .body(streamed)
        .unwrap();
    let mut trace = get("/");
    *trace.method_mut() = http::Method::TRACE;
    for (request, expected) in [
        (get("/"), 200),
        (with("host", "other".to_owned()), 400),
        (with("x-large", "x".repeat(17_000)), 431),
        (many, 431),
        (large, 413),
        (streamed, 413),
        (trace, 405),
        (get("/panic"), 500),
        (get("/empty"), 204),
        // And the connection is still there.
        (get("/"), 200),
    ] {
        let uri = format!("{} {}", request.method(), request.uri());
        let (status, body) = text(&mut sender, request).await;
        assert_eq!(status.as_u16(), expected, "{uri} {body}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request() {
    let mut server = Server::start(Security::Plain, Limits::default()).await;
    let mut sender = plain(&server).await;
    let pending = tokio::spawn(async move { sender.send_request(get("/wait")).await });
    assert_eq!(within(server.events.recv()).await, Some(Event::Began));
    pending.abort();
    assert_eq!(within(server.events.recv()).await, Some(Event::Dropped));
}

#[tokio::test]
async fn many_requests_at_a_time() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let sender = plain(&server).await;
    let requests = (0..300).map(|_| {
        let mut sender = sender.clone();
        async move { text(&mut sender, get("/")).await }
    });
    for (status, body) in futures_util::future::join_all(requests).await {
        assert_eq!((status, body.as_str()), (StatusCode::OK, "hello"));
    }
}

#[tokio::test]
async fn heads_are_those_of_http2() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let mut sender = plain(&server).await;
    let mut request = get("/large");
    *request.method_mut() = http::Method::HEAD;
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(response.headers()["content-length"], "3000000");
    assert!(response.headers().contains_key("date"));
    let body = within(response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "");

    let response = within(sender.send_request(get("/connection"))).await;
    let response = response.unwrap();
    let mut names: Vec<_> = response
        .headers()
        .keys()
        .map(|name| name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "date"]);

    let response = within(sender.send_request(get("/empty"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(!response.headers().contains_key("content-length"));
}

#[tokio::test]
async fn an_answer_that_breaks_ends_its_stream_alone() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let mut sender = plain(&server).await;
    for path in ["/broken", "/broken/panic"] {
        let response = within(sender.send_request(get(path))).await;
        let broken = match response {
            Ok(response) => within(response.into_body().collect()).await.err(),
            Err(error) => Some(error),
        };
        assert!(broken.is_some(), "{path}");
        let (status, body) = text(&mut sender, get("/")).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "hello"));
    }
}

#[tokio::test]
async fn a_service_that_does_not_read_stops_the_client() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let mut sender = library(&server).await;
    let request = Request::post("http://a.example/wait").body(()).unwrap();
    let (response, mut body) = sender.send_request(request, false).unwrap();
    let window = usize::try_from(Limits::default().stream_window_bytes).unwrap();
    let mut sent = 0;
    while sent < window {
        body.reserve_capacity(window);
        let room = within(std::future::poll_fn(|cx| body.poll_capacity(cx))).await;
        let room = room.unwrap().unwrap();
        body.send_data(vec![1; room].into(), false).unwrap();
        sent += room;
    }
    assert_eq!(sent, window);
    body.reserve_capacity(1);
    // Answered behind all that: the server has seen it.
    let (other, _) = sender
        .send_request(Request::get("http://a.example/").body(()).unwrap(), true)
        .unwrap();
    assert_eq!(within(other).await.unwrap().status(), 200);
    assert_eq!(body.capacity(), 0);
    server.sample.release.add_permits(1);
    assert_eq!(within(response).await.unwrap().status(), 200);
}
