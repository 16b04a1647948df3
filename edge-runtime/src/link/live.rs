//! One live connection to the core, over either transport.

use super::{error::LinkError, quic, tcp};
use brink_listener::client::ClientTls;
use brink_protocol::link::CORE_NAME;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long QUIC may take to connect before TCP is tried.
const QUIC_CONNECT_MAX: Duration = Duration::from_millis(1500);
/// How long TCP and TLS may take to connect.
const TCP_CONNECT_MAX: Duration = Duration::from_millis(3000);

/// Which transports the link may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// QUIC; TCP if QUIC does not connect within 1.5 s.
    #[default]
    Auto,
    /// QUIC (HTTP/3) only.
    Quic,
    /// TLS over TCP (HTTP/2) only.
    Tcp,
}

/// TLS of both transports: who we are, whom we trust.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    quic: Arc<rustls::ClientConfig>,
    tcp: Arc<rustls::ClientConfig>,
}

impl Identity {
    /// Reads the files.
    pub(super) fn load(tls: &ClientTls) -> Result<Self, brink_listener::Error> {
        Ok(Self {
            quic: Arc::new(tls.config(&[quic::ALPN])?),
            tcp: Arc::new(tls.config(&[tcp::ALPN])?),
        })
    }
}

/// Sends requests on one connection; cheap to clone.
#[derive(Clone)]
pub(super) struct Live {
    sender: Sender,
    /// Counts what came on it.
    heard: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Sender {
    Quic(quic::Sender),
    Tcp(tcp::Sender),
}

/// Ends with the reason when the connection is over; dropping it closes the connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = String> + Send>>;

/// Connects to the first of `addresses` that answers.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    transport: Transport,
    identity: &Identity,
) -> Result<(Live, Driver), LinkError> {
    let mut failed = LinkError::Disconnected("the core's name has no address".into());
    for address in addresses {
        let outcome = match transport {
            Transport::Quic => over_quic(*address, identity).await,
            Transport::Tcp => over_tcp(*address, identity).await,
            Transport::Auto => match over_quic(*address, identity).await {
                Ok(connected) => Ok(connected),
                Err(quic) => over_tcp(*address, identity)
                    .await
                    .map_err(|tcp| LinkError::Disconnected(format!("{quic}; {tcp}"))),
            },
        };
        match outcome {
            Ok(connected) => return Ok(connected),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn over_quic(address: SocketAddr, identity: &Identity) -> Result<(Live, Driver), LinkError> {
    let connecting = quic::connect(address, CORE_NAME, Arc::clone(&identity.quic));
    let (sender, driver) = within(QUIC_CONNECT_MAX, connecting).await?;
    Ok((Live::new(Sender::Quic(sender)), Box::pin(driver.run())))
}

async fn over_tcp(address: SocketAddr, identity: &Identity) -> Result<(Live, Driver), LinkError> {
    let connecting = tcp::connect(address, CORE_NAME, Arc::clone(&identity.tcp));
    let (sender, driver) = within(TCP_CONNECT_MAX, connecting).await?;
    let driver = async move {
        match driver.await {
            Ok(()) => "the core closed the connection".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    Ok((Live::new(Sender::Tcp(sender)), Box::pin(driver)))
}

async fn within<T>(
    limit: Duration,
    connecting: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    tokio::time::timeout(limit, connecting)
        .await
        .unwrap_or(Err(LinkError::Timeout(ms)))
}

impl Live {
    fn new(sender: Sender) -> Self {
        Self {
            sender,
            heard: Arc::default(),
        }
    }

    /// `quic` or `tcp`.
    pub(super) const fn transport(&self) -> &'static str {
        match self.sender {
            Sender::Quic(_) => "quic",
            Sender::Tcp(_) => "tcp",
        }
    }

    /// A number that changes whenever something comes from the core: heads and pieces of answers.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Sends one request with its whole body and waits for the head of the answer.
    pub(super) async fn send(
        self,
        request: Request<()>,
        body: Bytes,
    ) -> Result<Response<AnswerBody>, LinkError> {
        let heard = self.heard;
        let (head, kind) = match self.sender {
            Sender::Quic(sender) => {
                let (head, stream) = quic::send(sender, request, body).await?;
                (head, Kind::Quic(Box::new(stream)))
            }
            Sender::Tcp(sender) => {
                let (head, incoming) = tcp::send(sender, request, body).await?;
                (head, Kind::Tcp(incoming))
            }
        };
        heard.fetch_add(1, Ordering::Relaxed);
        Ok(head.map(|()| AnswerBody { kind, heard }))
    }
}

/// The body of an answer, as it arrives.
pub struct AnswerBody {
    kind: Kind,
    heard: Arc<AtomicU64>,
}

enum Kind {
    Quic(Box<quic::Stream>),
    Tcp(Incoming),
}

impl AnswerBody {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// The connection or the stream broke before the end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, LinkError> {
        let piece = match &mut self.kind {
            Kind::Quic(stream) => quic::piece(stream).await,
            Kind::Tcp(incoming) => tcp::piece(incoming).await,
        };
        if let Ok(Some(_)) = piece {
            self.heard.fetch_add(1, Ordering::Relaxed);
        }
        piece
    }

    /// The whole body.
    ///
    /// # Errors
    /// It is over `bytes_max`, or broke before its end.
    pub async fn whole(mut self, bytes_max: usize) -> Result<Bytes, LinkError> {
        let Some(first) = self.piece().await? else {
            return Ok(Bytes::new());
        };
        let check = |length: usize| {
            if length > bytes_max {
                Err(LinkError::Malformed(format!(
                    "it is over {bytes_max} bytes"
                )))
            } else {
                Ok(())
            }
        };
        check(first.len())?;
        let Some(second) = self.piece().await? else {
            return Ok(first);
        };
        let mut whole = BytesMut::from(first.as_ref());
        let mut next = Some(second);
        while let Some(piece) = next {
            check(whole.len() + piece.len())?;
            whole.extend_from_slice(&piece);
            next = self.piece().await?;
        }
        Ok(whole.freeze())
    }
}
