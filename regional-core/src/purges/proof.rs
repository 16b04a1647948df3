//! How far a purge is: which PoPs have applied it, and from when on the lease of the others holds them back.

use crate::{
    clock::now_ms,
    pops::{Pops, Towards},
    store::PurgeRow,
};
use brink_protocol::{
    PopName,
    control::{PurgeAtPop, PurgeStatus, Unanswered},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Purges whose moment is remembered; the oldest go first.
const MOMENTS_MAX: usize = 10_000;

/// Until when a caller waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// Every PoP that is known has applied it.
    All,
    /// More than half of the PoPs that are known have.
    Quorum,
    /// These have.
    Pops(BTreeSet<PopName>),
}

impl FromStr for Until {
    type Err = brink_protocol::Error;

    /// `all`, `quorum`, or `pop:NAME` as often as wanted, with commas between.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => return Ok(Self::All),
            "quorum" => return Ok(Self::Quorum),
            _ => {}
        }
        let wrong = || brink_protocol::Error::Malformed {
            what: "wait",
            reason: "it is `all`, `quorum`, or `pop:NAME` (several with commas)".into(),
        };
        let name = |part: &str| part.trim().strip_prefix("pop:").ok_or_else(wrong)?.parse();
        Ok(Self::Pops(
            text.split(',').map(name).collect::<Result<_, _>>()?,
        ))
    }
}

impl Until {
    /// Whether there is nothing left to wait for.
    #[must_use]
    pub fn is_met(&self, status: &PurgeStatus) -> bool {
        let (applied, waiting) = (status.applied.len(), status.waiting.len());
        match self {
            Self::All => waiting == 0,
            Self::Quorum => waiting == 0 || applied > waiting,
            Self::Pops(pops) => pops
                .iter()
                .all(|pop| status.applied.iter().any(|at| at.pop == *pop)),
        }
    }

    /// Who is waited for by name: also those that the core has not heard of yet.
    pub(super) fn names(&self) -> Vec<PopName> {
        match self {
            Self::All | Self::Quorum => Vec::new(),
            Self::Pops(pops) => pops.iter().cloned().collect(),
        }
    }
}

/// Says how far purges are.
pub(super) struct Proof {
    pops: Arc<Pops>,
    started_ms: u64,
    started: Instant,
    /// When each purge was first seen to be in the log.
    moments: Mutex<BTreeMap<String, Instant>>,
}

impl Proof {
    pub(super) fn new(pops: Arc<Pops>) -> Self {
        Self {
            pops,
            started_ms: now_ms(),
            started: Instant::now(),
            moments: Mutex::default(),
        }
    }

    fn moments(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A purge is in the log.
    pub(super) fn appended(&self, id: &str) -> Instant {
        let mut moments = self.moments();
        let moment = *moments.entry(id.to_owned()).or_insert_with(Instant::now);
        if moments.len() > MOMENTS_MAX {
            moments.pop_first();
        }
        moment
    }

    /// A moment at which the purge was in the log already, the earliest that is known for certain.
    fn in_the_log(&self, row: &PurgeRow) -> Instant {
        let known = self.moments().get(&row.purge.id).copied();
        match known {
            Some(moment) => moment,
            None if row.at_ms < self.started_ms => self.started,
            None => self.appended(&row.purge.id),
        }
    }

    /// How far a purge is. A PoP has applied it if it said so, or if its position has passed the purge: then it held
    /// nothing that was older.
    ///
    /// The rest is the lease's: what a PoP calls fresh at a moment it knows to be so as of at most one lease earlier. One
    /// lease after the purge was in the log, whoever has not applied it calls nothing fresh (coherence.md, P2).
    pub(super) fn status(&self, row: PurgeRow) -> PurgeStatus {
        let silent_for = self.in_the_log(&row).elapsed();
        let over = silent_for.checked_sub(self.pops.lease());
        let quarantined_since_ms = over.map(|over| now_ms().saturating_sub(ms(over)));
        let mut applied = row.applied;
        let mut unanswered = Vec::new();
        let said: BTreeSet<PopName> = applied.iter().map(|at| at.pop.clone()).collect();
        for pop in self.pops.towards(&row.position) {
            if said.contains(&pop.name) {
                continue;
            }
            if pop.covers {
                applied.push(passed(pop));
            } else {
                unanswered.push(Unanswered {
                    pop: pop.name,
                    connected: pop.connected,
                    seen_at_ms: pop.seen_at_ms,
                    quarantined_since_ms,
                });
            }
        }
        PurgeStatus {
            id: row.purge.id,
            selectors: row.purge.selectors,
            soft: row.purge.soft,
            at_ms: row.at_ms,
            by: row.by,
            position: row.position,
            applied,
            waiting: unanswered.iter().map(|pop| pop.pop.clone()).collect(),
            unanswered,
            later: row.later,
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn passed(pop: Towards) -> PurgeAtPop {
    PurgeAtPop {
        pop: pop.name,
        applied_at_ms: pop.seen_at_ms,
        objects: 0,
        propagation_ms: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status(applied: &[&str], waiting: &[&str]) -> PurgeStatus {
        let at = |name: &&str| PurgeAtPop {
            pop: name.parse().unwrap(),
            applied_at_ms: 0,
            objects: 0,
            propagation_ms: None,
        };
        PurgeStatus {
            id: String::new(),
            selectors: Vec::new(),
            soft: false,
            at_ms: 0,
            by: String::new(),
            position: Default::default(),
            applied: applied.iter().map(at).collect(),
            waiting: waiting.iter().map(|name| name.parse().unwrap()).collect(),
            unanswered: Vec::new(),
            later: None,
        }
    }

    #[test]
    fn what_is_waited_for() {
        for (until, applied, waiting, met) in [
            ("all", &[][..], &[][..], true),
            ("all", &["a"], &["b"], false),
            ("all", &["a", "b"], &[], true),
            ("quorum", &[], &[], true),
            ("quorum", &["a"], &["b"], false),
            ("quorum", &["a", "b"], &["c"], true),
            ("pop:a", &["a"], &["b"], true),
            ("pop:b", &["a"], &["b"], false),
            ("pop:a,pop:b", &["a"], &["b"], false),
            ("pop:a, pop:b", &["a", "b"], &["c"], true),
            ("pop:z", &["a"], &[], false),
        ] {
            let until: Until = until.parse().unwrap();
            assert_eq!(until.is_met(&status(applied, waiting)), met, "{until:?}");
        }
        for wrong in ["", "some", "pop:", "ams", "pop:a,b", "pop:A"] {
            assert!(wrong.parse::<Until>().is_err(), "{wrong}");
        }
    }
}
