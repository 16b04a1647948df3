//! One origin: its connections, its times, and one exchange with it.

use super::{
    body::Watched,
    config::Config,
    connection::Kept,
    connector::{ConnectTimeout, Connector},
    error::Error,
    ticket::{Gate, Places, Refused, Ticket},
    upload::{Progress, Upload},
};
use crate::reach::Reach;
use brink_listener::{Body, Interim};
use brink_policy::{
    http::{fields::remove_hop_by_hop, interim::forwarded},
    origins::{Failure, Neighbours, Standing},
};
use brink_protocol::origins::{Origin, OriginProtocol};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, TE},
    uri::{PathAndQuery, Scheme},
};
use http_body::Body as _;
use http_body_util::LengthLimitError;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error as ClientError},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use serde::Serialize;
use std::{
    error::Error as StdError,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

/// Largest head of an origin's HTTP/1.1 answer, in bytes.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// Largest head of an origin's HTTP/2 answer, in bytes.
const HEADER_LIST_BYTES_MAX: u32 = 128 << 10;
/// How often an HTTP/2 connection in use is asked whether it is alive, and how long an answer may take: all requests share it.
const ALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));

/// What of a request is the same for each origin that it is sent to.
pub(super) struct Attempt {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    /// Without `Host`.
    pub(super) headers: HeaderMap,
    /// The client takes trailer sections.
    pub(super) takes_trailers: bool,
    /// The client's way of interim answers.
    pub(super) interim: Option<Interim>,
}

/// One origin.
pub(super) struct Upstream {
    spec: Origin,
    gate: Arc<Gate>,
    client: Client<Connector, Upload>,
    base: Uri,
    config: Arc<Config>,
    first_byte: Duration,
    between_bytes_ms: u64,
    connect_ms: u64,
}

/// An origin as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct OriginView {
    url: String,
    /// `well`; `trial` and `resting`: its breaker is open, and may be tried, or not yet; `down`: by its health checks.
    standing: &'static str,
    in_flight: u32,
    waiting: u32,
    is_checked: bool,
}

impl OriginView {
    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it gets requests.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.standing == "well"
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

impl Upstream {
    /// `spec` is in normal form.
    pub(super) fn new(
        spec: Origin,
        reach: Reach,
        tls: &ClientConfig,
        config: &Arc<Config>,
    ) -> Result<Self, Error> {
        let url: Uri = spec.url.parse().map_err(|_| Error::Origin {
            reason: format!("{} is no URL", spec.url),
        })?;
        let limits = Places {
            in_flight_max: spec.in_flight_max,
            queue_max: spec.queue_max,
            queue_time_max: Duration::from_millis(spec.queue_ms_max.into()),
        };
        let connect_ms = spec.connect_ms_max.map_or(config.connect_ms_max, u64::from);
        let connect = Duration::from_millis(connect_ms);
        let connector = Connector::new(tls, reach, url.clone(), spec.protocol, connect);
        Ok(Self {
            gate: Gate::new(&spec.url, limits),
            client: client(connector, spec.protocol, config),
            base: based(&url, spec.host.as_deref())?,
            first_byte: Duration::from_millis(
                spec.first_byte_ms_max
                    .map_or(config.response_ms_max, u64::from),
            ),
            between_bytes_ms: spec
                .between_bytes_ms_max
                .map_or(config.body_idle_ms_max, u64::from),
            connect_ms,
            config: Arc::clone(config),
            spec,
        })
    }

    pub(super) fn spec(&self) -> &Origin {
        &self.spec
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(super) fn view(&self) -> OriginView {
        OriginView {
            url: self.spec.url.clone(),
            standing: match self.gate.standing() {
                Standing::Well => "well",
                Standing::Trial => "trial",
                Standing::Resting => "resting",
                Standing::Down => "down",
            },
            in_flight: self.gate.in_flight(),
            waiting: self.gate.waiting(),
            is_checked: self.spec.health.is_some(),
        }
    }

    /// Takes a place.
    pub(super) async fn enter(&self, neighbours: Neighbours) -> Result<Ticket, Error> {
        self.gate
            .enter(neighbours)
            .await
            .map_err(|refused| match refused {
                Refused::Busy => Error::Busy {
                    origin: self.spec.url.clone(),
                    in_flight_max: self.spec.in_flight_max,
                },
                Refused::Resting => Error::NoneUsable {
                    origins: self.spec.url.clone(),
                },
            })
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn exchange(
        &self,
        ticket: Ticket,
        attempt: &Attempt,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        let began = Instant::now();
        match self.head(attempt, body).await {
            Ok(response) => {
                let held = ticket.answered(unwell(response.status()), began.elapsed());
                self.bounded(response, |body, limit| {
                    Watched::new(body, limit, self.between_bytes_ms, held)
                })
            }
            Err(error) => {
                if let Some(failure) = error.failure() {
                    ticket.failed(failure);
                }
                Err(error)
            }
        }
    }

    /// Whether a `GET` of `path` is answered with a status from 200 to 299 in time.
    pub(super) async fn is_well(&self, path: &str, limit: Duration) -> bool {
        let Ok(path) = path.parse() else {
            return false;
        };
        let agent = HeaderValue::from_static(concat!("brink-health/", env!("CARGO_PKG_VERSION")));
        let attempt = Attempt {
            method: Method::GET,
            path,
            headers: HeaderMap::from_iter([(http::header::USER_AGENT, agent)]),
            takes_trailers: false,
            interim: None,
        };
        let asked = tokio::time::timeout(limit, self.head(&attempt, Body::empty())).await;
        matches!(asked, Ok(Ok(response)) if response.status().is_success())
    }

    async fn head(&self, attempt: &Attempt, body: Body) -> Result<Response<Incoming>, Error> {
        let progress = Progress::new();
        let limit = self.config.request_bytes_max;
        let mut request = Request::new(Upload::new(body, limit, Arc::clone(&progress)));
        *request.method_mut() = attempt.method.clone();
        *request.uri_mut() = self.target(&attempt.path)?;
        request.headers_mut().clone_from(&attempt.headers);
        if attempt.takes_trailers {
            self.ask_for_trailers(request.headers_mut());
        }
        if let Some(interim) = attempt.interim.clone() {
            // HTTP/1.1 alone calls it.
            hyper::ext::on_informational(&mut request, move |head| {
                if let Some(fields) = forwarded(head.status(), head.headers()) {
                    interim.send(head.status(), fields);
                }
            });
        }
        let mut answering = pin!(self.client.request(request));
        let mut due = Instant::now() + self.first_byte;
        loop {
            if let Ok(answer) = tokio::time::timeout_at(due.into(), &mut answering).await {
                if let Some(kept) = answer.as_ref().ok().and_then(|a| a.extensions().get()) {
                    Kept::note(kept);
                }
                return answer.map_err(|error| self.failed(&error, &progress));
            }
            let now = Instant::now();
            due = progress.due(self.first_byte, now);
            if due <= now {
                return Err(Error::Timeout {
                    origin: self.spec.url.clone(),
                    limit_ms: u64::try_from(self.first_byte.as_millis()).unwrap_or(u64::MAX),
                    is_connected: true,
                });
            }
        }
    }

    /// RFC 9110 §10.1.4. Where TLS may choose HTTP/2, which has no `Connection` (RFC 9113 §8.2.2) but knows `TE`, that goes
    /// without it: no other hop is between.
    fn ask_for_trailers(&self, headers: &mut HeaderMap) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let is_http1 = match self.spec.protocol {
            OriginProtocol::Auto => self.base.scheme() == Some(&Scheme::HTTP),
            OriginProtocol::Http1 => true,
            OriginProtocol::Http2 => false,
        };
        if is_http1 {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }

    fn target(&self, path: &PathAndQuery) -> Result<Uri, Error> {
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(path.clone());
        Uri::from_parts(parts).map_err(|error| Error::Origin {
            reason: error.to_string(),
        })
    }

    fn failed(&self, error: &ClientError, progress: &Progress) -> Error {
        let origin = self.spec.url.clone();
        if caused_by::<LengthLimitError>(error) || caused_by::<brink_listener::BodyTooLarge>(error)
        {
            let limit = self.config.request_bytes_max;
            return Error::RequestTooLarge { limit };
        }
        let reason = root(error).to_string();
        if progress.is_broken() {
            Error::Request { reason }
        } else if caused_by::<ConnectTimeout>(error) {
            Error::Timeout {
                origin,
                limit_ms: self.connect_ms,
                is_connected: false,
            }
        } else if error.is_connect() {
            Error::Connect { origin, reason }
        } else {
            let was_kept = Kept::was(error.connect_info());
            Error::Exchange {
                origin,
                reason,
                was_kept,
            }
        }
    }

    /// Strips the answer's head and bounds its body.
    fn bounded(
        &self,
        response: Response<Incoming>,
        watch: impl FnOnce(Incoming, u64) -> Watched,
    ) -> Result<Response<Body>, Error> {
        let (mut head, body) = response.into_parts();
        if head.status.is_informational() {
            // RFC 9110 §15.2.2: nobody asked for another protocol.
            return Err(Error::Exchange {
                origin: self.spec.url.clone(),
                reason: "it switched protocols unasked".to_owned(),
                was_kept: false,
            });
        }
        let limit = self.config.response_bytes_max;
        if body.size_hint().lower() > limit {
            return Err(Error::ResponseTooLarge {
                origin: self.spec.url.clone(),
                limit,
            });
        }
        remove_hop_by_hop(&mut head.headers);
        head.version = Version::HTTP_11;
        head.extensions.clear();
        // Not by its length: trailers may stand behind nothing.
        let body = match body.is_end_stream() {
            true => Body::empty(),
            false => Body::stream(watch(body, limit)),
        };
        Ok(Response::from_parts(head, body))
    }
}

/// What a status says of who answers with it.
pub(super) fn unwell(status: StatusCode) -> Option<Failure> {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
    .then_some(Failure::Unwell)
}

/// `url` with the host that it is told; the connector connects to its own.
fn based(url: &Uri, host: Option<&str>) -> Result<Uri, Error> {
    let Some(host) = host else {
        return Ok(url.clone());
    };
    Uri::builder()
        .scheme(url.scheme().cloned().unwrap_or(Scheme::HTTP))
        .authority(host)
        .path_and_query("/")
        .build()
        .map_err(|_| Error::Origin {
            reason: format!("{host} is no host"),
        })
}

fn client(
    connector: Connector,
    protocol: OriginProtocol,
    config: &Config,
) -> Client<Connector, Upload> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_millis(config.idle_ms_max))
        .pool_max_idle_per_host(config.idle_max)
        .http1_max_buf_size(HEAD_BYTES_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(ALIVE.0)
        .http2_keep_alive_timeout(ALIVE.1)
        .http2_only(protocol == OriginProtocol::Http2)
        .build(connector)
}

fn caused_by<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn root<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root
}
