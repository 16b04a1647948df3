//! What a PoP writes down of the changes that it applies, and what it knows after a crash.

use crate::messages::Entry;
use brink_policy::coherence::{LastChanges, Replica, Snapshot};
use brink_protocol::Position;
use std::sync::Arc;

/// Records after which the journal is written anew.
const RECORDS_MAX: usize = 64;
/// Indexes that are left out after a crash: as many as the edge leaves out.
const GAP: u64 = 1 << 32;

#[derive(Debug)]
enum Record {
    Change(Arc<Entry>),
    Reset(Position),
}

/// A journal: a state, and what came after it.
#[derive(Debug, Default)]
pub(super) struct Journal {
    snapshot: Snapshot,
    position: Position,
    tail: Vec<Record>,
    /// How many records of the tail no power failure takes away.
    synced: usize,
}

impl Journal {
    /// Writes down a change.
    pub(super) fn change(&mut self, entry: &Arc<Entry>) {
        self.tail.push(Record::Change(Arc::clone(entry)));
    }

    /// Writes down that everything ended.
    pub(super) fn reset(&mut self, position: Position) {
        self.tail.push(Record::Reset(position));
    }

    /// Begins anew from the present state, if it has become long.
    pub(super) fn compact(&mut self, replica: &Replica) {
        if self.tail.len() > RECORDS_MAX {
            self.begin(replica);
        }
    }

    /// Begins anew from the present state.
    pub(super) fn begin(&mut self, replica: &Replica) {
        self.snapshot = replica.changes().snapshot();
        self.position = Position::clone(replica.position());
        self.tail.clear();
        self.synced = 0;
    }

    /// Makes what was written safe from power failures. Before a purge is reported: whoever was told that it was applied
    /// relies on it, though this PoP may not reach a core when it begins again.
    pub(super) fn sync(&mut self) {
        self.synced = self.tail.len();
    }

    /// What is known after a crash that lost so many of the last records.
    pub(super) fn recover(&self, lost: usize, tags_max: usize, leaves_gap: bool) -> Replica {
        let changes = LastChanges::from_snapshot(self.snapshot.clone(), tags_max);
        let mut replica = Replica::restore(self.position.clone(), changes);
        let kept = self.tail.len().saturating_sub(lost).max(self.synced);
        for record in self.tail.iter().take(kept) {
            match record {
                Record::Change(entry) => {
                    replica.apply(&entry.change, &entry.touch);
                }
                Record::Reset(position) => replica.reset(position.clone()),
            }
        }
        let mut changes = replica.changes().clone();
        if leaves_gap {
            changes.leave_gap(GAP);
        }
        Replica::restore(Position::clone(replica.position()), changes)
    }
}
