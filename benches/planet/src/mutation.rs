//! Parts of the design that can be left out, to see that the checker notices.

use std::{fmt, str::FromStr};

/// A part that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// Fills are stored without asking whether a change touched them on the way.
    Fence,
    /// Entries are called fresh however long nobody has vouched for them.
    Lease,
    /// A record is written without its intent in the log.
    Intent,
    /// Hits are served to sessions that have seen more.
    Session,
    /// Hits are not held against the changes.
    Verdict,
    /// Claims count before what they speak of is applied.
    Claim,
    /// Changes that are missing are not missed.
    Gap,
    /// What a core read before the PoP's own position is stored.
    ReadBehind,
    /// Who takes a log over settles nothing.
    Settle,
    /// A log is taken over without keeping its former writer from writing.
    Writer,
    /// Purges are reported as applied when they are acknowledged.
    Report,
    /// Cores say that their knowledge of the others is never old.
    Age,
    /// A PoP trusts entries of which its journal may have lost the end.
    Journal,
    /// A PoP reports purges before its journal is safe from a power failure.
    Sync,
    /// A shield does not ask what the PoP that asks has applied.
    Shield,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Fence,
        Self::Lease,
        Self::Intent,
        Self::Session,
        Self::Verdict,
        Self::Claim,
        Self::Gap,
        Self::ReadBehind,
        Self::Settle,
        Self::Writer,
        Self::Report,
        Self::Age,
        Self::Journal,
        Self::Sync,
        Self::Shield,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Lease => "lease",
            Self::Intent => "intent",
            Self::Session => "session",
            Self::Verdict => "verdict",
            Self::Claim => "claim",
            Self::Gap => "gap",
            Self::ReadBehind => "read-behind",
            Self::Settle => "settle",
            Self::Writer => "writer",
            Self::Report => "report",
            Self::Age => "age",
            Self::Journal => "journal",
            Self::Sync => "sync",
            Self::Shield => "shield",
        }
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mutation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|mutation| mutation.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|mutation| mutation.name()).collect();
            format!("there is no mutation {text:?}: {}", names.join(", "))
        })
    }
}
