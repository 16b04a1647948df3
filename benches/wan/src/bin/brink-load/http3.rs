//! HTTP/3: one connection to one address, made anew when it breaks.

use crate::{
    Error,
    answer::{Answer, BODY_BYTES_MAX, Outcome, Silence},
};
use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use rustls::ClientConfig;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// How long a handshake may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// When a silent connection is given up.
const IDLE: Duration = Duration::from_secs(6);
/// How often an idle connection is tried.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

type Sender = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

/// A client of one address.
#[derive(Clone)]
pub(crate) struct Http3 {
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    /// The connection's, while there is one, with its number.
    sender: Arc<Mutex<(u64, Option<Sender>)>>,
}

impl Http3 {
    /// Opens a socket; connects with the first request.
    pub(crate) fn new(address: SocketAddr, tls: &ClientConfig) -> Result<Self, Error> {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let wrong = |what: String| Error::Setup(format!("HTTP/3: {what}"));
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls);
        let crypto = crypto.map_err(|error| wrong(error.to_string()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        let mut transport = quinn::TransportConfig::default();
        transport.max_idle_timeout(quinn::IdleTimeout::try_from(IDLE).ok());
        transport.keep_alive_interval(Some(KEEP_ALIVE));
        config.transport_config(Arc::new(transport));
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let endpoint = quinn::Endpoint::client(any);
        let mut endpoint = endpoint.map_err(|error| wrong(error.to_string()))?;
        endpoint.set_default_client_config(config);
        Ok(Self {
            endpoint,
            address,
            sender: Arc::default(),
        })
    }

    /// Sends a request with its whole body and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<()>, body: Bytes) -> Outcome {
        let (number, sender) = self.sender().await?;
        let answer = exchange(sender, request, body).await;
        if answer.is_none() {
            let mut present = self.sender.lock().await;
            if present.0 == number {
                present.1 = None;
            }
        }
        answer.ok_or(Silence::BrokeOff)
    }

    async fn sender(&self) -> Result<(u64, Sender), Silence> {
        let mut present = self.sender.lock().await;
        if let (number, Some(sender)) = &*present {
            return Ok((*number, sender.clone()));
        }
        let connect = async {
            let connecting = self.endpoint.connect(self.address, "localhost").ok()?;
            let connection = connecting.await.ok()?;
            h3::client::new(h3_quinn::Connection::new(connection))
                .await
                .ok()
        };
        let connected = tokio::time::timeout(CONNECT_WITHIN, connect).await;
        let (mut driver, sender) = connected.ok().flatten().ok_or(Silence::Refused)?;
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        *present = (present.0 + 1, Some(sender.clone()));
        Ok((present.0, sender))
    }
}

/// None: it broke off.
async fn exchange(mut sender: Sender, request: Request<()>, body: Bytes) -> Option<Answer> {
    let mut stream = sender.send_request(request).await.ok()?;
    if !body.is_empty() {
        stream.send_data(body).await.ok()?;
    }
    stream.finish().await.ok()?;
    let (head, ()) = stream.recv_response().await.ok()?.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = stream.recv_data().await.ok()? {
        if body.len() + data.remaining() > BODY_BYTES_MAX {
            return None;
        }
        body.extend_from_slice(data.chunk());
    }
    Some(Answer {
        status: head.status,
        headers: head.headers,
        body: body.freeze(),
    })
}
