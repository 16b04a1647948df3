//! Whose certificates are trusted.

use crate::error::Error;
use hyper_rustls::ConfigBuilderExt as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use std::{path::Path, sync::Arc};

/// TLS that trusts the authorities in `ca`, or those of the system if there is none.
///
/// # Errors
/// The file cannot be read or holds no certificate.
pub(super) fn config(ca: Option<&Path>) -> Result<ClientConfig, Error> {
    if let Some(path) = ca {
        return Ok(builder()?
            .with_root_certificates(authorities(path)?)
            .with_no_client_auth());
    }
    let verified = match builder()?.with_native_roots() {
        Ok(verified) => verified,
        // No authorities on this machine: nothing is trusted, and the error of the handshake says to name one.
        Err(_) => builder()?.with_root_certificates(RootCertStore::empty()),
    };
    Ok(verified.with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::failed("TLS cannot be set up", error))
}

fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let wrong = |cause: &dyn std::fmt::Display| {
        Error::Usage(format!(
            "the authority's file {}: {cause}\nName another with --ca, BRINK_CA or `brink login --ca FILE`.",
            path.display()
        ))
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"it holds no certificate (PEM)"));
    }
    Ok(roots)
}
