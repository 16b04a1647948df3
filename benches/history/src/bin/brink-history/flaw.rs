//! What a store can be made to do wrong, to see whether it is noticed.

use clap::ValueEnum;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flaw {
    /// Conditions are checked by a read, and then it is written without.
    ReadThenWrite,
    /// Some commits are acknowledged and never written.
    Lost,
    /// Some reads show what was read before.
    Stale,
    /// Commits of several records are written one by one.
    Torn,
    /// Some commits are written twice.
    Twice,
}

impl Flaw {
    pub(crate) const ALL: [Self; 5] = [
        Self::ReadThenWrite,
        Self::Lost,
        Self::Stale,
        Self::Torn,
        Self::Twice,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadThenWrite => "read-then-write",
            Self::Lost => "lost",
            Self::Stale => "stale",
            Self::Torn => "torn",
            Self::Twice => "twice",
        }
    }
}
