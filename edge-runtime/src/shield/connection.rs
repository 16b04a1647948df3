//! One connection to a shield: HTTP/2 over mutually authenticated TLS, made when it is needed.

use super::coming::Coming;
use brink_listener::{Body, BoxError, Interim, client::ALPN_HTTP2};
use brink_policy::http::interim::forwarded;
use bytes::Bytes;
use h2::{
    Ping, PingPong,
    client::{self, ResponseFuture, SendRequest},
};
use http::{Request, Response};
use rustls_pki_types::ServerName;
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};

/// Time to connect, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A shield that is cut off is noticed within the sum of both.
const PING_EVERY: Duration = Duration::from_secs(1);
/// See [`PING_EVERY`].
const PING_WAIT_MAX: Duration = Duration::from_secs(1);
/// Largest head of an answer, in bytes.
const HEAD_BYTES_MAX: u32 = 256 << 10;

/// A connection that was made.
#[derive(Clone)]
struct Made {
    sender: SendRequest<Bytes>,
    has_ended: Arc<AtomicBool>,
}

/// The way to one shield.
pub(super) struct Connection {
    /// `HOST:PORT`.
    address: String,
    tls: Arc<rustls::ClientConfig>,
    /// Held while it is being made: others wait for the same one.
    made: Mutex<Option<Made>>,
}

impl Connection {
    pub(super) fn new(address: String, tls: Arc<rustls::ClientConfig>) -> Self {
        Self {
            address,
            tls,
            made: Mutex::new(None),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request and waits for the head of its answer; interim answers before it go to `interim`.
    pub(super) async fn send(
        &self,
        request: Request<()>,
        interim: Option<&Interim>,
    ) -> Result<Response<Body>, BoxError> {
        let mut sender = self.made().await?.sender.ready().await?;
        let (mut answering, _) = sender.send_request(request, true)?;
        let response = poll_fn(|cx| poll_answer(&mut answering, interim, cx)).await?;
        let (head, body) = response.into_parts();
        let body = Coming::new(body, &head.headers);
        Ok(Response::from_parts(head, Body::stream(body)))
    }

    async fn made(&self) -> Result<Made, BoxError> {
        let mut held = self.made.lock().await;
        let is_open = |made: &&Made| !made.has_ended.load(Ordering::Acquire);
        if let Some(made) = held.as_ref().filter(is_open) {
            return Ok(made.clone());
        }
        *held = None;
        let made = timeout(CONNECT_MAX, self.connect()).await??;
        *held = Some(made.clone());
        Ok(made)
    }

    async fn connect(&self) -> Result<Made, BoxError> {
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
        let (sender, mut connection) = client::Builder::new()
            .enable_push(false)
            .max_header_list_size(HEAD_BYTES_MAX)
            .initial_window_size(1 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake::<_, Bytes>(stream)
            .await?;
        let has_ended = Arc::new(AtomicBool::new(false));
        let (address, pings) = (self.address.clone(), connection.ping_pong());
        let ended = Arc::clone(&has_ended);
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = connection => outcome.map_err(BoxError::from),
                error = silence(pings) => Err(error),
            };
            ended.store(true, Ordering::Release);
            if let Err(error) = outcome {
                tracing::debug!(shield = %address, %error, "the connection to a shield ended");
            }
        });
        Ok(Made { sender, has_ended })
    }
}

/// The answer; interim answers go where they are wanted.
fn poll_answer(
    answering: &mut ResponseFuture,
    interim: Option<&Interim>,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<h2::RecvStream>, h2::Error>> {
    while let Poll::Ready(Some(Ok(head))) = answering.poll_informational(cx) {
        let fields = forwarded(head.status(), head.headers());
        if let (Some(interim), Some(fields)) = (interim, fields) {
            interim.send(head.status(), fields);
        }
    }
    Pin::new(answering).poll(cx)
}

/// Ends when a ping is not answered.
async fn silence(pings: Option<PingPong>) -> BoxError {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(PING_EVERY).await;
        match timeout(PING_WAIT_MAX, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return "it does not answer pings".into(),
        }
    }
}
