//! HTTP clients: one of each PoP for each protocol, and one of the control API.

use crate::{
    Error,
    answer::{Answer, BODY_BYTES_MAX, Outcome, Silence},
    http3::Http3,
};
use bytes::Bytes;
use http::{Method, Request};
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

/// The protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Http3,
}

type ByPool = Pool<HttpsConnector<HttpConnector<Fixed>>, Full<Bytes>>;

/// What carries a request.
#[derive(Clone)]
enum Carrier {
    /// Over TCP.
    Pool(Box<ByPool>),
    /// Over QUIC.
    Http3(Http3),
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
#[derive(Clone)]
pub(crate) struct Client {
    carrier: Carrier,
    authority: String,
    authorization: Option<String>,
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

/// Connections over TCP.
fn pool(address: SocketAddr, protocol: Protocol, tls: &ClientConfig) -> ByPool {
    let mut connector = HttpConnector::new_with_resolver(Fixed(address));
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(2)));
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_only();
    let is_http2 = protocol == Protocol::Http2;
    let connector = if is_http2 {
        builder.enable_http2().wrap_connector(connector)
    } else {
        builder.enable_http1().wrap_connector(connector)
    };
    let mut pool = Pool::builder(TokioExecutor::new());
    pool.pool_timer(TokioTimer::new()).timer(TokioTimer::new());
    pool.pool_idle_timeout(Duration::from_secs(5));
    pool.http2_only(is_http2);
    pool.http2_keep_alive_interval(Duration::from_secs(2))
        .http2_keep_alive_timeout(Duration::from_secs(8));
    pool.build(connector)
}

/// Over TCP: sends a request and reads its whole answer.
async fn over_tcp(pool: &ByPool, request: Request<Full<Bytes>>) -> Outcome {
    let answer = pool.request(request).await;
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
}

impl Client {
    pub(crate) fn new(
        address: SocketAddr,
        protocol: Protocol,
        tls: &ClientConfig,
        authorization: Option<String>,
    ) -> Result<Self, Error> {
        let carrier = match protocol {
            Protocol::Http3 => Carrier::Http3(Http3::new(address, tls)?),
            Protocol::Http1 | Protocol::Http2 => {
                Carrier::Pool(Box::new(pool(address, protocol, tls)))
            }
        };
        Ok(Self {
            carrier,
            authority: format!("localhost:{}", address.port()),
            authorization,
        })
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
        let request = request.body(()).map_err(|_| Silence::BrokeOff)?;
        let body = body.into();
        let whole = async {
            match &self.carrier {
                Carrier::Pool(pool) => over_tcp(pool, request.map(|()| Full::new(body))).await,
                Carrier::Http3(http3) => http3.send(request, body).await,
            }
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
