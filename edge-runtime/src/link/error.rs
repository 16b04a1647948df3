//! Why the core link did not give what was asked.

use brink_protocol::problem::Problem;

/// A question to the core that was not answered as it should.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// There is no connection, and none came within a second.
    #[error("the core is not connected")]
    NotConnected,
    /// The connection broke, or was gone, before the whole question was handed to it: no core has done what it asks.
    #[error("the connection to the core broke before the question was sent: {0}")]
    NotSent(String),
    /// A connection could not be made, or broke before the answer was whole.
    #[error("the connection to the core broke: {0}")]
    Disconnected(String),
    /// The deadline passed.
    #[error("the core did not answer within {0} ms")]
    Timeout(u64),
    /// As many questions are in flight as may be (`core.requests_max`), until the deadline.
    #[error("too many questions to the core are in flight")]
    Overloaded,
    /// The core refused: a status other than 2xx.
    #[error("the core answered {status}: {detail}")]
    Refused {
        /// Its status.
        status: u16,
        /// What its problem document says.
        detail: String,
    },
    /// The core's bytes are not a message, or are over a limit.
    #[error("the core's answer cannot be used: {0}")]
    Malformed(String),
}

impl LinkError {
    /// What a non-2xx answer says. `body` is its problem document, or anything.
    #[must_use]
    pub fn refused(status: http::StatusCode, body: &[u8]) -> Self {
        let detail = serde_json::from_slice::<Problem>(body)
            .map(|problem| problem.detail.unwrap_or(problem.title))
            .unwrap_or_else(|_| status.canonical_reason().unwrap_or("no reason").to_owned());
        Self::Refused {
            status: status.as_u16(),
            detail: detail.chars().take(1000).collect(),
        }
    }

    /// Whether the same question, asked again, may find a core that answers.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::NotConnected
            | Self::NotSent(_)
            | Self::Disconnected(_)
            | Self::Timeout(_)
            | Self::Overloaded => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Malformed(_) => false,
        }
    }

    /// Whether what was asked may have been done though there is no answer.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        match self {
            Self::Disconnected(_) | Self::Timeout(_) | Self::Malformed(_) => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::NotConnected | Self::NotSent(_) | Self::Overloaded => false,
        }
    }

    /// Whether it speaks against the core that was asked.
    pub(super) const fn is_of_the_core(&self) -> bool {
        match self {
            Self::Disconnected(_) | Self::NotSent(_) | Self::Malformed(_) => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::NotConnected | Self::Timeout(_) | Self::Overloaded => false,
        }
    }

    /// A short word for the `outcome` of a metric.
    #[must_use]
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::NotConnected => "not-connected",
            Self::NotSent(_) => "not-sent",
            Self::Disconnected(_) => "disconnected",
            Self::Timeout(_) => "timeout",
            Self::Overloaded => "overloaded",
            Self::Refused { .. } => "refused",
            Self::Malformed(_) => "malformed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn refusals_say_what_the_problem_says() {
        let problem = Problem::new(409, "x", "Conflict", "revision 3 is gone").to_json();
        for (status, body, text) in [
            (
                StatusCode::CONFLICT,
                problem.as_bytes(),
                "the core answered 409: revision 3 is gone",
            ),
            (
                StatusCode::BAD_GATEWAY,
                b"<html>".as_slice(),
                "the core answered 502: Bad Gateway",
            ),
        ] {
            let error = LinkError::refused(status, body);
            assert_eq!(error.to_string(), text);
            assert_eq!(error.is_passing(), status.is_server_error());
        }
    }
}
