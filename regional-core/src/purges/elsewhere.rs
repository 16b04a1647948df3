//! The PoPs of other cores: how far they are with a purge, as their cores say or as was last known, as one with those that
//! report here.

use crate::{
    exchange::{Known, Peers},
    pops::Towards,
    store::PurgeRow,
};
use brink_protocol::{
    NodeName, PopName, TenantName,
    control::{PurgeAtPop, PurgeEstimate},
    peers::{HOLD_MS_MAX, PopOfPeer, PopsSeen, PurgeAsked},
    purge::Selector,
};
use futures_util::future::{join_all, select_all};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Pause before a peer is asked again, so that what happens at one time is told at once.
const PACE: Duration = Duration::from_millis(20);
/// Pause before a peer that was not reached is asked again.
const AGAIN: Duration = Duration::from_millis(250);
/// How long a peer may hold back an answer that says nothing new.
const HOLD: Duration = Duration::from_secs(1);

const _: () = assert!(HOLD.as_millis() <= HOLD_MS_MAX as u128);

/// What is known of one other core's PoPs.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// Among the peers.
    number: usize,
    pub(super) core: NodeName,
    /// It was asked and answered, or was not asked and could have been.
    pub(super) is_reached: bool,
    /// What it said of the purge.
    answer: Option<Known>,
    /// Who its PoPs were when it last said so.
    last: Option<Arc<Known>>,
}

impl Told {
    fn seen(&self) -> Option<PopsSeen> {
        self.answer.as_ref().map(|known| known.answer.seen)
    }

    fn all(&self) -> impl Iterator<Item = &Known> {
        let last = self.last.as_deref();
        // What it said of the purge names all that there are.
        let last = last.filter(|_| !self.is_reached || self.answer.is_none());
        self.answer.iter().chain(last)
    }

    /// The longest lease that it said; none: it never did.
    pub(super) fn lease(&self) -> Option<Duration> {
        let leases = self.all().map(|known| known.answer.lease_ms);
        leases.max().map(Duration::from_millis)
    }

    pub(super) fn known_at_ms(&self) -> Option<u64> {
        self.all().map(|known| known.at_ms).max()
    }

    /// Its PoPs. `by_position`: what one said of the purge is not enough, it must have come as far.
    pub(super) fn pops(&self, by_position: bool, now_ms: u64) -> impl Iterator<Item = AtPop> {
        self.all().flat_map(move |known| {
            let since = u64::try_from(known.at.elapsed().as_millis()).unwrap_or(u64::MAX);
            let lease = Duration::from_millis(known.answer.lease_ms);
            let pops = known.answer.pops.iter();
            pops.map(move |pop| {
                let note = pop.note.filter(|_| pop.covers || !by_position);
                self.pop(
                    &PopOfPeer {
                        note,
                        ..pop.clone()
                    },
                    since,
                    lease,
                    now_ms,
                )
            })
        })
    }

    fn pop(&self, pop: &PopOfPeer, since: u64, lease: Duration, now_ms: u64) -> AtPop {
        let silent_ms = pop.silent_ms.saturating_add(since);
        let said = pop.note.map(|note| (note.applied_at_ms, note.objects));
        let passed = pop.covers.then(|| (now_ms.saturating_sub(silent_ms), 0));
        AtPop {
            name: pop.name.clone(),
            is_own: false,
            connected: pop.connected && self.is_reached,
            silent_ms,
            lease: Some(lease),
            is_said: said.is_some(),
            applied: said.or(passed).map(|(applied_at_ms, objects)| PurgeAtPop {
                pop: pop.name.clone(),
                applied_at_ms,
                objects,
                propagation_ms: None,
            }),
            unreached_core: (!self.is_reached).then(|| self.core.clone()),
        }
    }
}

/// How far one PoP is with a purge, as one core knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AtPop {
    name: PopName,
    /// This core knows it itself.
    pub(super) is_own: bool,
    pub(super) connected: bool,
    /// How long ago it was heard of.
    pub(super) silent_ms: u64,
    /// None: it is not known how long its lease is.
    pub(super) lease: Option<Duration>,
    /// It has applied it.
    pub(super) applied: Option<PurgeAtPop>,
    /// It said so itself.
    is_said: bool,
    pub(super) unreached_core: Option<NodeName>,
}

impl AtPop {
    /// A PoP that reports to this core, or did.
    pub(super) fn own(pop: Towards, lease: Duration, now_ms: u64) -> Self {
        Self {
            is_own: true,
            connected: pop.connected,
            silent_ms: now_ms.saturating_sub(pop.seen_at_ms),
            lease: Some(lease),
            applied: pop.covers.then(|| PurgeAtPop {
                pop: pop.name.clone(),
                applied_at_ms: pop.seen_at_ms,
                objects: 0,
                propagation_ms: None,
            }),
            is_said: false,
            unreached_core: None,
            name: pop.name,
        }
    }
}

/// Each PoP once, though several cores may know it. Where and how it is, the latest report says; what it has applied stays
/// so, whichever core it told. The longest lease counts: the PoP may hold what it called fresh under it.
pub(super) fn merged(pops: impl Iterator<Item = AtPop>) -> BTreeMap<PopName, AtPop> {
    let mut all: BTreeMap<PopName, AtPop> = BTreeMap::new();
    for pop in pops {
        let Some(known) = all.get_mut(&pop.name) else {
            all.insert(pop.name.clone(), pop);
            continue;
        };
        known.is_own |= pop.is_own;
        known.lease = known.lease.max(pop.lease);
        if known.applied.is_none() || (pop.is_said && !known.is_said) {
            (known.applied, known.is_said) = (pop.applied.or(known.applied.take()), pop.is_said);
        }
        if pop.silent_ms < known.silent_ms {
            known.silent_ms = pop.silent_ms;
            known.connected = pop.connected;
            known.unreached_core = pop.unreached_core;
        }
    }
    all
}

/// Asks the other cores.
pub(super) struct Elsewhere {
    peers: Arc<Peers>,
}

fn asked(row: &PurgeRow) -> PurgeAsked {
    PurgeAsked {
        tenant: row.purge.tenant.clone(),
        id: row.purge.id.clone(),
        position: row.position.clone(),
    }
}

impl Elsewhere {
    pub(super) fn new(peers: Arc<Peers>) -> Self {
        Self { peers }
    }

    fn told(&self, number: usize, core: NodeName, is_reached: bool, answer: Option<Known>) -> Told {
        Told {
            number,
            core,
            is_reached,
            answer,
            last: self.peers.last_known(number),
        }
    }

    /// Without asking: the PoPs as last known, of a purge that none of them has applied yet.
    pub(super) fn last_known(&self) -> Vec<Told> {
        let all = self.peers.all().into_iter();
        all.map(|(n, core)| {
            // Before it said who its PoPs are, it is as good as not reached.
            let is_known = self.peers.last_known(n).is_some();
            self.told(n, core, is_known && self.peers.is_connected(n), None)
        })
        .collect()
    }

    /// Without asking, and without their PoPs.
    pub(super) fn not_asked(&self) -> Vec<Told> {
        let not_asked = |(number, core)| Told {
            number,
            core,
            is_reached: false,
            answer: None,
            last: None,
        };
        self.peers.all().into_iter().map(not_asked).collect()
    }

    /// How far their PoPs are now. Takes as long as the slowest, up to a fixed time.
    pub(super) async fn ask(&self, row: &PurgeRow) -> Vec<Told> {
        let asked = &asked(row);
        let all = self.peers.all().into_iter();
        join_all(all.map(|(n, core)| async move {
            let answer = self.peers.pops(n, Some(asked), None, Duration::ZERO).await;
            self.told(n, core, answer.is_some(), answer)
        }))
        .await
    }

    /// Waits until one of them has something else to say, and puts it into `told`. Never, without peers.
    pub(super) async fn hear(&self, row: &PurgeRow, told: &mut [Told]) {
        let asked = &asked(row);
        if told.is_empty() {
            return std::future::pending().await;
        }
        let hear = |(n, told): (usize, &Told)| {
            let (number, seen, was_reached) = (told.number, told.seen(), told.is_reached);
            Box::pin(async move { (n, self.differs(number, asked, seen, was_reached).await) })
        };
        let ((n, answer), ..) = select_all(told.iter().enumerate().map(hear)).await;
        if let Some(told) = told.get_mut(n) {
            told.is_reached = answer.is_some();
            told.answer = answer.or(told.answer.take());
            told.last = self.peers.last_known(told.number);
        }
    }

    async fn differs(
        &self,
        number: usize,
        asked: &PurgeAsked,
        seen: Option<PopsSeen>,
        was_reached: bool,
    ) -> Option<Known> {
        loop {
            tokio::time::sleep(PACE).await;
            let seen_there = seen.filter(|_| was_reached);
            match self.peers.pops(number, Some(asked), seen_there, HOLD).await {
                Some(known) if !was_reached || Some(known.answer.seen) != seen => {
                    return Some(known);
                }
                None if was_reached => return None,
                Some(_) => {}
                None => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Adds to what the PoPs of this core count what those of the others do; a PoP that several cores know counts once.
    pub(super) async fn count(
        &self,
        tenant: &TenantName,
        selectors: &[Selector],
        wait: Duration,
    ) -> Counted {
        let all = self.peers.all().into_iter();
        let answers = join_all(all.map(|(n, core)| async move {
            let answer = self.peers.counts(n, tenant, selectors, wait).await;
            (n, core, answer)
        }));
        let mut counted = Counted::default();
        for (n, core, answer) in answers.await {
            if let Some(answer) = answer {
                counted.pops.extend(answer.pops);
                counted.silent.extend(answer.silent);
                continue;
            }
            counted.unreached.push(core);
            if let Some(known) = self.peers.last_known(n) {
                let names = known.answer.pops.iter().map(|pop| pop.name.clone());
                counted.silent.extend(names);
            }
        }
        counted
    }
}

/// What the PoPs of other cores counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pops: Vec<brink_protocol::control::EstimateAtPop>,
    silent: Vec<PopName>,
    unreached: Vec<NodeName>,
}

impl Counted {
    /// Together with what those of this core did.
    pub(super) fn with(self, own: PurgeEstimate) -> PurgeEstimate {
        let mut pops = BTreeMap::new();
        for pop in own.pops.into_iter().chain(self.pops) {
            pops.entry(pop.pop.clone()).or_insert(pop);
        }
        let silent: BTreeSet<_> = own.silent.into_iter().chain(self.silent).collect();
        PurgeEstimate {
            selectors: own.selectors,
            objects: pops
                .values()
                .fold(0, |sum, pop| sum.saturating_add(pop.objects)),
            bytes: pops
                .values()
                .fold(0, |sum, pop| sum.saturating_add(pop.bytes)),
            silent: silent
                .into_iter()
                .filter(|pop| !pops.contains_key(pop))
                .collect(),
            pops: pops.into_values().collect(),
            unreached: self.unreached,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pop(silent_ms: u64, objects: Option<u64>, unreached: Option<&str>) -> AtPop {
        let name: PopName = "ams".parse().unwrap();
        AtPop {
            is_own: false,
            connected: silent_ms == 0,
            silent_ms,
            lease: Some(Duration::from_secs(2)),
            is_said: objects.is_some_and(|objects| objects > 0),
            applied: objects.map(|objects| PurgeAtPop {
                pop: name.clone(),
                applied_at_ms: 1,
                objects,
                propagation_ms: None,
            }),
            unreached_core: unreached.map(|core| core.parse().unwrap()),
            name,
        }
    }

    #[test]
    fn a_pop_that_moved_counts_once() {
        for (known, expected) in [
            // The later report says where it is.
            (
                [pop(900, None, Some("b")), pop(0, None, None)],
                pop(0, None, None),
            ),
            (
                [pop(0, None, None), pop(900, None, Some("b"))],
                pop(0, None, None),
            ),
            (
                [pop(900, None, None), pop(5, None, Some("b"))],
                pop(5, None, Some("b")),
            ),
            // What it applied it has applied, whomever it told, and what it said of it is what counts.
            (
                [pop(900, Some(7), None), pop(0, None, None)],
                pop(0, Some(7), None),
            ),
            (
                [pop(900, Some(0), None), pop(0, Some(7), None)],
                pop(0, Some(7), None),
            ),
            (
                [pop(0, Some(7), None), pop(900, Some(0), None)],
                pop(0, Some(7), None),
            ),
        ] {
            let all: Vec<_> = merged(known.into_iter()).into_values().collect();
            assert_eq!(all, [expected]);
        }
    }
}
