//! Why an origin did not answer.

use brink_policy::origins::Failure;
use brink_protocol::problem::Problem;
use std::path::PathBuf;

/// Why an origin did not answer, or the client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The route's origins cannot be used as they are written.
    #[error("the route's origins cannot be used: {reason}")]
    Origin {
        /// What is wrong.
        reason: String,
    },
    /// No connection.
    #[error("origin {origin}: could not connect: {reason}")]
    Connect {
        /// Which origin.
        origin: String,
        /// What the system or TLS said.
        reason: String,
    },
    /// No connection was made, or no answer came, in time.
    #[error("origin {origin}: no {} within {limit_ms} ms", if *.is_connected { "answer" } else { "connection" })]
    Timeout {
        /// Which origin.
        origin: String,
        /// The limit.
        limit_ms: u64,
        /// Whether there was a connection.
        is_connected: bool,
    },
    /// It closed the connection or did not speak HTTP.
    #[error("origin {origin}: the exchange failed: {reason}")]
    Exchange {
        /// Which origin.
        origin: String,
        /// What happened.
        reason: String,
        /// The connection had answered before.
        was_kept: bool,
    },
    /// As much is in flight to it as may be, and nobody's turn came in time.
    #[error("origin {origin}: {in_flight_max} requests are in flight")]
    Busy {
        /// Which origin.
        origin: String,
        /// The limit.
        in_flight_max: u32,
    },
    /// No origin of the route is in use: each has failed of late, or is down by its health checks.
    #[error("no origin is in use: {origins}")]
    NoneUsable {
        /// Which there are, and how they stand.
        origins: String,
    },
    /// The request has been here before, several times.
    #[error("the request goes in circles: it has passed {times} PoPs")]
    Circle {
        /// How often it has passed.
        times: usize,
    },
    /// The request's body broke off.
    #[error("the request's body broke off: {reason}")]
    Request {
        /// What happened.
        reason: String,
    },
    /// The request's body is too large.
    #[error("the request's body is over {limit} bytes")]
    RequestTooLarge {
        /// The limit.
        limit: u64,
    },
    /// The answer's body is too large.
    #[error("origin {origin}: the answer is over {limit} bytes")]
    ResponseTooLarge {
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
    /// What it says of the origin; none: nothing.
    pub(super) fn failure(&self) -> Option<Failure> {
        match self {
            Self::Connect { .. }
            | Self::Timeout {
                is_connected: false,
                ..
            } => Some(Failure::Unreachable),
            Self::Timeout { .. } => Some(Failure::Late),
            Self::Exchange { .. } => Some(Failure::Broken),
            Self::Origin { .. }
            | Self::Busy { .. }
            | Self::NoneUsable { .. }
            | Self::Circle { .. }
            | Self::Request { .. }
            | Self::RequestTooLarge { .. }
            | Self::ResponseTooLarge { .. }
            | Self::Tls { .. }
            | Self::Authorities { .. } => None,
        }
    }

    /// Whether what failed was a connection that had answered before.
    pub(super) fn was_kept(&self) -> bool {
        matches!(self, Self::Exchange { was_kept: true, .. })
    }

    /// As a problem document: 400, 413, 500, 502, 503, 504 or 508. Names no address.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (status, slug, title) = match self {
            Self::Origin { .. } | Self::Authorities { .. } | Self::Tls { .. } => {
                (500, "origin-not-usable", "The route's origin is not usable")
            }
            Self::Connect { .. } => (502, "origin-unreachable", "The origin could not be reached"),
            Self::Exchange { .. } => (502, "origin-failed", "The origin did not answer"),
            Self::ResponseTooLarge { .. } => (
                502,
                "origin-answer-too-large",
                "The origin's answer is too large",
            ),
            Self::Busy { .. } => (503, "origin-busy", "The origin is busy"),
            Self::NoneUsable { .. } => (503, "origins-away", "No origin is in use"),
            Self::Timeout { .. } => (504, "origin-timeout", "The origin did not answer in time"),
            Self::Request { .. } => (400, "request-broken", "The request's body broke off"),
            Self::RequestTooLarge { .. } => {
                (413, "request-too-large", "The request's body is too large")
            }
            Self::Circle { .. } => (508, "loop-detected", "The request goes in circles"),
        };
        Problem::new(status, slug, title, self.detail())
    }

    fn detail(&self) -> String {
        match self {
            Self::Origin { .. } | Self::Authorities { .. } | Self::Tls { .. } => {
                "the operator has to correct it".into()
            }
            Self::Connect { .. } => "no connection could be made".into(),
            Self::Exchange { .. } => "it closed the connection or did not speak HTTP".into(),
            Self::Busy { .. } => "as much is in flight to it as may be".into(),
            Self::NoneUsable { .. } => {
                "each has failed of late, or is down by its health checks; they are tried again"
                    .into()
            }
            Self::Timeout {
                limit_ms,
                is_connected: true,
                ..
            } => format!("no answer within {limit_ms} ms"),
            Self::Timeout { limit_ms, .. } => format!("no connection within {limit_ms} ms"),
            Self::Request { .. } => "it ended before its end".into(),
            Self::RequestTooLarge { limit } | Self::ResponseTooLarge { limit, .. } => {
                format!("the limit is {limit} bytes")
            }
            Self::Circle { times } => format!("it has passed {times} PoPs of this platform"),
        }
    }
}
