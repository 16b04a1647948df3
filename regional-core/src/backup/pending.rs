//! What the change log says that an increment has to read: pure bookkeeping.
//!
//! A partition is read when none of its writes is open. If the log has moved on in it since, what was read may be half of a
//! later write: it is thrown away and read again.

use brink_protocol::{
    OriginId, Position,
    address::PartitionAddress,
    change::{Change, ChangeKind, Phase},
};
use std::collections::{BTreeMap, BTreeSet};

/// Marks that a partition may be left out of because it is written all the time; then it is taken as it is.
const LEFT_OUT_MAX: u32 = 10;

/// A partition that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Changed {
    /// Which of its records.
    pub(super) sorts: BTreeSet<String>,
    /// Where the follower was before the first of these changes.
    since: Position,
    /// Of what was acknowledged before this everything was read, in milliseconds since 1970.
    since_ms: u64,
    /// Marks that it was left out of.
    left_out: u32,
}

/// What has to be read.
#[derive(Debug, Default)]
pub(super) struct Pending {
    partitions: BTreeMap<PartitionAddress, Changed>,
    /// Writes without an end in the log, by where they were intended.
    open: BTreeMap<(OriginId, u64), PartitionAddress>,
    /// How far the logs were read.
    pub(super) position: Position,
    /// What was acknowledged before this was read, but for what waits, in milliseconds since 1970.
    read_ms: u64,
}

impl Pending {
    /// Behind `position`, which covers what was acknowledged before `read_ms`.
    pub(super) fn new(position: Position, read_ms: u64) -> Self {
        Self {
            position,
            read_ms,
            ..Self::default()
        }
    }

    /// Takes the next change of an origin.
    pub(super) fn note(&mut self, change: &Change) {
        let before = self.position.clone();
        self.position.advance(&change.origin, change.sequence);
        let ChangeKind::Records {
            partition,
            records,
            phase,
        } = &change.kind
        else {
            return;
        };
        let name = |sequence| (change.origin.clone(), sequence);
        match phase {
            Phase::Intended => {
                self.open.insert(name(change.sequence), partition.clone());
            }
            Phase::Settled { intent } => {
                self.open.remove(&name(*intent));
            }
            Phase::Written => {}
        }
        let sorts = records.iter().map(|record| record.sort.clone());
        let since_ms = self.read_ms;
        let changed = self
            .partitions
            .entry(partition.clone())
            .or_insert_with(|| Changed {
                sorts: BTreeSet::new(),
                since: before,
                since_ms,
                left_out: 0,
            });
        changed.sorts.extend(sorts);
    }

    /// A node began a new life: what its earlier one left open was settled before.
    pub(super) fn forget_earlier(&mut self, origin: &OriginId) {
        self.open
            .retain(|(of, _), _| of.node != origin.node || of.incarnation >= origin.incarnation);
    }

    /// Whether there is nothing left to read.
    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// How many partitions wait.
    pub(super) fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Takes up to `limit` partitions that can be read now, and those that were left out for too long.
    pub(super) fn take_quiet(&mut self, limit: usize) -> Vec<(PartitionAddress, Changed)> {
        let open: BTreeSet<&PartitionAddress> = self.open.values().collect();
        let is_due = |partition: &&PartitionAddress| {
            !open.contains(partition)
                || self
                    .partitions
                    .get(*partition)
                    .is_some_and(Changed::is_overdue)
        };
        let quiet: Vec<PartitionAddress> = self
            .partitions
            .keys()
            .filter(is_due)
            .take(limit)
            .cloned()
            .collect();
        let take = |partition: PartitionAddress| {
            let changed = self.partitions.remove(&partition)?;
            Some((partition, changed))
        };
        quiet.into_iter().filter_map(take).collect()
    }

    /// Puts one back that was not read.
    pub(super) fn give_back(&mut self, partition: PartitionAddress, changed: Changed) {
        self.partitions.insert(partition, changed);
    }

    /// Puts one back whose reading does not count; whether it did not.
    pub(super) fn take_back(&mut self, partition: &PartitionAddress, changed: &Changed) -> bool {
        let Some(again) = self.partitions.get_mut(partition) else {
            return false;
        };
        if changed.is_overdue() {
            // It is taken as it is, and what has changed meanwhile comes next time.
            return false;
        }
        again.sorts.extend(changed.sorts.iter().cloned());
        again.since = changed.since.clone();
        again.since_ms = changed.since_ms;
        again.left_out = changed.left_out;
        true
    }

    /// A mark is made without what waits still, after all logs were read up to their heads at `from_ms`. Gives the moment
    /// before which everything that was acknowledged is in it.
    pub(super) fn leave_out(&mut self, from_ms: u64) -> u64 {
        self.read_ms = from_ms;
        let since = self.partitions.values_mut().map(|changed| {
            changed.left_out += 1;
            changed.since_ms
        });
        since.min().map_or(from_ms, |since| since.min(from_ms))
    }

    /// From where a follower has to go on that knows nothing of what waits.
    pub(super) fn resume_from(&self) -> Position {
        let mut least = self.position.clone();
        for changed in self.partitions.values() {
            let mut lower = Position::default();
            for (origin, sequence) in least.iter() {
                lower.advance(origin, sequence.min(changed.since.get(origin)));
            }
            least = lower;
        }
        least
    }
}

impl Changed {
    /// Whether it was left out for too long.
    pub(super) fn is_overdue(&self) -> bool {
        self.left_out >= LEFT_OUT_MAX
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::change::RecordChange;

    fn change(sequence: u64, name: &str, sort: &str, phase: Phase) -> Change {
        Change {
            origin: "core-1.1".parse().unwrap(),
            sequence,
            at_ms: 1,
            kind: ChangeKind::Records {
                partition: partition(name),
                records: vec![RecordChange {
                    sort: sort.into(),
                    version: None,
                }],
                phase,
            },
        }
    }

    fn partition(name: &str) -> PartitionAddress {
        PartitionAddress {
            tenant: "t".parse().unwrap(),
            collection: "c".into(),
            partition: name.into(),
        }
    }

    fn names(taken: &[(PartitionAddress, Changed)]) -> Vec<&str> {
        taken.iter().map(|(p, _)| p.partition.as_str()).collect()
    }

    #[test]
    fn what_is_open_waits() {
        let mut pending = Pending::default();
        pending.note(&change(1, "a", "x", Phase::Intended));
        pending.note(&change(2, "b", "x", Phase::Written));
        assert_eq!(names(&pending.take_quiet(9)), ["b"]);
        assert_eq!(pending.resume_from().to_string(), "");
        assert_eq!(pending.leave_out(20), 0);
        assert_eq!(pending.leave_out(30), 0, "it waits since the beginning");
        pending.note(&change(3, "a", "x", Phase::Settled { intent: 1 }));
        assert_eq!(names(&pending.take_quiet(9)), ["a"]);
        assert!(pending.is_empty());
        assert_eq!(pending.resume_from().to_string(), "core-1.1=3");
        assert_eq!(pending.leave_out(40), 40);
        pending.note(&change(4, "a", "x", Phase::Intended));
        pending.note(&change(5, "a", "x", Phase::Settled { intent: 4 }));
        let taken = pending.take_quiet(9);
        pending.note(&change(6, "a", "x", Phase::Intended));
        let (partition, changed) = taken.first().unwrap();
        assert!(pending.take_back(partition, changed));
        assert_eq!(pending.leave_out(50), 40, "what was left out is not in");
    }

    #[test]
    fn what_moved_on_is_read_again_with_all_its_records() {
        let mut pending = Pending::default();
        pending.note(&change(1, "a", "x", Phase::Written));
        let taken = pending.take_quiet(9);
        pending.note(&change(2, "a", "y", Phase::Intended));
        let (partition, changed) = taken.first().unwrap();
        assert!(pending.take_back(partition, changed));
        assert_eq!(pending.resume_from().to_string(), "");
        assert!(pending.take_quiet(9).is_empty());
        for _ in 0..LEFT_OUT_MAX {
            pending.leave_out(1);
        }
        let taken = pending.take_quiet(9);
        let (partition, changed) = taken.first().unwrap();
        assert_eq!(changed.sorts, ["x", "y"].map(String::from).into());
        pending.note(&change(3, "a", "z", Phase::Settled { intent: 2 }));
        assert!(!pending.take_back(partition, changed), "taken as it is");
        assert_eq!(pending.len(), 1);
    }
}
