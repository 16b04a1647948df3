//! Certificates: mutual TLS, and files that change.

use std::sync::Arc;

use brink_listener::client::{ALPN_HTTP1, ALPN_HTTP2, ClientTls};
use brink_listener::{Body, Config, Error, Limits, Listener, TlsConfig};
use http::Request;
use http_body_util::BodyExt;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Security, Server, issue, within};
use crate::http2::handshake;
use crate::http3;

/// A connection that speaks HTTP/1.1.
pub(crate) async fn http1(server: &Server) -> TlsStream<TcpStream> {
    connect(&server.client(), server, ALPN_HTTP1).await.unwrap()
}

async fn tls(client: &ClientTls, server: &Server) -> std::io::Result<TlsStream<TcpStream>> {
    connect(client, server, ALPN_HTTP2).await
}

async fn connect(
    client: &ClientTls,
    server: &Server,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(client.config(&[alpn]).unwrap()));
    let stream = TcpStream::connect(server.tcp).await.unwrap();
    within(connector.connect(ServerName::try_from("localhost").unwrap(), stream)).await
}

#[tokio::test]
async fn clients_need_a_certificate_where_it_is_asked_for() {
    let server = Server::start(Security::MutualTls, Limits::default()).await;
    let dir = server.dir.path();
    issue(
        dir,
        "ams",
        &["ams.pop.brink.internal", "10.0.0.1", "ams.example"],
        true,
    );
    let (certificate, key) = (dir.join("ams.pem"), dir.join("ams.key"));
    let ams = server.client().with_identity(&certificate, &key);

    let request = || {
        Request::get("https://localhost/seen")
            .body(Body::empty())
            .unwrap()
    };
    let stream = tls(&ams, &server).await.unwrap();
    let response = within(handshake(stream).await.send_request(request()))
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let expected = "localhost ams.pop.brink.internal,ams.example";
    assert_eq!(body, format!("GET https://localhost/seen h2 {expected}"));

    let quic = http3::quic(&ams, server.quic.unwrap()).await;
    let (mut driver, mut sender) = h3::client::new(h3_quinn::Connection::new(quic))
        .await
        .unwrap();
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    let answer = http3::ask(&mut sender, http3::get("/seen")).await.unwrap();
    assert_eq!(
        answer.body,
        format!("GET https://localhost/seen h3 {expected}").as_bytes()
    );

    // Without one, with one of another authority, with one that is not for clients.
    let elsewhere = tempfile::tempdir().unwrap();
    issue(elsewhere.path(), "ams", &["ams.pop.brink.internal"], true);
    let stranger = server.client().with_identity(
        elsewhere.path().join("ams.pem"),
        elsewhere.path().join("ams.key"),
    );
    let wrong_use = server
        .client()
        .with_identity(dir.join("server.pem"), dir.join("server.key"));
    for client in [server.client(), stranger, wrong_use] {
        // In TLS 1.3 a client is done before the server has seen its certificate.
        if let Ok(stream) = tls(&client, &server).await {
            let io = hyper_util::rt::TokioIo::new(stream);
            let executor = hyper_util::rt::TokioExecutor::new();
            if let Ok((mut sender, connection)) =
                hyper::client::conn::http2::handshake(executor, io).await
            {
                tokio::spawn(connection);
                assert!(within(sender.send_request(request())).await.is_err());
            }
        }
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(client.quic_config().unwrap());
        let connecting = endpoint.connect(server.quic.unwrap(), "localhost").unwrap();
        if let Ok(connection) = within(connecting).await {
            let closed = within(connection.closed()).await;
            assert!(
                matches!(closed, quinn::ConnectionError::ConnectionClosed(_)),
                "{closed}"
            );
        }
    }
}

async fn shown(server: &Server) -> CertificateDer<'static> {
    let stream = tls(&server.client(), server).await.unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_and_a_bad_one_is_not() {
    let mut limits = Limits::default();
    limits.certificate_poll_ms = 20;
    let server = Server::start(Security::Tls, limits).await;
    let first = shown(&server).await;
    assert_eq!(shown(&server).await, first);

    // A bad pair: the key of another certificate.
    let certificate = server.dir.path().join("server.pem");
    issue(server.dir.path(), "other", &["localhost"], false);
    let key = server.dir.path().join("server.key");
    std::fs::copy(server.dir.path().join("other.key"), &key).unwrap();
    for _ in 0..20 {
        assert_eq!(shown(&server).await, first);
    }
    std::fs::write(&certificate, "no certificate").unwrap();
    for _ in 0..20 {
        assert_eq!(shown(&server).await, first);
    }
    issue(server.dir.path(), "server", &["localhost"], false);
    let taken_up = async {
        loop {
            let now = shown(&server).await;
            if now != first {
                return now;
            }
        }
    };
    let second = within(taken_up).await;
    assert_eq!(shown(&server).await, second);
    let quic = http3::quic(&server.client(), server.quic.unwrap()).await;
    let chain = quic
        .peer_identity()
        .unwrap()
        .downcast::<Vec<CertificateDer<'static>>>()
        .unwrap();
    assert_eq!(chain[0], second);
}

#[tokio::test]
async fn what_cannot_be_served_is_told() {
    let any = Some("127.0.0.1:0".parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    issue(dir.path(), "server", &["localhost"], false);
    issue(dir.path(), "other", &["localhost"], false);
    let path = |name: &str| dir.path().join(name);
    let files = |certificate, key, client_ca: Option<&str>| TlsConfig {
        certificate: path(certificate),
        key: path(key),
        client_ca: client_ca.map(path),
    };
    let with = |tls| Config {
        tcp: any,
        tls: Some(tls),
        ..Config::default()
    };
    for (config, expected) in [
        (Config::default(), "neither"),
        (
            Config {
                quic: any,
                ..Config::default()
            },
            "needs a certificate",
        ),
        (
            Config {
                tcp: Some("192.0.2.1:1".parse().unwrap()),
                ..Config::default()
            },
            "192.0.2.1:1",
        ),
        (with(files("none.pem", "server.key", None)), "none.pem"),
        (with(files("server.pem", "none.key", None)), "none.key"),
        (with(files("server.pem", "other.key", None)), "not usable"),
        (
            with(files("server.key", "server.key", None)),
            "no certificate",
        ),
        (
            with(files("server.pem", "server.key", Some("none.pem"))),
            "none.pem",
        ),
        (
            with(files("server.pem", "server.key", Some("server.key"))),
            "no certificate",
        ),
    ] {
        let error: Error = Listener::bind(config).await.err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
