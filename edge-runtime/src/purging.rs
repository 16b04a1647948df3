//! `PURGE`: never done here alone, always handed to the core, which decides who may and tells every PoP.
//!
//! A `PURGE` of any public URL is taken before routes and plugins see it: no module or origin ever gets one. The token
//! comes in `Fastly-Key` or `Authorization: Bearer`; `Fastly-Soft-Purge`, whatever its value but `0` and `false`, makes
//! it soft; `Idempotency-Key` makes it safe to send again. The answer is Fastly's, `{"status":"ok","id":"..."}`, with a
//! session token: who sends that back is beyond the purge at every PoP. It is given when this PoP has applied the
//! purge, or after a second.

use crate::{
    cache::Cache,
    exchange::{normal_host, normalise},
    link::{Asker, Link, LinkError},
    progress::{APPLIED_WAIT_MAX, Progress, has_reached},
    session::Sessions,
};
use brink_listener::Body;
use brink_protocol::{
    link::{ForwardedPurge, ForwardedPurgeAnswer, PurgeAnswer, PurgeRefusal, path},
    problem::Problem,
    purge::URL_BYTES_MAX,
    session::SESSION_HEADER,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE},
};
use std::{sync::Arc, time::SystemTime};
use tokio::sync::Semaphore;

/// The method.
pub const PURGE: &str = "PURGE";
/// Purges on their way to the core; more are answered 429, so that callers without a token do not take the link from
/// others.
const IN_FLIGHT_MAX: usize = 32;
/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 512;
/// Longest `Idempotency-Key`, in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
const FASTLY_KEY: HeaderName = HeaderName::from_static("fastly-key");
const FASTLY_SOFT_PURGE: HeaderName = HeaderName::from_static("fastly-soft-purge");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Hands purges to the core.
pub struct Purging {
    link: Option<Link>,
    cache: Cache,
    progress: Arc<Progress>,
    sessions: Arc<Sessions>,
    places: Semaphore,
}

impl Purging {
    /// Without a link, every `PURGE` is refused.
    #[must_use]
    pub fn new(
        link: Option<Link>,
        cache: Cache,
        progress: Arc<Progress>,
        sessions: Arc<Sessions>,
    ) -> Self {
        Self {
            link,
            cache,
            progress,
            sessions,
            places: Semaphore::new(IN_FLIGHT_MAX),
        }
    }

    /// Hands one on, and answers when it is done.
    ///
    /// # Errors
    /// What the caller is told: there is no core here (405), no token or an unknown one (401), not allowed (403), a
    /// URL or field that cannot be used (400), too many (429), the core does not answer (503).
    pub async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Box<Problem>> {
        let link = self.link.as_ref().ok_or_else(no_core)?;
        let (mut head, _) = request.into_parts();
        let purge = forwarded(&mut head)?;
        let session = self.sessions.take(&mut head.headers, SystemTime::now())?;
        let Ok(_place) = self.places.try_acquire() else {
            return Err(limited(format!(
                "{IN_FLIGHT_MAX} purges are on their way to the core"
            )));
        };
        let asker = Asker::default();
        // With a key the core does it once, however often it is asked.
        let asked = match purge.idempotency_key {
            Some(_) => link.call_again(path::FORWARDED_PURGES, &purge, asker).await,
            None => link.call(path::FORWARDED_PURGES, &purge, asker).await,
        };
        let answer: ForwardedPurgeAnswer = asked.map_err(|error| away(&error))?;
        let done = answer.map_err(refused)?;
        let is_applied = || has_reached(&self.cache.position(), &done.position);
        self.progress.wait_until(APPLIED_WAIT_MAX, is_applied).await;
        let unreadable = session.is_unknown.then(|| self.cache.position());
        let seen = unreadable.as_ref().or(session.seen.as_deref());
        let token = self.sessions.sign(&done.position, seen);
        Ok(accepted(&done, token))
    }
}

/// What is handed on of a request.
fn forwarded(head: &mut http::request::Parts) -> Result<ForwardedPurge, Box<Problem>> {
    let token = token(&head.headers).ok_or_else(|| {
        unauthenticated("a token is needed, in Authorization: Bearer or Fastly-Key")
    })?;
    let invalid = |detail: &str| {
        Box::new(Problem::new(
            400,
            "purge-invalid",
            "The purge is not valid",
            detail,
        ))
    };
    normalise(&mut head.uri)
        .ok_or_else(|| invalid("the path has segments . or .., or is too long"))?;
    let authority = head.uri.authority().map_or("", |a| a.as_str());
    let host = normal_host(authority)
        .ok_or_else(|| invalid("the host is not valid"))?
        .into_owned();
    let target = head.uri.path_and_query().map_or("/", |p| p.as_str());
    if !target.starts_with('/') || host.len() + target.len() > URL_BYTES_MAX {
        return Err(invalid("the target is no path, or is too long"));
    }
    let idempotency_key = idempotency_key(&head.headers)
        .map_err(|()| invalid("Idempotency-Key comes once, with 1 to 128 visible characters"))?;
    Ok(ForwardedPurge {
        token,
        host,
        path_and_query: target.to_owned(),
        soft: head
            .headers
            .get(&FASTLY_SOFT_PURGE)
            .is_some_and(|soft| soft != "0" && soft != "false"),
        idempotency_key,
    })
}

/// The caller's token: as Fastly's clients send it, for whom `Authorization` may be the site's own; or RFC 6750 §2.1.
fn token(headers: &HeaderMap) -> Option<String> {
    let token = match headers.get(&FASTLY_KEY) {
        Some(key) => key.to_str().ok()?,
        None => {
            let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
            let (scheme, token) = authorization.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)?
        }
    };
    let token = token.trim();
    (1..=TOKEN_BYTES_MAX)
        .contains(&token.len())
        .then(|| token.to_owned())
}

/// The key, as the control API reads it: a string of RFC 9651, or the same without its quotes.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ()> {
    let mut fields = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    let text = field.to_str().map_err(drop)?;
    let quoted = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let key = quoted.unwrap_or(text);
    let is_valid = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len());
    if !is_valid || fields.next().is_some() {
        return Err(());
    }
    Ok(Some(key.to_owned()))
}

fn accepted(done: &PurgeAnswer, token: Option<HeaderValue>) -> Response<Body> {
    let document = serde_json::json!({ "status": "ok", "id": done.id }).to_string();
    let mut response = Response::new(Body::from(document));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(token) = token {
        headers.insert(HeaderName::from_static(SESSION_HEADER), token);
    }
    response
}

fn no_core() -> Box<Problem> {
    Box::new(Problem::new(
        405,
        "purge-method",
        "PURGE is not served here",
        "this PoP has no core to hand it to",
    ))
}

fn unauthenticated(detail: &str) -> Box<Problem> {
    let title = "The caller is not known";
    Box::new(Problem::new(401, "unauthenticated", title, detail))
}

fn limited(detail: String) -> Box<Problem> {
    Box::new(Problem::new(429, "purge-limit", "Too many purges", detail))
}

fn refused(refusal: PurgeRefusal) -> Box<Problem> {
    match refusal {
        PurgeRefusal::Unauthenticated => unauthenticated("the token is not known"),
        PurgeRefusal::Denied(detail) => Box::new(Problem::new(
            403,
            "purge-denied",
            "The purge is not allowed",
            detail,
        )),
        PurgeRefusal::Invalid(detail) => Box::new(Problem::new(
            400,
            "purge-invalid",
            "The purge is not valid",
            detail,
        )),
        PurgeRefusal::Limited(detail) => limited(detail),
    }
}

fn away(error: &LinkError) -> Box<Problem> {
    tracing::warn!(%error, "a purge was not handed to the core");
    Box::new(Problem::new(
        503,
        "core-away",
        "The core does not answer",
        "the purge may or may not have been done; send it again",
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn head(uri: &str, fields: &[(&'static str, &str)]) -> http::request::Parts {
        let mut request = Request::builder().method("PURGE").uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn purges_are_read_or_refused() {
        let bearer = ("authorization", "bearer  s3cret ");
        let long = "x".repeat(TOKEN_BYTES_MAX + 1);
        let deep = format!("http://h/{}", "x".repeat(URL_BYTES_MAX));
        for (uri, fields, expected) in [
            (
                "http://H:80/a%7e?b",
                vec![bearer],
                Ok("s3cret h /a~?b hard "),
            ),
            (
                "http://h/",
                vec![("fastly-key", "k"), ("fastly-soft-purge", "1")],
                Ok("k h / soft "),
            ),
            (
                "http://h/",
                vec![bearer, ("fastly-key", "k"), ("fastly-soft-purge", "0")],
                Ok("k h / hard "),
            ),
            (
                "http://h/",
                vec![
                    ("authorization", "Basic eDp5"),
                    ("fastly-key", "k"),
                    ("fastly-soft-purge", "true"),
                ],
                Ok("k h / soft "),
            ),
            (
                "http://h/",
                vec![bearer, ("idempotency-key", "once")],
                Ok("s3cret h / hard once"),
            ),
            (
                "http://h/",
                vec![bearer, ("idempotency-key", "\"once\"")],
                Ok("s3cret h / hard once"),
            ),
            (
                "http://h/",
                vec![
                    bearer,
                    ("idempotency-key", "one"),
                    ("idempotency-key", "two"),
                ],
                Err(400),
            ),
            ("http://h/", vec![], Err(401)),
            ("http://h/", vec![("authorization", "Basic eDp5")], Err(401)),
            ("http://h/", vec![("authorization", "Bearer ")], Err(401)),
            ("http://h/", vec![("fastly-key", &*long)], Err(401)),
            ("http://h/a/../b", vec![bearer], Err(400)),
            ("/a", vec![bearer], Err(400)),
            ("*", vec![bearer], Err(400)),
            (&*deep, vec![bearer], Err(400)),
            ("http://h/", vec![bearer, ("idempotency-key", "")], Err(400)),
        ] {
            let read = forwarded(&mut head(uri, &fields)).map(|purge| {
                let softness = if purge.soft { "soft" } else { "hard" };
                let key = purge.idempotency_key.unwrap_or_default();
                let ForwardedPurge {
                    token,
                    host,
                    path_and_query,
                    ..
                } = purge;
                format!("{token} {host} {path_and_query} {softness} {key}")
            });
            let read = read.as_deref().map_err(|problem| problem.status);
            assert_eq!(read, expected, "{uri} {fields:?}");
        }
    }

    #[test]
    fn refusals_have_their_status() {
        for (refusal, status) in [
            (PurgeRefusal::Unauthenticated, 401),
            (PurgeRefusal::Denied("d".into()), 403),
            (PurgeRefusal::Invalid("i".into()), 400),
            (PurgeRefusal::Limited("l".into()), 429),
        ] {
            assert_eq!(refused(refusal).status, status);
        }
    }
}
