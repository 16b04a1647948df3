//! Collapsing: one fill for a key at a time, bounded followers, and a memory of keys whose answers cannot be shared.
//!
//! A follower waits until the leader's answer begins to come, or its fill ends, or another fill of the key beside it
//! ends; then it looks again. A leader that takes long is not left alone, and not stormed either: one follower goes
//! forward by itself each time that [`super::Config::follower_wait_ms_max`] has passed. One that fails is followed by
//! another; after the second failure in a row all that waited are told of it, those too who wake when it is over.

mod posted;

pub(super) use posted::Posted;

use super::growing::Growing;
use brink_policy::collapse::Failures;
use brink_protocol::problem::Problem;
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
/// Most keys of a shard whose fills failed that are remembered; when there are more, those are forgotten that nobody waits
/// for, or all.
const FAILED_MAX: usize = 4096;
/// How long a request waits in all for the fills of others.
pub(super) const FOLLOWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Most validations beside stale answers at a time; further ones are left to a later request.
const BESIDE_MAX: usize = 256;

/// Fills under way, by the hash of their keys. Keys with one hash wait for each other in vain, and do no other harm.
#[derive(Debug)]
pub(super) struct Flights {
    shards: [Mutex<Shard>; SHARDS],
    bounds: Bounds,
    /// Validations beside stale answers.
    beside: AtomicUsize,
    /// The beginning of time.
    base: Instant,
}

/// See [`super::Config`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) followers_max: usize,
    /// After so long another request of the key goes forward by itself.
    pub(super) patience: Duration,
    pub(super) uncollapsed_for: Duration,
}

#[derive(Debug, Default)]
struct Shard {
    leaders: FxHashMap<u64, Arc<Flight>>,
    /// How many fills of a URI are open, leaders and others, of any variant.
    open: FxHashMap<u64, u32>,
    uncollapsed: FxHashMap<u64, Instant>,
    /// Keys whose last fills failed.
    failed: FxHashMap<u64, Failed>,
    /// `POST`s of a URI that are open: how many, and how often something ended what is stored for it meanwhile.
    posts: FxHashMap<u64, (u32, u64)>,
}

/// Fills that failed in a row, and what is said of the last.
#[derive(Debug)]
struct Failed {
    failures: Failures,
    problem: Arc<Problem>,
}

/// One fill that others wait for.
#[derive(Debug)]
pub(super) struct Flight {
    news: watch::Sender<News>,
    followers: AtomicUsize,
    /// When the next follower goes forward by itself.
    next_try: Mutex<Instant>,
}

#[derive(Debug, Default)]
struct News {
    /// The leader's fill is over.
    is_over: bool,
    /// How many fills of the key have ended beside it.
    beside: u64,
    /// The leader's answer comes, and may be shared.
    stream: Option<Arc<Growing>>,
    /// The leader got no answer.
    failure: Option<Arc<Problem>>,
    /// It was tried often enough: all are told.
    is_final: bool,
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
    /// Nothing: what it waited for was tried often enough meanwhile, and failed.
    Failed(Arc<Problem>),
}

/// What came of waiting.
#[derive(Debug)]
pub(super) enum Waited {
    /// A fill of the key is over: look again.
    Over,
    /// The leader got no answer: look again, unless this is the last word on it.
    Failed {
        problem: Arc<Problem>,
        is_final: bool,
    },
    /// The answer comes.
    Streams(Arc<Growing>),
    /// It takes long, and it is this one's turn to go forward by itself.
    Turn,
    /// The deadline has passed.
    TooLong,
}

/// One open fill. Dropping it lets those go on that wait.
#[derive(Debug)]
pub(super) struct Ticket {
    flights: Arc<Flights>,
    hash: u64,
    uri: u64,
    /// Others wait for it.
    leads: Option<Arc<Flight>>,
    is_beside: bool,
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Follower {
    flight: Arc<Flight>,
    news: watch::Receiver<News>,
    /// Fills beside that had ended before.
    beside: u64,
    patience: Duration,
}

impl Flights {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            shards: Default::default(),
            bounds,
            beside: AtomicUsize::new(0),
            base: Instant::now(),
        })
    }

    fn ms(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.base);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
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

    /// Takes part in the fill of a key; `uri` is the hash of its URI, the same unless the key is of a variant. `since` is
    /// when the request began to wait, if it does.
    pub(super) fn join(
        self: &Arc<Self>,
        hash: u64,
        uri: u64,
        since: Option<Instant>,
        now: Instant,
    ) -> Joined {
        let mut shard = self.shard(hash);
        if let (Some(since), Some(failed)) = (since, shard.failed.get(&hash))
            && failed.failures.is_shared_by(self.ms(since))
        {
            return Joined::Failed(failed.problem.clone());
        }
        let present = shard.leaders.get(&hash);
        let followers_max = self.bounds.followers_max;
        if present.is_some_and(|f| f.followers.load(Ordering::Acquire) >= followers_max) {
            drop(shard);
            return Joined::Alone(self.alone(hash, uri));
        }
        if let Some(flight) = present {
            // The shard's lock is held: nobody else adds.
            flight.followers.fetch_add(1, Ordering::AcqRel);
            let (flight, news) = (flight.clone(), flight.news.subscribe());
            let beside = news.borrow().beside;
            return Joined::Follower(Follower {
                flight,
                news,
                beside,
                patience: self.bounds.patience,
            });
        }
        let leads = shard.lead(hash, now + self.bounds.patience);
        drop(shard);
        Joined::Leader(self.ticket(hash, uri, Some(leads)))
    }

    /// A fill that nobody waits for.
    pub(super) fn alone(self: &Arc<Self>, hash: u64, uri: u64) -> Ticket {
        self.ticket(hash, uri, None)
    }

    /// A validation beside a stale answer, if there is none of its key under way and not too many of others.
    pub(super) fn lead_beside(
        self: &Arc<Self>,
        hash: u64,
        uri: u64,
        now: Instant,
    ) -> Option<Ticket> {
        let mut shard = self.shard(hash);
        if shard.leaders.contains_key(&hash) {
            return None;
        }
        if self.beside.fetch_add(1, Ordering::AcqRel) >= BESIDE_MAX {
            self.beside.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let leads = shard.lead(hash, now + self.bounds.patience);
        drop(shard);
        let mut ticket = self.ticket(hash, uri, Some(leads));
        ticket.is_beside = true;
        Some(ticket)
    }

    /// Leads in the place of a flight whose answer a change has ended; none if another does by now.
    pub(super) fn supersede(
        self: &Arc<Self>,
        hash: u64,
        uri: u64,
        old: &Follower,
        now: Instant,
    ) -> Option<Ticket> {
        let mut shard = self.shard(hash);
        let is_old = |flight: &Arc<Flight>| Arc::ptr_eq(flight, &old.flight);
        if shard.leaders.get(&hash).is_some_and(|f| !is_old(f)) {
            return None;
        }
        let leads = shard.lead(hash, now + self.bounds.patience);
        drop(shard);
        Some(self.ticket(hash, uri, Some(leads)))
    }

    fn ticket(self: &Arc<Self>, hash: u64, uri: u64, leads: Option<Arc<Flight>>) -> Ticket {
        *self.shard(uri).open.entry(uri).or_default() += 1;
        Ticket {
            flights: self.clone(),
            hash,
            uri,
            leads,
            is_beside: false,
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
        shard
            .uncollapsed
            .insert(hash, now + self.bounds.uncollapsed_for);
    }

    /// Whether that was said of the key of late.
    pub(super) fn is_uncollapsed(&self, hash: u64, now: Instant) -> bool {
        let shard = self.shard(hash);
        let until = shard.uncollapsed.get(&hash);
        until.is_some_and(|until| *until > now)
    }

    /// The key's answer was shared.
    pub(super) fn set_collapsed(&self, hash: u64) {
        self.shard(hash).uncollapsed.remove(&hash);
    }
}

impl Shard {
    /// A fill of a key that others may have waited for has ended; whether with a failure that is the last word.
    fn ended(&mut self, hash: u64, flight: &Flight, now_ms: u64) -> bool {
        let problem = flight.news.borrow().failure.clone();
        let before = self.failed.get(&hash).map(|failed| failed.failures);
        let Some(problem) = problem else {
            self.failed.remove(&hash);
            return false;
        };
        if before.is_none() && flight.followers.load(Ordering::Acquire) == 0 {
            return false;
        }
        if self.failed.len() >= FAILED_MAX {
            let wait_ms = u64::try_from(FOLLOWER_TIME_MAX.as_millis()).unwrap_or(u64::MAX);
            self.failed
                .retain(|_, failed| !failed.failures.is_past(wait_ms, now_ms));
            if self.failed.len() >= FAILED_MAX {
                self.failed.clear();
            }
        }
        let failures = Failures::after(before, now_ms);
        self.failed.insert(hash, Failed { failures, problem });
        failures.is_final()
    }

    fn lead(&mut self, hash: u64, next_try: Instant) -> Arc<Flight> {
        let flight = Arc::new(Flight {
            news: watch::Sender::default(),
            followers: AtomicUsize::new(0),
            next_try: Mutex::new(next_try),
        });
        self.leaders.insert(hash, flight.clone());
        flight
    }
}

impl Ticket {
    /// Others may be waiting for it.
    pub(super) fn leads(&self) -> bool {
        self.leads.is_some()
    }

    /// As open as this one, and nobody waits for it.
    pub(super) fn alone(&self) -> Self {
        self.flights.alone(self.hash, self.uri)
    }

    /// The answer comes: those who wait may read along.
    pub(super) fn streams(&self, growing: &Arc<Growing>) {
        if let Some(flight) = &self.leads {
            let stream = Some(growing.clone());
            flight.news.send_modify(|news| news.stream = stream);
        }
    }

    /// No answer came, or one that says no more than that.
    pub(super) fn failed(&self, problem: Problem) {
        if let Some(flight) = &self.leads {
            let failure = Some(Arc::new(problem));
            flight.news.send_modify(|news| news.failure = failure);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let now_ms = self.flights.ms(Instant::now());
        let mut shard = self.flights.shard(self.hash);
        let is_final = self
            .leads
            .as_ref()
            .is_some_and(|flight| shard.ended(self.hash, flight, now_ms));
        match (&self.leads, shard.leaders.get(&self.hash)) {
            (Some(own), Some(present)) if Arc::ptr_eq(own, present) => {
                shard.leaders.remove(&self.hash);
            }
            (Some(_), _) | (None, None) => {}
            // What it stored may be what they wait for.
            (None, Some(present)) => present.news.send_modify(|news| news.beside += 1),
        }
        drop(shard);
        if self.is_beside {
            self.flights.beside.fetch_sub(1, Ordering::AcqRel);
        }
        let mut shard = self.flights.shard(self.uri);
        if let Some(open) = shard.open.get_mut(&self.uri) {
            *open -= 1;
            if *open == 0 {
                shard.open.remove(&self.uri);
            }
        }
        drop(shard);
        // Last: whoever wakes finds the flight gone.
        if let Some(flight) = &self.leads {
            flight.news.send_modify(|news| {
                news.is_over = true;
                news.is_final = is_final;
            });
        }
    }
}

impl Flight {
    /// Whether this one goes forward by itself now; if not, when the next one does.
    fn take_turn(&self, now: Instant, patience: Duration) -> Result<(), Instant> {
        let mut next = self.next_try.lock().unwrap_or_else(PoisonError::into_inner);
        if *next > now {
            return Err(*next);
        }
        *next = now + patience;
        Ok(())
    }
}

impl Follower {
    /// Waits for news of the leader, at most until `deadline`.
    pub(super) async fn wait(&mut self, deadline: Instant) -> Waited {
        let mut next_try = match self.flight.next_try.lock() {
            Ok(next) => *next,
            Err(poisoned) => *poisoned.into_inner(),
        };
        loop {
            if let Some(waited) = self.look() {
                return waited;
            }
            let until = next_try.min(deadline);
            let changed = tokio::time::timeout_at(until.into(), self.news.changed());
            if changed.await.is_ok() {
                continue;
            }
            let now = Instant::now();
            if now >= deadline {
                return Waited::TooLong;
            }
            match self.flight.take_turn(now, self.patience) {
                Ok(()) => return Waited::Turn,
                Err(next) => next_try = next,
            }
        }
    }

    fn look(&mut self) -> Option<Waited> {
        let news = self.news.borrow_and_update();
        match (&news.failure, &news.stream) {
            (Some(problem), _) if news.is_over => Some(Waited::Failed {
                problem: problem.clone(),
                is_final: news.is_final,
            }),
            (_, Some(growing)) => Some(Waited::Streams(growing.clone())),
            _ if news.is_over || news.beside != self.beside => Some(Waited::Over),
            _ => None,
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.flight.followers.fetch_sub(1, Ordering::AcqRel);
    }
}
