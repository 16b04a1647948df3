//! HTTP clients of the tests: hyper over TLS, one connection each.

use brink_listener::client::{ALPN_HTTP1, ALPN_HTTP2, ClientTls};
use brink_protocol::{codec, link::FeedMessage};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{net::SocketAddr, path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn parse<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its status, which must be `status`; the slug of its problem.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.headers[CONTENT_TYPE], "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem["type"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned()
    }

    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .to_str()
            .unwrap()
    }
}

async fn connect(
    address: SocketAddr,
    name: &str,
    tls: ClientTls,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(tls.config(&[alpn]).unwrap()));
    let tcp = TcpStream::connect(address).await?;
    connector
        .connect(name.to_owned().try_into().unwrap(), tcp)
        .await
}

/// A client of the control API.
#[derive(Clone)]
pub struct Control {
    pub address: SocketAddr,
    pub ca: std::path::PathBuf,
    pub token: Option<String>,
}

impl Control {
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    pub fn without_token(&self) -> Self {
        Self {
            token: None,
            ..self.clone()
        }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Answer {
        let media_type = [("content-type", content_type)];
        let fields = if content_type.is_empty() {
            &[][..]
        } else {
            &media_type
        };
        self.send_with(method, path, fields, body).await
    }

    /// With fields of its own; `host` is `localhost` unless it is one of them.
    pub async fn send_with(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.try_send(method, path, fields, body).await.unwrap()
    }

    /// None: the connection failed or broke.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        let tls = ClientTls::new(&self.ca);
        let stream = connect(self.address, "localhost", tls, ALPN_HTTP1)
            .await
            .ok()?;
        let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let method: Method = method.parse().unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if !fields.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost");
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let response = sender
            .send_request(request.body(Full::new(body.into())).unwrap())
            .await
            .ok()?;
        try_read(response).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "", "").await
    }

    pub async fn json(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send(method, path, "application/json", body.to_string())
            .await
    }
}

async fn read(response: http::Response<Incoming>) -> Answer {
    try_read(response).await.unwrap()
}

async fn try_read(response: http::Response<Incoming>) -> Option<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    Some(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// A PoP's connection to a core, over HTTP/2.
#[derive(Clone)]
pub struct Link {
    sender: conn::http2::SendRequest<Full<Bytes>>,
}

impl Link {
    /// Connects with the certificate that `issue-pop` wrote into `identity`.
    pub async fn connect(address: SocketAddr, identity: &Path) -> std::io::Result<Self> {
        let tls = ClientTls::new(identity.join("ca.pem"))
            .with_identity(identity.join("pop.pem"), identity.join("pop.key"));
        Self::with_tls(address, tls).await
    }

    pub async fn with_tls(address: SocketAddr, tls: ClientTls) -> std::io::Result<Self> {
        let stream = connect(address, "core.brink.internal", tls, ALPN_HTTP2).await?;
        let handshake = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://core.brink.internal{path}"))
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(body.into()))
            .unwrap();
        let mut sender = self.sender.clone();
        sender.ready().await?;
        sender.send_request(request).await
    }

    /// Sends a message with one more field.
    pub async fn call_with(
        &self,
        path: &str,
        message: &impl Serialize,
        (name, value): (&str, &str),
    ) -> Answer {
        let request = Request::builder()
            .method("POST")
            .uri(format!("https://core.brink.internal{path}"))
            .header(CONTENT_TYPE, codec::MEDIA_TYPE)
            .header(name, value)
            .body(Full::new(codec::encode(message).unwrap()))
            .unwrap();
        let mut sender = self.sender.clone();
        sender.ready().await.unwrap();
        read(sender.send_request(request).await.unwrap()).await
    }

    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Answer {
        read(self.send(method, path, content_type, body).await.unwrap()).await
    }

    /// Sends a message; none: the connection is gone.
    pub async fn try_call<T: DeserializeOwned>(
        &self,
        path: &str,
        message: &impl Serialize,
    ) -> Option<T> {
        let response = self
            .send(
                "POST",
                path,
                codec::MEDIA_TYPE,
                codec::encode(message).unwrap(),
            )
            .await
            .ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        assert_eq!(status, 200, "{body:?}");
        Some(codec::decode(&body).unwrap())
    }

    pub async fn call<T: DeserializeOwned>(&self, path: &str, message: &impl Serialize) -> T {
        self.try_call(path, message)
            .await
            .expect("the core answers")
    }

    pub async fn feed(&self, message: &impl Serialize) -> FeedReader {
        let body = codec::encode(message).unwrap();
        let path = brink_protocol::link::path::FEED;
        let response = self
            .send("POST", path, codec::MEDIA_TYPE, body)
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        FeedReader {
            body: response.into_body(),
            frames: codec::FrameReader::default(),
        }
    }
}

/// The feed as it arrives.
pub struct FeedReader {
    body: Incoming,
    frames: codec::FrameReader,
}

impl FeedReader {
    /// The next message; none: the feed has ended.
    pub async fn next(&mut self) -> Option<FeedMessage> {
        loop {
            if let Some(message) = self.frames.next().unwrap() {
                return Some(message);
            }
            let frame = self.body.frame().await?.ok()?;
            self.frames.push(frame.data_ref()?);
        }
    }

    /// The next change.
    pub async fn change(&mut self) -> brink_protocol::change::Change {
        loop {
            match self.next().await.expect("the feed goes on") {
                FeedMessage::Change(change) => return change,
                FeedMessage::Start { .. }
                | FeedMessage::Heartbeat { .. }
                | FeedMessage::SessionKeys(_)
                | FeedMessage::Count(_) => {}
            }
        }
    }
}
