//! How far a purge is: which PoPs have applied it, and from when on the lease of the others holds them back.

use super::elsewhere::{AtPop, Told, merged};
use crate::{clock::now_ms, pops::Pops, store::PurgeRow};
use brink_protocol::{
    NodeName, PopName, Position,
    control::{PurgeStatus, Unanswered, UnreachedCore},
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
    /// Every PoP that is known has applied it, and every core said which it knows.
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
            Self::All => waiting == 0 && status.unreached.is_empty(),
            Self::Quorum => (waiting == 0 && status.unreached.is_empty()) || applied > waiting,
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
    /// Under which node's name this core's log is.
    log: NodeName,
    started_ms: u64,
    started: Instant,
    /// When each purge was first seen to be in the log.
    moments: Mutex<BTreeMap<String, Instant>>,
}

impl Proof {
    pub(super) fn new(pops: Arc<Pops>, log: NodeName) -> Self {
        Self {
            pops,
            log,
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
        // Another core's clock says nothing here.
        let is_own = row
            .position
            .iter()
            .all(|(origin, _)| origin.node == self.log);
        match known {
            Some(moment) => moment,
            None if is_own && row.at_ms < self.started_ms => self.started,
            None => self.appended(&row.purge.id),
        }
    }

    /// How far a purge is, with what other cores said of their PoPs. A PoP has applied it if it said so, or if its position
    /// has passed the purge: then it held nothing that was older.
    ///
    /// The rest is the lease's: what a PoP calls fresh at a moment it knows to be so as of at most one lease earlier. One
    /// lease after the purge was in the log, whoever has not applied it calls nothing fresh (coherence.md, P2). So too at
    /// a core that is cut off from the one that took the purge: what its PoPs claim is no younger than what it knows of that
    /// log.
    pub(super) fn status(&self, row: PurgeRow, told: &[Told]) -> Proven {
        let in_the_log = self.in_the_log(&row).elapsed();
        let now_ms = now_ms();
        let quarantined = |lease: Option<Duration>| {
            let over = in_the_log.checked_sub(lease?)?;
            Some(now_ms.saturating_sub(ms(over)))
        };
        // What a PoP said of the purge itself says nothing of the logs of other cores.
        let is_wide = is_wide(&row.position);
        let (mut applied, mut notes) = (Vec::new(), BTreeMap::new());
        for note in row.applied {
            if is_wide {
                notes.insert(note.pop.clone(), note);
            } else {
                applied.push(note);
            }
        }
        let said: BTreeSet<PopName> = applied.iter().map(|at| at.pop.clone()).collect();
        let own = self.pops.towards(&row.position).into_iter();
        let lease = self.pops.lease();
        let own = own.map(|pop| AtPop::own(pop, lease, now_ms));
        let elsewhere = told.iter().flat_map(|told| told.pops(is_wide, now_ms));
        let (mut unanswered, mut waiting_here) = (Vec::new(), Vec::new());
        for (name, pop) in merged(own.chain(elsewhere)) {
            if said.contains(&name) {
                continue;
            }
            if let Some(at) = pop.applied {
                applied.push(notes.remove(&name).unwrap_or(at));
                continue;
            }
            if pop.is_own {
                waiting_here.push(name.clone());
            }
            unanswered.push(Unanswered {
                pop: name,
                connected: pop.connected,
                seen_at_ms: now_ms.saturating_sub(pop.silent_ms),
                quarantined_since_ms: quarantined(pop.lease),
                unreached_core: pop.unreached_core,
            });
        }
        let unreached = told.iter().filter(|told| !told.is_reached);
        let unreached = unreached.map(|told| UnreachedCore {
            core: told.core.clone(),
            known_at_ms: told.known_at_ms(),
            quarantined_since_ms: quarantined(told.lease().map(|theirs| theirs.max(lease))),
        });
        let status = PurgeStatus {
            id: row.purge.id,
            selectors: row.purge.selectors,
            soft: row.purge.soft,
            at_ms: row.at_ms,
            by: row.by,
            position: row.position,
            applied,
            waiting: unanswered.iter().map(|pop| pop.pop.clone()).collect(),
            unanswered,
            unreached: unreached.collect(),
            later: row.later,
        };
        Proven {
            status,
            waiting_here,
        }
    }
}

/// Whether a purge is behind entries of more logs than the one that it is in.
fn is_wide(position: &Position) -> bool {
    position.iter().nth(1).is_some()
}

/// How far a purge is.
pub(super) struct Proven {
    pub(super) status: PurgeStatus,
    /// Those of the waiting PoPs that this core knows itself.
    pub(super) waiting_here: Vec<PopName>,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::control::PurgeAtPop;

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
            unreached: Vec::new(),
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
        // What a core that is not reached knows is not known.
        for (until, applied, met) in [
            ("all", &["a"][..], false),
            ("quorum", &[], false),
            ("quorum", &["a"], true),
        ] {
            let mut status = status(applied, &[]);
            status.unreached = vec![UnreachedCore {
                core: "core-2".parse().unwrap(),
                known_at_ms: None,
                quarantined_since_ms: None,
            }];
            let until: Until = until.parse().unwrap();
            assert_eq!(until.is_met(&status), met, "{until:?}");
        }
        for wrong in ["", "some", "pop:", "ams", "pop:a,b", "pop:A"] {
            assert!(wrong.parse::<Until>().is_err(), "{wrong}");
        }
    }
}
