//! The client.

use super::{
    body::Watched,
    config::Config,
    connector::{ConnectTimeout, Connector},
    error::Error,
    forwarded,
};
use brink_listener::{Body, BodyTooLarge};
use brink_policy::http::fields::remove_hop_by_hop;
use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, Uri, Version,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error as ClientError},
    rt::{TokioExecutor, TokioTimer},
};
use std::{error::Error as StdError, fmt, net::SocketAddr, time::Duration};

/// Largest head of an origin's HTTP/1.1 answer, in bytes.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// Largest body of an idempotent request that is held until the answer begins, to be sent once more, in bytes.
const HELD_BYTES_MAX: u64 = 64 << 10;
/// Largest head of an origin's HTTP/2 answer, in bytes.
const HEADER_LIST_BYTES_MAX: u32 = 128 << 10;

/// HTTP origins, with a pool of connections to each. Clones share it.
#[derive(Clone)]
pub struct Origins {
    client: Client<Connector, Limited<Body>>,
    config: Config,
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origins")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What of a request can be sent again.
struct Attempt {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Origins {
    /// A client with the platform's authorities and those of `config.ca`. Call it from within a tokio runtime.
    ///
    /// # Errors
    /// The file of authorities cannot be used.
    pub fn new(config: Config) -> Result<Self, Error> {
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_millis(config.idle_ms_max))
            .pool_max_idle_per_host(config.idle_max)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
            .http2_adaptive_window(true)
            .build(Connector::new(&config)?);
        Ok(Self { client, config })
    }

    /// Sends `request` (in the client's terms: its URI carries scheme and host as the client wrote them) to `origin`,
    /// `http[s]://host[:port]`. Hop-by-hop fields are stripped both ways; `Host` becomes the origin's; `Via`,
    /// `Forwarded` and `X-Forwarded-*` are set from the request's URI and from its extension [`SocketAddr`] (the
    /// client's address). An idempotent request is sent once more if the connection fails before the answer begins, as a reused
    /// one may (RFC 9110 §9.2.2), unless its body is of unknown length or over 64 KiB.
    ///
    /// # Errors
    /// There is no answer; see [`Error::problem`]. The answer's body may end with a [`super::BodyError`].
    pub async fn send(
        &self,
        origin: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let (mut head, body) = request.into_parts();
        let uri = target(origin, &head.uri)?;
        if body.size_hint().lower() > self.config.request_bytes_max {
            return Err(self.too_large(origin));
        }
        remove_hop_by_hop(&mut head.headers);
        let client = head.extensions.get::<SocketAddr>().copied();
        forwarded::set(&mut head.headers, &head.uri, head.version, client);
        let is_small = body
            .size_hint()
            .exact()
            .is_some_and(|length| length <= HELD_BYTES_MAX);
        let (body, held) = match head.method.is_idempotent() && is_small {
            true => {
                let held = whole(origin, body).await?;
                (Body::full(held.clone()), Some(held))
            }
            false => (body, None),
        };
        let attempt = Attempt {
            method: head.method,
            uri,
            headers: head.headers,
        };
        let again = held.map(|held| {
            let attempt = Attempt {
                method: attempt.method.clone(),
                uri: attempt.uri.clone(),
                headers: attempt.headers.clone(),
            };
            (attempt, Body::full(held))
        });
        let answered = match (self.attempt(origin, attempt, body).await, again) {
            (Err(Error::Exchange { .. }), Some((again, body))) => {
                self.attempt(origin, again, body).await?
            }
            (answered, _) => answered?,
        };
        self.bounded(origin, answered)
    }

    async fn attempt(
        &self,
        origin: &str,
        attempt: Attempt,
        body: Body,
    ) -> Result<Response<Incoming>, Error> {
        let limit = usize::try_from(self.config.request_bytes_max).unwrap_or(usize::MAX);
        let mut request = Request::new(Limited::new(body, limit));
        *request.method_mut() = attempt.method;
        *request.uri_mut() = attempt.uri;
        *request.headers_mut() = attempt.headers;
        *request.version_mut() = Version::HTTP_11;
        let limit_ms = self.config.response_ms_max;
        let answer = tokio::time::timeout(
            Duration::from_millis(limit_ms),
            self.client.request(request),
        )
        .await;
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.failed(origin, &error)),
            Err(_) => Err(Error::Timeout {
                origin: origin.to_owned(),
                limit_ms,
            }),
        }
    }

    fn too_large(&self, origin: &str) -> Error {
        Error::RequestTooLarge {
            origin: origin.to_owned(),
            limit: self.config.request_bytes_max,
        }
    }

    fn failed(&self, origin: &str, error: &ClientError) -> Error {
        let origin = origin.to_owned();
        if caused_by::<LengthLimitError>(error) || caused_by::<BodyTooLarge>(error) {
            return self.too_large(&origin);
        }
        if caused_by::<ConnectTimeout>(error) {
            return Error::Timeout {
                origin,
                limit_ms: self.config.connect_ms_max,
            };
        }
        let reason = root(error).to_string();
        if error.is_connect() {
            Error::Connect { origin, reason }
        } else {
            Error::Exchange { origin, reason }
        }
    }

    /// Strips the answer's head and watches its body.
    fn bounded(&self, origin: &str, response: Response<Incoming>) -> Result<Response<Body>, Error> {
        let (mut head, body) = response.into_parts();
        let limit = self.config.response_bytes_max;
        if body.size_hint().lower() > limit {
            let reason = format!("the answer is over {limit} bytes");
            return Err(Error::Exchange {
                origin: origin.to_owned(),
                reason,
            });
        }
        remove_hop_by_hop(&mut head.headers);
        head.version = Version::HTTP_11;
        head.extensions.clear();
        let body = match body.size_hint().exact() {
            Some(0) => Body::empty(),
            Some(_) | None => Body::stream(Watched::new(body, limit, self.config.body_idle_ms_max)),
        };
        Ok(Response::from_parts(head, body))
    }
}

/// A body as a whole.
async fn whole(origin: &str, body: Body) -> Result<Bytes, Error> {
    match body.collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) => Err(Error::Exchange {
            origin: origin.to_owned(),
            reason: format!("the request's body broke off: {error}"),
        }),
    }
}

/// The origin's URL with the request's path and query.
fn target(origin: &str, requested: &Uri) -> Result<Uri, Error> {
    let wrong = || Error::Origin {
        origin: origin.chars().take(80).collect(),
    };
    let base: Uri = origin.parse().map_err(|_| wrong())?;
    let scheme = base
        .scheme()
        .filter(|s| **s == Scheme::HTTP || **s == Scheme::HTTPS)
        .ok_or_else(wrong)?;
    let authority: &Authority = base
        .authority()
        .filter(|a| !a.as_str().contains('@'))
        .ok_or_else(wrong)?;
    if !matches!(base.path(), "" | "/") || base.query().is_some() {
        return Err(wrong());
    }
    let path = requested
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::builder()
        .scheme(scheme.clone())
        .authority(authority.clone())
        .path_and_query(path)
        .build()
        .map_err(|_| wrong())
}

fn caused_by<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn root<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root
}

#[cfg(test)]
mod tests;
