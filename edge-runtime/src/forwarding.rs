//! What the cache does not answer: who answers instead, and what becomes of the answer.
//!
//! A module runs here, an origin is asked from here; a shield is asked first where there is one. What is missing of an answer
//! that broke off before anything of it was sent on is asked for once more, at the origin itself.

use crate::{
    cache::{Answer, Dependencies, Fill},
    exchange::{Exchange, strip_internal_of_answer},
    handler,
    origin::{OriginTarget, Trail},
    rejoined::Rejoined,
    routes::{Deployed, Target},
    shield::{self, Sought},
    stages::Edge,
    taken::{Taken, WHOLE_WAIT_MAX, take},
};
use brink_listener::Body;
use brink_policy::{http::freshen::remove_own, keying::remove_claims};
use brink_protocol::{deployment::StaticAnswer, problem::Problem};
use http::{HeaderValue, Method, Response, StatusCode, header, response::Parts};
use std::{sync::Arc, time::SystemTime};

/// Notes what the cache says of an answer, which is then on its way.
pub(crate) fn send(exchange: &mut Exchange, mut answer: Answer) -> Response<Body> {
    exchange.cache = Some(answer.status);
    exchange.stored = answer.stored.take();
    if let Some(pop) = &mut exchange.for_pop {
        pop.kept = answer.kept();
    }
    answer.into_response()
}

/// Asks whoever answers the route.
pub(crate) async fn forward(
    edge: &Arc<Edge>,
    exchange: &mut Exchange,
    fill: Fill,
) -> Response<Body> {
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

/// An answer of which nothing was sent on, so that another may be asked for.
struct Again {
    fill: Fill,
    why: Why,
}

/// Why another is asked for.
enum Why {
    /// Nobody was there to ask, or who was asked does not answer this.
    Passed,
    /// It is not the part, or not the whole, that was asked for.
    Other,
    /// It broke off.
    Broken,
}

type Received = Result<Response<Body>, Box<Again>>;

async fn ask_module(
    edge: &Edge,
    exchange: &mut Exchange,
    mut fill: Fill,
    deployed: &Deployed,
) -> Response<Body> {
    if exchange.entry.route.cache.shield {
        fill = match ask_shield(edge, exchange, fill).await {
            Ok(response) => return response,
            Err(again) => again.fill,
        };
        // Whatever came, what is asked of the module is what was asked at first.
        fill.prepare(&mut exchange.head.headers);
    }
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
    fill: Fill,
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
    let mut fill = match ask_shield(edge, exchange, fill).await {
        Ok(response) => return response,
        Err(again) => again.fill,
    };
    let mut trail = Trail::default();
    loop {
        let request = exchange.origin_request();
        let response = match edge.origins.send_on(origin, request, &mut trail).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(request_id = %exchange.id, %error, "origin did not answer");
                return give_up(exchange, fill, error.problem());
            }
        };
        let is_unkept = is_outdated(edge, exchange);
        fill = match receive(exchange, fill, response, is_unkept).await {
            Ok(response) => return response,
            Err(again) => match again.why {
                Why::Broken if !is_repeatable => {
                    return give_up(exchange, again.fill, broke_off());
                }
                Why::Broken => again.fill,
                Why::Passed | Why::Other => {
                    trail = Trail::default();
                    again.fill
                }
            },
        };
    }
}

/// The answer by way of a shield, where one answers. What it says of sharing the answer is what the origin said to it.
async fn ask_shield(edge: &Edge, exchange: &mut Exchange, mut fill: Fill) -> Received {
    let passed = |fill| {
        let why = Why::Passed;
        Err(Box::new(Again { fill, why }))
    };
    let Some(shields) = edge.shields.as_ref().filter(|_| exchange.for_pop.is_none()) else {
        return passed(fill);
    };
    let sought = fill.shield_terms();
    let Some(sought) = sought.and_then(|terms| Sought::new(exchange, terms)) else {
        return passed(fill);
    };
    let Some(answer) = shields.ask(sought).await else {
        return passed(fill);
    };
    let is_unkept = answer.kept.is_none() || is_outdated(edge, exchange);
    fill.shielded_by(answer.kept);
    exchange.written.merge(&answer.written);
    let mut received = receive(exchange, fill, answer.response, is_unkept).await;
    if let Err(again) = &mut received {
        again.fill.shielded_by(None);
    }
    received
}

/// What becomes of an answer that comes from elsewhere.
async fn receive(
    exchange: &mut Exchange,
    mut fill: Fill,
    response: Response<Body>,
    is_unkept: bool,
) -> Received {
    let (mut head, mut body) = response.into_parts();
    strip_internal_of_answer(&mut head.headers);
    handler::vary_by(&mut head, &exchange.fields_set);
    // A module says itself what it looked at; an origin sees all.
    let is_by_module = matches!(exchange.entry.target, Target::Module(_));
    let dependencies = Dependencies {
        no_store: is_unkept,
        private: !is_by_module && handler::reads_cookies(exchange, &head.headers),
        ..Dependencies::default()
    };
    if fill.refuses(&head, &dependencies, &mut exchange.head.headers) {
        let why = Why::Other;
        return Err(Box::new(Again { fill, why }));
    }
    let Some(bytes_max) = fill.wants(&head, &dependencies) else {
        exchange.cache = Some(fill.pass(&mut head));
        return Ok(Response::from_parts(head, body));
    };
    let patience = fill.may_stream(&head).then_some(WHOLE_WAIT_MAX);
    match take(&mut body, bytes_max, patience).await {
        Taken::Broken(reason) => {
            tracing::warn!(request_id = %exchange.id, reason, "an answer broke off");
            let why = Why::Broken;
            Err(Box::new(Again { fill, why }))
        }
        taken => Ok(deliver(exchange, fill, (head, dependencies), taken, body).await),
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

pub(crate) fn fixed(answer: &StaticAnswer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body.clone()));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    if let Ok(content_type) = HeaderValue::from_str(&answer.content_type) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
    }
    response
}
