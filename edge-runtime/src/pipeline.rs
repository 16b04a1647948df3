//! The way of a request:
//!
//! ```text
//! admission -> plugins(on-request) -> cache -> module | origin | static -> plugins(on-response) -> answer
//!                                       |
//!                                    (a hit)
//! ```
//!
//! Stages share the [`Exchange`] and know nothing of each other; what they decide is carried out here. `PURGE` goes
//! another way, see [`crate::purging`].
//!
//! # What a client sees of its own writes
//!
//! An answer to a write waits until this PoP has applied the write, so that the client's next request here sees it
//! without a word. It waits for a second at most: when the feed is slow, or gone, the write is done all the same. What
//! makes that safe is the session token on the answer ([`crate::session`]): a request that carries it is answered by
//! nothing older, here and at every other PoP, however far behind that is. A client that does not send it back has the
//! lease's bound and no more.

use crate::{
    admission::{ALLOWED, Admission, Refusal},
    cache::{Answer, Cache, CacheRequest, Dependencies, Fill, Lookup},
    coherence_field::{COHERENCE_FIELD, Vouched},
    exchange::{self, Exchange, problem_response, strip_internal_of_answer},
    figures::{Red, Sums},
    handler,
    modules::Platform,
    origin::{OriginTarget, Origins},
    persistent::Persistent,
    plugins::{self, Passage},
    progress::{APPLIED_WAIT_MAX, has_reached},
    purging::{PURGE, Purging},
    rejoined::Rejoined,
    routes::{Deployed, Table, Target},
    session::Sessions,
};
use arc_swap::ArcSwap;
use brink_listener::{Body, Connection, Service};
use brink_policy::http::freshen::remove_own;
use brink_protocol::{deployment::StaticAnswer, problem::Problem};
use brink_telemetry::{RequestId, TraceContext};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tracing::Instrument as _;

/// Which requests are written to the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// None.
    Off,
    /// Those answered with a status from 500.
    #[default]
    Errors,
    /// All.
    All,
}

/// Everything that answers requests at this PoP.
pub struct Edge {
    /// The first stage.
    pub admission: Admission,
    /// Where requests go.
    pub table: Arc<ArcSwap<Table>>,
    /// Stored answers.
    pub cache: Cache,
    /// HTTP origins.
    pub origins: Origins,
    /// What modules and plugins reach.
    pub platform: Arc<Platform>,
    /// Session tokens.
    pub sessions: Arc<Sessions>,
    /// The way of `PURGE`.
    pub purging: Purging,
    /// Sums for reports.
    pub sums: Arc<Sums>,
    /// RED of requests without a route.
    pub unrouted: Red,
    /// Which requests are written to the log.
    pub access_log: AccessLog,
    /// Spans go to a collector.
    pub exports_spans: bool,
}

/// Answers one request.
pub async fn answer(
    edge: &Arc<Edge>,
    request: Request<Body>,
    connection: Arc<Connection>,
) -> Response<Body> {
    if request.method().as_str() == PURGE {
        return Box::pin(purge(edge, request)).await;
    }
    let admitted = edge
        .admission
        .admit(&edge.table.load(), request, connection);
    let (mut exchange, _place) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(edge, *refusal),
    };
    let span = span(edge, &exchange);
    if !span.is_disabled() {
        let parent = exchange.continues_trace.then_some(&exchange.trace);
        exchange.trace = TraceContext::begin(parent, &span);
    }
    let vouched = exchange
        .shows_coherence
        .then(|| Vouched::of(&edge.cache, exchange.began));
    let travel = travel(edge, &mut exchange);
    let response = if span.is_disabled() {
        travel.await
    } else {
        travel.instrument(span).await
    };
    let mut response = exchange.close(response);
    edge.sessions
        .put(&exchange, || edge.cache.position(), response.headers_mut());
    if let Some(field) =
        vouched.and_then(|vouched| vouched.field(exchange.stored.as_deref(), Instant::now()))
    {
        response.headers_mut().insert(COHERENCE_FIELD, field);
    }
    told(edge, &exchange, &response);
    response
}

/// Hands a `PURGE` to the core. It takes a place like any request.
async fn purge(edge: &Edge, request: Request<Body>) -> Response<Body> {
    let id = RequestId::generate();
    let began = Instant::now();
    let outcome = match edge.admission.place() {
        Some(_place) => edge.purging.answer(request).await,
        None => Err(Box::new(edge.admission.overloaded())),
    };
    let mut response =
        outcome.unwrap_or_else(|problem| problem_response(problem.with_instance(id.to_string())));
    let status = response.status();
    let headers = response.headers_mut();
    exchange::name(id, headers);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
    } else if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    } else if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    tracing::info!(request_id = %id, status = status.as_u16(), "purge handed on");
    edge.sums.answered();
    edge.unrouted.answered(status, began.elapsed());
    response
}

async fn travel(edge: &Arc<Edge>, exchange: &mut Exchange) -> Response<Body> {
    let response = match plugins::on_request(&edge.platform, exchange).await {
        Passage::Answer(answer) => *answer,
        Passage::Go => look_up(edge, exchange).await,
    };
    let response = plugins::on_response(&edge.platform, exchange, response).await;
    if !exchange.written.is_empty() {
        // Without a key the answer would be without its token; keys come with the feed.
        let is_applied =
            || edge.sessions.can_sign() && has_reached(&edge.cache.position(), &exchange.written);
        let progress = &edge.platform.progress;
        if !progress.wait_until(APPLIED_WAIT_MAX, is_applied).await {
            tracing::debug!(request_id = %exchange.id, written = %exchange.written, "answered before the write was applied here");
        }
    }
    response
}

async fn look_up(edge: &Arc<Edge>, exchange: &mut Exchange) -> Response<Body> {
    if let Target::Static(answer) = &exchange.entry.target {
        return fixed(answer);
    }
    let host = exchange.host();
    let request = CacheRequest {
        tenant: exchange.tenant(),
        scheme: exchange.scheme(),
        host: &host,
        path_and_query: exchange.path_and_query(),
        method: &exchange.head.method,
        headers: &exchange.head.headers,
        has_content: !http_body::Body::is_end_stream(&exchange.body),
        set_on_way: &exchange.fields_set,
        when_disconnected: exchange.entry.route.when_disconnected,
        at_least: exchange.session.as_deref(),
        is_uncached: exchange.session_is_unknown,
    };
    match edge.cache.lookup(&request, exchange.now).await {
        Lookup::Hit(answer) => {
            drop(host);
            edge.sums.hit();
            stored(edge, exchange, answer)
        }
        Lookup::Forward(fill) => {
            drop(host);
            // Boxed: a hit should not pay for the size of this future.
            match fill.leads() {
                true => Box::pin(forward_to_its_end(edge, exchange, fill)).await,
                false => Box::pin(forward(edge, exchange, fill)).await,
            }
        }
        Lookup::Unavailable(problem) => exchange.problem(problem),
    }
}

/// A stored answer; where it may be served stale meanwhile, its successor is fetched beside.
fn stored(edge: &Arc<Edge>, exchange: &mut Exchange, mut answer: Answer) -> Response<Body> {
    if let Some(fill) = answer.revalidate.take() {
        revalidate(edge, exchange, fill);
    }
    send(exchange, answer)
}

/// Notes what the cache says of an answer, which is then on its way.
fn send(exchange: &mut Exchange, mut answer: Answer) -> Response<Body> {
    exchange.cache = Some(answer.status);
    exchange.stored = answer.stored.take();
    answer.into_response()
}

/// Fetches the successor of a stale answer in a task of its own. It takes a place like a request; with none free, the
/// next request tries again.
fn revalidate(edge: &Arc<Edge>, exchange: &Exchange, fill: Fill) {
    let mut beside = exchange.beside();
    beside.head.method = Method::GET;
    let edge = Arc::clone(edge);
    tokio::spawn(async move {
        if let Some(_place) = edge.admission.place() {
            // A streamed answer is not stored: its body need not be read.
            let _ = forward(&edge, &mut beside, fill).await;
        }
    });
}

/// As [`forward`], for a fill that others wait for: it goes on when this request's client goes away.
async fn forward_to_its_end(
    edge: &Arc<Edge>,
    exchange: &mut Exchange,
    fill: Fill,
) -> Response<Body> {
    let mut own = exchange.beside();
    own.body = std::mem::take(&mut exchange.body);
    let owner = Arc::clone(edge);
    let asking = async move {
        let response = forward(&owner, &mut own, fill).await;
        (response, own)
    };
    let going_on = Arc::clone(edge);
    let (response, own) = Persistent::new(asking, move |rest| {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            if let Some(_place) = going_on.admission.place() {
                rest.await;
            }
        });
    })
    .await;
    exchange.written.merge(&own.written);
    exchange.cache = own.cache;
    exchange.stored = own.stored;
    response
}

/// Asks whoever answers the route.
async fn forward(edge: &Arc<Edge>, exchange: &mut Exchange, fill: Fill) -> Response<Body> {
    fill.prepare(&mut exchange.head.headers);
    let entry = Arc::clone(&exchange.entry);
    match &entry.target {
        Target::Module(deployed) => ask_module(edge, exchange, fill, deployed).await,
        Target::Origin(origin) => ask_origin(edge, exchange, fill, origin).await,
        Target::Static(answer) => fixed(answer),
        Target::Missing(reason) => {
            let problem = Problem::new(
                503,
                "module-missing",
                "The module is missing",
                reason.clone(),
            );
            give_up(exchange, fill, problem)
        }
    }
}

async fn ask_module(
    edge: &Edge,
    exchange: &mut Exchange,
    fill: Fill,
    deployed: &Deployed,
) -> Response<Body> {
    let mut produced = match handler::run(&edge.platform, deployed, exchange).await {
        Ok(produced) => produced,
        Err(problem) => return give_up(exchange, fill, problem),
    };
    if produced.core_away {
        if let Some(answer) = fill.failed(SystemTime::now()) {
            return send(exchange, answer);
        }
        remove_own(&mut produced.head.headers);
        return Response::from_parts(produced.head, Body::full(produced.body));
    }
    produced.dependencies.no_store |= is_outdated(edge, exchange);
    handler::vary_by(&mut produced.head, &exchange.fields_set);
    let answer = fill.complete(
        produced.head,
        produced.body,
        produced.dependencies,
        SystemTime::now(),
    );
    send(exchange, answer)
}

async fn ask_origin(
    edge: &Edge,
    exchange: &mut Exchange,
    fill: Fill,
    origin: &OriginTarget,
) -> Response<Body> {
    let request = origin_request(exchange);
    let (mut head, mut body) = match edge.origins.send(origin, request).await {
        Ok(response) => response.into_parts(),
        Err(error) => {
            tracing::warn!(request_id = %exchange.id, %error, "origin did not answer");
            return give_up(exchange, fill, error.problem());
        }
    };
    strip_internal_of_answer(&mut head.headers);
    handler::vary_by(&mut head, &exchange.fields_set);
    let dependencies = Dependencies {
        no_store: is_outdated(edge, exchange),
        private: handler::reads_cookies(exchange, &head.headers),
        ..Dependencies::default()
    };
    let Some(bytes_max) = fill.wants(&head, &dependencies) else {
        exchange.cache = Some(fill.pass(&mut head));
        return Response::from_parts(head, body);
    };
    let patience = fill.may_stream(&head).then_some(WHOLE_WAIT_MAX);
    match take(&mut body, bytes_max, patience).await {
        Taken::Some(beginning) => match fill.stream(head, dependencies, SystemTime::now()) {
            Ok((answer, filling)) => {
                tokio::spawn(filling.run(beginning, body));
                send(exchange, answer)
            }
            Err(passed) => {
                let (head, status) = *passed;
                exchange.cache = Some(status);
                Response::from_parts(head, Body::stream(Rejoined::new(beginning, body)))
            }
        },
        Taken::Whole(whole) => {
            let answer = fill.complete(head, whole, dependencies, SystemTime::now());
            send(exchange, answer)
        }
        Taken::Beginning(beginning) => {
            exchange.cache = Some(fill.pass(&mut head));
            Response::from_parts(head, Body::stream(Rejoined::new(beginning, body)))
        }
        Taken::Broken(reason) => {
            tracing::warn!(request_id = %exchange.id, reason, "origin's answer broke off");
            let detail = "its answer broke off before its end";
            let problem = Problem::new(502, "origin-failed", "The origin did not answer", detail);
            give_up(exchange, fill, problem)
        }
    }
}

/// Another table took over while the answer was made, or is about to: what it outdates leaves the cache, and this must
/// not come in behind it.
fn is_outdated(edge: &Edge, exchange: &Exchange) -> bool {
    let active = edge.table.load().source().revision;
    active != exchange.entry.revision
        || active != *edge.platform.progress.revision_wanted().borrow()
}

fn origin_request(exchange: &mut Exchange) -> Request<Body> {
    exchange.mark_forwarded();
    let mut request = Request::new(std::mem::take(&mut exchange.body));
    *request.method_mut() = exchange.head.method.clone();
    *request.uri_mut() = exchange.head.uri.clone();
    *request.version_mut() = exchange.head.version;
    *request.headers_mut() = exchange.head.headers.clone();
    request.extensions_mut().insert(exchange.connection.peer);
    request
}

/// No answer came: a stale one if there is one that may be served, else the problem.
fn give_up(exchange: &mut Exchange, fill: Fill, problem: Problem) -> Response<Body> {
    fill.tell(&problem);
    match fill.failed(SystemTime::now()) {
        Some(answer) => send(exchange, answer),
        None => exchange.problem(problem),
    }
}

fn fixed(answer: &StaticAnswer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body.clone()));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    if let Ok(content_type) = HeaderValue::from_str(&answer.content_type) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
    }
    response
}

/// What was read of a body that is worth storing if it is not too long.
enum Taken {
    Whole(bytes::Bytes),
    /// More will come that is worth it.
    Some(Vec<bytes::Bytes>),
    /// It is too long.
    Beginning(Vec<bytes::Bytes>),
    Broken(String),
}

/// How long an answer may take to come whole before what there is of it is sent.
const WHOLE_WAIT_MAX: Duration = Duration::from_millis(20);
/// How many bytes of an answer are taken before what there is of it is sent.
const WHOLE_BYTES_MAX: u64 = 256 << 10;

/// Takes at most `bytes_max`; with `patience` no more than [`WHOLE_BYTES_MAX`], nor for longer than this.
async fn take(body: &mut Body, bytes_max: u64, patience: Option<Duration>) -> Taken {
    let mut pieces: Vec<bytes::Bytes> = Vec::new();
    let mut length = 0u64;
    let mut waiting = std::pin::pin!(patience.map(tokio::time::sleep));
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = async {
                match waiting.as_mut().as_pin_mut() {
                    Some(waiting) => waiting.await,
                    None => std::future::pending().await,
                }
            } => return Taken::Some(pieces),
        };
        let Some(frame) = frame else { break };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Taken::Broken(error.to_string()),
        };
        if let Ok(piece) = frame.into_data() {
            length = length.saturating_add(piece.len() as u64);
            pieces.push(piece);
            if length > bytes_max {
                return Taken::Beginning(pieces);
            }
            if patience.is_some() && length > WHOLE_BYTES_MAX {
                return Taken::Some(pieces);
            }
        }
    }
    match pieces.len() {
        1 => Taken::Whole(pieces.pop().unwrap_or_default()),
        _ => Taken::Whole(pieces.concat().into()),
    }
}

fn refuse(edge: &Edge, refusal: Refusal) -> Response<Body> {
    let mut response = problem_response(refusal.problem.with_instance(refusal.id.to_string()));
    exchange::name(refusal.id, response.headers_mut());
    edge.sums.answered();
    edge.unrouted.answered(response.status(), Duration::ZERO);
    response
}

/// A span for every request where spans are exported; else for those that their caller samples, and for all at level
/// debug. Otherwise none, at no cost.
fn span(edge: &Edge, exchange: &Exchange) -> tracing::Span {
    if edge.exports_spans || exchange.trace.is_sampled() {
        return tracing::info_span!(
            "request",
            request_id = %exchange.id,
            method = %exchange.head.method,
            path = exchange.head.uri.path(),
            protocol = exchange.connection.protocol.as_str(),
        );
    }
    tracing::debug_span!(
        "request",
        request_id = %exchange.id,
        method = %exchange.head.method,
        path = exchange.head.uri.path(),
    )
}

/// Counts and logs an answered request.
fn told(edge: &Edge, exchange: &Exchange, response: &Response<Body>) {
    let took = exchange.began.elapsed();
    edge.sums.answered();
    exchange.entry.red.answered(response.status(), took);
    let is_logged = match edge.access_log {
        AccessLog::Off => false,
        AccessLog::Errors => response.status().is_server_error(),
        AccessLog::All => true,
    };
    if is_logged {
        log_access(exchange, response, took);
    }
}

fn log_access(exchange: &Exchange, response: &Response<Body>, took: Duration) {
    tracing::info!(
        target: "brink::access",
        request_id = %exchange.id,
        trace_id = %exchange.trace.trace_id(),
        client = %exchange.connection.peer.ip(),
        protocol = exchange.connection.protocol.as_str(),
        method = %exchange.head.method,
        host = %exchange.host(),
        path = exchange.head.uri.path(),
        status = response.status().as_u16(),
        is_hit = exchange.cache.is_some_and(|status| status.is_hit()),
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
}

/// The edge as the listener sees it.
pub struct Front(pub Arc<Edge>);

impl Service for Front {
    async fn call(&self, request: Request<Body>, connection: Arc<Connection>) -> Response<Body> {
        answer(&self.0, request, connection).await
    }
}
