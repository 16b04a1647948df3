//! The client against origins on loopback that do as they please.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use super::*;
use crate::origin::BodyError;
use brink_protocol::deployment::default_tenant;
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// An origin that does with its connection number `n` what `act` says.
async fn origin<F, A>(act: A) -> String
where
    F: Future<Output = ()> + Send,
    A: Fn(usize, TcpStream) -> F + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let act = Arc::new(act);
    tokio::spawn(async move {
        for n in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let act = act.clone();
            tokio::spawn(async move { act(n, stream).await });
        }
    });
    url
}

/// Reads a request's head; empty at the end of the connection.
async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn origins(change: impl FnOnce(&mut Config)) -> Origins {
    let mut config = Config::default();
    change(&mut config);
    Origins::new(config).unwrap()
}

fn at(url: &str) -> OriginTarget {
    OriginTarget::one(&default_tenant(), url)
}

fn get(path: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = format!("https://public.example{path}").parse().unwrap();
    request
}

async fn body(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn fields_both_ways() {
    let url = origin(|_, mut stream| async move {
        let head = head(&mut stream).await;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-end: 1\r\ncontent-length: {}\r\n\r\n{head}",
            head.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let mut request = get("/a?b");
    request
        .extensions_mut()
        .insert("10.1.2.3:4".parse::<SocketAddr>().unwrap());
    for (name, value) in [
        ("host", "public.example"),
        ("connection", "x-mine, close"),
        ("x-mine", "1"),
        ("te", "gzip, trailers"),
        ("x-forwarded-for", "6.6.6.6"),
        ("accept", "text/plain"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = origins(|_| {}).send(&at(&url), request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("x-end"));
    for gone in ["connection", "x-hop", "keep-alive"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
    let seen = String::from_utf8(body(response).await.to_vec()).unwrap();
    let lines: Vec<&str> = seen.trim_end().split("\r\n").collect();
    let host = format!("host: {}", url.strip_prefix("http://").unwrap());
    assert_eq!(lines[0], "GET /a?b HTTP/1.1");
    for line in [
        host.as_str(),
        "accept: text/plain",
        "via: 1.1 brink",
        "x-forwarded-for: 10.1.2.3",
        "x-forwarded-proto: https",
        "x-forwarded-host: public.example",
        "forwarded: for=10.1.2.3;host=\"public.example\";proto=https",
        // The edge's own: trailers are passed on.
        "te: trailers",
        "connection: te",
    ] {
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
    let is_clients = |line: &&str| line.starts_with("x-mine") || line.ends_with("gzip");
    assert!(!lines.iter().any(is_clients), "{lines:?}");
}

#[tokio::test]
async fn a_reused_connection_that_fails_is_tried_again_for_idempotent_requests_alone() {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let url = origin(move |_, mut stream| {
        let count = count.clone();
        async move {
            // The first request of a connection is answered, the second is read and dropped.
            head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            if !head(&mut stream).await.is_empty() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let origins = origins(|_| {});
    assert_eq!(
        body(origins.send(&at(&url), get("/1")).await.unwrap()).await,
        "ok"
    );
    assert_eq!(
        body(origins.send(&at(&url), get("/2")).await.unwrap()).await,
        "ok"
    );
    assert_eq!(
        seen.load(Ordering::SeqCst),
        1,
        "it came by the first connection, and again by a new one"
    );
    let mut put = get("/3");
    *put.method_mut() = Method::PUT;
    *put.body_mut() = Body::from("x");
    assert_eq!(
        body(origins.send(&at(&url), put).await.unwrap()).await,
        "ok"
    );
    let mut post = get("/4");
    *post.method_mut() = Method::POST;
    *post.body_mut() = Body::from("x");
    let error = origins.send(&at(&url), post).await.unwrap_err();
    assert!(matches!(error, Error::Exchange { .. }), "{error}");
    assert_eq!(error.problem().status, 502);
}

#[tokio::test]
async fn limits_of_time_and_size() {
    let url = origin(|_, mut stream| async move {
        let head = head(&mut stream).await;
        let answer: &[u8] = match head.split(' ').nth(1).unwrap() {
            "/silent" => b"",
            "/stalls" => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
            "/large" => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
            "/endless" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n",
            "/nonsense" => b"hello\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        };
        stream.write_all(answer).await.unwrap();
        // Stays open until the client goes.
        let _ = stream.read_u8().await;
    })
    .await;
    // Times are short only where they are to run out.
    let small = |config: &mut Config| {
        config.response_bytes_max = 50;
        config.request_bytes_max = 3;
    };
    let impatient = origins(|config| config.response_ms_max = 50);
    let origins_idle = origins(|config| config.body_idle_ms_max = 50);
    let origins = origins(small);
    for (client, path, status) in [
        (&impatient, "/silent", 504),
        (&origins, "/large", 502),
        (&origins, "/nonsense", 502),
    ] {
        let error = client.send(&at(&url), get(path)).await.unwrap_err();
        assert_eq!(error.problem().status, status, "{path}: {error}");
    }
    for (client, path, too_large) in [
        (&origins_idle, "/stalls", false),
        (&origins, "/endless", true),
    ] {
        let response = client.send(&at(&url), get(path)).await.unwrap();
        let error = response.into_body().collect().await.unwrap_err();
        let error = error.downcast_ref::<BodyError>().unwrap();
        assert_eq!(
            matches!(error, BodyError::TooLarge { limit: 50 }),
            too_large,
            "{path}: {error}"
        );
        assert_eq!(
            matches!(error, BodyError::Idle { .. }),
            !too_large,
            "{path}: {error}"
        );
    }
    let mut post = get("/");
    *post.method_mut() = Method::POST;
    *post.body_mut() = Body::from("four");
    assert_eq!(
        origins
            .send(&at(&url), post)
            .await
            .unwrap_err()
            .problem()
            .status,
        413
    );
    let mut streamed = get("/");
    *streamed.method_mut() = Method::POST;
    let frames = futures_util::stream::iter([Ok::<_, std::io::Error>(http_body::Frame::data(
        Bytes::from_static(b"four"),
    ))]);
    *streamed.body_mut() = Body::stream(http_body_util::StreamBody::new(frames));
    assert_eq!(
        origins
            .send(&at(&url), streamed)
            .await
            .unwrap_err()
            .problem()
            .status,
        413
    );
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = origins(|_| {}).send(&at(&url), get("/")).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert_eq!(error.problem().status, 502);
    let error = origins(|_| {})
        .send(&at("not a url"), get("/"))
        .await
        .unwrap_err();
    assert_eq!(error.problem().status, 500);
}

#[tokio::test]
async fn tls_with_an_authority_of_our_own() {
    use brink_listener::authority::{DevAuthority, Leaf};
    let dir = tempfile::tempdir().unwrap();
    let authority = DevAuthority::open_or_create(dir.path()).unwrap();
    let (certificate, key) = (dir.path().join("leaf.pem"), dir.path().join("leaf.key"));
    let leaf = Leaf {
        names: vec!["localhost".into()],
        client: false,
        server: true,
    };
    authority.issue(&leaf, &certificate, &key).unwrap();
    let listener = brink_listener::Listener::bind(brink_listener::Config {
        tcp: Some("127.0.0.1:0".parse().unwrap()),
        tls: Some(brink_listener::TlsConfig {
            certificate,
            key,
            client_ca: None,
        }),
        ..Default::default()
    })
    .await
    .unwrap();
    let port = listener.tcp_addr().unwrap().port();
    let stop = tokio_util::sync::CancellationToken::new();
    let serving = tokio::spawn(listener.serve(Arc::new(Echo), stop.clone()));
    let url = format!("https://localhost:{port}");
    let trusting = origins(|config| config.ca = Some(dir.path().join("ca.pem")));
    let response = trusting.send(&at(&url), get("/over-h2")).await.unwrap();
    assert_eq!(body(response).await, "h2 /over-h2");
    let error = origins(|_| {}).send(&at(&url), get("/")).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    stop.cancel();
    serving.await.unwrap();
    assert!(
        Origins::new(Config {
            ca: Some(dir.path().join("none.pem")),
            ..Config::default()
        })
        .is_err()
    );
}

struct Echo;

impl brink_listener::Service for Echo {
    async fn call(
        &self,
        request: Request<Body>,
        connection: Arc<brink_listener::Connection>,
    ) -> Response<Body> {
        Response::new(Body::from(format!(
            "{} {}",
            connection.protocol.as_str(),
            request.uri().path()
        )))
    }
}
