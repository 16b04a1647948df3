//! The change log of one origin, and what a core may say about the logs that it holds. Pure: a store keeps the entries.
//!
//! An origin's log has one writer at a time. Sequences begin at 1 and never skip. A store that cannot write records and
//! log in one transaction appends an entry as *intended* before it writes the records and settles it after; whoever takes
//! over the log of a core that died settles what it finds open (coherence.md, "Log before write").

use crate::{
    Error, OriginId, Position,
    address::PartitionAddress,
    change::{Change, ChangeKind, Phase, RecordChange},
};
use std::collections::BTreeMap;

/// Most intents of one log that are open at a time. Beyond it writes are refused until some are settled.
pub const INTENTS_MAX: usize = 4096;

/// A node's incarnations count from here.
pub const FIRST_INCARNATION: u32 = 1;

/// What is kept of one origin's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Sequence of the oldest entry; `head + 1` if none is kept.
    pub oldest: u64,
    /// Sequence of the newest entry that there ever was; 0: none.
    pub head: u64,
}

/// A write whose end is not in the log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its partition.
    pub partition: PartitionAddress,
    /// Its records.
    pub records: Vec<RecordChange>,
}

/// The writer's side of one origin's log.
#[derive(Debug, Clone)]
pub struct Log {
    origin: OriginId,
    kept: Kept,
    open: BTreeMap<u64, Intent>,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(origin: OriginId) -> Self {
        Self {
            origin,
            kept: Kept { oldest: 1, head: 0 },
            open: BTreeMap::new(),
        }
    }

    /// The log that a store has kept, oldest entry first.
    ///
    /// # Errors
    /// An entry is of another origin, or a sequence is missing.
    pub fn recover<'a>(
        origin: OriginId,
        entries: impl IntoIterator<Item = &'a Change>,
    ) -> Result<Self, Error> {
        let mut log = Self::new(origin);
        for entry in entries {
            if log.kept.head == 0 {
                log.kept.oldest = entry.sequence;
            } else if entry.sequence != log.kept.head + 1 {
                let reason = format!("{} follows {}", entry.sequence, log.kept.head);
                return Err(Error::malformed("log", reason));
            }
            if entry.origin != log.origin {
                return Err(Error::malformed("log", "an entry is of another origin"));
            }
            log.kept.head = entry.sequence;
            log.note(entry.sequence, &entry.kind);
        }
        Ok(log)
    }

    /// As [`Log::recover`], with the newest entries alone: `oldest` is the first one that the store has. An intent that is
    /// open before `entries` is not found.
    ///
    /// # Errors
    /// As there.
    pub fn recover_tail<'a>(
        origin: OriginId,
        oldest: u64,
        entries: impl IntoIterator<Item = &'a Change>,
    ) -> Result<Self, Error> {
        let mut log = Self::recover(origin, entries)?;
        log.kept.oldest = log.kept.oldest.min(oldest.max(1));
        Ok(log)
    }

    fn note(&mut self, sequence: u64, kind: &ChangeKind) {
        if let ChangeKind::Records {
            partition,
            records,
            phase,
        } = kind
        {
            match phase {
                Phase::Intended => {
                    let intent = Intent {
                        partition: partition.clone(),
                        records: records.clone(),
                    };
                    self.open.insert(sequence, intent);
                }
                Phase::Settled { intent } => {
                    self.open.remove(intent);
                }
                Phase::Written => {}
            }
        }
    }

    /// Whose log it is.
    #[must_use]
    pub fn origin(&self) -> &OriginId {
        &self.origin
    }

    /// What is kept of it.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.kept
    }

    /// The next entry. It is in the log once it is durable; whoever cannot make it so opens the log anew.
    ///
    /// # Errors
    /// It intends something, and [`INTENTS_MAX`] are open.
    pub fn append(&mut self, at_ms: u64, kind: ChangeKind) -> Result<Change, Error> {
        let intends = matches!(
            kind,
            ChangeKind::Records {
                phase: Phase::Intended,
                ..
            }
        );
        if intends && self.open.len() >= INTENTS_MAX {
            return Err(Error::Limit {
                what: "writes under way",
                actual: self.open.len() as u64,
                limit: INTENTS_MAX as u64,
            });
        }
        self.kept.head += 1;
        self.note(self.kept.head, &kind);
        Ok(Change {
            origin: self.origin.clone(),
            sequence: self.kept.head,
            at_ms,
            kind,
        })
    }

    /// Settles what the entry `intent` intended, whether the write happened or failed. None: it is not open.
    pub fn settle(
        &mut self,
        intent: u64,
        records: Vec<RecordChange>,
        at_ms: u64,
    ) -> Option<Change> {
        let Intent { partition, .. } = self.open.remove(&intent)?;
        self.kept.head += 1;
        Some(Change {
            origin: self.origin.clone(),
            sequence: self.kept.head,
            at_ms,
            kind: ChangeKind::Records {
                partition,
                records,
                phase: Phase::Settled { intent },
            },
        })
    }

    /// What is open, oldest first.
    pub fn open(&self) -> impl Iterator<Item = (u64, &Intent)> {
        self.open
            .iter()
            .map(|(sequence, intent)| (*sequence, intent))
    }

    /// Settles everything that is open as "changed": the writer died, and nobody knows. Spurious at worst. The caller
    /// has made sure before that the former writer cannot write any more.
    pub fn take_over(&mut self, at_ms: u64) -> Vec<Change> {
        let open: Vec<_> = self
            .open
            .iter()
            .map(|(sequence, intent)| (*sequence, intent.records.clone()))
            .collect();
        open.into_iter()
            .filter_map(|(sequence, records)| self.settle(sequence, records, at_ms))
            .collect()
    }

    /// Entries before this sequence may be dropped so that about `keep` are left. Open intents are never dropped: who
    /// takes the log over needs them.
    #[must_use]
    pub fn droppable_before(&self, keep: u64) -> u64 {
        let wanted = (self.kept.head + 1).saturating_sub(keep);
        let open = self.open.keys().next().copied().unwrap_or(u64::MAX);
        wanted.min(open).max(self.kept.oldest)
    }

    /// Entries before `sequence` were dropped.
    pub fn dropped_before(&mut self, sequence: u64) {
        self.kept.oldest = sequence.clamp(self.kept.oldest, self.kept.head + 1);
    }
}

/// How a reader goes on that has applied some position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// With what follows its own position; nothing in between is missing.
    After(Position),
    /// The logs no longer reach back to it: it drops everything that is coherent, and starts at this head.
    Anew(Position),
}

/// The heads of all logs that are held.
#[must_use]
pub fn heads(held: &BTreeMap<OriginId, Kept>) -> Position {
    let mut heads = Position::default();
    for (origin, kept) in held {
        heads.advance(origin, kept.head);
    }
    heads
}

/// How a reader goes on that has applied `asked`; `own` is the origin of the core that is asked.
///
/// - A log that reaches back to what was applied is resumed.
/// - An origin that the reader knows and this core does not is left as it is: the core will hear of it later, and the
///   reader then skips what it has.
/// - A reader that is ahead of this core's own log has seen what the core has lost: it starts anew.
/// - So does one that knows nothing of a node's present incarnation, which is not its first: see [`reaches`].
#[must_use]
pub fn resume(held: &BTreeMap<OriginId, Kept>, own: &OriginId, asked: Option<&Position>) -> Resume {
    let anew = || Resume::Anew(heads(held));
    let Some(asked) = asked else {
        return anew();
    };
    let own_head = held.get(own).map_or(0, |kept| kept.head);
    if asked.get(own) > own_head {
        return anew();
    }
    if reaches(held, asked) {
        Resume::After(asked.clone())
    } else {
        anew()
    }
}

/// Whether the logs that are held bring a reader that has applied `position` everything that it has missed. It may become
/// false while a reader follows: then its feed ends, and it starts anew.
///
/// A reader that knows nothing yet of a node's later incarnation may have missed what an earlier one said last, or all of
/// it: it is lost. So a new incarnation's log begins with an entry, which puts it into the heads.
#[must_use]
pub fn reaches(held: &BTreeMap<OriginId, Kept>, position: &Position) -> bool {
    held.iter().all(|(origin, kept)| {
        let applied = position.get(origin);
        let is_first = origin.incarnation <= FIRST_INCARNATION;
        applied.saturating_add(1) >= kept.oldest && (applied > 0 || is_first)
    })
}

/// Whether a core may answer a read that must be at least as new as some position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It has everything.
    Reached,
    /// It has not got so far in this log; it may soon.
    Behind(OriginId, u64),
}

/// Whether what is held covers `at_least`. An incarnation of a node that a later one has followed is over, and what it
/// said counts as reached: everything that depended on it was dropped when the later one began.
#[must_use]
pub fn reach(held: &Position, at_least: &Position) -> Reach {
    for (origin, sequence) in at_least.iter() {
        let is_over = || {
            held.iter().any(|(known, _)| {
                known.node == origin.node && known.incarnation > origin.incarnation
            })
        };
        if held.get(origin) < sequence && !is_over() {
            return Reach::Behind(origin.clone(), sequence);
        }
    }
    Reach::Reached
}

#[cfg(test)]
mod tests;
