//! What can go wrong in a core.

use std::path::PathBuf;

/// Errors of the core. Expected outcomes (a conflict, a refusal, nothing there) are not errors: they are enums of
/// the operation that meets them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store did not do something; a write may or may not have happened.
    #[error("store: {operation} failed: {reason}")]
    Store {
        /// What was tried.
        operation: &'static str,
        /// What the engine said.
        reason: String,
    },
    /// The store has more writes waiting than its queue holds, or is closing. Nothing was written.
    #[error("store: the queue of writes is full; try again")]
    Busy,
    /// Something in the store does not have the shape that it was written with.
    #[error("store: {what} cannot be read: {reason}")]
    Corrupt {
        /// Which row or file.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// What is asked for or written is over a limit, or has a part that is not allowed.
    #[error(transparent)]
    Limit(#[from] brink_protocol::Error),
    /// The partition is not written or read here now: its home is a region that is not reached, or is changing.
    #[error("region {region}: {reason}")]
    Region {
        /// The region.
        region: String,
        /// Why; whether something may have been written.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("file {}: could not be {action}: {source}", path.display())]
    File {
        /// `read`, `written`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The configuration has mistakes: all of them, one a line.
    #[error("configuration:\n{0}")]
    Config(String),
    /// A backup cannot be taken, read or put back; the text says what can be done.
    #[error("backup: {0}")]
    Backup(String),
    /// A Kafka broker did not do something; it may or may not have happened.
    #[error("kafka: {operation} failed: {reason}")]
    Kafka {
        /// What was tried.
        operation: &'static str,
        /// What the broker or the connection said.
        reason: String,
    },
    /// A listener or the certificate authority.
    #[error(transparent)]
    Listener(#[from] brink_listener::Error),
    /// The core's certificates are not there, or not its own; the text says what to do.
    #[error("certificates: {0}")]
    Identity(String),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] brink_sandbox::Error),
    /// Telemetry could not be set up.
    #[error("telemetry: {0}")]
    Telemetry(String),
    /// The asynchronous runtime did not start, or a task of it ended by itself.
    #[error("runtime: {0}")]
    Runtime(String),
    /// The system does not let signals be taken.
    #[error("signals: {0}")]
    Signals(String),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

impl Error {
    /// A failure of the store's engine.
    pub(crate) fn store(operation: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Store {
            operation,
            reason: reason.to_string(),
        }
    }

    /// A failure of a Kafka broker, or on the way to it.
    pub(crate) fn kafka(operation: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Kafka {
            operation,
            reason: reason.to_string(),
        }
    }

    /// A row that does not decode.
    pub(crate) fn corrupt(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Corrupt {
            what,
            reason: reason.to_string(),
        }
    }

    /// A file that could not be `action`.
    pub(crate) fn file(
        action: &'static str,
        path: &std::path::Path,
        source: std::io::Error,
    ) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
