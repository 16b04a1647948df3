//! Whether a request that failed is asked again, and where.

use http::Method;

/// Most origins that one request is sent to, the first one included.
pub const ATTEMPTS_MAX: u32 = 3;

/// What became of a request that was sent to an origin, or could not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection: the request was not sent.
    Unreachable,
    /// Its head did not come in time.
    Late,
    /// The connection failed before the head, or it was not HTTP.
    Broken,
    /// It answered 502, 503 or 504.
    Unwell,
}

/// What is known when a request has failed. Nothing of an answer was sent on.
#[derive(Debug, Clone, Copy)]
pub struct Once<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// Its body is at hand, or it has none.
    pub is_held: bool,
    /// What happened.
    pub failure: Failure,
    /// How often it was sent.
    pub attempts: u32,
    /// Whether there is another origin that may be asked.
    pub has_next: bool,
    /// Whether the connection had answered before.
    pub was_kept: bool,
}

/// What to do then. Each repetition counts against the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing: it has failed.
    No,
    /// Ask the next one.
    Next,
    /// Ask the same one again.
    Same,
}

/// RFC 9110 §9.2.2: a request that may have been carried out is repeated only if that makes no difference. What is late is
/// not asked again of whom it overloads, and an answer that says why it fails is repeated for safe methods alone.
#[must_use]
pub fn repeat(once: &Once<'_>) -> Repeat {
    if !once.is_held || once.attempts >= ATTEMPTS_MAX {
        return Repeat::No;
    }
    let is_allowed = match once.failure {
        Failure::Unreachable => true,
        Failure::Late | Failure::Broken => once.method.is_idempotent(),
        Failure::Unwell => once.method.is_safe(),
    };
    match (is_allowed, once.has_next, once.failure) {
        (false, _, _) => Repeat::No,
        (true, true, _) => Repeat::Next,
        // A connection that was kept may just have been closed; one that was new would be closed again.
        (true, false, Failure::Broken) if once.was_kept && once.attempts == 1 => Repeat::Same,
        (true, false, _) => Repeat::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions() {
        use Failure::{Broken, Late, Unreachable, Unwell};
        use Repeat::{Next, No, Same};
        for (method, is_held, failure, attempts, with_next, alone) in [
            (Method::GET, true, Unreachable, 1, Next, No),
            (Method::GET, true, Late, 1, Next, No),
            (Method::GET, true, Broken, 1, Next, Same),
            (Method::GET, true, Broken, 2, Next, No),
            (Method::GET, true, Broken, 3, No, No),
            (Method::GET, true, Unwell, 1, Next, No),
            (Method::PUT, true, Broken, 1, Next, Same),
            (Method::PUT, true, Unwell, 1, No, No),
            (Method::PUT, false, Broken, 1, No, No),
            (Method::POST, true, Unreachable, 1, Next, No),
            (Method::POST, false, Unreachable, 1, No, No),
            (Method::POST, true, Broken, 1, No, No),
            (Method::POST, true, Late, 1, No, No),
            (Method::POST, true, Unwell, 1, No, No),
            (Method::PATCH, true, Broken, 1, No, No),
        ] {
            let fresh = match alone {
                Same => No,
                other => other,
            };
            for (has_next, was_kept, expected) in [
                (true, true, with_next),
                (true, false, with_next),
                (false, true, alone),
                (false, false, fresh),
            ] {
                let once = Once {
                    method: &method,
                    is_held,
                    failure,
                    attempts,
                    has_next,
                    was_kept,
                };
                assert_eq!(repeat(&once), expected, "{once:?}");
            }
        }
    }
}
