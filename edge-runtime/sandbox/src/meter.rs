//! CPU time of runs, by the clock of the thread that runs them.

use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How long a run may hold its thread before others get their turn, in nanoseconds.
const TURN_NS: u64 = 1_000_000;

/// CPU time that the present thread has used, in nanoseconds. Unlike a wall clock it does not count the time in which
/// the machine is busy with others.
fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec)
        .unwrap_or_default()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

/// Counts one run's CPU time. Only the thread that polls the run touches it; the atomics are there because that thread
/// may change between polls.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    used_ns: AtomicU64,
    resumed_ns: AtomicU64,
    limit_ns: AtomicU64,
    turns: AtomicU64,
}

/// What the run may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// Go on.
    Go,
    /// Go on after others had their turn.
    Yield,
    /// Nothing is left.
    Spent,
}

impl Meter {
    /// Begins a run.
    pub(crate) fn start(&self, limit_ms: u64) {
        self.used_ns.store(0, Relaxed);
        self.turns.store(0, Relaxed);
        self.limit_ns
            .store(limit_ms.saturating_mul(1_000_000), Relaxed);
    }

    /// The run gets the thread.
    pub(crate) fn resume(&self) {
        self.resumed_ns.store(thread_ns(), Relaxed);
    }

    /// The run gives the thread back.
    pub(crate) fn pause(&self) {
        let turn = thread_ns().saturating_sub(self.resumed_ns.load(Relaxed));
        self.used_ns.fetch_add(turn, Relaxed);
    }

    /// While the run has the thread: what it may do.
    pub(crate) fn budget(&self) -> Budget {
        let turn = thread_ns().saturating_sub(self.resumed_ns.load(Relaxed));
        let used = self.used_ns.load(Relaxed).saturating_add(turn);
        if used > self.limit_ns.load(Relaxed) {
            Budget::Spent
        } else if turn >= TURN_NS {
            self.turns.fetch_add(1, Relaxed);
            Budget::Yield
        } else {
            Budget::Go
        }
    }

    /// How often the run gave its turn to others although it could have gone on.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Relaxed)
    }

    /// CPU time used so far, in nanoseconds, without the present turn.
    #[cfg(test)]
    pub(crate) fn used_ns(&self) -> u64 {
        self.used_ns.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burn(ns: u64) {
        let start = thread_ns();
        while thread_ns() - start < ns {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn budgets() {
        let meter = Meter::default();
        meter.start(5);
        meter.resume();
        assert_eq!(meter.budget(), Budget::Go);
        burn(2 * TURN_NS);
        assert_eq!(meter.turns(), 0);
        assert_eq!(meter.budget(), Budget::Yield);
        assert_eq!(meter.turns(), 1);
        meter.pause();
        let used = meter.used_ns();
        assert!(used >= 2 * TURN_NS, "{used}");

        // Time of others does not count.
        burn(10 * TURN_NS);
        meter.resume();
        assert_eq!(meter.budget(), Budget::Go);
        burn(4 * TURN_NS);
        assert_eq!(meter.budget(), Budget::Spent);
        meter.pause();

        meter.start(5);
        meter.resume();
        assert_eq!(meter.budget(), Budget::Go);
    }
}
