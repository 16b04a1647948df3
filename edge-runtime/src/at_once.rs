//! The short way of a hit: a plain `GET` whose answer is in memory, whole and fresh.
//!
//! Nearly all requests of a cache are such. The pipeline's stages have nothing to do for them, so they do not pass
//! through it; what a stage would find out is asked here, and whatever is not as plain as it can be goes the whole way:
//! [`crate::pipeline`]. Every promise holds here as there: the place that a request takes, the comparison with the changes
//! that were applied, the lease, sessions.

use crate::{
    cache::{AtOnce, PlainGet},
    exchange::{self, INTERNAL_PREFIX, REQUEST_ID, normal_host},
    pipeline::{AccessLog, Edge},
    routes::{Entry, Target},
};
use brink_listener::{Body, Connection, PlainRequest};
use brink_policy::{
    coding::Accepted,
    key::{CacheKey, KEY_BYTES_MAX},
};
use brink_protocol::{
    caching::KeyRules,
    purge::{normal_path, normal_query},
    session::SESSION_COOKIE,
};
use brink_telemetry::RequestId;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header::ACCEPT_ENCODING};
use std::{
    borrow::Cow,
    time::{Instant, SystemTime},
};
use tracing::level_filters::LevelFilter;

/// What is asked for.
struct Asked<'a> {
    scheme: &'a str,
    host: &'a str,
    /// Path and query.
    target: &'a str,
    accepted: Accepted,
    /// When it came.
    began: Instant,
}

/// Answers a request of HTTP/1.1 by bytes, or leaves it to the pipeline.
pub(crate) fn bytes(
    edge: &Edge,
    request: &PlainRequest<'_>,
    connection: &Connection,
    head: &mut Vec<u8>,
) -> Option<Bytes> {
    let asked = Asked {
        scheme: connection.scheme(),
        host: request.host,
        target: request.target,
        accepted: accepted(request.fields())?,
        began: request.read,
    };
    hit(edge, &asked, |hit, id| {
        let body = hit.put(head)?;
        for piece in [REQUEST_ID.as_str().as_bytes(), b": ", &id.text(), b"\r\n"] {
            head.extend_from_slice(piece);
        }
        Some(body)
    })
}

/// Answers a request, or leaves it to the pipeline.
pub(crate) fn response(edge: &Edge, request: &Request<Body>) -> Option<Response<Body>> {
    if *request.method() != Method::GET || !http_body::Body::is_end_stream(request.body()) {
        return None;
    }
    let fields = request.headers().iter();
    let uri = request.uri();
    let asked = Asked {
        scheme: uri.scheme_str()?,
        host: uri.authority()?.as_str(),
        target: uri.path_and_query()?.as_str(),
        accepted: accepted(fields.map(|(name, value)| (name.as_str(), value.as_bytes())))?,
        began: Instant::now(),
    };
    hit(edge, &asked, |hit, id| {
        let (headers, body) = hit.parts()?;
        let mut response = Response::new(Body::full(body));
        *response.status_mut() = hit.status();
        *response.headers_mut() = headers;
        exchange::name(id, response.headers_mut());
        Some(response)
    })
}

/// Looks for a hit, has the answer made of it, and counts it.
fn hit<T>(
    edge: &Edge,
    asked: &Asked<'_>,
    answer: impl FnOnce(&AtOnce<'_>, RequestId) -> Option<T>,
) -> Option<T> {
    let is_told = edge.exports_spans
        || edge.access_log == AccessLog::All
        || LevelFilter::current() >= LevelFilter::DEBUG;
    if is_told || asked.target.len() > KEY_BYTES_MAX / 2 {
        return None;
    }
    let (path, query) = match asked.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (asked.target, None),
    };
    let is_normal = matches!(normal_path(path), Some(Cow::Borrowed(_)))
        && query.is_none_or(|query| matches!(normal_query(query), Cow::Borrowed(_)));
    let Some(Cow::Borrowed(host)) = normal_host(asked.host).filter(|_| is_normal) else {
        return None;
    };
    let _place = edge.admission.place()?;
    let table = edge.table.load();
    let entry = table.find(host, path)?;
    if !is_plain(entry) {
        return None;
    }
    let route = &entry.route;
    let now = SystemTime::now();
    let hit = edge.cache.at_once(PlainGet {
        key: CacheKey::new(&route.tenant, asked.scheme, host, asked.target),
        accepted: asked.accepted,
        when_disconnected: route.when_disconnected,
        now,
        at: asked.began,
    })?;
    let answer = answer(&hit, RequestId::at(now))?;
    edge.sums.hit();
    edge.sums.answered();
    entry.red.answered(hit.status(), asked.began.elapsed());
    Some(answer)
}

/// The codings that a request accepts. None: its fields ask for what the pipeline has to see, or speak of a body.
fn accepted<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<Accepted> {
    let mut codings = HeaderMap::new();
    for (name, value) in fields {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let begins = |prefix: &str| {
            let start = name.get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let is_much = match name.as_bytes().first().map(u8::to_ascii_lowercase) {
            Some(b'a') if is("accept-encoding") => {
                codings.append(ACCEPT_ENCODING, HeaderValue::from_bytes(value).ok()?);
                false
            }
            Some(b'a') => is("authorization"),
            Some(b'b') => begins(INTERNAL_PREFIX),
            Some(b'c') => {
                is("cache-control") || is("content-length") || (is("cookie") && has_session(value))
            }
            Some(b'i') => begins("if-"),
            Some(b'p') => is("pragma"),
            Some(b'r') => is("range"),
            Some(b't') => is("traceparent") || is("transfer-encoding"),
            _ => false,
        };
        if is_much {
            return None;
        }
    }
    Some(Accepted::of(&codings))
}

fn has_session(cookies: &[u8]) -> bool {
    let name = SESSION_COOKIE.as_bytes();
    cookies.windows(name.len()).any(|window| window == name)
}

/// Whether nothing of a route concerns its hits.
fn is_plain(entry: &Entry) -> bool {
    let route = &entry.route;
    matches!(entry.target, Target::Module(_) | Target::Origin(_))
        && entry.plugins.as_ref().is_ok_and(Vec::is_empty)
        && !route.show_coherence
        && route.cache.key == KeyRules::default()
}
