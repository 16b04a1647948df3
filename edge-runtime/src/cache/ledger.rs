//! What this PoP has applied: the table of last changes, the position, the journal, the lease.

use super::{
    error::Error,
    journal::{self, Journal},
    stored::Stored,
};
use brink_policy::coherence::{
    LastChanges, Lease, Next, TagHash, Touch, Verdict, next, touched_by,
};
use brink_protocol::{Position, change::Change};
use std::{
    path::Path,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The feed was not heard yet.
const NEVER: u64 = u64::MAX;

/// What this PoP has applied. Hits read two atomics, and the table only when something changed since they last did.
#[derive(Debug)]
pub(super) struct Ledger {
    state: RwLock<State>,
    /// [`LastChanges::index`], set after the table was.
    index: AtomicU64,
    generation: u64,
    follows_feed: bool,
    base: Instant,
    heard_ms: AtomicU64,
    lease_ms: AtomicU64,
}

#[derive(Debug)]
struct State {
    changes: LastChanges,
    position: Arc<Position>,
    journal: Option<Journal>,
}

/// Where a fill begins.
#[derive(Debug, Clone)]
pub(super) struct Started {
    pub(super) index: u64,
    pub(super) position: Arc<Position>,
}

/// What became of a change.
#[derive(Debug)]
pub(super) enum Outcome {
    Applied(Touch),
    Repeated,
    /// Changes are missing before it: everything ends.
    EndedAll,
}

impl Ledger {
    /// Reads the journal in `dir` and begins it anew; the second value says whether what is stored there can be
    /// trusted.
    pub(super) fn open(
        dir: Option<&Path>,
        tags_max: usize,
        follows_feed: bool,
        new_generation: u64,
    ) -> Result<(Self, bool), Error> {
        let recovered = dir.and_then(|dir| journal::recover(dir, tags_max));
        let trusted = recovered.is_some();
        let (generation, position, changes) = match recovered {
            Some(known) => (known.generation, known.position, known.changes),
            None => (
                new_generation,
                Position::default(),
                LastChanges::new(tags_max),
            ),
        };
        let journal = match dir {
            Some(dir) => Some(Journal::begin(dir, generation, &position, &changes)?),
            None => None,
        };
        let index = AtomicU64::new(changes.index());
        let ledger = Self {
            state: RwLock::new(State {
                changes,
                position: Arc::new(position),
                journal,
            }),
            index,
            generation,
            follows_feed,
            base: Instant::now(),
            heard_ms: AtomicU64::new(NEVER),
            lease_ms: AtomicU64::new(Lease::LENGTH_MS_DEFAULT),
        };
        Ok((ledger, trusted))
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries of others are not trusted.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn position(&self) -> Arc<Position> {
        self.read().position.clone()
    }

    pub(super) fn started(&self) -> Started {
        let state = self.read();
        Started {
            index: state.changes.index(),
            position: state.position.clone(),
        }
    }

    /// What the changes say of an entry. An entry found untouched needs to be held against later changes only.
    pub(super) fn verdict(&self, stored: &Stored) -> Verdict {
        let (checked, soft) = stored.checked();
        let known = |verdict| {
            if soft && verdict == Verdict::Valid {
                Verdict::Soft
            } else {
                verdict
            }
        };
        if stored.generation != self.generation {
            return Verdict::Unknown;
        }
        // An index read from disk can lie beyond ours: only the table knows.
        if checked == self.index.load(Ordering::Acquire) {
            return known(Verdict::Valid);
        }
        let state = self.read();
        let verdict = known(state.changes.verdict(&stored.tags, checked));
        match verdict {
            Verdict::Valid => stored.set_checked(state.changes.index(), false),
            Verdict::Soft => stored.set_checked(state.changes.index(), true),
            Verdict::Ended | Verdict::Unknown => {}
        }
        verdict
    }

    /// The fence: whether a fill that began at `index` may store an answer with these tags.
    pub(super) fn fence(&self, tags: &[TagHash], index: u64) -> Verdict {
        self.read().changes.verdict(tags, index)
    }

    /// Applies a change of the feed: journal, table, position, in this order.
    pub(super) fn apply(&self, change: &Change) -> Outcome {
        let touch = touched_by(change);
        let mut guard = self.write();
        let state = &mut *guard;
        let order = next(&state.position, &change.origin, change.sequence);
        match order {
            Next::Repeated => return Outcome::Repeated,
            Next::InOrder => {}
            Next::Gap => {
                tracing::warn!(
                    origin = %change.origin,
                    sequence = change.sequence,
                    applied = state.position.get(&change.origin),
                    "changes are missing: every entry is dropped"
                );
                let position = (*state.position).clone();
                state.end_all(position);
            }
        }
        if let Some(journal) = &mut state.journal {
            report(journal.change(&change.origin, change.sequence, &touch));
        }
        state.changes.apply(&touch);
        Arc::make_mut(&mut state.position).advance(&change.origin, change.sequence);
        state.compact_if_due();
        self.index.store(state.changes.index(), Ordering::Release);
        match order {
            Next::Gap => Outcome::EndedAll,
            Next::InOrder | Next::Repeated => Outcome::Applied(touch),
        }
    }

    /// Ends entries by decision of this PoP.
    pub(super) fn touch(&self, touch: &Touch) {
        let mut guard = self.write();
        let state = &mut *guard;
        if let Some(journal) = &mut state.journal {
            report(journal.local(&touch.tags));
        }
        state.changes.apply(touch);
        state.compact_if_due();
        self.index.store(state.changes.index(), Ordering::Release);
    }

    /// Ends every entry and begins at `position`.
    pub(super) fn reset(&self, position: Position) {
        let mut state = self.write();
        state.end_all(position);
        self.index.store(state.changes.index(), Ordering::Release);
    }

    pub(super) fn heard(&self, now: Instant) {
        let ms = self.ms(now);
        let later = |heard: u64| (heard == NEVER || heard < ms).then_some(ms);
        // Another thread's later word is as good.
        let _ = self
            .heard_ms
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
    }

    pub(super) fn set_lease(&self, lease: Duration) {
        let ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.lease_ms.store(ms, Ordering::Release);
    }

    pub(super) fn connected(&self, now: Instant) -> bool {
        if !self.follows_feed {
            return true;
        }
        let heard = self.heard_ms.load(Ordering::Acquire);
        heard != NEVER
            && self.ms(now).saturating_sub(heard) <= self.lease_ms.load(Ordering::Acquire)
    }

    pub(super) fn follows_feed(&self) -> bool {
        self.follows_feed
    }

    /// Milliseconds since this ledger was opened, and as many again before it so that earlier instants have a place.
    fn ms(&self, now: Instant) -> u64 {
        const BEFORE_MS: u64 = 1 << 40;
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(BEFORE_MS);
        match now.checked_duration_since(self.base) {
            Some(after) => BEFORE_MS.saturating_add(ms(after)),
            None => BEFORE_MS.saturating_sub(ms(self.base.saturating_duration_since(now))),
        }
    }

    /// Index, floor and number of tags, for people.
    pub(super) fn extent(&self) -> (u64, u64, usize) {
        let state = self.read();
        (
            state.changes.index(),
            state.changes.floor(),
            state.changes.len(),
        )
    }
}

impl State {
    fn end_all(&mut self, position: Position) {
        if let Some(journal) = &mut self.journal {
            report(journal.end_all(&position));
        }
        self.changes.end_all();
        self.position = Arc::new(position);
        self.compact_if_due();
    }

    fn compact_if_due(&mut self) {
        if let Some(journal) = &mut self.journal {
            report(journal.compact_if_due(&self.position, &self.changes));
        }
    }
}

/// A journal that cannot be written is behind, which costs entries after a restart and nothing else.
fn report(written: std::io::Result<()>) {
    if let Err(error) = written {
        tracing::error!(%error, "the cache's journal could not be written; a restart will drop newer entries");
    }
}
