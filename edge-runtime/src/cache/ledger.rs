//! What this PoP has applied: a [`Replica`] behind a lock, its journal, and two atomics for the hits.
//!
//! Whoever changes something takes the journal first and the replica second, so that hits wait for a change of the table
//! alone, never for a file: the journal is written, and now and then written anew, while they read on.

use super::{
    error::Error,
    journal::{self, Journal},
    stored::Stored,
};
use brink_policy::coherence::{
    Admission, Applied, Depends, FillStart, LastChanges, Next, Replica, Start, Started, Touch,
    Verdict, touched_by,
};
use brink_protocol::{Position, change::Change};
use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Nothing vouches for what is stored.
const NEVER: u64 = 0;

/// What this PoP has applied. Hits read two atomics, and the table only when something changed since they last did.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Taken before `replica` by all that change it.
    journal: Mutex<Option<Journal>>,
    replica: RwLock<Replica>,
    /// Index of the last change; set after the table was.
    index: AtomicU64,
    /// Until when entries may be called fresh; set after `index`, so whoever reads it first finds the changes in the
    /// table that it speaks of.
    fresh_until_ms: AtomicU64,
    generation: u64,
    terms: Terms,
    base: Instant,
    was_fresh: AtomicBool,
    /// Times that entries ceased to be fresh, not counted yet.
    expiries: AtomicU64,
}

/// What the program says of coherence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// There is a feed to follow.
    pub(super) follows_feed: bool,
    /// See [`super::Config::coherence`].
    pub(super) coherence: bool,
}

/// Until when what is found next may be called fresh: read before it is held against the changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vouched(u64);

/// What became of a change.
#[derive(Debug)]
pub(super) enum Outcome {
    Applied(Touch),
    Repeated,
    /// Changes are missing before it: everything ends.
    EndedAll,
}

impl Ledger {
    /// Reads the journal in `dir` and begins it anew; where there is no room for it, `give_room` is asked for some. The second value says whether what is stored there can be
    /// trusted.
    pub(super) fn open(
        dir: Option<&Path>,
        tags_max: usize,
        terms: Terms,
        new_generation: u64,
        give_room: &mut dyn FnMut() -> io::Result<bool>,
    ) -> Result<(Self, bool), Error> {
        let recovered = dir.and_then(|dir| journal::recover(dir, tags_max));
        let trusted = recovered.is_some();
        let (generation, position, mut changes) = match recovered {
            Some(known) => (known.generation, known.position, known.changes),
            None => (
                new_generation,
                Position::default(),
                LastChanges::new(tags_max),
            ),
        };
        changes.reserve();
        let journal = match dir {
            Some(dir) => Some(Journal::begin(
                dir, generation, &position, &changes, give_room,
            )?),
            None => None,
        };
        let ledger = Self {
            index: AtomicU64::new(changes.index()),
            replica: RwLock::new(Replica::restore(position, changes)),
            journal: Mutex::new(journal),
            fresh_until_ms: AtomicU64::new(NEVER),
            generation,
            terms,
            base: Instant::now(),
            was_fresh: AtomicBool::new(false),
            expiries: AtomicU64::new(0),
        };
        Ok((ledger, trusted))
    }

    fn read(&self) -> RwLockReadGuard<'_, Replica> {
        self.replica.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the replica, for the holder of the journal; hits see it from here on.
    fn change<T>(&self, change: impl FnOnce(&mut Replica) -> T) -> T {
        let mut replica = self.replica.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut replica);
        self.index
            .store(replica.changes().index(), Ordering::Release);
        let until = replica
            .as_of_ms()
            .map_or(NEVER, |as_of| as_of.saturating_add(replica.lease_ms()));
        if until != self.fresh_until_ms.load(Ordering::Acquire) {
            self.poll(Instant::now());
            self.fresh_until_ms.store(until, Ordering::Release);
        }
        result
    }

    /// Entries of others are not trusted.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn position(&self) -> Arc<Position> {
        self.read().position().clone()
    }

    pub(super) fn begin(&self) -> FillStart {
        self.read().begin()
    }

    /// What the changes say of an entry. An entry found untouched needs to be held against later changes only.
    pub(super) fn verdict(&self, stored: &Stored) -> Verdict {
        if stored.generation != self.generation {
            return Verdict::Unknown;
        }
        if !self.terms.coherence {
            return Verdict::Valid;
        }
        let (checked, soft) = stored.checked();
        let known = |verdict| {
            if soft && verdict == Verdict::Valid {
                Verdict::Soft
            } else {
                verdict
            }
        };
        // An index read from disk can lie beyond ours: only the table knows.
        if checked == self.index.load(Ordering::Acquire) {
            return known(Verdict::Valid);
        }
        let replica = self.read();
        let verdict = known(replica.verdict(&stored.on, checked));
        match verdict {
            Verdict::Valid => stored.set_checked(replica.changes().index(), false),
            Verdict::Soft => stored.set_checked(replica.changes().index(), true),
            Verdict::Ended | Verdict::Unknown => {}
        }
        verdict
    }

    /// The fence. See [`Replica::admit`].
    pub(super) fn admit<D: Depends>(
        &self,
        start: &FillStart,
        on: &[D],
        read_at: Option<&Position>,
    ) -> Admission {
        if !self.terms.coherence {
            return Admission::Store;
        }
        self.read().admit(start, on, read_at)
    }

    /// The position at which what was read at `index` still holds, if it does and may be called fresh.
    pub(super) fn holds<D: Depends>(
        &self,
        on: &[D],
        index: u64,
        now: Instant,
    ) -> Option<Arc<Position>> {
        let vouched = self.vouched();
        let replica = self.read();
        let valid = !self.terms.coherence || replica.verdict(on, index) == Verdict::Valid;
        (valid && self.is_fresh(vouched, now)).then(|| replica.position().clone())
    }

    /// What a change is to what was applied.
    pub(super) fn next(&self, change: &Change) -> Next {
        self.read().next(change)
    }

    /// Applies a change of the feed: journal first, then the replica.
    pub(super) fn apply(&self, change: &Change) -> Outcome {
        let touch = touched_by(change);
        let mut journal = self.journal();
        let (order, position) = {
            let replica = self.read();
            (replica.next(change), replica.position().clone())
        };
        match order {
            Next::Repeated => return Outcome::Repeated,
            Next::InOrder => {}
            Next::Gap => {
                tracing::warn!(
                    origin = %change.origin,
                    sequence = change.sequence,
                    applied = position.get(&change.origin),
                    "changes are missing: every entry is dropped"
                );
                write(&mut journal, |journal| journal.end_all(&position));
            }
        }
        drop(position);
        write(&mut journal, |journal| {
            journal.change(&change.origin, change.sequence, &touch)
        });
        let applied = self.change(|replica| replica.apply(change, &touch));
        self.compact_if_due(&mut journal);
        match applied {
            Applied::InOrder { .. } => Outcome::Applied(touch),
            Applied::Repeated => Outcome::Repeated,
            Applied::Gap => Outcome::EndedAll,
        }
    }

    /// Ends entries by decision of this PoP.
    pub(super) fn touch(&self, touch: &Touch) {
        let mut journal = self.journal();
        write(&mut journal, |journal| journal.local(touch));
        self.change(|replica| replica.touch(touch));
        self.compact_if_due(&mut journal);
    }

    /// A feed begins. See [`Replica::start`].
    pub(super) fn start(&self, start: &Start, asked: bool, sent: Instant) -> Started {
        let mut journal = self.journal();
        if !self.read().resumes(start, asked) {
            write(&mut journal, |journal| journal.end_all(&start.position));
        }
        let started = self.change(|replica| replica.start(start, asked, self.ms(sent)));
        self.compact_if_due(&mut journal);
        started
    }

    /// See [`Replica::claim`].
    pub(super) fn claim(&self, sent: Instant, head: Position, age: Duration) {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let _held = self.journal();
        self.change(|replica| replica.claim(self.ms(sent), head, age_ms));
    }

    /// Until when what is found next may be called fresh.
    pub(super) fn vouched(&self) -> Vouched {
        Vouched(self.fresh_until_ms.load(Ordering::Acquire))
    }

    pub(super) fn is_fresh(&self, vouched: Vouched, now: Instant) -> bool {
        let Terms {
            follows_feed,
            coherence,
        } = self.terms;
        !follows_feed || !coherence || (vouched.0 != NEVER && self.ms_after(now) <= vouched.0)
    }

    pub(super) fn connected(&self, now: Instant) -> bool {
        self.is_fresh(self.vouched(), now)
    }

    /// How old what is served may be; none: nothing vouches.
    pub(super) fn staleness_bound(&self, now: Instant) -> Option<Duration> {
        if !self.terms.follows_feed {
            return Some(Duration::ZERO);
        }
        let bound = self.read().staleness_bound_ms(self.ms_after(now))?;
        Some(Duration::from_millis(bound))
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.read().lease_ms())
    }

    /// Notes whether entries may be called fresh, so that no end of that goes uncounted.
    pub(super) fn poll(&self, now: Instant) {
        let is_fresh = self.connected(now);
        if self.was_fresh.swap(is_fresh, Ordering::AcqRel) && !is_fresh {
            self.expiries.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Times that entries ceased to be fresh, since this was last asked.
    pub(super) fn take_expiries(&self) -> u64 {
        self.expiries.swap(0, Ordering::AcqRel)
    }

    /// Milliseconds since this ledger was opened, rounded down, on a scale on which earlier instants have a place too.
    fn ms(&self, now: Instant) -> u64 {
        const BEFORE_MS: u64 = 1 << 40;
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(BEFORE_MS);
        match now.checked_duration_since(self.base) {
            Some(after) => BEFORE_MS.saturating_add(ms(after)),
            None => BEFORE_MS.saturating_sub(1 + ms(self.base.saturating_duration_since(now))),
        }
    }

    /// The same, not rounded down: what is held against a limit must not look younger than it is.
    fn ms_after(&self, now: Instant) -> u64 {
        self.ms(now).saturating_add(1)
    }

    /// Index, floor and number of tags, for people.
    pub(super) fn extent(&self) -> (u64, u64, usize) {
        let replica = self.read();
        let changes = replica.changes();
        (changes.index(), changes.floor(), changes.len())
    }

    /// Makes what was applied so far outlive a power failure. Blocks; changes go on meanwhile.
    pub(super) fn sync(&self) {
        let pending = match &mut *self.journal() {
            Some(journal) => journal.take_unsynced(),
            None => return,
        };
        let synced = match pending {
            Ok(None) => Ok(()),
            Ok(Some(file)) => file.sync_data(),
            Err(error) => Err(error),
        };
        if let Err(error) = synced {
            tracing::error!(%error, "the cache's journal could not be synced; a restart will drop every entry");
            write(&mut self.journal(), Journal::distrust);
        }
    }

    /// Hits read on meanwhile: nobody waits to change the replica, for the journal is held.
    fn compact_if_due(&self, journal: &mut Option<Journal>) {
        write(journal, |journal| {
            if !journal.is_due() {
                return Ok(());
            }
            let (position, changes) = {
                let replica = self.read();
                (replica.position().clone(), replica.changes().snapshot())
            };
            journal.compact(&position, changes)
        });
    }
}

/// A journal that cannot be written is behind, which costs entries after a restart and nothing else.
fn write(journal: &mut Option<Journal>, write: impl FnOnce(&mut Journal) -> std::io::Result<()>) {
    if let Some(journal) = journal
        && let Err(error) = write(journal)
    {
        tracing::error!(%error, "the cache's journal could not be written; a restart will drop newer entries");
    }
}
