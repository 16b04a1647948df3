//! What one PoP knows of the changes: the table of last changes, the position, the lease. All that the edge decides about
//! coherence, without a clock, a socket or a lock.

use super::{
    dependency::Depends,
    last_changes::{LastChanges, Next, Verdict, next},
    lease::Lease,
    touch::Touch,
};
use brink_protocol::{
    Position,
    change::Change,
    log::{Reach, reach},
};
use std::sync::Arc;

/// The state of one PoP. Times are milliseconds of one clock of the caller's that never goes back.
#[derive(Debug, Clone)]
pub struct Replica {
    changes: LastChanges,
    position: Arc<Position>,
    lease: Lease,
}

/// Where a fill begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillStart {
    /// The apply index.
    pub index: u64,
    /// What was applied.
    pub position: Arc<Position>,
}

/// What the first message of a feed says. See [`brink_protocol::link::FeedMessage::Start`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The changes that follow begin after it.
    pub position: Position,
    /// Where the core's logs end.
    pub head: Position,
    /// The logs reach back to what was asked for.
    pub resumed: bool,
    /// How long the lease is, in milliseconds; at most [`Lease::LENGTH_MS_MAX`].
    pub lease_ms: u64,
    /// How old the core's knowledge of the other cores' logs is, in milliseconds.
    pub age_ms: u64,
}

/// How a feed begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// With what comes next; every entry stays.
    Resumed,
    /// At another position: every entry was ended.
    Reset,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was the next one of its origin.
    InOrder {
        /// Its apply index.
        index: u64,
    },
    /// It was applied before: nothing happened.
    Repeated,
    /// Others are missing before it: every entry was ended, and it was applied.
    Gap,
}

/// Whether what a fill brought may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Nothing has touched it since the fill began.
    Store,
    /// A change has, while it was made.
    Fenced,
    /// It was read at a core that had not got as far as this PoP: what it misses, nobody will say here again.
    ReadBehind,
    /// It began in a time that nobody vouches for, or so long ago that what came since is no longer remembered.
    Unknown,
}

impl Replica {
    /// One that has applied nothing, and remembers the last changes of at most `tags_max` tags.
    #[must_use]
    pub fn new(tags_max: usize) -> Self {
        Self::restore(Position::default(), LastChanges::new(tags_max))
    }

    /// One that goes on from what was written down. Nothing vouches for it before the first claim.
    #[must_use]
    pub fn restore(position: Position, changes: LastChanges) -> Self {
        Self {
            changes,
            position: Arc::new(position),
            lease: Lease::default(),
        }
    }

    /// A feed begins that was `asked` at `sent_ms` to go on from [`Replica::position`] (not asked: to begin at the head).
    /// If it does not, every entry ends, and what was known before is no longer known.
    pub fn start(&mut self, start: &Start, asked: bool, sent_ms: u64) -> Started {
        let resumes = self.resumes(start, asked);
        if !resumes {
            self.reset(start.position.clone());
        }
        self.lease.set_length_ms(start.lease_ms);
        self.claim(sent_ms, start.head.clone(), start.age_ms);
        if resumes {
            Started::Resumed
        } else {
            Started::Reset
        }
    }

    /// Whether a feed goes on from what was applied. One that begins beyond it has left something out.
    #[must_use]
    pub fn resumes(&self, start: &Start, asked: bool) -> bool {
        asked && start.resumed && self.position.covers(&start.position)
    }

    /// Ends every entry, and goes on from `position`.
    pub fn reset(&mut self, position: Position) {
        self.changes.end_all();
        self.position = Arc::new(position);
        self.lease.withdraw();
    }

    /// What the change is to what was applied.
    #[must_use]
    pub fn next(&self, change: &Change) -> Next {
        next(&self.position, &change.origin, change.sequence)
    }

    /// Applies a change; `touch` is what [`super::touched_by`] says of it.
    pub fn apply(&mut self, change: &Change, touch: &Touch) -> Applied {
        let order = self.next(change);
        match order {
            Next::Repeated => return Applied::Repeated,
            Next::InOrder => {}
            Next::Gap => {
                self.changes.end_all();
            }
        }
        let index = self.changes.apply(touch);
        Arc::make_mut(&mut self.position).advance(&change.origin, change.sequence);
        self.lease
            .applied(&change.origin, change.sequence, &self.position);
        match order {
            Next::Gap => Applied::Gap,
            Next::InOrder | Next::Repeated => Applied::InOrder { index },
        }
    }

    /// Ends or makes stale by decision of this PoP; gives the index.
    pub fn touch(&mut self, touch: &Touch) -> u64 {
        self.changes.apply(touch)
    }

    /// A core that was asked at `sent_ms` has answered where the logs end, and how old its knowledge of them is.
    pub fn claim(&mut self, sent_ms: u64, head: Position, age_ms: u64) {
        self.lease.claim(sent_ms, head, age_ms, &self.position);
    }

    /// Whether entries may be called fresh.
    #[must_use]
    pub fn fresh_at(&self, now_ms: u64) -> bool {
        self.lease.holds(now_ms)
    }

    /// As of when every change is known here that was acknowledged anywhere; none: nothing vouches.
    #[must_use]
    pub fn as_of_ms(&self) -> Option<u64> {
        self.lease.as_of_ms()
    }

    /// How old what is served may be at most, in milliseconds; none: nothing vouches.
    #[must_use]
    pub fn staleness_bound_ms(&self, now_ms: u64) -> Option<u64> {
        let as_of = self.lease.as_of_ms()?;
        Some(now_ms.saturating_sub(as_of))
    }

    /// See [`Lease::length_ms`].
    #[must_use]
    pub fn lease_ms(&self) -> u64 {
        self.lease.length_ms()
    }

    /// A fill begins now.
    #[must_use]
    pub fn begin(&self) -> FillStart {
        FillStart {
            index: self.changes.index(),
            position: self.position.clone(),
        }
    }

    /// The fence: whether what a fill brought, which depends on `on`, may be stored. `read_at` is where a core was when it
    /// read the records; none: no records were read.
    #[must_use]
    pub fn admit<D: Depends>(
        &self,
        start: &FillStart,
        on: &[D],
        read_at: Option<&Position>,
    ) -> Admission {
        let is_behind = |at: &Position| !matches!(reach(at, &start.position), Reach::Reached);
        if read_at.is_some_and(is_behind) {
            return Admission::ReadBehind;
        }
        match self.changes.verdict(on, start.index) {
            Verdict::Valid => Admission::Store,
            Verdict::Soft | Verdict::Ended => Admission::Fenced,
            Verdict::Unknown => Admission::Unknown,
        }
    }

    /// What the changes say of an entry that depends on `on` and whose fill began at `index`. Asked on every hit.
    #[must_use]
    pub fn verdict<D: Depends>(&self, on: &[D], index: u64) -> Verdict {
        self.changes.verdict(on, index)
    }

    /// What was applied.
    #[must_use]
    pub fn position(&self) -> &Arc<Position> {
        &self.position
    }

    /// The table of last changes.
    #[must_use]
    pub fn changes(&self) -> &LastChanges {
        &self.changes
    }
}

#[cfg(test)]
mod tests;
