//! What a connection is doing: its requests in flight, and when it is over for it.
//!
//! A connection is driven by a future that is polled for every request. So whether it has been idle for too
//! long, or has to stop, is found out by a task beside it, and costs the requests one atomic read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// One connection's requests.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    in_flight: AtomicU32,
    begun: AtomicU64,
    over: AtomicBool,
    waker: AtomicWaker,
}

/// How long a connection may go without a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From the start to the first.
    pub(crate) first: Duration,
    /// From the last answer to the next; at most a quarter longer.
    pub(crate) next: Duration,
}

impl Activity {
    /// A request begins; it ends when the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Requests since the connection was opened.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Watches the connection for as long as the handle lives: it is over when it should stop, or when
    /// patience ends.
    pub(crate) fn watch(
        self: &Arc<Self>,
        stop: CancellationToken,
        patience: Patience,
    ) -> AbortOnDropHandle<()> {
        let activity = Arc::clone(self);
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = activity.idle(patience) => {}
            }
            activity.over.store(true, Ordering::Release);
            activity.waker.wake();
        }))
    }

    /// Whether it is over for the connection. Only its one driving task may ask.
    pub(crate) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.over.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The same, for whoever looks without waiting.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Whether a request is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    async fn idle(&self, patience: Patience) {
        const TICKS: u32 = 4;
        tokio::time::sleep(patience.first).await;
        if self.begun() == 0 {
            return;
        }
        let mut seen = self.begun();
        let mut quiet = 0;
        while quiet < TICKS {
            tokio::time::sleep(patience.next / TICKS).await;
            let begun = self.begun();
            let in_flight = self.in_flight.load(Ordering::Relaxed);
            quiet = if begun == seen && in_flight == 0 {
                quiet + 1
            } else {
                0
            };
            seen = begun;
        }
    }
}

/// One request in flight.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
