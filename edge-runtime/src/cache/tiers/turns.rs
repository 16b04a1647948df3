//! Changes of what a key leads to, one at a time, over both tiers. Hits take no turn.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering},
};

/// Keys share so many turns.
const TURNS: usize = 1 << 10;

#[derive(Debug, Default)]
struct Turn {
    held: Mutex<()>,
    /// Changes that were made.
    changes: AtomicU32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Turns {
    /// There is one in any case.
    first: Turn,
    others: Box<[Turn]>,
}

/// Until it is dropped, nobody else changes what the key leads to.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    turn: &'a Turn,
    _held: MutexGuard<'a, ()>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            first: Turn::default(),
            others: (1..TURNS).map(|_| Turn::default()).collect(),
        }
    }

    fn turn(&self, hash: u64) -> &Turn {
        let at = usize::try_from(hash & (TURNS as u64 - 1)).unwrap_or(0);
        let other = at.checked_sub(1).and_then(|at| self.others.get(at));
        other.unwrap_or(&self.first)
    }

    /// Changes of this key so far, and of some others: as long as they stay the same, so does what it leads to.
    pub(super) fn changes(&self, hash: u64) -> u32 {
        self.turn(hash).changes.load(Ordering::Acquire)
    }

    /// Waits for its turn.
    pub(super) fn take(&self, hash: u64) -> Taken<'_> {
        let turn = self.turn(hash);
        Taken {
            turn,
            _held: turn.held.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Taken<'_> {
    /// See [`Turns::changes`].
    pub(super) fn changes(&self) -> u32 {
        self.turn.changes.load(Ordering::Acquire)
    }

    /// The key leads to something else now.
    pub(super) fn changed(&self) {
        self.turn.changes.fetch_add(1, Ordering::AcqRel);
    }
}
