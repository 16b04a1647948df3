//! The core link: questions to the regional core over mutually authenticated QUIC, or TLS where QUIC does not get
//! through.
//!
//! One connection carries everything. [`Link::maintain`] keeps it: when it breaks it is made anew, with waits that
//! double from 50 ms to 2 s. A question that finds no connection waits at most a second for one.

mod error;
mod live;
mod quic;
mod tcp;

pub use error::LinkError;
pub use live::{AnswerBody, Transport};

use crate::{backoff::Backoff, chance::chance};
use brink_listener::client::ClientTls;
use brink_protocol::{
    codec,
    link::{CORE_NAME, path},
};
use brink_telemetry::TraceContext;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header::CONTENT_TYPE};
use live::{Identity, Live};
use metrics::{Counter, Gauge, Histogram};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Bytes of a refusal that are read for its reason.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// How long a question waits for a connection when there is none.
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(1);

/// Where the core is and what questions to it may cost.
#[derive(Debug, Clone)]
pub struct Config {
    /// `HOST:PORT`; a name is looked up at each connect.
    pub address: String,
    /// Our certificate and key, and the authority of the core's.
    pub tls: ClientTls,
    /// Which transports may be used.
    pub transport: Transport,
    /// Time for one question, from the call to the whole answer.
    pub request_time_max: Duration,
    /// Questions in flight; more wait, until their deadline.
    pub requests_max: usize,
}

/// The link to the core. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    config: Config,
    identity: Identity,
    live: watch::Sender<Option<Live>>,
    suspect: Notify,
    permits: Semaphore,
    figures: Figures,
}

/// Metrics by path, registered once.
struct Figures {
    by_path: HashMap<&'static str, (Counter, Histogram)>,
    connected: Gauge,
    connects: Counter,
}

impl Figures {
    fn new() -> Self {
        let paths = [
            path::RECORDS,
            path::COMMANDS,
            path::PURGES,
            path::FORWARDED_PURGES,
            path::COMPONENTS,
            path::DEPLOYMENTS,
            path::FEED,
            path::REPORTS,
        ];
        let register = |path: &'static str| {
            (
                metrics::counter!("brink_link_requests_total", "path" => path),
                metrics::histogram!("brink_link_request_seconds", "path" => path),
            )
        };
        Self {
            by_path: paths.iter().map(|path| (*path, register(path))).collect(),
            connected: metrics::gauge!("brink_link_connected"),
            connects: metrics::counter!("brink_link_connects_total"),
        }
    }

    fn answered(&self, path: &'static str, began: Instant, failure: Option<&LinkError>) {
        if let Some((requests, seconds)) = self.by_path.get(path) {
            requests.increment(1);
            seconds.record(began.elapsed().as_secs_f64());
        }
        if let Some(error) = failure {
            metrics::counter!("brink_link_errors_total", "path" => path, "reason" => error.outcome())
                .increment(1);
        }
    }
}

impl Link {
    /// A link that is not connected yet: [`Link::maintain`] connects it.
    ///
    /// # Errors
    /// A certificate or key cannot be read.
    pub fn new(config: Config) -> Result<Self, brink_listener::Error> {
        Ok(Self(Arc::new(Inner {
            identity: Identity::load(&config.tls)?,
            live: watch::Sender::new(None),
            suspect: Notify::new(),
            permits: Semaphore::new(config.requests_max),
            figures: Figures::new(),
            config,
        })))
    }

    /// Keeps the link connected until `stop`.
    pub async fn maintain(&self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let mut told = false;
        while !stop.is_cancelled() {
            let connected = tokio::select! {
                () = stop.cancelled() => return,
                connected = self.connect() => connected,
            };
            match connected {
                Ok((live, driver)) => {
                    tracing::info!(core = %self.0.config.address, transport = live.transport(), "core link connected");
                    (told, backoff) = (false, fresh(backoff));
                    let reason = self.hold(live, driver, &stop).await;
                    if !stop.is_cancelled() {
                        tracing::warn!(core = %self.0.config.address, reason, "core link lost");
                    }
                }
                Err(error) if told => tracing::debug!(%error, "core link not connected"),
                Err(error) => {
                    told = true;
                    tracing::warn!(core = %self.0.config.address, %error, "core link not connected, trying on");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(backoff.next(chance())) => {}
            }
        }
    }

    async fn connect(&self) -> Result<(Live, live::Driver), LinkError> {
        let config = &self.0.config;
        let addresses: Vec<_> = tokio::net::lookup_host(&config.address)
            .await
            .map_err(|e| LinkError::Disconnected(format!("{}: {e}", config.address)))?
            .collect();
        live::connect(&addresses, config.transport, &self.0.identity).await
    }

    /// Lends the connection out until it is over; answers why it is.
    async fn hold(&self, live: Live, driver: live::Driver, stop: &CancellationToken) -> String {
        self.0.figures.connected.set(1.0);
        self.0.figures.connects.increment(1);
        self.0.live.send_replace(Some(live));
        let reason = tokio::select! {
            reason = driver => reason,
            () = self.0.suspect.notified() => "it is silent".to_owned(),
            () = stop.cancelled() => "the edge stops".to_owned(),
        };
        self.0.live.send_replace(None);
        self.0.figures.connected.set(0.0);
        reason
    }

    /// The connection seems dead though its transport says nothing: close it and connect anew.
    pub fn suspect(&self) {
        if self.0.live.borrow().is_some() {
            self.0.suspect.notify_one();
        }
    }

    /// `quic` or `tcp`; none while there is no connection.
    #[must_use]
    pub fn transport(&self) -> Option<&'static str> {
        self.0.live.borrow().as_ref().map(Live::transport)
    }

    /// Asks one question in messages of the link, within the configured time.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn call<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &'static str,
        question: &Q,
        trace: Option<&TraceContext>,
    ) -> Result<A, LinkError> {
        let body = codec::encode(question).map_err(|e| LinkError::Malformed(e.to_string()))?;
        let request = Ask {
            method: Method::POST,
            path,
            suffix: "",
            body,
            trace,
        };
        let answer = self.bounded(request, codec::MESSAGE_BYTES_MAX).await?;
        codec::decode(&answer).map_err(|e| LinkError::Malformed(e.to_string()))
    }

    /// As [`Link::call`], and asks once more if the connection broke: for questions that change nothing.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn call_again<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &'static str,
        question: &Q,
        trace: Option<&TraceContext>,
    ) -> Result<A, LinkError> {
        match self.call(path, question, trace).await {
            Err(LinkError::Disconnected(_)) => self.call(path, question, trace).await,
            outcome => outcome,
        }
    }

    /// Fetches `path` and `suffix`, at most `bytes_max` bytes.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn fetch(
        &self,
        path: &'static str,
        suffix: &str,
        bytes_max: usize,
    ) -> Result<Bytes, LinkError> {
        let request = Ask {
            method: Method::GET,
            path,
            suffix,
            body: Bytes::new(),
            trace: None,
        };
        self.bounded(request, bytes_max).await
    }

    /// Begins a stream without end: the deadline counts for the head of its answer only.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn stream<Q: Serialize + Sync>(
        &self,
        path: &'static str,
        question: &Q,
    ) -> Result<AnswerBody, LinkError> {
        let body = codec::encode(question).map_err(|e| LinkError::Malformed(e.to_string()))?;
        let request = Ask {
            method: Method::POST,
            path,
            suffix: "",
            body,
            trace: None,
        };
        self.within_deadline(path, async {
            let answer = self.send(request).await?;
            accepted(answer).await
        })
        .await
    }

    async fn bounded(&self, request: Ask<'_>, bytes_max: usize) -> Result<Bytes, LinkError> {
        let path = request.path;
        self.within_deadline(path, async {
            // Reports are few, and the lease is made of their answers: they do not wait behind slow questions.
            let _permit = match path {
                path::REPORTS => None,
                _ => {
                    let permit = self.0.permits.acquire().await;
                    Some(permit.map_err(|_| LinkError::Overloaded)?)
                }
            };
            let answer = self.send(request).await?;
            accepted(answer).await?.whole(bytes_max).await
        })
        .await
    }

    async fn within_deadline<T>(
        &self,
        path: &'static str,
        asking: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        let began = Instant::now();
        let limit = self.0.config.request_time_max;
        let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let outcome = match tokio::time::timeout(limit, asking).await {
            Ok(outcome) => outcome,
            Err(_) if self.0.permits.available_permits() == 0 => Err(LinkError::Overloaded),
            Err(_) => Err(LinkError::Timeout(ms)),
        };
        self.0.figures.answered(path, began, outcome.as_ref().err());
        outcome
    }

    async fn send(&self, ask: Ask<'_>) -> Result<Response<AnswerBody>, LinkError> {
        let live = self.live().await?;
        let uri = format!("https://{CORE_NAME}{}{}", ask.path, ask.suffix);
        let mut request = Request::builder().method(ask.method).uri(uri);
        if !ask.body.is_empty() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static(codec::MEDIA_TYPE));
        }
        let mut request = request
            .body(())
            .map_err(|e| LinkError::Malformed(e.to_string()))?;
        if let Some(trace) = ask.trace {
            trace.inject(request.headers_mut());
        }
        live.send(request, ask.body).await
    }

    /// The present connection, or the next one.
    async fn live(&self) -> Result<Live, LinkError> {
        let mut watching = self.0.live.subscribe();
        let waiting = watching.wait_for(Option::is_some);
        match tokio::time::timeout(CONNECTION_WAIT_MAX, waiting).await {
            Ok(Ok(live)) => live.clone().ok_or(LinkError::NotConnected),
            Ok(Err(_)) | Err(_) => Err(LinkError::NotConnected),
        }
    }

    /// Waits for a connection, for good.
    pub async fn connected(&self) {
        let _ = self.0.live.subscribe().wait_for(Option::is_some).await;
    }
}

/// One question.
struct Ask<'a> {
    method: Method,
    path: &'static str,
    suffix: &'a str,
    body: Bytes,
    trace: Option<&'a TraceContext>,
}

fn fresh(mut backoff: Backoff) -> Backoff {
    backoff.reset();
    backoff
}

/// The body of a 2xx answer; another status is a refusal.
async fn accepted(answer: Response<AnswerBody>) -> Result<AnswerBody, LinkError> {
    let (head, body) = answer.into_parts();
    if head.status.is_success() {
        return Ok(body);
    }
    let document = body.whole(REFUSAL_BYTES_MAX).await.unwrap_or_default();
    Err(LinkError::refused(head.status, &document))
}
