//! The other cores, as they are asked for their PoPs: over the connections on which their logs are followed.
//!
//! One that is gone counts until no PoP can call anything fresh that it was told there.
//!
//! Who a peer's PoPs are is asked for as soon as it is connected, and whenever that changes: it has to be known when the
//! peer is cut off.

use super::{
    client::Client,
    rosters::{Known, Rosters},
};
use crate::{clock::now_ms, pops::POPS_MAX};
use brink_protocol::{
    NodeName, TenantName,
    codec::MESSAGE_BYTES_MAX,
    link::path,
    peers::{
        CountsAnswer, CountsRequest, HOLD_MS_MAX, PopsAnswer, PopsRequest, PopsSeen, PurgeAsked,
        RosterAnswer, RosterRequest,
    },
    purge::Selector,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// Questions to one peer under way at a time. Further ones wait for their turn, within their time.
const ASKED_MAX: usize = 64;
/// Time for an answer beyond what it may be held back.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Pause after a peer did not say who its PoPs are.
const AGAIN: Duration = Duration::from_secs(1);
/// The shortest time between two answers to that.
const PACE: Duration = Duration::from_millis(50);
/// How long one that is gone counts: the longest lease that may be configured.
const COUNTS_FOR: Duration = Duration::from_secs(60);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = MESSAGE_BYTES_MAX;
/// Bytes that one PoP takes in an answer, at most.
const POP_BYTES_MAX: usize = 160;

const _: () = assert!(POPS_MAX * POP_BYTES_MAX < ANSWER_BYTES_MAX);

struct Peer {
    name: NodeName,
    permits: Semaphore,
    client: Mutex<Option<Arc<Client>>>,
    known: Mutex<Option<Arc<Known>>>,
    /// Since when it is gone.
    gone_at: Mutex<Option<Instant>>,
}

impl Peer {
    fn new(name: NodeName, rosters: &Rosters) -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::new(rosters.load(&name).map(Arc::new)),
            name,
            permits: Semaphore::new(ASKED_MAX),
            client: Mutex::default(),
            gone_at: Mutex::default(),
        })
    }

    fn counts(&self) -> bool {
        lock(&self.gone_at).is_none_or(|at| at.elapsed() < COUNTS_FOR)
    }
}

/// All peers, each with a number of its own.
pub struct Peers {
    own: NodeName,
    rosters: Rosters,
    peers: RwLock<Vec<Arc<Peer>>>,
}

/// A peer can be asked for as long as this lives.
pub(super) struct Connected(Option<Arc<Peer>>);

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(peer) = &self.0 {
            *lock(&peer.client) = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    /// Of the core `own`; none of them is reached yet.
    #[must_use]
    pub fn new(own: NodeName, peers: impl IntoIterator<Item = NodeName>) -> Arc<Self> {
        Self::with(own, peers, Rosters::default())
    }

    /// As [`Peers::new`]; who their PoPs are is kept in a directory, and known again after a restart.
    #[must_use]
    pub fn kept_in(
        directory: PathBuf,
        own: NodeName,
        peers: impl IntoIterator<Item = NodeName>,
    ) -> Arc<Self> {
        Self::with(own, peers, Rosters::within(directory))
    }

    fn with(
        own: NodeName,
        peers: impl IntoIterator<Item = NodeName>,
        rosters: Rosters,
    ) -> Arc<Self> {
        let peers = peers.into_iter().map(|name| Peer::new(name, &rosters));
        Arc::new(Self {
            own,
            peers: RwLock::new(peers.collect()),
            rosters,
        })
    }

    /// The node of the core that asks.
    #[must_use]
    pub fn own(&self) -> &NodeName {
        &self.own
    }

    fn list(&self) -> Vec<Arc<Peer>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.clone()
    }

    /// Those that count, by their numbers.
    #[must_use]
    pub fn all(&self) -> Vec<(usize, NodeName)> {
        let list = self.list();
        let all = list.iter().enumerate().filter(|(_, peer)| peer.counts());
        all.map(|(n, peer)| (n, peer.name.clone())).collect()
    }

    /// Whether a core is one of the peers.
    #[must_use]
    pub fn is_peer(&self, node: &NodeName) -> bool {
        self.list()
            .iter()
            .any(|peer| peer.name == *node && lock(&peer.gone_at).is_none())
    }

    /// A core is there, for the first time or again.
    pub(super) fn come(&self, name: &NodeName) {
        if let Some((_, peer)) = self.find(name) {
            *lock(&peer.gone_at) = None;
            return;
        }
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.push(Peer::new(name.clone(), &self.rosters));
    }

    /// A core is gone.
    pub(super) fn gone(&self, name: &NodeName) {
        if let Some((_, peer)) = self.find(name) {
            *lock(&peer.gone_at) = Some(Instant::now());
        }
    }

    fn find(&self, name: &NodeName) -> Option<(usize, Arc<Peer>)> {
        let mut peers = self.list().into_iter().enumerate();
        peers.find(|(_, peer)| peer.name == *name)
    }

    fn get(&self, number: usize) -> Option<Arc<Peer>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(number).cloned()
    }

    /// A peer can be asked from now on.
    pub(super) fn connected(&self, name: &NodeName, client: Arc<Client>) -> Connected {
        let peer = self.find(name).map(|(_, peer)| peer);
        if let Some(peer) = &peer {
            *lock(&peer.client) = Some(client);
        }
        Connected(peer)
    }

    /// A peer says that this core is none of its own peers: its PoPs' leases do not depend on this core, and nothing is
    /// known of them.
    pub(super) fn refused(&self, name: &NodeName) {
        if let Some((_, peer)) = self.find(name) {
            *lock(&peer.known) = None;
            self.rosters.forget(name);
        }
    }

    /// Whether a peer is connected now.
    #[must_use]
    pub fn is_connected(&self, number: usize) -> bool {
        let peer = self.get(number);
        peer.is_some_and(|peer| lock(&peer.client).is_some())
    }

    /// Who a peer's PoPs were when it last said so.
    #[must_use]
    pub fn last_known(&self, number: usize) -> Option<Arc<Known>> {
        lock(&self.get(number)?.known).clone()
    }

    /// Keeps it known who a peer's PoPs are, without end.
    pub(super) async fn keep_known(&self, name: &NodeName) {
        let Some((number, peer)) = self.find(name) else {
            return std::future::pending().await;
        };
        let (mut seen, hold) = (None, Duration::from_millis(HOLD_MS_MAX));
        loop {
            let known = self.pops(number, None, seen, hold).await;
            seen = known.as_ref().map(|known| known.answer.seen);
            let pause = if known.is_some() { PACE } else { AGAIN };
            if let Some(known) = known {
                let known = Arc::new(known);
                let before = lock(&peer.known).replace(Arc::clone(&known));
                // Not each report of theirs, only who they are.
                if before.is_none_or(|before| !is_same(&before.answer, &known.answer)) {
                    self.rosters.keep(name, &known).await;
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks a peer for its PoPs, and how far they are with a purge. The answer is held back for up to `hold` while it is
    /// what was `seen`, unless many ask. None: it was not reached.
    pub async fn pops(
        &self,
        number: usize,
        purge: Option<&PurgeAsked>,
        seen: Option<PopsSeen>,
        hold: Duration,
    ) -> Option<Known> {
        let peer = self.get(number)?;
        let are_many = peer.permits.available_permits() < ASKED_MAX / 2;
        let hold = if are_many { Duration::ZERO } else { hold };
        let request = PopsRequest {
            node: self.own.clone(),
            purge: purge.cloned(),
            seen,
            hold_ms: u64::try_from(hold.as_millis()).unwrap_or(HOLD_MS_MAX),
        };
        let answer = self.ask(&peer, path::POPS, &request, hold + ANSWER_TIME);
        Some(Known {
            answer: answer.await?,
            at: Instant::now(),
            at_ms: now_ms(),
        })
    }

    /// Asks a peer for all that it knows of its PoPs. None: it was not reached.
    pub async fn roster(&self, number: usize) -> Option<RosterAnswer> {
        let peer = self.get(number)?;
        let request = RosterRequest {
            node: self.own.clone(),
        };
        self.ask(&peer, path::ROSTER, &request, ANSWER_TIME).await
    }

    /// Has a peer's PoPs count what a purge would end. None: it was not reached, or did not do it.
    pub async fn counts(
        &self,
        number: usize,
        tenant: &TenantName,
        selectors: &[Selector],
        wait: Duration,
    ) -> Option<CountsAnswer> {
        let peer = self.get(number)?;
        let request = CountsRequest {
            node: self.own.clone(),
            tenant: tenant.clone(),
            selectors: selectors.to_vec(),
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        self.ask(&peer, path::COUNTS, &request, wait + ANSWER_TIME)
            .await
    }

    async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        peer: &Peer,
        path: &str,
        request: &Q,
        time: Duration,
    ) -> Option<A> {
        let client = lock(&peer.client).clone()?;
        let asked = async {
            let _permit = peer.permits.acquire().await.ok()?;
            match client.call_for(path, request, ANSWER_BYTES_MAX).await {
                Ok(answer) => Some(answer),
                Err(failed) => {
                    tracing::debug!(peer = %peer.name, path, %failed, "a peer did not answer");
                    None
                }
            }
        };
        tokio::time::timeout(time, asked).await.ok().flatten()
    }
}

/// Whether two answers name the same PoPs, under one lease.
fn is_same(one: &PopsAnswer, other: &PopsAnswer) -> bool {
    let names = |answer: &PopsAnswer| -> Vec<_> {
        let pops = answer.pops.iter();
        pops.map(|pop| pop.name.clone()).collect()
    };
    one.lease_ms == other.lease_ms && names(one) == names(other)
}
