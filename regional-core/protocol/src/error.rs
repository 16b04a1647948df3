//! What can be wrong with a value that came from outside.

/// A value from outside that is not what its type allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name has a length or a character that it may not have.
    #[error("{what} {value:?} is not valid: {rule}")]
    Name {
        /// Which kind of name.
        what: &'static str,
        /// The value, cut to 80 characters.
        value: String,
        /// What would be valid.
        rule: &'static str,
    },
    /// A number, list or value is beyond its limit.
    #[error("{what} is {actual}, the limit is {limit}")]
    Limit {
        /// What was measured, with its unit.
        what: &'static str,
        /// The measure.
        actual: u64,
        /// The largest that is allowed.
        limit: u64,
    },
    /// Text or bytes that do not have the shape of a type.
    #[error("{what} cannot be read: {reason}")]
    Malformed {
        /// Which type.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// A name that breaks its rule; the value is cut so that a hostile one cannot fill a log.
    pub(crate) fn name(what: &'static str, value: &str, rule: &'static str) -> Self {
        Self::Name {
            what,
            value: value.chars().take(80).collect(),
            rule,
        }
    }

    /// A value whose shape is wrong.
    pub(crate) fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed {
            what,
            reason: reason.into(),
        }
    }
}
