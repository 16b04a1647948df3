//! Connections to one origin: TCP, TLS where its URL says so, within one time.

use super::{config::Config, connection::Connection, error::Error};
use crate::reach::Reach;
use brink_listener::BoxError;
use brink_protocol::origins::OriginProtocol;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower::Service;

/// A connector to one origin, whatever is asked for.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector<Reach>>,
    reach: Reach,
    origin: Uri,
    limit: Duration,
}

impl Connector {
    /// A connector to `origin`.
    pub(super) fn new(
        tls: &ClientConfig,
        reach: Reach,
        origin: Uri,
        protocol: OriginProtocol,
        limit: Duration,
    ) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(reach.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http();
        let inner = match protocol {
            OriginProtocol::Auto => builder.enable_all_versions().wrap_connector(tcp),
            OriginProtocol::Http1 => builder.enable_http1().wrap_connector(tcp),
            OriginProtocol::Http2 => builder.enable_http2().wrap_connector(tcp),
        };
        Self {
            inner,
            reach,
            origin,
            limit,
        }
    }
}

/// TLS that trusts the platform's authorities and those of `config.ca`.
pub(super) fn tls(config: &Config) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    let platform = rustls_native_certs::load_native_certs();
    let (trusted, _) = roots.add_parsable_certificates(platform.certs);
    if trusted == 0 {
        tracing::info!(
            "the platform has no authorities: only those configured are trusted for origins"
        );
    }
    if let Some(path) = &config.ca {
        add_authorities(&mut roots, path)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Tls {
            reason: e.to_string(),
        })?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), Error> {
    let wrong = |reason: String| Error::Authorities {
        path: path.to_owned(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?;
    let mut count = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
        count += 1;
    }
    match count {
        0 => Err(wrong("no certificate in it".into())),
        _ => Ok(()),
    }
}

/// The connection could not be made in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} ms", limit.as_millis())]
pub(super) struct ConnectTimeout {
    limit: Duration,
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    /// The URI of a request may name another host (see [`brink_protocol::origins::Origin::host`]): it is not connected to.
    fn call(&mut self, _: Uri) -> Self::Future {
        let allowed = self.reach.check(&self.origin);
        let (connecting, limit) = (self.inner.call(self.origin.clone()), self.limit);
        Box::pin(async move {
            allowed?;
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected.map(Connection::new),
                Err(_) => Err(ConnectTimeout { limit }.into()),
            }
        })
    }
}
