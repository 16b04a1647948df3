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

pub use crate::access::AccessLog;
use crate::{
    access::{span, told},
    admission::{ALLOWED, Admission, Refusal},
    cache::{Answer, Cache, CacheRequest, Dependencies, Fill, Lookup},
    coherence_field::{COHERENCE_FIELD, Vouched},
    exchange::{self, Exchange, ForPop, problem_response, strip_internal_of_answer},
    figures::{Red, Sums},
    handler, keyed,
    modules::Platform,
    origin::{OriginTarget, Origins, Trail},
    persistent::Persistent,
    plugins::{self, Passage},
    progress::{APPLIED_WAIT_MAX, has_reached},
    purging::{PURGE, Purging},
    rejoined::Rejoined,
    routes::{Deployed, Table, Target},
    session::Sessions,
    shield::{self, Shields, Sought},
    taken::{Taken, WHOLE_WAIT_MAX, take},
};
use arc_swap::ArcSwap;
use brink_listener::{Body, Connection, Interim};
use brink_policy::{http::freshen::remove_own, keying::remove_claims};
use brink_protocol::{deployment::StaticAnswer, problem::Problem};
use brink_telemetry::{RequestId, TraceContext};
use http::{HeaderValue, Method, Request, Response, StatusCode, header, response::Parts};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tracing::Instrument as _;

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
    /// Who is asked before an origin; none: nobody.
    pub shields: Option<Shields>,
    /// What this PoP calls itself in `CDN-Loop`.
    pub own_loop: Option<HeaderValue>,
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
    /// From the first byte of a request that was answered at once to the last of its answer.
    pub hit_seconds: metrics::Histogram,
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

/// Notes what the cache says of an answer, which is then on its way.
fn send(exchange: &mut Exchange, mut answer: Answer) -> Response<Body> {
    exchange.cache = Some(answer.status);
    exchange.stored = answer.stored.take();
    if let Some(pop) = &mut exchange.for_pop {
        pop.kept = answer.kept();
    }
    answer.into_response()
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

/// Asks whoever answers the route.
async fn forward(edge: &Arc<Edge>, exchange: &mut Exchange, fill: Fill) -> Response<Body> {
    fill.prepare(&mut exchange.head.headers);
    if matches!(exchange.head.method, Method::GET | Method::HEAD) {
        remove_claims(&mut exchange.head.headers);
    }
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
    mut fill: Fill,
    deployed: &Deployed,
) -> Response<Body> {
    let mut produced = match handler::run(&edge.platform, deployed, exchange).await {
        Ok(produced) => produced,
        Err(problem) => return give_up(exchange, fill, problem),
    };
    if produced.core_away {
        fill.tell_failed(produced.head.status);
        if let Some(answer) = fill.failed(SystemTime::now()) {
            return send(exchange, answer);
        }
        remove_own(&mut produced.head.headers);
        return Response::from_parts(produced.head, Body::full(produced.body));
    }
    produced.dependencies.no_store |= is_outdated(edge, exchange);
    handler::vary_by(&mut produced.head, &exchange.fields_set);
    fill.encode(&produced.head, &produced.body, &produced.dependencies)
        .await;
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
    mut fill: Fill,
    origin: &OriginTarget,
) -> Response<Body> {
    if let Some(own) = &edge.own_loop {
        if shield::is_loop(&exchange.head.headers, own) {
            return give_up(exchange, fill, looped());
        }
        shield::mark_loop(&mut exchange.head.headers, own);
    }
    let is_repeatable =
        exchange.head.method.is_idempotent() && http_body::Body::is_end_stream(&exchange.body);
    let mut shields = edge.shields.as_ref().filter(|_| exchange.for_pop.is_none());
    let mut trail = Trail::default();
    loop {
        let shields = shields.take();
        let asked = origin_answer(edge, exchange, &mut fill, origin, shields, &mut trail).await;
        let (response, is_unkept) = match asked {
            Ok(answered) => answered,
            Err(problem) => return give_up(exchange, fill, *problem),
        };
        let (mut head, mut body) = response.into_parts();
        strip_internal_of_answer(&mut head.headers);
        if fill.refuses_part(&head, &mut exchange.head.headers) {
            trail = Trail::default();
            continue;
        }
        handler::vary_by(&mut head, &exchange.fields_set);
        let dependencies = Dependencies {
            no_store: is_unkept || is_outdated(edge, exchange),
            private: handler::reads_cookies(exchange, &head.headers),
            ..Dependencies::default()
        };
        let Some(bytes_max) = fill.wants(&head, &dependencies) else {
            exchange.cache = Some(fill.pass(&mut head));
            return Response::from_parts(head, body);
        };
        let patience = fill.may_stream(&head).then_some(WHOLE_WAIT_MAX);
        match take(&mut body, bytes_max, patience).await {
            Taken::Broken(reason) => {
                tracing::warn!(request_id = %exchange.id, reason, "origin's answer broke off");
                if !is_repeatable {
                    return give_up(exchange, fill, broke_off());
                }
            }
            taken => return deliver(exchange, fill, (head, dependencies), taken, body).await,
        }
    }
}

/// Sends an answer on of which nothing is missing yet, and stores it if it may be.
async fn deliver(
    exchange: &mut Exchange,
    mut fill: Fill,
    (mut head, dependencies): (Parts, Dependencies),
    taken: Taken,
    body: Body,
) -> Response<Body> {
    match taken {
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
        Taken::Whole(whole, trailers) => {
            fill.set_trailers(trailers);
            fill.encode(&head, &whole, &dependencies).await;
            let answer = fill.complete(head, whole, dependencies, SystemTime::now());
            send(exchange, answer)
        }
        Taken::Beginning(beginning) => {
            exchange.cache = Some(fill.pass(&mut head));
            Response::from_parts(head, Body::stream(Rejoined::new(beginning, body)))
        }
        Taken::Broken(_) => give_up(exchange, fill, broke_off()),
    }
}

fn broke_off() -> Problem {
    let detail = "its answer broke off before its end";
    Problem::new(502, "origin-failed", "The origin did not answer", detail)
}

/// The origin's answer, by way of a shield where one answers for it; and whether that says not to keep it.
async fn origin_answer(
    edge: &Edge,
    exchange: &mut Exchange,
    fill: &mut Fill,
    origin: &OriginTarget,
    shields: Option<&Shields>,
    trail: &mut Trail,
) -> Result<(Response<Body>, bool), Box<Problem>> {
    fill.shielded_by(None);
    let terms = shields.and_then(|_| fill.shield_terms());
    if let (Some(shields), Some(terms)) = (shields, terms)
        && let Some(sought) = Sought::new(exchange, terms)
        && let Some(answer) = shields.ask(sought).await
    {
        let is_unkept = answer.kept.is_none();
        fill.shielded_by(answer.kept);
        return Ok((answer.response, is_unkept));
    }
    let request = exchange.origin_request();
    match edge.origins.send_on(origin, request, trail).await {
        Ok(response) => Ok((response, false)),
        Err(error) => {
            tracing::warn!(request_id = %exchange.id, %error, "origin did not answer");
            Err(Box::new(error.problem()))
        }
    }
}

/// RFC 8586.
fn looped() -> Problem {
    Problem::new(
        508,
        "loop",
        "The request goes round in circles",
        "it has been at this place before, as CDN-Loop says: the route's origin leads back here",
    )
}

/// Another table took over while the answer was made, or is about to: what it outdates leaves the cache, and this must
/// not come in behind it.
fn is_outdated(edge: &Edge, exchange: &Exchange) -> bool {
    let active = edge.table.load().source().revision;
    active != exchange.entry.revision
        || active != *edge.platform.progress.revision_wanted().borrow()
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

fn refuse(edge: &Edge, refusal: Refusal) -> Response<Body> {
    let mut response = problem_response(refusal.problem.with_instance(refusal.id.to_string()));
    exchange::name(refusal.id, response.headers_mut());
    edge.sums.answered();
    edge.unrouted.answered(response.status(), Duration::ZERO);
    response
}
