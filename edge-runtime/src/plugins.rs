//! The stage of plugins: heads of requests before the cache, heads of responses after it, in reverse order.
//!
//! A route's plugins see *every* request and *every* response, hits included. So a plugin that checks who asks guards
//! stored answers too, and what plugins read (records, credentials, the time) needs no tag on the answer: it is read again
//! for the next request, no older than the client's session. What they answer themselves, and what they make of a
//! response, is never stored.
//!
//! What a plugin *changes* on a request reaches the module, whose answer may be stored; so the fields that it sets or
//! takes off join the answer's `Vary`, and are thereby part of the cache key (coherence.md, P6): two requests of which
//! plugins made different ones share no answer, whatever the plugins read to tell them apart. They do so whether the
//! client sent another value, none, or the same: what counts is that the plugin spoke of them. The path it sets is part of
//! the key anyway; the route stays the one that the request came in by. Whom it names as the caller is no part of the key:
//! a module that asks for it makes its answer the caller's own.
//!
//! Plugins fail closed: one that traps or passes a limit makes the answer a problem document.
//!
//! A plugin tells who asks by setting `brink-subject` and `brink-claim-NAME` on the request. They never come from a
//! client and never go to a module or origin: modules ask `brink:platform/identity`.

use crate::{
    exchange::{Caller, Exchange, INTERNAL_PREFIX, normalise, strip_internal},
    modules::{Platform, Run},
    routes::Deployed,
};
use brink_listener::Body;
use brink_protocol::problem::Problem;
use brink_sandbox::{
    RequestAction, RequestChange, RequestHead, ResponseAction, ResponseHead, RunError,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Response, Uri,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
    uri::PathAndQuery,
};
use std::{sync::Arc, time::Instant};

/// Most fields that a head may have after a plugin.
const FIELDS_MAX: usize = 128;
/// Most bytes of fields that a head may have after a plugin.
const FIELD_BYTES_MAX: usize = 64 << 10;
/// Longest target that a plugin may set, in bytes.
const TARGET_BYTES_MAX: usize = 16 << 10;
/// Fields that say how a message is framed and where it goes: they stay as the listener made them.
const FRAMING: [HeaderName; 7] = [
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
const SUBJECT: &str = "brink-subject";
const CLAIM_PREFIX: &str = "brink-claim-";

/// What the plugins decided on a request.
pub enum Passage {
    /// It goes on.
    Go,
    /// It is answered here. The plugins that saw the request before see this answer.
    Answer(Box<Response<Body>>),
}

/// Shows the request to the route's plugins, in order.
pub async fn on_request(platform: &Arc<Platform>, exchange: &mut Exchange) -> Passage {
    let entry = Arc::clone(&exchange.entry);
    let plugins = match &entry.plugins {
        Ok(plugins) => plugins,
        Err(reason) => {
            let problem =
                Problem::new(503, "plugin-missing", "A plugin is missing", reason.clone());
            return Passage::Answer(Box::new(exchange.problem(problem)));
        }
    };
    for plugin in plugins {
        if let Passage::Answer(answer) = Box::pin(ask(platform, plugin, exchange)).await {
            return Passage::Answer(answer);
        }
        exchange.plugins_passed += 1;
    }
    if !plugins.is_empty() {
        take_caller(exchange);
    }
    Passage::Go
}

async fn ask(platform: &Arc<Platform>, plugin: &Deployed, exchange: &mut Exchange) -> Passage {
    let head = request_head(exchange);
    let run = Run::new(platform, plugin, exchange);
    let context = run.plugin_context(plugin);
    let began = Instant::now();
    let limits = &plugin.deployment.limits;
    let action = plugin.component.on_request(&head, context, limits).await;
    finish(plugin, &run, exchange, began);
    match action {
        Ok(RequestAction::Pass) => Passage::Go,
        Ok(RequestAction::Change(change)) => match change_request(exchange, change) {
            Ok(()) => Passage::Go,
            Err(reason) => Passage::Answer(Box::new(refused(exchange, plugin, reason))),
        },
        Ok(RequestAction::Answer(answer)) => Passage::Answer(Box::new(own_answer(answer))),
        Err(error) => Passage::Answer(Box::new(failed(exchange, plugin, &error))),
    }
}

/// Shows the response to the plugins that let the request pass, the last one first.
pub async fn on_response(
    platform: &Arc<Platform>,
    exchange: &mut Exchange,
    mut response: Response<Body>,
) -> Response<Body> {
    let entry = Arc::clone(&exchange.entry);
    let Ok(plugins) = &entry.plugins else {
        return response;
    };
    let passed = plugins.get(..exchange.plugins_passed).unwrap_or_default();
    for plugin in passed.iter().rev() {
        response = Box::pin(show(platform, plugin, exchange, response)).await;
    }
    response
}

async fn show(
    platform: &Arc<Platform>,
    plugin: &Deployed,
    exchange: &mut Exchange,
    mut response: Response<Body>,
) -> Response<Body> {
    let request = request_head(exchange);
    let head = ResponseHead {
        status: response.status(),
        headers: response.headers().clone(),
    };
    let run = Run::new(platform, plugin, exchange);
    let context = run.plugin_context(plugin);
    let began = Instant::now();
    let limits = &plugin.deployment.limits;
    let action = plugin
        .component
        .on_response(&request, head, context, limits)
        .await;
    finish(plugin, &run, exchange, began);
    match action {
        Ok(ResponseAction::Pass) => response,
        Ok(ResponseAction::Change(head)) => match check_fields(&head.headers) {
            Ok(()) => {
                let before = std::mem::replace(response.headers_mut(), head.headers);
                keep_framing(response.headers_mut(), &before);
                strip_internal(response.headers_mut());
                *response.status_mut() = head.status;
                response
            }
            Err(reason) => refused(exchange, plugin, reason),
        },
        Ok(ResponseAction::Answer(answer)) => own_answer(answer),
        Err(error) => failed(exchange, plugin, &error),
    }
}

fn finish(plugin: &Deployed, run: &Run, exchange: &mut Exchange, began: Instant) {
    plugin.runs.increment(1);
    plugin.seconds.record(began.elapsed().as_secs_f64());
    exchange.written.merge(&run.take().written);
}

fn request_head(exchange: &Exchange) -> RequestHead {
    let uri = &exchange.head.uri;
    let root = || http::uri::PathAndQuery::from_static("/");
    RequestHead {
        method: exchange.head.method.clone(),
        scheme: exchange.scheme().to_owned(),
        authority: uri.authority().map_or("", |a| a.as_str()).to_owned(),
        path_and_query: uri.path_and_query().cloned().unwrap_or_else(root),
        headers: exchange.head.headers.clone(),
        client_address: exchange.connection.peer.ip().to_canonical().to_string(),
    }
}

/// Does what a plugin says, held against the limits. What the platform itself says of a message stays.
fn change_request(exchange: &mut Exchange, change: RequestChange) -> Result<(), &'static str> {
    let RequestChange {
        path_and_query,
        set,
        remove,
    } = change;
    let mut headers = exchange.head.headers.clone();
    let mut named: Vec<HeaderName> = remove;
    named.extend(set.keys().cloned());
    named.retain(|name| !FRAMING.contains(name));
    for name in &named {
        headers.remove(name);
    }
    for (name, value) in set.iter().filter(|(name, _)| !FRAMING.contains(name)) {
        headers.append(name, value.clone());
    }
    check_fields(&headers)?;
    named.retain(|name| !name.as_str().starts_with(INTERNAL_PREFIX));
    let fields_set = &mut exchange.fields_set;
    for name in named {
        if !fields_set.contains(&name) {
            fields_set.push(name);
        }
    }
    if fields_set.len() > FIELDS_MAX {
        return Err("more than 128 fields were set or taken off");
    }
    exchange.head.headers = headers;
    match path_and_query {
        Some(target) => change_target(&mut exchange.head.uri, target),
        None => Ok(()),
    }
}

fn change_target(uri: &mut Uri, target: PathAndQuery) -> Result<(), &'static str> {
    if !target.as_str().starts_with('/') || target.as_str().len() > TARGET_BYTES_MAX {
        return Err("its target does not begin with / or is too long");
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target);
    let mut changed = Uri::from_parts(parts).map_err(|_| "its target makes no URI")?;
    normalise(&mut changed).ok_or("its target has segments . or .., or is too long")?;
    *uri = changed;
    Ok(())
}

fn keep_framing(headers: &mut HeaderMap, before: &HeaderMap) {
    for name in &FRAMING {
        headers.remove(name);
        for value in before.get_all(name) {
            headers.append(name, value.clone());
        }
    }
}

fn check_fields(headers: &HeaderMap) -> Result<(), &'static str> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > FIELDS_MAX {
        Err("it has more than 128 fields")
    } else if bytes > FIELD_BYTES_MAX {
        Err("its fields have more than 64 KiB")
    } else {
        Ok(())
    }
}

/// Takes what plugins said of the caller off the request's fields.
fn take_caller(exchange: &mut Exchange) {
    let headers = &exchange.head.headers;
    let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
    let subject = headers.get(SUBJECT).and_then(text);
    let claims: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(name, value)| {
            let claim = name.as_str().strip_prefix(CLAIM_PREFIX)?;
            Some((claim.to_owned(), text(value)?))
        })
        .collect();
    strip_internal(&mut exchange.head.headers);
    if subject.is_some() || !claims.is_empty() {
        exchange.caller = Some(Arc::new(Caller { subject, claims }));
    }
}

fn own_answer(answer: Response<Bytes>) -> Response<Body> {
    let mut answer = answer.map(Body::full);
    for name in &FRAMING {
        answer.headers_mut().remove(name);
    }
    strip_internal(answer.headers_mut());
    answer
}

fn refused(exchange: &Exchange, plugin: &Deployed, reason: &str) -> Response<Body> {
    let name = &plugin.deployment.name;
    metrics::counter!("brink_module_errors_total", "module" => name.as_str().to_owned(), "reason" => "plugin-bad-head")
        .increment(1);
    exchange.problem(Problem::new(
        500,
        "plugin-bad-head",
        "A plugin's change is not valid",
        format!("plugin {name}: {reason}"),
    ))
}

fn failed(exchange: &Exchange, plugin: &Deployed, error: &RunError) -> Response<Body> {
    let name = &plugin.deployment.name;
    metrics::counter!("brink_module_errors_total", "module" => name.as_str().to_owned(), "reason" => error.slug())
        .increment(1);
    tracing::warn!(request_id = %exchange.id, plugin = %name, %error, "plugin failed");
    let mut problem = error.problem();
    problem.detail = Some(format!("plugin {name}: {error}"));
    exchange.problem(problem)
}

#[cfg(test)]
mod tests;
