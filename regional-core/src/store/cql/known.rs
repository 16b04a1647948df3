//! What this process knows of partitions that it has just written, so that the next commit of a hot one need not read it.
//!
//! Knowledge decides nothing by itself: whatever a commit relies on is in its condition, so that one that relies on what is
//! over is refused by the engine, and reads then. What ends without a write is read in any case.

use super::{
    decide::{Plan, View},
    partition::{Anchor, RowState},
    session::Cql,
};
use crate::store::Transaction;
use brink_protocol::{address::PartitionAddress, link::Condition};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Weak,
    time::Duration,
};
use tokio::time::Instant;

/// How long it is believed. What came of a commit is found among the partition's last commits, of which few are kept.
const BELIEVED: Duration = Duration::from_secs(2);
/// Partitions that are known under one lock.
const PARTITIONS_MAX: usize = 4;
/// Records of one partition that are.
const ROWS_MAX: usize = 16;

/// The partitions under one lock, the latest last.
#[derive(Debug, Default)]
pub(super) struct Known(VecDeque<One>);

#[derive(Debug)]
struct One {
    partition: PartitionAddress,
    /// In which keyspace it is so.
    session: Weak<Cql>,
    at: Instant,
    anchor: Anchor,
    rows: BTreeMap<String, RowState>,
}

impl Known {
    /// What a transaction needs to know, if all of it is known. That a record to be made and an answer to be kept are not
    /// there yet is taken for granted.
    pub(super) fn view(
        &self,
        transaction: &Transaction,
        session: &Weak<Cql>,
        now: Instant,
    ) -> Option<View> {
        let is_it = |one: &&One| {
            one.partition == transaction.partition
                && one.session.ptr_eq(session)
                && now.duration_since(one.at) < BELIEVED
        };
        let one = self.0.iter().find(is_it)?;
        let mut rows = BTreeMap::new();
        for write in &transaction.writes {
            match one.rows.get(&write.sort) {
                Some(state) => {
                    rows.insert(write.sort.clone(), *state);
                }
                None if write.condition == Condition::Absent => {}
                None => return None,
            }
        }
        Some(View {
            anchor: one.anchor.clone(),
            rows,
            answer: None,
            ranges: Vec::new(),
        })
    }

    /// Nothing is known of a partition any more.
    pub(super) fn forget(&mut self, partition: &PartitionAddress) {
        self.0.retain(|one| one.partition != *partition);
    }

    /// A commit was applied to what `before` says, and the partition is as `anchor` says since.
    pub(super) fn learn(
        &mut self,
        partition: &PartitionAddress,
        session: Weak<Cql>,
        (anchor, plan): (Anchor, &Plan),
        now: Instant,
    ) {
        let known = self.0.iter().position(|one| one.partition == *partition);
        let known = known.and_then(|at| self.0.remove(at));
        // What else was known of it is so still if this commit was made of it.
        let known = known.filter(|one| one.session.ptr_eq(&session) && anchor.follows(&one.anchor));
        let mut rows = known.map(|one| one.rows).unwrap_or_default();
        for row in &plan.rows {
            if row.after.is_there() {
                rows.insert(row.sort.clone(), row.after);
            } else {
                rows.remove(&row.sort);
            }
        }
        while rows.len() > ROWS_MAX {
            rows.pop_first();
        }
        if self.0.len() >= PARTITIONS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(One {
            partition: partition.clone(),
            session,
            at: now,
            anchor,
            rows,
        });
    }
}
