//! The link over QUIC and HTTP/3.

use super::error::LinkError;
use bytes::{Buf, Bytes};
use http::{Request, Response};
use quinn::crypto::rustls::QuicClientConfig;
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// ALPN of HTTP/3, RFC 9114 §3.1.
pub(super) const ALPN: &[u8] = b"h3";

/// Sends requests on one connection; cheap to clone.
pub(super) type Sender = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;
/// One request and its answer.
pub(super) type Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// Ends with the reason when the connection is over.
pub(super) struct Driver {
    connection: h3::client::Connection<h3_quinn::Connection, Bytes>,
    // The socket lives as long as the endpoint.
    _endpoint: quinn::Endpoint,
}

impl Driver {
    /// Runs until the connection is over.
    pub(super) async fn run(mut self) -> String {
        self.connection.wait_idle().await.to_string()
    }
}

/// Connects to `address`, which must show a certificate for `name`.
pub(super) async fn connect(
    address: SocketAddr,
    name: &str,
    tls: Arc<rustls::ClientConfig>,
) -> Result<(Sender, Driver), LinkError> {
    let broken = |reason: String| LinkError::Disconnected(format!("QUIC to {address}: {reason}"));
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = quinn::Endpoint::client(local).map_err(|e| broken(e.to_string()))?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|e| broken(e.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    let quic = endpoint
        .connect_with(config, address, name)
        .map_err(|e| broken(e.to_string()))?
        .await
        .map_err(|e| broken(e.to_string()))?;
    let (connection, sender) = h3::client::builder()
        .send_grease(false)
        .build(h3_quinn::Connection::new(quic))
        .await
        .map_err(|e| broken(e.to_string()))?;
    let driver = Driver {
        connection,
        _endpoint: endpoint,
    };
    Ok((sender, driver))
}

/// A core that is gone is noticed within five seconds, an idle connection stays.
fn transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport
        .keep_alive_interval(Some(Duration::from_secs(1)))
        .max_idle_timeout(quinn::IdleTimeout::try_from(Duration::from_secs(5)).ok())
        // Whether the core is there is to be known within the fallback's 1.5 s though a packet is lost.
        .initial_rtt(Duration::from_millis(100));
    transport
}

/// Sends one request with its whole body and waits for the head of the answer.
pub(super) async fn send(
    mut sender: Sender,
    request: Request<()>,
    body: Bytes,
) -> Result<(Response<()>, Stream), LinkError> {
    // Without the end of its body no core acts on a question.
    let unsent = |e: h3::error::StreamError| LinkError::NotSent(e.to_string());
    let mut stream = sender.send_request(request).await.map_err(unsent)?;
    // A core that answers without reading to the end resets our half: its answer still counts.
    let sent = async {
        if !body.is_empty() {
            stream.send_data(body).await?;
        }
        stream.finish().await
    };
    let sent = sent.await;
    match (stream.recv_response().await, sent) {
        (Ok(response), _) => Ok((response, stream)),
        (Err(_), Err(error)) => Err(unsent(error)),
        (Err(error), Ok(())) => Err(broken(&error)),
    }
}

/// RFC 9114 §4.1.1: what is rejected was not begun.
fn broken(error: &h3::error::StreamError) -> LinkError {
    match error {
        h3::error::StreamError::RemoteTerminate { code, .. }
            if *code == h3::error::Code::H3_REQUEST_REJECTED =>
        {
            LinkError::NotSent(error.to_string())
        }
        _ => LinkError::Disconnected(error.to_string()),
    }
}

/// The next piece of the answer's body.
pub(super) async fn piece(stream: &mut Stream) -> Result<Option<Bytes>, LinkError> {
    match stream.recv_data().await {
        Ok(Some(mut piece)) => Ok(Some(piece.copy_to_bytes(piece.remaining()))),
        Ok(None) => Ok(None),
        Err(error) => Err(broken(&error)),
    }
}
