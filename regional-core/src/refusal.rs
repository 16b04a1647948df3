//! Why the control API does not do what it is asked for.

use crate::Error;
use brink_protocol::problem::Problem;

/// A reason, with what a person has to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It does not fit what is there.
    #[error("{0}")]
    Conflict(String),
    /// It is well formed, but cannot be done.
    #[error("{detail}")]
    Unfit {
        /// The problem's kind.
        slug: &'static str,
        /// A summary of the kind.
        title: &'static str,
        /// What is wrong this time.
        detail: String,
    },
    /// A value is outside its limits.
    #[error(transparent)]
    Invalid(#[from] brink_protocol::Error),
    /// The core itself.
    #[error(transparent)]
    Core(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Limit(limit) => Self::Invalid(limit),
            other => Self::Core(other),
        }
    }
}

impl Refusal {
    /// Well formed, but cannot be done.
    pub(crate) fn unfit(
        slug: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self::Unfit {
            slug,
            title,
            detail: detail.into(),
        }
    }

    /// For the client. What failed inside the core is logged here, and not told.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::NotFound(detail) => {
                Problem::new(404, "not-found", "There is no such thing", detail)
            }
            Self::Conflict(detail) => {
                Problem::new(409, "conflict", "This does not fit what is there", detail)
            }
            Self::Unfit {
                slug,
                title,
                detail,
            } => Problem::new(422, slug, title, detail),
            Self::Invalid(error) => {
                Problem::new(422, "invalid", "A value is not valid", error.to_string())
            }
            Self::Core(Error::Busy) => Problem::new(
                503,
                "busy",
                "The core has too much to do",
                "Too many writes are waiting; try again.",
            ),
            Self::Core(error) => {
                tracing::error!(%error, "a request was not done");
                Problem::new(
                    500,
                    "internal",
                    "The core failed",
                    "The core could not do this; its log says why.",
                )
            }
        }
    }
}
