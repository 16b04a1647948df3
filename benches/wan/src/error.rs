//! What can go wrong.

use std::io;

/// What can go wrong with a network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan of the network, or an order to change it, says something impossible.
    #[error("the plan: {0}")]
    Plan(String),
    /// A node that the plan does not know.
    #[error("the plan knows no node {0}")]
    UnknownNode(String),
    /// The system does not let us make namespaces or devices.
    #[error("namespaces are not permitted here: {0}")]
    Namespaces(String),
    /// A command of the system failed.
    #[error("`{command}` failed: {reason}")]
    Command {
        /// The command line.
        command: String,
        /// What it said.
        reason: String,
    },
    /// A device or socket failed.
    #[error("{subject}: {source}")]
    Io {
        /// What it was.
        subject: String,
        /// Why.
        source: io::Error,
    },
    /// The thread that carries packets has ended.
    #[error("the network has ended")]
    Ended,
}

impl Error {
    /// For `map_err`: names what failed.
    pub(crate) fn io(subject: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let subject = subject.into();
        |source| Self::Io { subject, source }
    }
}
