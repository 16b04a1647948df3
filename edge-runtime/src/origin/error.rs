//! Why an origin did not answer.

use brink_protocol::problem::Problem;
use std::path::PathBuf;

/// Why an origin did not answer, or the client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The route's origin is not `http[s]://host[:port]`.
    #[error("origin {origin:?} is not http[s]://HOST[:PORT]")]
    Origin {
        /// What the route says.
        origin: String,
    },
    /// No connection.
    #[error("origin {origin}: could not connect: {reason}")]
    Connect {
        /// Which origin.
        origin: String,
        /// What the system or TLS said.
        reason: String,
    },
    /// It did not answer in time.
    #[error("origin {origin}: no answer within {limit_ms} ms")]
    Timeout {
        /// Which origin.
        origin: String,
        /// The limit.
        limit_ms: u64,
    },
    /// It closed the connection or did not speak HTTP.
    #[error("origin {origin}: the exchange failed: {reason}")]
    Exchange {
        /// Which origin.
        origin: String,
        /// What happened.
        reason: String,
    },
    /// The request's body is too large.
    #[error("origin {origin}: the request's body is over {limit} bytes")]
    RequestTooLarge {
        /// Which origin.
        origin: String,
        /// The limit.
        limit: u64,
    },
    /// TLS could not be set up.
    #[error("origin client: TLS could not be set up: {reason}")]
    Tls {
        /// What rustls said.
        reason: String,
    },
    /// The file of authorities could not be used.
    #[error("origin client: authorities {}: {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// As a problem document: 502, 504, 413 or 500. Names no address.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Origin { .. } | Self::Authorities { .. } | Self::Tls { .. } => Problem::new(
                500,
                "origin-not-usable",
                "The route's origin is not usable",
                "the operator has to correct it",
            ),
            Self::Connect { .. } => Problem::new(
                502,
                "origin-unreachable",
                "The origin could not be reached",
                "no connection could be made",
            ),
            Self::Exchange { .. } => Problem::new(
                502,
                "origin-failed",
                "The origin did not answer",
                "it closed the connection or did not speak HTTP",
            ),
            Self::Timeout { limit_ms, .. } => Problem::new(
                504,
                "origin-timeout",
                "The origin did not answer in time",
                format!("no answer within {limit_ms} ms"),
            ),
            Self::RequestTooLarge { limit, .. } => Problem::new(
                413,
                "request-too-large",
                "The request's body is too large",
                format!("the limit is {limit} bytes"),
            ),
        }
    }
}
