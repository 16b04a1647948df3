//! Why the control API does not do what it is asked for.

use crate::Error;
use brink_protocol::{control::PurgeEstimate, problem::Problem};

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
    /// As many as there may be at a time: these.
    #[error("too many {0}")]
    TooMany(String),
    /// A purge would end more entries than it may.
    #[error("it would end {} entries, the budget is {limit}", estimate.objects)]
    Budget {
        /// How many it may end.
        limit: u64,
        /// How many it would.
        estimate: PurgeEstimate,
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

/// The kind of a problem that leaves open whether something was written.
pub(crate) const STORE_SLUG: &str = "store";
/// How a budget is overruled through the control API.
const CONFIRM: &str = "Send `confirm: true` to purge all the same, or `stagger_ms` to make the entries stale now and end \
    them so much later.";
/// PoPs that are named in one problem.
const POPS_NAMED_MAX: usize = 10;

fn over_budget(limit: u64, estimate: &PurgeEstimate) -> String {
    let mut pops: Vec<_> = estimate.pops.iter().filter(|pop| pop.objects > 0).collect();
    pops.sort_by_key(|pop| std::cmp::Reverse(pop.objects));
    let more = pops.len().saturating_sub(POPS_NAMED_MAX);
    let mut named: Vec<_> = pops
        .iter()
        .take(POPS_NAMED_MAX)
        .map(|pop| format!("{} at {}", pop.objects, pop.pop))
        .collect();
    if more > 0 {
        named.push(format!("others at {more} more PoPs"));
    }
    let silent = match estimate.silent.len() {
        0 => String::new(),
        count => format!(" {count} PoPs did not say how many they have."),
    };
    format!(
        "It would end {} entries ({} bytes): {}. It may end {limit}.{silent} Nothing was purged.",
        estimate.objects,
        estimate.bytes,
        named.join(", ")
    )
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
        self.problem_with(CONFIRM)
    }

    /// The same, where a budget is overruled in other words.
    pub(crate) fn problem_with(&self, confirm: &str) -> Problem {
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
            Self::TooMany(what) => Problem::new(
                429,
                "too-many",
                "There are too many at a time",
                format!("Too many {what}; try again a little later."),
            ),
            Self::Budget { limit, estimate } => Problem::new(
                409,
                "purge-budget",
                "The purge is over its budget",
                format!("{} {confirm}", over_budget(*limit, estimate)),
            ),
            Self::Invalid(error) => {
                Problem::new(422, "invalid", "A value is not valid", error.to_string())
            }
            Self::Core(Error::Busy) => Problem::new(
                503,
                "busy",
                "The core has too much to do",
                "Too many writes are waiting; try again.",
            ),
            Self::Core(error @ Error::Region { .. }) => Problem::new(
                503,
                "region",
                "The home of the partition does not answer",
                error.to_string(),
            ),
            Self::Core(error @ Error::Store { .. }) => {
                tracing::error!(%error, "the store did not do what a request needs");
                Problem::new(
                    503,
                    STORE_SLUG,
                    "The store does not answer as it should",
                    "What was to be written may have been written all the same: look before you try again. The core's log says more.",
                )
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_for_now_is_told_from_what_is_broken() {
        for (error, status, slug) in [
            (Error::Busy, 503, "busy"),
            (Error::store("a write", "timed out"), 503, STORE_SLUG),
            (Error::Runtime("a task ended".into()), 500, "internal"),
        ] {
            let problem = Refusal::from(error).problem();
            assert_eq!(problem.status, status);
            assert!(problem.kind.ends_with(slug), "{problem:?}");
            // Nobody who reads it may take a write for one that was not done.
            let detail = problem.detail.unwrap_or_default();
            assert_eq!(detail.contains("may have been written"), slug == STORE_SLUG);
            assert!(!detail.contains("timed out"));
        }
    }
}
