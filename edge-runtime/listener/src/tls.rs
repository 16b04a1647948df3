//! The server's TLS: files into rustls configurations, and certificates that change while it runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;
use x509_parser::extensions::GeneralName;

use crate::config::TlsConfig;
use crate::error::Error;

/// Largest certificate or key file read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// aws-lc-rs, with X25519MLKEM768 first (draft-ietf-tls-ecdhe-mlkem). Named at each use: the
/// process-wide default provider is nobody's business here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        let reason = format!("{bytes} bytes, over the limit of {FILE_BYTES_MAX}");
        return Err(Error::Pem {
            path: path.to_owned(),
            reason,
        });
    }
    std::fs::read(path).map_err(failed)
}

/// The certificates of a PEM file, in its order; at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |reason| Error::Pem {
        path: path.to_owned(),
        reason,
    };
    let certificates = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("no certificate in it".to_owned()));
    }
    Ok(certificates)
}

/// The first private key of a PEM file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| Error::Pem {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// The authorities of a PEM file.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| Error::Pem {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// The DNS names of a certificate's subjectAltName (RFC 5280 §4.2.1.6). The certificate has been verified already.
pub(crate) fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// The certificate in use. Replaced as a whole; a handshake sees the old one or the new one.
pub(crate) struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// What tells that a file has changed. Both times and sizes: some writers keep the time.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Identity {
    pub(crate) fn load(config: &TlsConfig) -> Result<Arc<Self>, Error> {
        let current = Self::read(&config.certificate, &config.key)?;
        Ok(Arc::new(Self {
            certificate: config.certificate.clone(),
            key: config.key.clone(),
            current: ArcSwap::from_pointee(current),
        }))
    }

    fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, Error> {
        CertifiedKey::from_der(certificates(certificate)?, private_key(key)?, &provider()).map_err(
            |source| Error::Certificate {
                path: certificate.to_owned(),
                source,
            },
        )
    }

    fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    /// Looks at the files now and then, and takes a new pair up when it is a good one. Between the
    /// writing of the two files they do not fit each other: that too is only a bad pair, looked at again later.
    pub(crate) async fn follow(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        let mut loaded = self.stamp();
        let mut reported = None;
        let mut ticks = tokio::time::interval(every.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let stamp = self.stamp();
            if stamp == loaded {
                continue;
            }
            match Self::read(&self.certificate, &self.key) {
                Ok(current) => {
                    self.current.store(Arc::new(current));
                    loaded = stamp;
                    tracing::info!(certificate = %self.certificate.display(), "certificate reloaded");
                }
                // Once per state of the files, or a bad certificate fills the log.
                Err(error) if reported != Some(stamp) => {
                    reported = Some(stamp);
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, source, "certificate not reloaded, the old one stays in use");
                }
                Err(_) => {}
            }
        }
    }
}

/// The rustls configuration of one transport.
pub(crate) fn server_config(
    config: &TlsConfig,
    identity: &Arc<Identity>,
    alpn: &[&[u8]],
    tls13_only: bool,
) -> Result<ServerConfig, Error> {
    let versions: &[_] = if tls13_only {
        &[&rustls::version::TLS13]
    } else {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(Error::Tls)?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider())
                    .build()
                    .map_err(|error| Error::ClientAuthority {
                        path: path.clone(),
                        reason: error.to_string(),
                    })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let resolver: Arc<dyn ResolvesServerCert> = Arc::<Identity>::clone(identity);
    let mut server = builder.with_cert_resolver(resolver);
    server.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(Error::Tls)?;
    // No early data: every request comes after the handshake is confirmed (RFC 8470).
    server.max_early_data_size = 0;
    Ok(server)
}
