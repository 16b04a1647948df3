//! The stage of modules: runs one for a request and takes its whole answer.

use crate::{
    cache::Dependencies,
    exchange::{Exchange, strip_internal_of_answer},
    modules::{Collected, Platform, Run, answer},
    routes::Deployed,
};
use brink_protocol::problem::Problem;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request,
    header::{CACHE_CONTROL, CONTENT_LENGTH, COOKIE, VARY},
    response::Parts,
};
use http_body_util::BodyExt as _;
use std::{sync::Arc, time::Instant};

/// A module's whole answer.
pub struct Produced {
    /// Status and fields.
    pub head: Parts,
    /// The body; none for `HEAD`.
    pub body: Bytes,
    /// What it depends on.
    pub dependencies: Dependencies,
    /// It is an error answer, and the core could not be reached while it was made.
    pub core_away: bool,
}

/// Runs `deployed` with the exchange's request. The answer is read to its end: only then is it known whether the module
/// failed, and only a whole answer can be stored.
///
/// # Errors
/// The run failed: the problem that the client is told.
pub async fn run(
    platform: &Arc<Platform>,
    deployed: &Deployed,
    exchange: &mut Exchange,
) -> Result<Produced, Problem> {
    let run = Run::new(platform, deployed, exchange);
    let context = run.context(deployed);
    let request = request(exchange);
    let began = Instant::now();
    let limits = &deployed.deployment.limits;
    let outcome = match deployed.component.handle(request, context, limits).await {
        Ok(response) => answer::whole(response, limits.response_bytes_max).await,
        Err(error) => Err(error),
    };
    deployed.runs.increment(1);
    deployed.seconds.record(began.elapsed().as_secs_f64());
    let collected = run.take();
    exchange.written.merge(&collected.written);
    match outcome {
        Ok((head, body)) => Ok(produced(deployed, exchange, collected, head, body)),
        Err(error) => {
            let module = deployed.deployment.name.as_str();
            metrics::counter!("brink_module_errors_total", "module" => module.to_owned(), "reason" => error.slug())
                .increment(1);
            tracing::warn!(request_id = %exchange.id, module, %error, "module failed");
            Err(error.problem())
        }
    }
}

fn request(exchange: &mut Exchange) -> Request<brink_sandbox::Body> {
    exchange.mark_forwarded();
    let body = std::mem::take(&mut exchange.body).boxed_unsync();
    let mut request = Request::new(body);
    *request.method_mut() = exchange.head.method.clone();
    *request.uri_mut() = exchange.head.uri.clone();
    *request.version_mut() = exchange.head.version;
    *request.headers_mut() = exchange.head.headers.clone();
    answer::strip_connection(request.headers_mut());
    request
}

fn produced(
    deployed: &Deployed,
    exchange: &Exchange,
    collected: Collected,
    mut head: Parts,
    body: Bytes,
) -> Produced {
    answer::strip_connection(&mut head.headers);
    strip_internal_of_answer(&mut head.headers);
    let is_head = exchange.head.method == Method::HEAD;
    if !is_head {
        head.headers.remove(CONTENT_LENGTH);
    }
    let lifetime = collected.lifetime(head.status, &head.headers, Instant::now());
    let tells = taint(
        &exchange.head.headers,
        &unkeyed(exchange, collected.credentials),
        &mut head.headers,
    );
    let dependencies = Dependencies {
        tags: collected.tags,
        lifetime,
        no_store: collected.no_store || deployed.is_superseded,
        private: collected.private || tells,
        unnamed: collected.unnamed,
        position: collected.read.unwrap_or_default(),
        module: Some(deployed.deployment.name.clone()),
    };
    Produced {
        core_away: collected.core_away && head.status.is_server_error(),
        head,
        body: if is_head { Bytes::new() } else { body },
        dependencies,
    }
}

/// Credentials that are no part of the request's key.
fn unkeyed(exchange: &Exchange, mut credentials: Vec<HeaderName>) -> Vec<HeaderName> {
    if exchange.entry.keying.keys_cookies() {
        credentials.retain(|name| *name != COOKIE);
    }
    credentials
}

/// What becomes of an answer whose module looked for these `credentials` in the request. One that it found makes the
/// answer the caller's own (the answer is true). One that it looked for in vain becomes part of the key: others without
/// it get the answer too, those who have it do not. Neither, where the answer says that it is for everyone, or is keyed
/// by the field.
fn taint(request: &HeaderMap, credentials: &[HeaderName], answer: &mut HeaderMap) -> bool {
    let mut is_own = false;
    for name in credentials {
        if is_shared_by_its_author(answer, name) {
            continue;
        }
        if request.contains_key(name) {
            is_own = true;
        } else {
            vary_on(answer, name);
        }
    }
    is_own
}

/// Whether an origin's answer is the caller's own because the request had cookies. An origin sees all fields of a request
/// at once, so it is taken for granted that it looked.
pub fn reads_cookies(exchange: &Exchange, answer: &HeaderMap) -> bool {
    exchange.head.headers.contains_key(COOKIE)
        && !exchange.entry.keying.keys_cookies()
        && !is_shared_by_its_author(answer, &COOKIE)
}

/// Whether an answer says that it is for everyone (as RFC 9111 §3.5 has it for `Authorization`) or is keyed by the
/// credential.
fn is_shared_by_its_author(headers: &HeaderMap, credential: &HeaderName) -> bool {
    lists(headers, CACHE_CONTROL, &["public", "s-maxage"])
        || lists(headers, VARY, &[credential.as_str()])
}

/// Whether one of `wanted` is on the list of a field, with or without a value.
fn lists(headers: &HeaderMap, name: HeaderName, wanted: &[&str]) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|item| item.split('=').next().unwrap_or(item).trim())
        .any(|item| wanted.iter().any(|w| item.eq_ignore_ascii_case(w)))
}

/// The answer depends on the fields that plugins set on the request: they become part of its key. RFC 9110 §12.5.5.
pub fn vary_by(head: &mut Parts, fields: &[HeaderName]) {
    for name in fields {
        vary_on(&mut head.headers, name);
    }
}

fn vary_on(headers: &mut HeaderMap, name: &HeaderName) {
    if !lists(headers, VARY, &[name.as_str()]) {
        headers.append(VARY, HeaderValue::from(name.clone()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::header::AUTHORIZATION;

    #[test]
    fn authors_say_whether_an_answer_to_credentials_is_for_everyone() {
        for (name, value, cookie, authorization) in [
            (CACHE_CONTROL, "max-age=60", false, false),
            (CACHE_CONTROL, "max-age=60, Public", true, true),
            (CACHE_CONTROL, "s-maxage=60", true, true),
            (CACHE_CONTROL, "private", false, false),
            (VARY, "accept", false, false),
            (VARY, "accept, Cookie", true, false),
            (VARY, "authorization", false, true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            let shared = |credential| is_shared_by_its_author(&headers, credential);
            assert_eq!(shared(&COOKIE), cookie, "{value}");
            assert_eq!(shared(&AUTHORIZATION), authorization, "{value}");
        }
    }

    #[test]
    fn what_was_looked_for_makes_an_answer_its_callers_own_or_part_of_the_key() {
        for (has, looked, says, own, vary) in [
            (vec![COOKIE], vec![], None, false, vec![]),
            (vec![COOKIE], vec![COOKIE], None, true, vec![]),
            (vec![], vec![COOKIE], None, false, vec!["cookie"]),
            (
                vec![AUTHORIZATION],
                vec![AUTHORIZATION, COOKIE],
                None,
                true,
                vec!["cookie"],
            ),
            (
                vec![],
                vec![AUTHORIZATION, COOKIE],
                None,
                false,
                vec!["authorization", "cookie"],
            ),
            (
                vec![COOKIE],
                vec![COOKIE],
                Some((CACHE_CONTROL, "public")),
                false,
                vec![],
            ),
            (
                vec![COOKIE],
                vec![COOKIE],
                Some((VARY, "cookie")),
                false,
                vec!["cookie"],
            ),
        ] {
            let mut request = HeaderMap::new();
            for name in &has {
                request.insert(name, HeaderValue::from_static("x"));
            }
            let mut answer = HeaderMap::new();
            if let Some((name, value)) = says {
                answer.insert(name, HeaderValue::from_static(value));
            }
            assert_eq!(taint(&request, &looked, &mut answer), own, "{looked:?}");
            let varies: Vec<_> = answer.get_all(VARY).iter().collect();
            assert_eq!(varies, vary, "{looked:?}");
        }
    }
}
