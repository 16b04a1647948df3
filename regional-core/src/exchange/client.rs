//! A connection to another core's link: TLS and HTTP/2, with this core's certificate, to the one node that is meant.

use crate::Error;
use brink_listener::client::{ALPN_HTTP2, ClientTls};
use brink_protocol::{
    NodeName, OriginId,
    codec::{self, FrameReader},
    link::{CORE_SUFFIX, FeedMessage},
    problem::Problem,
};
use bytes::Bytes;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// How long TCP and TLS may take.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Bytes of an answer that is one message, or of a refusal.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why a peer is not followed any more.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The connection was not made, or broke.
    #[error("{0}")]
    Disconnected(String),
    /// It says nothing.
    #[error("it is silent")]
    Silent,
    /// It refused.
    #[error("it answered {0}: {1}")]
    Refused(StatusCode, String),
    /// What it said is no message.
    #[error("what it says cannot be read: {0}")]
    Malformed(#[from] brink_protocol::Error),
    /// It speaks of a log that is not its own.
    #[error("it speaks of the log of {0}, which is not its own")]
    Foreign(OriginId),
    /// Changes are missing after the ones that are held.
    #[error("it left out changes of {0} after {1}")]
    Gap(OriginId, u64),
    /// What it said was not kept.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Failed {
    fn disconnected(error: impl std::fmt::Display) -> Self {
        Self::Disconnected(error.to_string())
    }

    fn hyper(error: &hyper::Error) -> Self {
        use std::error::Error as _;
        let cause = error.source();
        Self::Disconnected(cause.map_or_else(|| error.to_string(), |c| format!("{error}: {c}")))
    }
}

/// One connection; closed when it is dropped.
pub(crate) struct Client {
    name: String,
    sender: http2::SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Client {
    /// Connects to `link` (`HOST:PORT`), which must show the certificate of the node.
    pub(crate) async fn connect(
        node: &NodeName,
        link: &str,
        tls: &ClientTls,
    ) -> Result<Self, Failed> {
        let connecting = Self::connect_to(format!("{node}{CORE_SUFFIX}"), link, tls);
        tokio::time::timeout(CONNECT_MAX, connecting)
            .await
            .map_err(|_| Failed::Silent)?
    }

    async fn connect_to(name: String, link: &str, tls: &ClientTls) -> Result<Self, Failed> {
        // Read each time: certificates may have been issued anew.
        let config = tls.config(&[ALPN_HTTP2]).map_err(Failed::disconnected)?;
        let server = name.clone().try_into().map_err(Failed::disconnected)?;
        let stream = TcpStream::connect(link)
            .await
            .map_err(Failed::disconnected)?;
        stream.set_nodelay(true).map_err(Failed::disconnected)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(server, stream)
            .await
            .map_err(|error| {
                Failed::Disconnected(format!(
                    "{error} (both cores need certificates of one authority: `brink-core issue-core`)"
                ))
            })?;
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(1))
            .keep_alive_timeout(Duration::from_secs(4))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(2 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failed::hyper(&error))?;
        let driver = tokio::spawn(async move {
            // The requests on it fail with the same reason.
            let _ = driver.await;
        });
        Ok(Self {
            name,
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    /// Whether the connection stands as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Asks, and reads the head of the answer.
    async fn send<Q: Serialize + Sync>(&self, path: &str, message: &Q) -> Result<Incoming, Failed> {
        let request = Request::post(format!("https://{}{path}", self.name))
            .header(CONTENT_TYPE, codec::MEDIA_TYPE)
            .body(Full::new(codec::encode(message)?))
            .map_err(Failed::disconnected)?;
        let mut sender = self.sender.clone();
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| Failed::hyper(&error))?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer.into_body());
        }
        let body = whole(answer.into_body(), ANSWER_BYTES_MAX).await;
        let body = body.unwrap_or_default();
        let detail = serde_json::from_slice::<Problem>(&body)
            .map(|problem| problem.detail.unwrap_or(problem.title))
            .unwrap_or_default();
        Err(Failed::Refused(status, detail.chars().take(1000).collect()))
    }

    /// Asks a question that has one answer.
    pub(super) async fn call<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        message: &Q,
    ) -> Result<A, Failed> {
        self.call_for(path, message, ANSWER_BYTES_MAX).await
    }

    /// Asks a question that has one answer, of up to `bytes_max`.
    pub(crate) async fn call_for<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &str,
        message: &Q,
        bytes_max: usize,
    ) -> Result<A, Failed> {
        let body = self.send(path, message).await?;
        Ok(codec::decode(&whole(body, bytes_max).await?)?)
    }

    /// Asks a question whose answer has no end.
    pub(super) async fn stream<Q: Serialize + Sync>(
        &self,
        path: &str,
        message: &Q,
    ) -> Result<Answer, Failed> {
        Ok(Answer {
            body: self.send(path, message).await?,
            frames: FrameReader::default(),
        })
    }
}

async fn whole(body: Incoming, bytes_max: usize) -> Result<Bytes, Failed> {
    let collected = Limited::new(body, bytes_max).collect().await;
    Ok(collected.map_err(Failed::disconnected)?.to_bytes())
}

/// An answer without end.
pub(super) struct Answer {
    body: Incoming,
    frames: FrameReader,
}

impl Answer {
    /// The messages that have arrived since, at least one.
    pub(super) async fn messages(&mut self) -> Result<Vec<FeedMessage>, Failed> {
        let mut messages = Vec::new();
        loop {
            while let Some(message) = self.frames.next()? {
                messages.push(message);
            }
            if !messages.is_empty() {
                return Ok(messages);
            }
            let frame = self.body.frame().await;
            let frame = frame.ok_or_else(|| Failed::Disconnected("it ended the stream".into()))?;
            let frame = frame.map_err(|error| Failed::hyper(&error))?;
            if let Some(data) = frame.data_ref() {
                self.frames.push(data);
            }
        }
    }
}
