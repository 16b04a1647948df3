//! Who wakes a connection's task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Wakes a connection's task, except by what the task does itself: an answer that it gives to the HTTP library wakes
/// whoever drives the connection, which is about to be driven in any case.
pub(super) struct Wakes {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Default)]
struct Shared {
    task: AtomicWaker,
    is_running: AtomicBool,
    /// Somebody called while the task was running.
    is_called: AtomicBool,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order, and asked for in the opposite one: no call is lost between.
        self.is_called.store(true, Ordering::SeqCst);
        if !self.is_running.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Wakes {
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let waker = Waker::from(Arc::clone(&shared));
        Self { shared, waker }
    }

    /// The task runs: `cx` is its own.
    pub(super) fn enter(&self, cx: &Context<'_>) {
        self.shared.task.register(cx.waker());
        self.shared.is_running.store(true, Ordering::SeqCst);
    }

    /// For one poll, which answers all calls before it.
    pub(super) fn context(&self) -> Context<'_> {
        self.shared.is_called.store(false, Ordering::SeqCst);
        Context::from_waker(&self.waker)
    }

    /// The task is about to wait, unless it was called since the last poll.
    pub(super) fn leave(&self, cx: &Context<'_>) {
        self.shared.is_running.store(false, Ordering::SeqCst);
        if self.shared.is_called.load(Ordering::SeqCst) {
            cx.waker().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicU32);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_calls_that_no_poll_answers_wake_the_task() {
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&counted));
        let cx = Context::from_waker(&waker);
        let woken = || counted.0.swap(0, Ordering::Relaxed);
        let wakes = Wakes::new();

        wakes.enter(&cx);
        let library = wakes.context().waker().clone();
        library.wake_by_ref();
        let _answered = wakes.context();
        wakes.leave(&cx);
        assert_eq!(woken(), 0);

        wakes.enter(&cx);
        let _polled = wakes.context();
        library.wake_by_ref();
        wakes.leave(&cx);
        assert_eq!(woken(), 1);

        library.wake_by_ref();
        assert_eq!(woken(), 1);
    }
}
