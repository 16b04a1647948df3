//! TLS for clients of this crate's listeners: the edge's link to a core, tools, benches.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::error::Error;
use crate::tls;

/// ALPN of HTTP/1.1 (RFC 7301 §6).
pub const ALPN_HTTP1: &[u8] = b"http/1.1";
/// ALPN of HTTP/2 (RFC 9113 §3.1).
pub const ALPN_HTTP2: &[u8] = b"h2";
/// ALPN of HTTP/3 (RFC 9114 §3.1).
pub const ALPN_HTTP3: &[u8] = b"h3";

/// Whom a client trusts and who it is.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// PEM file of the authorities that may have signed the server's certificate. No others are trusted.
    pub ca: PathBuf,
    /// PEM files of the client's own certificate chain and key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl ClientTls {
    /// Trusts the authorities in `ca`, and has no certificate of its own.
    pub fn new(ca: impl Into<PathBuf>) -> Self {
        Self {
            ca: ca.into(),
            identity: None,
        }
    }

    /// Shows the server this certificate.
    #[must_use]
    pub fn with_identity(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// A rustls configuration that offers the protocols of `alpn`, best first. Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read or does not hold what it should.
    pub fn config(&self, alpn: &[&[u8]]) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .with_root_certificates(tls::roots(&self.ca)?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(tls::certificates(certificate)?, tls::private_key(key)?)
                .map_err(|source| Error::Certificate {
                    path: certificate.clone(),
                    source,
                })?,
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }

    /// A quinn configuration for HTTP/3, with quinn's own transport settings (set others with
    /// [`quinn::ClientConfig::transport_config`]). Reads the files.
    ///
    /// # Errors
    /// As [`config`](Self::config).
    pub fn quic_config(&self) -> Result<quinn::ClientConfig, Error> {
        let config = self.config(&[ALPN_HTTP3])?;
        // Only a provider without the initial cipher suite of RFC 9001 §5.2 fails here.
        let config = quinn::crypto::rustls::QuicClientConfig::try_from(config)
            .map_err(|error| Error::Tls(rustls::Error::General(error.to_string())))?;
        Ok(quinn::ClientConfig::new(Arc::new(config)))
    }
}
