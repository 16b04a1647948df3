//! HTTP clients: one of each PoP for each protocol, and one of the control API.

use crate::Error;
use brink_planet::history::Source;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client as Pool,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    iter::{Once, once},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// How long an answer may take, its body too.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How long a client waits where nobody listens before it goes on.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// Longest body of an answer, in bytes.
const BODY_BYTES_MAX: usize = 4 << 20;

/// The protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Every name is at one address.
#[derive(Debug, Clone)]
struct Fixed(SocketAddr);

impl tower::Service<Name> for Fixed {
    type Response = Once<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Once<SocketAddr>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(once(self.0)))
    }
}

/// A client of one address, with connections of its own.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pool: Pool<HttpsConnector<HttpConnector<Fixed>>, Full<Bytes>>,
    authority: String,
    authorization: Option<String>,
}

/// Why there is no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nobody listens there.
    Refused,
    /// The connection broke off.
    BrokeOff,
    /// It took longer than [`ANSWER_WITHIN`].
    TooLate,
}

/// What became of a request.
pub(crate) type Outcome = Result<Answer, Silence>;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What clients trust.
pub(crate) fn trust(ca: &Path) -> Result<ClientConfig, Error> {
    let wrong = |what: String| Error::Setup(format!("{}: {what}", ca.display()));
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(ca).map_err(|error| wrong(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl Client {
    pub(crate) fn new(
        address: SocketAddr,
        protocol: Protocol,
        tls: &ClientConfig,
        authorization: Option<String>,
    ) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Fixed(address));
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_only();
        let connector = match protocol {
            Protocol::Http1 => builder.enable_http1().wrap_connector(connector),
            Protocol::Http2 => builder.enable_http2().wrap_connector(connector),
        };
        let mut pool = Pool::builder(TokioExecutor::new());
        pool.pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        pool.pool_idle_timeout(Duration::from_secs(5));
        pool.http2_only(protocol == Protocol::Http2);
        pool.http2_keep_alive_interval(Duration::from_secs(2))
            .http2_keep_alive_timeout(Duration::from_secs(8));
        Self {
            pool: pool.build(connector),
            authority: format!("localhost:{}", address.port()),
            authorization,
        }
    }

    /// Sends a request and reads its whole answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Outcome {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority));
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into()));
        let request = request.map_err(|_| Silence::BrokeOff)?;
        let whole = async {
            let answer = self.pool.request(request).await;
            let answer = answer.map_err(|error| match error.is_connect() {
                true => Silence::Refused,
                false => Silence::BrokeOff,
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|_| Silence::BrokeOff)?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        let outcome = tokio::time::timeout(ANSWER_WITHIN, whole).await;
        let outcome = outcome.unwrap_or(Err(Silence::TooLate));
        if matches!(outcome, Err(Silence::Refused)) {
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
        outcome
    }

    pub(crate) async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Outcome {
        self.send(Method::GET, path, fields, Bytes::new()).await
    }
}

impl Answer {
    /// A field's value.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Where it says that it comes from.
    pub(crate) fn source(&self) -> Source {
        source(self.status, self.field("cache-status").unwrap_or_default())
    }
}

/// `Cache-Status` (RFC 9211) of an edge: the last member is of the cache that is next to the client.
fn source(status: StatusCode, cache_status: &str) -> Source {
    const STALE: [&str; 4] = [
        "detail=stale-while-revalidate",
        "detail=stale-if-error",
        "detail=max-stale",
        "detail=disconnected",
    ];
    let last = cache_status.rsplit(',').next().unwrap_or_default();
    let says = |word: &str| last.split(';').any(|part| part.trim() == word);
    if !status.is_success() {
        Source::Error
    } else if STALE.iter().any(|word| says(word)) {
        Source::Stale
    } else if says("hit") {
        Source::Hit
    } else {
        Source::Forward
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        for (status, field, expected) in [
            (200, "brink-ams; hit; ttl=5; detail=memory", Source::Hit),
            (
                200,
                "other; hit, brink-ams; fwd=uri-miss; stored",
                Source::Forward,
            ),
            (
                200,
                "brink-ams; hit; ttl=-5; detail=stale-if-error",
                Source::Stale,
            ),
            (
                200,
                "brink-ams; hit; ttl=5; detail=disconnected",
                Source::Stale,
            ),
            (200, "", Source::Forward),
            (503, "brink-ams; hit", Source::Error),
        ] {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            assert_eq!(source(status, field), expected, "{field}");
        }
    }
}
