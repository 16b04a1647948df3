//! Between a protocol and the service: one request in, one answer out, whatever happens.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ALLOW, ALT_SVC, CONNECTION, CONTENT_TYPE, HOST, TE, TRAILER};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};

use crate::activity::{Activity, InFlight};
use crate::body::Body;
use crate::config::Limits;
use crate::connection::{Connection, Protocol};
use crate::error::BoxError;
use crate::inbound::{Bounds, Inbound, Source};
use crate::interim::Interim;
use crate::plain::PlainRequest;
use crate::request::{self, Defaults, HeadLimits, Refusal};
use crate::trailers::{self, takes_trailers};

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. A panic is answered 500 and does not touch other requests. When the client
    /// goes away, the future is dropped. Where the client can be sent interim answers, the request has an
    /// [`Interim`] among its extensions.
    fn call(
        &self,
        request: Request<Body>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// Answers a request if nothing has to be waited for; None: [`call`](Self::call) answers.
    fn at_hand(&self, request: &Request<Body>) -> Option<Response<Body>> {
        let _ = request;
        None
    }

    /// Answers a plain request of HTTP/1.1 at once, if nothing has to be waited for: puts the status line and the fields
    /// into `head`, each with its line's end, and gives the body, whose length one of the fields says. None: whatever is
    /// in `head` is forgotten, and [`call`](Self::call) answers. A panic counts as none.
    fn at_once(
        &self,
        request: &PlainRequest<'_>,
        connection: &Connection,
        head: &mut Vec<u8>,
    ) -> Option<Bytes> {
        let _ = (request, connection, head);
        None
    }

    /// The last byte of what was answered at once is with the kernel, so long after the first of the request was read.
    fn written(&self, after: Duration) {
        let _ = after;
    }
}

/// What all connections of a listener share.
pub(crate) struct Shared<S> {
    pub(crate) service: Arc<S>,
    pub(crate) limits: Limits,
    bounds: Bounds,
    head: HeadLimits,
    alt_svc: Option<HeaderValue>,
}

impl<S> Shared<S> {
    pub(crate) fn new(service: Arc<S>, limits: Limits, alt_svc: Option<HeaderValue>) -> Self {
        let bounds = Bounds::new(&limits);
        let head = HeadLimits {
            fields_max: limits.header_fields(),
            body_bytes_max: limits.body_bytes_max,
        };
        Self {
            service,
            limits,
            bounds,
            head,
            alt_svc,
        }
    }
}

/// What becomes of a request at once.
pub(crate) enum Begun {
    Answered(Response<Body>),
    /// To be [called](Dispatcher::call).
    Waiting(Request<Body>),
}

/// One connection's way to the service.
pub(crate) struct Dispatcher<S> {
    pub(crate) shared: Arc<Shared<S>>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) activity: Arc<Activity>,
    scheme: Scheme,
    local: Authority,
    known: Mutex<Option<Authority>>,
}

impl<S> Shared<S> {
    pub(crate) fn alt_svc(&self) -> Option<&HeaderValue> {
        self.alt_svc.as_ref()
    }
}

impl<S: Service> Dispatcher<S> {
    pub(crate) fn new(shared: Arc<Shared<S>>, connection: Connection) -> Self {
        let scheme = if connection.tls.is_some() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        // A socket address is always an authority; the fallback is for the type only.
        let local = Authority::try_from(connection.local.to_string())
            .unwrap_or_else(|_| Authority::from_static("localhost"));
        Self {
            shared,
            connection: Arc::new(connection),
            activity: Arc::default(),
            scheme,
            local,
            known: Mutex::default(),
        }
    }

    /// A request of hyper's, HTTP/1.1.
    pub(crate) async fn answer_hyper(
        &self,
        request: Request<hyper::body::Incoming>,
        interim: Option<Interim>,
    ) -> Response<Tracked> {
        let guard = self.activity.begin();
        let takes_trailers = request.version() == Version::HTTP_11
            && request.headers().contains_key(TE)
            && takes_trailers(request.headers());
        let request = request.map(|incoming| {
            (!http_body::Body::is_end_stream(&incoming)).then_some(Source::Hyper(incoming))
        });
        let mut response = self.answer(request, interim.as_ref()).await;
        if let Some(interim) = &interim {
            poll_fn(|cx| interim.poll_settled(cx)).await;
        }
        if response.headers().contains_key(TRAILER) {
            response = trailers::fit(response, takes_trailers);
        }
        if let Some(alt_svc) = &self.shared.alt_svc {
            response
                .headers_mut()
                .entry(ALT_SVC)
                .or_insert_with(|| alt_svc.clone());
        }
        response.map(|body| Tracked {
            body,
            _guard: guard,
        })
    }

    /// Normalises, asks the service, and makes an answer of what goes wrong.
    pub(crate) async fn answer(
        &self,
        request: Request<Option<Source>>,
        interim: Option<&Interim>,
    ) -> Response<Body> {
        match self.begin(request) {
            Begun::Answered(response) => response,
            Begun::Waiting(request) => self.call(request, interim).await,
        }
    }

    /// Normalises, and answers what can be answered without waiting: what is at hand, and what is refused.
    pub(crate) fn begin(&self, request: Request<Option<Source>>) -> Begun {
        let request = match self.admit(request) {
            Ok(request) => request,
            Err(refusal) => return Begun::Answered(self.refuse(refusal)),
        };
        let at_hand = || self.shared.service.at_hand(&request);
        match std::panic::catch_unwind(AssertUnwindSafe(at_hand)) {
            Ok(Some(response)) => Begun::Answered(response),
            Ok(None) => Begun::Waiting(request),
            Err(_) => Begun::Answered(self.panicked()),
        }
    }

    /// Has a request answered that was begun.
    pub(crate) async fn call(
        &self,
        mut request: Request<Body>,
        interim: Option<&Interim>,
    ) -> Response<Body> {
        if let Some(interim) = interim {
            request.extensions_mut().insert(interim.clone());
        }
        let connection = Arc::clone(&self.connection);
        // The call itself is inside: it may panic before there is a future.
        let call = async { self.shared.service.call(request, connection).await };
        match AssertUnwindSafe(call).catch_unwind().await {
            Ok(response) => response,
            Err(_) => self.panicked(),
        }
    }

    fn panicked(&self) -> Response<Body> {
        tracing::error!(
            protocol = self.connection.protocol.as_str(),
            "the service panicked"
        );
        problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request could not be answered",
        )
    }

    fn admit(&self, request: Request<Option<Source>>) -> Result<Request<Body>, Refusal> {
        let (mut parts, source) = request.into_parts();
        let expects =
            parts.version >= Version::HTTP_11 && request::expects_continue(&parts.headers);
        // Made first: dropping it drains what an early answer leaves unread.
        let body = source.map_or_else(Body::empty, |source| {
            Body::inbound(Inbound::new(source, self.shared.bounds, expects))
        });
        request::check(
            &parts.method,
            &parts.headers,
            parts.version,
            self.shared.head,
        )?;
        let absolute = parts.uri.authority().is_some();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let defaults = Defaults {
                scheme: &self.scheme,
                local: &self.local,
            };
            let headers = &parts.headers;
            request::normalise(
                &mut parts.uri,
                headers,
                parts.version,
                &defaults,
                &mut known,
            )?;
        }
        if absolute && self.connection.protocol == Protocol::Http1 {
            // RFC 9112 §3.2.2: the target's authority replaces what Host said.
            if let Some(authority) = parts.uri.authority()
                && let Ok(host) = HeaderValue::from_str(authority.as_str())
            {
                parts.headers.insert(HOST, host);
            }
        }
        Ok(Request::from_parts(parts, body))
    }

    /// Whether a `Host` is valid. Most connections have one only.
    pub(crate) fn knows(&self, host: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|known| known.as_str() == host) {
            return true;
        }
        let authority = request::authority_of(host.as_bytes()).ok();
        let is_valid = authority.is_some();
        *known = authority.or_else(|| known.take());
        is_valid
    }

    fn refuse(&self, refusal: Refusal) -> Response<Body> {
        let mut response = problem(refusal.status(), refusal.detail());
        if refusal == Refusal::Trace {
            let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            response.headers_mut().insert(ALLOW, methods);
        }
        if refusal.closes() && self.connection.protocol == Protocol::Http1 {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A problem document (RFC 9457) of our own: fixed texts, nothing of the request's.
pub(crate) fn problem(status: StatusCode, detail: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Error");
    let code = status.as_u16();
    let mut response = Response::new(Body::from(format!(
        r#"{{"type":"about:blank","title":"{title}","status":{code},"detail":"{detail}"}}"#
    )));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// An answer's body that keeps its request in flight until it is sent.
pub(crate) struct Tracked {
    body: Body,
    _guard: InFlight,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
