//! The way of a request:
//!
//! ```text
//! admission -> plugins(on-request) -> cache -> module | origin | static -> plugins(on-response) -> answer
//!                                       |
//!                                    (a hit)
//! ```
//!
//! Stages share the [`Exchange`] and know nothing of each other; what they decide is done here. For `PURGE` see [`crate::purging`].
//!
//! # What a client sees of its own writes
//!
//! An answer to a write waits until this PoP has applied the write, so that the client's next request here sees it
//! without a word. It waits for a second at most: when the feed is slow, or gone, the write is done all the same. What
//! makes that safe is the session token on the answer ([`crate::session`]): a request that carries it is answered by
//! nothing older, here and at every other PoP, however far behind that is. A client that does not send it back has the
//! lease's bound and no more.

pub use crate::{access::AccessLog, stages::Edge};
use crate::{
    access::{span, told},
    admission::{ALLOWED, Refusal},
    cache::{Answer, CacheRequest, Fill, Lookup},
    coherence_field::{COHERENCE_FIELD, Vouched},
    exchange::{self, Exchange, ForPop, problem_response},
    forwarding::{fixed, forward, send},
    keyed,
    persistent::Persistent,
    plugins::{self, Passage},
    progress::{APPLIED_WAIT_MAX, has_reached},
    purging::PURGE,
    routes::Target,
};
use brink_listener::{Body, Connection, Interim};
use brink_telemetry::{RequestId, TraceContext};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::Instrument as _;

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
    let span = span(edge.exports_spans, &exchange);
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
    told(&edge.sums, edge.access_log, &exchange, &response);
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

pub(crate) async fn look_up(edge: &Arc<Edge>, exchange: &mut Exchange) -> Response<Body> {
    if let Target::Static(answer) = &exchange.entry.target {
        return fixed(answer);
    }
    let keyed = keyed::apply(exchange);
    let host = exchange.host();
    let request = CacheRequest {
        tenant: exchange.tenant(),
        scheme: exchange.scheme(),
        host: &host,
        path_and_query: match &keyed.target {
            Some(target) => target,
            None => exchange.path_and_query(),
        },
        extra: keyed.extra.as_deref(),
        // Who asks codes for itself.
        ruled: match exchange.for_pop {
            Some(_) => keyed.ruled.without_codings(),
            None => keyed.ruled,
        },
        method: &exchange.head.method,
        headers: &exchange.head.headers,
        has_content: !http_body::Body::is_end_stream(&exchange.body),
        set_on_way: &exchange.fields_set,
        when_disconnected: exchange.entry.route.when_disconnected,
        at_least: exchange.session.as_deref(),
        is_uncached: exchange.session_is_unknown,
        pop: exchange.for_pop.as_deref().map(ForPop::asks),
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

/// Fetches the successor of a stale answer in a task of its own. It takes a place like a request; with none free, the
/// next request tries again.
fn revalidate(edge: &Arc<Edge>, exchange: &Exchange, fill: Fill) {
    let mut beside = exchange.beside();
    beside.head.method = Method::GET;
    beside.head.extensions.remove::<Interim>();
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
    exchange.for_pop = own.for_pop;
    response
}

fn refuse(edge: &Edge, refusal: Refusal) -> Response<Body> {
    let mut response = problem_response(refusal.problem.with_instance(refusal.id.to_string()));
    exchange::name(refusal.id, response.headers_mut());
    edge.sums.answered();
    edge.unrouted.answered(response.status(), Duration::ZERO);
    response
}
