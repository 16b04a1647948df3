//! Whom a purge is followed to.

use crate::error::Error;
use brink_protocol::{PopName, control::PurgeStatus};
use std::{collections::BTreeSet, str::FromStr};

/// Whom to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Until {
    All,
    Quorum,
    Pops(BTreeSet<PopName>),
}

impl FromStr for Until {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            let rule = "all, quorum, or pop:NAME (several with commas)";
            Error::Usage(format!("--wait={text} is not one of {rule}"))
        };
        match text {
            "all" => Ok(Self::All),
            "quorum" => Ok(Self::Quorum),
            names => {
                let name = |name: &str| name.trim().strip_prefix("pop:")?.parse().ok();
                let names: Option<_> = names.split(',').map(name).collect();
                Ok(Self::Pops(names.ok_or_else(wrong)?))
            }
        }
    }
}

impl std::fmt::Display for Until {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Quorum => f.write_str("quorum"),
            Self::Pops(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("pop:{name}")).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl Until {
    /// Whether those that are waited for have applied it.
    pub(super) fn is_met(&self, status: &PurgeStatus) -> bool {
        let (applied, waiting) = (status.applied.len(), status.waiting.len());
        match self {
            Self::All => waiting == 0 && status.unreached.is_empty(),
            Self::Quorum => (waiting == 0 && status.unreached.is_empty()) || applied > waiting,
            Self::Pops(names) => self.missing(status, names).is_empty(),
        }
    }

    fn missing<'a>(&self, status: &PurgeStatus, names: &'a BTreeSet<PopName>) -> Vec<&'a PopName> {
        let is_applied = |name: &&PopName| status.applied.iter().any(|at| at.pop == **name);
        names.iter().filter(|name| !is_applied(name)).collect()
    }

    /// Those that are waited for and have not applied it.
    pub(super) fn silent(&self, status: &PurgeStatus) -> Vec<PopName> {
        match self {
            Self::All | Self::Quorum => status.waiting.clone(),
            Self::Pops(names) => self.missing(status, names).into_iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whom_to_wait_for() {
        for text in ["all", "quorum", "pop:ams", "pop:ams,pop:sfo"] {
            assert_eq!(text.parse::<Until>().unwrap().to_string(), text);
        }
        for wrong in ["", "most", "ams", "pop:", "pop:a,b"] {
            assert!(wrong.parse::<Until>().is_err(), "{wrong}");
        }
    }
}
