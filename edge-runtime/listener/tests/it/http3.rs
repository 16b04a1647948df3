//! HTTP/3 by a client of h3 and quinn.

use std::net::SocketAddr;

use brink_listener::Limits;
use brink_listener::client::ClientTls;
use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use http::{HeaderMap, HeaderValue, Method, Request, Response};

use crate::harness::{Event, Security, Server, within};

pub(crate) type Sender = SendRequest<OpenStreams, Bytes>;

pub(crate) async fn quic(client: &ClientTls, server: SocketAddr) -> quinn::Connection {
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(client.quic_config().unwrap());
    within(endpoint.connect(server, "localhost").unwrap())
        .await
        .unwrap()
}

pub(crate) async fn connect(server: &Server) -> Sender {
    let quic = quic(&server.client(), server.quic.unwrap()).await;
    let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(quic))
        .await
        .unwrap();
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    sender
}

pub(crate) fn request(method: Method, path: &str) -> Request<()> {
    let uri = format!("https://localhost{path}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

pub(crate) fn get(path: &str) -> Request<()> {
    request(Method::GET, path)
}

pub(crate) struct Answer {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

pub(crate) async fn receive(
    stream: &mut RequestStream<BidiStream<Bytes>, Bytes>,
) -> Result<Answer, h3::error::StreamError> {
    let head = stream.recv_response().await?;
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let trailers = stream.recv_trailers().await?;
    Ok(Answer {
        head,
        body,
        trailers,
    })
}

pub(crate) async fn ask(
    sender: &mut Sender,
    request: Request<()>,
) -> Result<Answer, h3::error::StreamError> {
    within(async {
        let mut stream = sender.send_request(request).await?;
        stream.finish().await?;
        receive(&mut stream).await
    })
    .await
}

#[tokio::test]
async fn answers_are_whole() {
    let server = Server::start(Security::Tls, Limits::default()).await;
    let mut sender = connect(&server).await;
    let answer = ask(&mut sender, get("/seen?q")).await.unwrap();
    assert_eq!(answer.head.status(), 200);
    assert_eq!(answer.body, b"GET https://localhost/seen?q h3 localhost ");
    let headers = answer.head.headers();
    assert_eq!(headers["content-length"], "42");
    assert!(httpdate::parse_http_date(headers["date"].to_str().unwrap()).is_ok());
    assert!(!headers.contains_key("alt-svc"));

    let large = ask(&mut sender, get("/large")).await.unwrap();
    assert_eq!(large.body.len(), 3_000_000);
    let stream = ask(&mut sender, get("/stream")).await.unwrap();
    assert_eq!(stream.body.len(), 100_000);
    assert_eq!(stream.trailers.unwrap()["x-check"], "sum");
    let head = ask(&mut sender, request(Method::HEAD, "/large"))
        .await
        .unwrap();
    assert_eq!(
        (head.body.len(), &head.head.headers()["content-length"]),
        (0, &HeaderValue::from(3_000_000))
    );
    let empty = ask(&mut sender, get("/empty")).await.unwrap();
    assert_eq!((empty.head.status().as_u16(), empty.body.len()), (204, 0));
    assert!(!empty.head.headers().contains_key("content-length"));
    assert!(ask(&mut sender, get("/broken")).await.is_err());
    // The connection is still good.
    assert_eq!(ask(&mut sender, get("/")).await.unwrap().body, b"hello");
}

#[tokio::test]
async fn bodies_and_trailers_are_read() {
    let server = Server::start(Security::Tls, Limits::default()).await;
    let mut sender = connect(&server).await;
    let answer = within(async {
        let mut stream = sender
            .send_request(request(Method::POST, "/echo"))
            .await
            .unwrap();
        for _ in 0..100 {
            stream
                .send_data(Bytes::from(vec![3; 10_000]))
                .await
                .unwrap();
            // An empty DATA frame is not the end.
            stream.send_data(Bytes::new()).await.unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sent", HeaderValue::from_static("1"));
        stream.send_trailers(trailers).await.unwrap();
        stream.finish().await.unwrap();
        receive(&mut stream).await.unwrap()
    });
    let answer = answer.await;
    assert_eq!(answer.body.len(), 1_000_000);
    assert_eq!(answer.head.headers()["x-sent"], "1");
}

#[tokio::test]
async fn requests_get_their_status() {
    let mut limits = Limits::default();
    limits.body_bytes_max = 1000;
    limits.body_progress_ms = 300;
    let server = Server::start(Security::Tls, limits).await;
    let mut sender = connect(&server).await;
    let with = |name: &'static str, value: &str| {
        let mut request = get("/echo");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let mut many = get("/");
    for _ in 0..101 {
        many.headers_mut()
            .append("x-a", HeaderValue::from_static("b"));
    }
    for (request, expected) in [
        (get("/"), 200),
        (get("/panic"), 500),
        (request(Method::TRACE, "/"), 405),
        (many, 431),
        (with("transfer-encoding", "chunked"), 400),
        (with("content-length", "x"), 400),
        (with("content-length", "5"), 400),
        (get("/"), 200),
    ] {
        let what = format!("{} {}", request.method(), request.uri());
        match ask(&mut sender, request).await {
            Ok(answer) => assert_eq!(answer.head.status(), expected, "{what}"),
            // RFC 9114 §4.1.2: a malformed message may be reset.
            Err(error) => assert_eq!(expected, 400, "{what}: {error}"),
        }
    }
    for (declared, lengths, finish, expected) in [
        (None, &[600, 600][..], true, 413),
        (Some("1001"), &[], false, 413),
        (None, &[1], false, 408),
    ] {
        let answer = within(async {
            let mut request = request(Method::POST, "/echo");
            if let Some(declared) = declared {
                request
                    .headers_mut()
                    .insert("content-length", HeaderValue::from_static(declared));
            }
            let mut stream = sender.send_request(request).await.unwrap();
            for length in lengths {
                stream
                    .send_data(Bytes::from(vec![3; *length]))
                    .await
                    .unwrap();
            }
            if finish {
                stream.finish().await.unwrap();
            }
            receive(&mut stream).await.unwrap()
        });
        assert_eq!(answer.await.head.status(), expected);
    }
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let server = Server::start(Security::Tls, Limits::default()).await;
    let mut sender = connect(&server).await;
    within(async {
        let mut stream = sender
            .send_request(request(Method::POST, "/"))
            .await
            .unwrap();
        for _ in 0..20 {
            stream
                .send_data(Bytes::from(vec![3; 10_000]))
                .await
                .unwrap();
            tokio::task::yield_now().await;
        }
        stream.finish().await.unwrap();
        assert_eq!(receive(&mut stream).await.unwrap().body, b"hello");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request() {
    let mut server = Server::start(Security::Tls, Limits::default()).await;
    let mut sender = connect(&server).await;
    let mut stream = sender.send_request(get("/wait")).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(within(server.events.recv()).await, Some(Event::Began));
    stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
    assert_eq!(within(server.events.recv()).await, Some(Event::Dropped));
    assert_eq!(ask(&mut sender, get("/")).await.unwrap().body, b"hello");
}

#[tokio::test]
async fn many_requests_at_a_time() {
    let server = Server::start(Security::Tls, Limits::default()).await;
    let sender = connect(&server).await;
    let requests = (0..300).map(|_| {
        let mut sender = sender.clone();
        async move { ask(&mut sender, get("/")).await.unwrap().body }
    });
    for body in futures_util::future::join_all(requests).await {
        assert_eq!(body, b"hello");
    }
}

#[tokio::test]
async fn connections_are_counted() {
    let mut limits = Limits::default();
    limits.connections_per_address_max = 1;
    let server = Server::start(Security::Tls, limits).await;
    let mut first = connect(&server).await;
    assert_eq!(ask(&mut first, get("/")).await.unwrap().body, b"hello");
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(server.client().quic_config().unwrap());
    let second = within(endpoint.connect(server.quic.unwrap(), "localhost").unwrap()).await;
    assert!(
        matches!(second, Err(quinn::ConnectionError::ConnectionClosed(_))),
        "{second:?}"
    );
    assert_eq!(ask(&mut first, get("/")).await.unwrap().body, b"hello");
}
