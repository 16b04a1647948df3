//! One connection to a shield: HTTP/2 over mutually authenticated TLS, made when it is needed.

use brink_listener::{BoxError, client::ALPN_HTTP2};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};

/// Time to connect, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A shield that is cut off is noticed within the sum of both.
const PING_EVERY: Duration = Duration::from_secs(1);
/// See [`PING_EVERY`].
const PING_WAIT_MAX: Duration = Duration::from_secs(1);
/// Largest head of an answer, in bytes.
const HEAD_BYTES_MAX: u32 = 256 << 10;

type Sender = SendRequest<Empty<Bytes>>;

/// The way to one shield.
pub(super) struct Connection {
    /// `HOST:PORT`.
    address: String,
    tls: Arc<rustls::ClientConfig>,
    /// Held while it is being made: others wait for the same one.
    sender: Mutex<Option<Sender>>,
}

impl Connection {
    pub(super) fn new(address: String, tls: Arc<rustls::ClientConfig>) -> Self {
        Self {
            address,
            tls,
            sender: Mutex::new(None),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, BoxError> {
        let mut sender = self.sender().await?;
        Ok(sender.send_request(request).await?)
    }

    async fn sender(&self) -> Result<Sender, BoxError> {
        let mut held = self.sender.lock().await;
        if let Some(sender) = held.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        *held = None;
        let sender = timeout(CONNECT_MAX, self.connect()).await??;
        *held = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<Sender, BoxError> {
        let (host, _) = self.address.rsplit_once(':').ok_or("it has no port")?;
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN_HTTP2) {
            return Err("it does not speak HTTP/2".into());
        }
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_WAIT_MAX)
            .max_header_list_size(HEAD_BYTES_MAX)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        let address = self.address.clone();
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(shield = %address, %error, "the connection to a shield ended");
            }
        });
        Ok(sender)
    }
}
