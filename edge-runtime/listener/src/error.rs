//! What can go wrong before the first request: addresses, files, certificates.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Any error that a body may end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Errors of binding, certificates and keys. What happens on one connection is never an error of
/// the listener: it is answered, reset, and logged at debug level.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither a TCP nor a QUIC address is configured.
    #[error("listener: neither a TCP nor a QUIC address is configured")]
    NoAddress,
    /// QUIC cannot do without TLS.
    #[error("listener: QUIC on {address} needs a certificate and a key")]
    QuicWithoutTls {
        /// The configured QUIC address.
        address: SocketAddr,
    },
    /// The address could not be bound.
    #[error("listener: {protocol} address {address} could not be bound")]
    Bind {
        /// `TCP` or `QUIC`.
        protocol: &'static str,
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A certificate or key file could not be read or written.
    #[error("file {}: could not be {action}", path.display())]
    File {
        /// `read`, `written`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file holds no certificate, no key, or something else.
    #[error("file {}: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate and key of a file do not make a TLS identity.
    #[error("certificate {}: not usable", path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls said.
        #[source]
        source: rustls::Error,
    },
    /// The client authority does not make a verifier.
    #[error("client authority {}: {reason}", path.display())]
    ClientAuthority {
        /// The authority's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
    /// A certificate could not be issued.
    #[error("certificate for {subject} could not be issued: {reason}")]
    Issue {
        /// The first name, or the authority's.
        subject: String,
        /// What rcgen said.
        reason: String,
    },
}
