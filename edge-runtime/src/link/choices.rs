//! Which cores are linked and used now: what [`brink_policy::cores`] decides, for all who wait for it.

use brink_policy::cores::{Choice, Cores, Measured};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::watch;

pub(super) struct Choices {
    began: Instant,
    cores: Mutex<Cores>,
    choice: watch::Sender<Choice>,
}

impl Choices {
    pub(super) fn new(count: usize) -> Self {
        let mut cores = Cores::new(count);
        let choice = cores.decide(0);
        Self {
            began: Instant::now(),
            cores: Mutex::new(cores),
            choice: watch::Sender::new(choice),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cores> {
        self.cores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Something happened: decide anew.
    pub(super) fn note(&self, happened: impl FnOnce(&mut Cores, u64)) {
        let mut cores = self.lock();
        let now_ms = self.now_ms();
        happened(&mut cores, now_ms);
        let choice = cores.decide(now_ms);
        // Under the lock: no older choice comes after a newer one.
        self.choice.send_if_modified(|present| {
            let changes = *present != choice;
            *present = choice;
            changes
        });
    }

    /// A core has answered a request. What follows from it can wait for the next decision.
    pub(super) fn answered(&self, core: usize) {
        let mut cores = self.lock();
        let now_ms = self.now_ms();
        cores.answered(core, now_ms);
    }

    pub(super) fn measured(&self, core: usize) -> Measured {
        let cores = self.lock();
        cores.measured(core, self.now_ms())
    }

    pub(super) fn watch(&self) -> watch::Receiver<Choice> {
        self.choice.subscribe()
    }

    pub(super) fn used(&self) -> Option<usize> {
        self.choice.borrow().used
    }

    pub(super) fn second(&self) -> Option<usize> {
        self.choice.borrow().second
    }

    /// Waits until the choice is as wanted.
    pub(super) async fn until(&self, is_so: impl Fn(&Choice) -> bool) {
        let mut watching = self.watch();
        // The sender lives as long as `self`.
        let _ = watching.wait_for(|choice| is_so(choice)).await;
    }

    /// Waits until who waits for this core should ask another.
    pub(super) async fn cut_off(&self, core: usize) {
        self.until(|choice| choice.cut_off.get(core).copied().unwrap_or(false))
            .await;
    }

    /// Waits until this core is to be linked (`true`) or not.
    pub(super) async fn is_linked(&self, core: usize, wanted: bool) {
        self.until(|choice| choice.linked.get(core).copied().unwrap_or(false) == wanted)
            .await;
    }
}
