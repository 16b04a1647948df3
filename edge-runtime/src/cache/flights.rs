//! Collapsing: one fill for a key at a time, bounded followers, and a memory of keys whose answers cannot be shared.

use rustc_hash::FxHashMap;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

const SHARDS: usize = 16;
/// Most keys of a shard that are remembered as not to be collapsed; when there are more, all are forgotten.
const UNCOLLAPSED_MAX: usize = 4096;

/// Fills under way, by the hash of their keys. Keys with one hash wait for each other in vain, and do no other harm.
#[derive(Debug)]
pub(super) struct Flights {
    shards: [Mutex<Shard>; SHARDS],
    followers_max: usize,
    uncollapsed_for: Duration,
}

#[derive(Debug, Default)]
struct Shard {
    leaders: FxHashMap<u64, Flight>,
    /// How many fills of a URI are open, leaders and others, of any variant.
    open: FxHashMap<u64, u32>,
    uncollapsed: FxHashMap<u64, Instant>,
    /// `POST`s of a URI that are open: how many, and how often something ended what is stored for it meanwhile.
    posts: FxHashMap<u64, (u32, u64)>,
}

#[derive(Debug)]
struct Flight {
    done: watch::Receiver<()>,
    followers: Arc<AtomicUsize>,
}

/// What a request is to do.
#[derive(Debug)]
pub(super) enum Joined {
    /// Fill; others wait for it.
    Leader(Ticket),
    /// Wait for another's fill.
    Follower(Follower),
    /// Fill by itself: the key is not collapsed, or too many wait.
    Alone(Ticket),
}

/// One open fill. Dropping it lets those go on that wait.
#[derive(Debug)]
pub(super) struct Ticket {
    flights: Arc<Flights>,
    hash: u64,
    uri: u64,
    /// Waiting requests see it dropped.
    leads: Option<watch::Sender<()>>,
}

/// One open `POST`.
#[derive(Debug)]
pub(super) struct Posted {
    flights: Arc<Flights>,
    uri: u64,
    /// How often before it began.
    ended: u64,
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Follower {
    done: watch::Receiver<()>,
    followers: Arc<AtomicUsize>,
}

impl Flights {
    pub(super) fn new(followers_max: usize, uncollapsed_for: Duration) -> Arc<Self> {
        Arc::new(Self {
            shards: Default::default(),
            followers_max,
            uncollapsed_for,
        })
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        let [first, ..] = &self.shards;
        self.shards
            .get(at)
            .unwrap_or(first)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes part in the fill of a key; `uri` is the hash of its URI, the same unless the key is of a variant.
    pub(super) fn join(self: &Arc<Self>, hash: u64, uri: u64, now: Instant) -> Joined {
        let mut shard = self.shard(hash);
        let uncollapsed = shard
            .uncollapsed
            .get(&hash)
            .is_some_and(|until| *until > now);
        let present = shard.leaders.get(&hash);
        if uncollapsed
            || present.is_some_and(|f| f.followers.load(Ordering::Acquire) >= self.followers_max)
        {
            drop(shard);
            return Joined::Alone(self.alone(hash, uri));
        }
        if let Some(flight) = present {
            // The shard's lock is held: nobody else adds.
            flight.followers.fetch_add(1, Ordering::AcqRel);
            let (done, followers) = (flight.done.clone(), flight.followers.clone());
            return Joined::Follower(Follower { done, followers });
        }
        let leads = shard.lead(hash);
        drop(shard);
        Joined::Leader(self.ticket(hash, uri, Some(leads)))
    }

    /// A fill that nobody waits for.
    pub(super) fn alone(self: &Arc<Self>, hash: u64, uri: u64) -> Ticket {
        self.ticket(hash, uri, None)
    }

    /// A fill beside, if there is none under way.
    pub(super) fn lead(self: &Arc<Self>, hash: u64, uri: u64) -> Option<Ticket> {
        let mut shard = self.shard(hash);
        if shard.leaders.contains_key(&hash) {
            return None;
        }
        let leads = shard.lead(hash);
        drop(shard);
        Some(self.ticket(hash, uri, Some(leads)))
    }

    fn ticket(self: &Arc<Self>, hash: u64, uri: u64, leads: Option<watch::Sender<()>>) -> Ticket {
        *self.shard(uri).open.entry(uri).or_default() += 1;
        Ticket {
            flights: self.clone(),
            hash,
            uri,
            leads,
        }
    }

    /// A `POST` begins whose answer may be stored.
    pub(super) fn post(self: &Arc<Self>, uri: u64) -> Posted {
        let mut shard = self.shard(uri);
        let (open, ended) = shard.posts.entry(uri).or_default();
        *open += 1;
        Posted {
            flights: self.clone(),
            uri,
            ended: *ended,
        }
    }

    /// An unsafe request has ended what is stored for a URI, or what will be.
    pub(super) fn ended(&self, uri: u64) {
        if let Some((_, ended)) = self.shard(uri).posts.get_mut(&uri) {
            *ended += 1;
        }
    }

    /// Whether a fill of the URI is under way.
    pub(super) fn is_open(&self, uri: u64) -> bool {
        self.shard(uri).open.contains_key(&uri)
    }

    /// The key's answer cannot be shared, or not without asking each time: for a while nobody waits for it.
    pub(super) fn set_uncollapsed(&self, hash: u64, now: Instant) {
        let mut shard = self.shard(hash);
        if shard.uncollapsed.len() >= UNCOLLAPSED_MAX {
            shard.uncollapsed.retain(|_, until| *until > now);
            if shard.uncollapsed.len() >= UNCOLLAPSED_MAX {
                shard.uncollapsed.clear();
            }
        }
        shard.uncollapsed.insert(hash, now + self.uncollapsed_for);
    }

    /// The key's answer was shared.
    pub(super) fn set_collapsed(&self, hash: u64) {
        self.shard(hash).uncollapsed.remove(&hash);
    }
}

impl Shard {
    fn lead(&mut self, hash: u64) -> watch::Sender<()> {
        let (leads, done) = watch::channel(());
        self.leaders.insert(
            hash,
            Flight {
                done,
                followers: Arc::default(),
            },
        );
        leads
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.leads.is_some() {
            self.flights.shard(self.hash).leaders.remove(&self.hash);
        }
        let mut shard = self.flights.shard(self.uri);
        if let Some(open) = shard.open.get_mut(&self.uri) {
            *open -= 1;
            if *open == 0 {
                shard.open.remove(&self.uri);
            }
        }
        // `leads` is dropped after this: whoever wakes finds the flight gone.
    }
}

impl Posted {
    /// Whether another unsafe request of the URI than itself has ended since it began.
    pub(super) fn is_outdated(&self) -> bool {
        let shard = self.flights.shard(self.uri);
        let ended = shard.posts.get(&self.uri).map(|(_, ended)| *ended);
        ended != Some(self.ended + 1)
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        let mut shard = self.flights.shard(self.uri);
        if let Some((open, _)) = shard.posts.get_mut(&self.uri) {
            *open -= 1;
            if *open == 0 {
                shard.posts.remove(&self.uri);
            }
        }
    }
}

impl Follower {
    /// Waits for the leader, at most until `deadline`; whether it came to its end.
    pub(super) async fn wait(mut self, deadline: Instant) -> bool {
        // The sender sends nothing: it is dropped.
        tokio::time::timeout_at(deadline.into(), self.done.changed())
            .await
            .is_ok()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.followers.fetch_sub(1, Ordering::AcqRel);
    }
}
