//! How an origin stands at this PoP: its places, its breaker, its health. Who asks it holds a ticket.

use super::figures::Figures;
use crate::chance::chance;
use brink_policy::origins::{Breaker, Failure, Health, Neighbours, Permit, Standing, Thresholds};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What may be in flight to an origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) in_flight_max: u32,
    pub(super) queue_max: u32,
    pub(super) queue_time_max: Duration,
}

/// How an origin stands.
pub(super) struct Gate {
    url: Box<str>,
    began: Instant,
    limits: Places,
    places: Arc<Semaphore>,
    waiting: AtomicU32,
    watched: Mutex<Watched>,
    pub(super) figures: Figures,
}

struct Watched {
    breaker: Breaker,
    health: Health,
}

/// Why nobody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// There was no place.
    Busy,
    /// Its breaker is open.
    Resting,
}

impl Gate {
    pub(super) fn new(url: &str, limits: Places) -> Arc<Self> {
        Arc::new(Self {
            url: url.into(),
            began: Instant::now(),
            limits,
            places: Arc::new(Semaphore::new(limits.in_flight_max as usize)),
            waiting: AtomicU32::new(0),
            watched: Mutex::new(Watched {
                breaker: Breaker::default(),
                health: Health::default(),
            }),
            figures: Figures::register(url),
        })
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since it is known.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn standing(&self) -> Standing {
        let now_ms = self.now_ms();
        let watched = self.watched();
        match watched.breaker.look(now_ms) {
            _ if !watched.health.is_up() => Standing::Down,
            Permit::Granted => Standing::Well,
            Permit::Trial => Standing::Trial,
            Permit::Refused => Standing::Resting,
        }
    }

    pub(super) fn in_flight(&self) -> u32 {
        let free = u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX);
        self.limits.in_flight_max.saturating_sub(free)
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A health check passed or failed.
    pub(super) fn checked(&self, passed: bool, thresholds: Thresholds) {
        if self.watched().health.note(passed, thresholds) {
            tracing::warn!(
                origin = &*self.url,
                is_up = passed,
                "health checks changed an origin's standing"
            );
        }
    }

    /// Takes a place, waiting for it if there is none, and asks the breaker.
    pub(super) async fn enter(self: &Arc<Self>, neighbours: Neighbours) -> Result<Ticket, Refused> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => self.queue().await.ok_or_else(|| {
                self.figures.refused.increment(1);
                Refused::Busy
            })?,
        };
        let now_ms = self.now_ms();
        let permit = self.watched().breaker.ask(now_ms);
        if permit == Permit::Refused {
            return Err(Refused::Resting);
        }
        Ok(Ticket {
            gate: Arc::clone(self),
            permit: Some(permit),
            neighbours,
            place: Some(place),
        })
    }

    async fn queue(&self) -> Option<OwnedSemaphorePermit> {
        let _waits = Waits::new(&self.waiting, self.limits.queue_max)?;
        let place = Arc::clone(&self.places).acquire_owned();
        tokio::time::timeout(self.limits.queue_time_max, place)
            .await
            .ok()?
            .ok()
    }

    fn failed(&self, permit: Permit, failure: Failure, neighbours: Neighbours) {
        let now_ms = self.now_ms();
        let opened = self
            .watched()
            .breaker
            .failed(permit, failure, neighbours, now_ms, chance());
        self.figures.failed(failure);
        if opened {
            self.figures.opened.increment(1);
            tracing::warn!(
                origin = &*self.url,
                ?failure,
                "an origin is left alone for a while"
            );
        }
    }
}

/// One that waits for a place.
struct Waits<'a>(&'a AtomicU32);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicU32, most: u32) -> Option<Self> {
        let more = |waiting: u32| (waiting < most).then_some(waiting + 1);
        waiting
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, more)
            .ok()?;
        Some(Self(waiting))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Leave to ask an origin once. Dropped without a word, nothing is learned.
pub(super) struct Ticket {
    gate: Arc<Gate>,
    permit: Option<Permit>,
    neighbours: Neighbours,
    place: Option<OwnedSemaphorePermit>,
}

/// A place at an origin, for as long as its answer's body lasts.
pub(super) struct Held {
    gate: Arc<Gate>,
    neighbours: Neighbours,
    _place: Option<OwnedSemaphorePermit>,
}

impl Ticket {
    /// The origin has answered; `failure` if with a status that says that it is unwell.
    pub(super) fn answered(mut self, failure: Option<Failure>, took: Duration) -> Held {
        self.gate.figures.seconds.record(took);
        if let Some(permit) = self.permit.take() {
            match failure {
                Some(failure) => self.gate.failed(permit, failure, self.neighbours),
                None => {
                    let now_ms = self.gate.now_ms();
                    self.gate.watched().breaker.succeeded(permit, now_ms);
                    self.gate.figures.answered.increment(1);
                }
            }
        }
        Held {
            gate: Arc::clone(&self.gate),
            neighbours: self.neighbours,
            _place: self.place.take(),
        }
    }

    /// It has not.
    pub(super) fn failed(mut self, failure: Failure) {
        if let Some(permit) = self.permit.take() {
            self.gate.failed(permit, failure, self.neighbours);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.gate.watched().breaker.abandoned(permit);
        }
    }
}

impl Held {
    /// The answer did not come to its end.
    pub(super) fn broke_off(self, failure: Failure) {
        self.gate.failed(Permit::Granted, failure, self.neighbours);
    }
}
