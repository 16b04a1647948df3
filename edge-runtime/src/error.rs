//! What keeps an edge from starting, or from taking up a deployment.

use brink_protocol::Digest;
use std::{io, path::PathBuf};

/// What keeps an edge from starting, or from taking up a deployment. What goes wrong with one request is never one of
/// these: it is answered with a problem document.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has mistakes: all of them.
    #[error("the configuration cannot be used:\n{}", .0.iter().map(|m| format!("  - {m}")).collect::<Vec<_>>().join("\n"))]
    Config(Vec<String>),
    /// A file or directory could not be used.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An address could not be bound, or a certificate not be used.
    #[error(transparent)]
    Listener(#[from] brink_listener::Error),
    /// The admin address could not be bound.
    #[error("admin address {address} could not be bound: {source}")]
    Admin {
        /// The configured address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The cache could not be opened or closed.
    #[error(transparent)]
    Cache(#[from] crate::cache::Error),
    /// The client for origins could not be made.
    #[error(transparent)]
    Origin(#[from] crate::origin::Error),
    /// The sandbox did not start.
    #[error("sandbox: {0}")]
    Sandbox(#[from] brink_sandbox::Error),
    /// The client for modules' outbound HTTP could not be made.
    #[error("outbound HTTP: {0}")]
    Egress(String),
    /// Telemetry could not be set up.
    #[error("telemetry: {0}")]
    Telemetry(String),
    /// A component is not there, or is not what its address says.
    #[error("component {digest}: {reason}")]
    Component {
        /// Which.
        digest: Digest,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// A file that could not be used, for `map_err`.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
