//! The stage of modules: runs one for a request and takes its whole answer.

use crate::{
    cache::Dependencies,
    exchange::{Exchange, strip_internal},
    modules::{Collected, Platform, Run},
    routes::Deployed,
};
use brink_protocol::problem::Problem;
use brink_sandbox::RunError;
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request,
    header::{
        CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
        VARY,
    },
    response::Parts,
};
use http_body_util::BodyExt as _;
use std::{sync::Arc, time::Instant};

/// Fields that belong to a connection, which a module has none of. RFC 9110 §7.6.1.
const CONNECTION_FIELDS: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

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
        Ok(response) => whole(response, limits.response_bytes_max).await,
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
    for name in &CONNECTION_FIELDS {
        request.headers_mut().remove(name);
    }
    request
}

/// Reads the answer to its end, at most `bytes_max` bytes.
async fn whole(
    response: http::Response<brink_sandbox::Body>,
    bytes_max: u64,
) -> Result<(Parts, Bytes), RunError> {
    let (head, mut body) = response.into_parts();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error.downcast::<RunError>() {
            Ok(error) => *error,
            Err(error) => RunError::BadResponse {
                reason: error.to_string(),
            },
        })?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        length = length.saturating_add(piece.len() as u64);
        if length > bytes_max {
            return Err(RunError::ResponseTooLarge { limit: bytes_max });
        }
        // Most answers are one piece: it is taken as it is.
        if first.is_empty() && rest.is_empty() {
            first = piece;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&piece);
        }
    }
    Ok((
        head,
        if rest.is_empty() {
            first
        } else {
            rest.freeze()
        },
    ))
}

fn produced(
    deployed: &Deployed,
    exchange: &Exchange,
    collected: Collected,
    mut head: Parts,
    body: Bytes,
) -> Produced {
    for name in &CONNECTION_FIELDS {
        head.headers.remove(name);
    }
    strip_internal(&mut head.headers);
    let is_head = exchange.head.method == Method::HEAD;
    if !is_head {
        head.headers.remove(CONTENT_LENGTH);
    }
    let dependencies = Dependencies {
        tags: collected.tags,
        lifetime: collected.lifetime,
        no_store: collected.no_store || deployed.is_superseded,
        private: collected.private || reads_cookies(exchange, &head.headers),
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

/// Whether the answer is the caller's own because the request had cookies.
pub fn reads_cookies(exchange: &Exchange, answer: &HeaderMap) -> bool {
    exchange.head.headers.contains_key(COOKIE) && !is_shared_by_its_author(answer)
}

/// A module sees all fields of a request at once, and an origin too, so the host cannot tell whether it read the cookies. It is taken for
/// granted, unless the answer says that it is for everyone (as RFC 9111 §3.5 has it for `Authorization`) or is keyed by
/// them.
fn is_shared_by_its_author(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, wanted: &[&str]| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|item| item.split('=').next().unwrap_or(item).trim())
            .any(|item| wanted.iter().any(|w| item.eq_ignore_ascii_case(w)))
    };
    has(CACHE_CONTROL, &["public", "s-maxage"]) || has(VARY, &["cookie"])
}

/// The answer depends on the fields that plugins set on the request: they become part of its key. RFC 9110 §12.5.5.
pub fn vary_by(head: &mut Parts, fields: &[HeaderName]) {
    for name in fields {
        head.headers.append(VARY, HeaderValue::from(name.clone()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_sandbox::BoxError;
    use http_body::Frame;
    use http_body_util::StreamBody;

    fn response(
        pieces: Vec<Result<&'static str, RunError>>,
    ) -> http::Response<brink_sandbox::Body> {
        let frames = pieces.into_iter().map(|piece| {
            piece
                .map(|text| Frame::data(Bytes::from_static(text.as_bytes())))
                .map_err(BoxError::from)
        });
        let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
        http::Response::new(body)
    }

    #[tokio::test]
    async fn answers_are_read_whole_or_fail() {
        for (pieces, expected) in [
            (vec![], Ok("")),
            (vec![Ok("abc")], Ok("abc")),
            (vec![Ok("a"), Ok(""), Ok("b"), Ok("c")], Ok("abc")),
            (vec![Ok(""), Ok("abcde")], Ok("abcde")),
            (vec![Ok("abc"), Ok("def")], Err("module-response-too-large")),
            (
                vec![Ok("a"), Err(RunError::NoResponse)],
                Err("module-no-response"),
            ),
        ] {
            let outcome = whole(response(pieces), 5).await;
            let outcome = outcome
                .as_ref()
                .map(|(_, body)| body.as_ref())
                .map_err(RunError::slug);
            assert_eq!(outcome, expected.map(str::as_bytes));
        }
    }

    #[test]
    fn authors_say_whether_an_answer_to_cookies_is_for_everyone() {
        for (name, value, shared) in [
            (CACHE_CONTROL, "max-age=60", false),
            (CACHE_CONTROL, "max-age=60, Public", true),
            (CACHE_CONTROL, "s-maxage=60", true),
            (CACHE_CONTROL, "private", false),
            (VARY, "accept", false),
            (VARY, "accept, Cookie", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(is_shared_by_its_author(&headers), shared, "{value}");
        }
    }
}
