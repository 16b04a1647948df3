//! The client of modules' outbound HTTP: pooled, connects to allowed addresses only.
//!
//! The address is judged when the connection is made, after the name was looked up: a name that changes its address
//! between a look and a connect gains nothing.

use crate::{
    address::Block,
    reach::{NotAllowed, Owner, Reach},
};
use brink_sandbox::{Body, EgressError, EgressTimeouts};
use http::{
    HeaderMap, HeaderName, Request, Response, Version,
    header::{
        CONNECTION, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
        UPGRADE,
    },
};
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{error::Error as StdError, io, sync::Arc, time::Duration};

/// Idle connections kept to one host.
const IDLE_MAX: usize = 16;
/// Time to connect, TLS included, whatever the module asks for.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Time to the head of an answer, whatever the module asks for.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(60);
/// What Connection names beside itself. RFC 9110 §7.6.1.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The client of all modules' outbound requests. Clones share its connections.
#[derive(Clone)]
pub struct Guarded {
    client: Client<HttpsConnector<HttpConnector<Reach>>, Body>,
    reach: Reach,
}

impl Guarded {
    /// A client that connects to public addresses and to those of `allow`. Trusts the platform's authorities; where
    /// there are none, `https` fails.
    ///
    /// # Errors
    /// TLS could not be set up.
    pub fn new(allow: &[Block]) -> Result<Self, rustls::Error> {
        let reach = Reach {
            owner: Owner::Tenant,
            allow: allow.into(),
            key: "egress.allow",
        };
        let mut http = HttpConnector::new_with_resolver(reach.clone());
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_MAX));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = HttpsConnectorBuilder::new();
        let builder = match builder.with_provider_and_native_roots(Arc::clone(&provider)) {
            Ok(builder) => builder,
            Err(error) => {
                tracing::warn!(%error, "no authorities are installed: modules' outbound https will fail");
                let tls = rustls::ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(rustls::RootCertStore::empty())
                    .with_no_client_auth();
                HttpsConnectorBuilder::new().with_tls_config(tls)
            }
        };
        let connector = builder.https_or_http().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(IDLE_MAX)
            .build(connector);
        Ok(Self { client, reach })
    }

    /// Sends one request.
    ///
    /// # Errors
    /// The address is not allowed, or there is no answer in time.
    pub async fn send(
        &self,
        mut request: Request<Body>,
        timeouts: EgressTimeouts,
    ) -> Result<Response<Body>, EgressError> {
        if request.uri().host().is_none() {
            return Err(EgressError::Protocol("the URI has no host".into()));
        }
        let allowed = self.reach.check(request.uri());
        allowed.map_err(|refused| EgressError::Denied(refused.to_string()))?;
        strip(request.headers_mut());
        // The client writes Host from the URI.
        request.headers_mut().remove(HOST);
        *request.version_mut() = Version::HTTP_11;
        let host = request.uri().host().unwrap_or_default().to_owned();
        let limit = timeouts
            .first_byte
            .unwrap_or(FIRST_BYTE_MAX)
            .min(FIRST_BYTE_MAX);
        let limit = match timeouts.connect {
            Some(connect) => limit.saturating_add(connect.min(CONNECT_MAX)),
            None => limit.saturating_add(CONNECT_MAX),
        };
        let answered = tokio::time::timeout(limit, self.client.request(request))
            .await
            .map_err(|_| EgressError::Timeout(format!("{host} did not answer in time")))?;
        let (mut head, body) = answered.map_err(|e| explain(&host, &e))?.into_parts();
        strip(&mut head.headers);
        Ok(Response::from_parts(
            head,
            body.map_err(Into::into).boxed_unsync(),
        ))
    }
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// The reason lies in the chain of causes.
fn explain(host: &str, error: &(dyn StdError + 'static)) -> EgressError {
    let mut text = error.to_string();
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(present) = cause {
        if let Some(refused) = present.downcast_ref::<NotAllowed>() {
            return EgressError::Denied(refused.to_string());
        }
        if let Some(io) = present.downcast_ref::<io::Error>() {
            if let Some(refused) = io.get_ref().and_then(|e| e.downcast_ref::<NotAllowed>()) {
                return EgressError::Denied(refused.to_string());
            }
            if let Some(tls) = io.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
                return EgressError::Tls(tls.to_string());
            }
            if io.kind() == io::ErrorKind::NotFound {
                return EgressError::NotFound(host.to_owned());
            }
        }
        text = present.to_string();
        cause = present.source();
    }
    EgressError::Unreachable(format!("{host}: {text}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::Empty;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    fn request(uri: &str) -> Request<Body> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Request::builder()
            .uri(uri)
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .body(body)
            .unwrap()
    }

    #[tokio::test]
    async fn loopback_is_denied_by_address_and_by_name_unless_allowed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                let mut piece = [0u8; 1024];
                let length = stream.read(&mut piece).await.unwrap();
                seen.extend_from_slice(piece.get(..length).unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(seen).unwrap()
        });
        let closed = Guarded::new(&[]).unwrap();
        for host in ["127.0.0.1", "localhost", "[::1]", "169.254.169.254"] {
            let uri = format!("http://{host}:{port}/");
            let outcome = closed.send(request(&uri), EgressTimeouts::default()).await;
            assert!(matches!(outcome, Err(EgressError::Denied(_))), "{host}");
        }
        let open = Guarded::new(&["127.0.0.0/8".parse().unwrap()]).unwrap();
        let uri = format!("http://localhost:{port}/a?b");
        let answer = open
            .send(request(&uri), EgressTimeouts::default())
            .await
            .unwrap();
        assert!(answer.headers().get("connection").is_none());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "ok");
        let seen = server.await.unwrap();
        assert!(seen.starts_with("GET /a?b HTTP/1.1\r\n"), "{seen}");
        assert!(!seen.contains("x-hop"), "{seen}");
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let open = Guarded::new(&["127.0.0.1".parse().unwrap()]).unwrap();
        let outcome = open.send(request(&uri), EgressTimeouts::default()).await;
        assert!(
            matches!(outcome, Err(EgressError::Unreachable(_))),
            "{:?}",
            outcome.err()
        );
    }
}
