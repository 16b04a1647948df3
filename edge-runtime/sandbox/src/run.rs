//! A run: polls the guest, counts its CPU time, and ends it when its time is up.

use crate::{RunError, engine::Running, meter::Meter, pool::Turn};
use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

type Guest<T> = Pin<Box<dyn Future<Output = Result<T, RunError>> + Send>>;

/// One run of a guest. Dropping it ends the guest where it stands.
pub(crate) struct Run<T> {
    guest: Option<Guest<T>>,
    meter: Arc<Meter>,
    deadline: Instant,
    wall_time_ms_max: u64,
    /// Made when the guest waits for the first time: most never do.
    sleep: Option<Pin<Box<Sleep>>>,
    fault: Fault,
    _busy: Busy,
}

/// What a run holds until it ends: its place among the runs of its component, and the ticker.
pub(crate) type Busy = (Turn, Running);

/// Why a run failed; set before anything of the run is dropped, so that who sees its answer end early finds the reason.
pub(crate) type Fault = Arc<OnceLock<RunError>>;

impl<T> Run<T> {
    /// A run that has not begun. `busy` is held until it ends.
    pub(crate) fn new(
        guest: impl Future<Output = Result<T, RunError>> + Send + 'static,
        meter: Arc<Meter>,
        wall_time_ms_max: u64,
        fault: Fault,
        busy: Busy,
    ) -> Self {
        Self {
            guest: Some(Box::pin(guest)),
            meter,
            deadline: Instant::now() + Duration::from_millis(wall_time_ms_max),
            wall_time_ms_max,
            sleep: None,
            fault,
            _busy: busy,
        }
    }
}

impl<T> Run<T> {
    /// How often the guest gave its turn to others although it could have gone on.
    pub(crate) fn turns(&self) -> u64 {
        self.meter.turns()
    }
}

impl<T> Future for Run<T> {
    type Output = Result<T, RunError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let late = RunError::WallTime {
            limit_ms: this.wall_time_ms_max,
        };
        let Some(guest) = &mut this.guest else {
            return Poll::Ready(Err(late));
        };
        this.meter.resume();
        let polled = guest.as_mut().poll(cx);
        if polled.is_ready() {
            // Nobody asks any more what an ended run has used: reading the clock is a system call.
            this.guest = None;
            return polled;
        }
        this.meter.pause();
        let deadline = this.deadline;
        let sleep = this
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        // The fault first: dropping the guest ends its answer.
        let _ = this.fault.set(late.clone());
        this.guest = None;
        Poll::Ready(Err(late))
    }
}
