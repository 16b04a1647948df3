//! Instances: how many there may be, and those that wait to be used again.

use crate::{
    RunError,
    bindings::{command::Command, plugin::Plugin, projection::Projection, workflow::Workflow},
    host::Host,
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::Proxy;

/// How many instances may be alive, over all components.
pub(crate) struct Slots {
    alive: AtomicU32,
    alive_max: u32,
    pools: Mutex<Vec<Weak<Pool>>>,
}

impl Slots {
    pub(crate) fn new(alive_max: u32) -> Self {
        Self {
            alive: AtomicU32::new(0),
            alive_max,
            pools: Mutex::default(),
        }
    }

    /// Instances that run or wait.
    pub(crate) fn alive(&self) -> u32 {
        self.alive.load(Relaxed)
    }

    fn pools(&self) -> MutexGuard<'_, Vec<Weak<Pool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pool whose idle instances may be ended when slots are short.
    pub(crate) fn new_pool(&self) -> Arc<Pool> {
        let pool = Arc::new(Pool::default());
        let mut pools = self.pools();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(&pool));
        pool
    }

    fn try_acquire(self: &Arc<Self>) -> Option<Slot> {
        let taken = self.alive.fetch_update(Relaxed, Relaxed, |alive| {
            (alive < self.alive_max).then_some(alive + 1)
        });
        taken.is_ok().then(|| Slot(Arc::clone(self)))
    }

    /// A slot for a new instance, if need be that of an idle one.
    pub(crate) fn acquire(self: &Arc<Self>) -> Result<Slot, RunError> {
        loop {
            if let Some(slot) = self.try_acquire() {
                return Ok(slot);
            }
            let pools: Vec<_> = self.pools().iter().filter_map(Weak::upgrade).collect();
            if !pools.iter().any(|pool| pool.take().is_some()) {
                return Err(RunError::Overloaded {
                    reason: format!("{} instances are running", self.alive_max),
                });
            }
        }
    }

    /// Ends what has been idle for too long.
    pub(crate) fn sweep(&self, idle_max: Duration) {
        let pools: Vec<_> = self.pools().iter().filter_map(Weak::upgrade).collect();
        for pool in pools {
            pool.sweep(idle_max);
        }
    }
}

/// The right to one instance.
pub(crate) struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Relaxed);
    }
}

/// What an instance exports.
pub(crate) enum Exports {
    Module(Proxy),
    Command(Command),
    Plugin(Plugin),
    Projection(Projection),
    Workflow(Workflow),
}

/// An instance that can run, with its store.
pub(crate) struct Live {
    pub(crate) store: Store<Host>,
    pub(crate) exports: Arc<Exports>,
    /// Runs that it has done.
    pub(crate) uses: u32,
    idle_since: Instant,
    // After the store, so that the slot is free only when the memory is.
    _slot: Slot,
}

impl Live {
    pub(crate) fn new(store: Store<Host>, exports: Exports, slot: Slot) -> Self {
        Self {
            store,
            exports: Arc::new(exports),
            uses: 0,
            idle_since: Instant::now(),
            _slot: slot,
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.store.data_mut().finish();
    }
}

/// Idle instances of one loaded component: one tenant, one version.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Live>>,
    running: AtomicU32,
}

/// A run's place among those of its component.
pub(crate) struct Turn(Arc<Pool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

/// Where an instance goes whose run went well.
pub(crate) struct GiveBack {
    pub(crate) pool: Arc<Pool>,
    pub(crate) uses_max: u32,
}

impl GiveBack {
    pub(crate) fn give(self, live: Live) {
        self.pool.give(live, self.uses_max);
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Live>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more run.
    pub(crate) fn enter(self: &Arc<Self>, running_max: u32) -> Result<Turn, RunError> {
        let running = self.running.fetch_add(1, Relaxed);
        let turn = Turn(Arc::clone(self));
        if running >= running_max {
            return Err(RunError::Overloaded {
                reason: format!("{running_max} runs of this module"),
            });
        }
        Ok(turn)
    }

    /// The instance that ran last: its memory is the warmest.
    pub(crate) fn take(&self) -> Option<Live> {
        self.idle().pop()
    }

    /// Keeps an instance after a run that went well, if it may run again.
    pub(crate) fn give(&self, mut live: Live, uses_max: u32) {
        live.uses = live.uses.saturating_add(1);
        if live.uses < uses_max {
            live.store.data_mut().finish();
            live.idle_since = Instant::now();
            self.idle().push(live);
        }
    }

    fn sweep(&self, idle_max: Duration) {
        let old: Vec<_> = {
            let mut idle = self.idle();
            let split = idle.partition_point(|live| live.idle_since.elapsed() > idle_max);
            idle.drain(..split).collect()
        };
        drop(old);
    }
}
