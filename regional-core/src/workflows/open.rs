//! How many workflows of a tenant are open: under way, waiting, or standing still.
//!
//! The index has a row for each. They are not counted at each start: a count is good for some seconds, and starts at this core
//! are added to it. So there may be as many too many as other cores start meanwhile, and as are being started at that moment;
//! and a tenant that had as many as it may is refused for up to a second after one has ended.

use super::{
    Workflows,
    index::{self, IndexRow},
    rows::{self, SHARDS},
    unavailable,
};
use crate::Error;
use brink_protocol::{TenantName, workflow::WorkflowError};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// For how long a count is gone by, in milliseconds.
const GOOD_MS: u64 = 5_000;
/// And one that leaves no room.
const FULL_GOOD_MS: u64 = 1_000;
/// Tenants whose counts are remembered.
const TENANTS_MAX: usize = 10_000;
/// Rows that are looked at, each time that there is no room, for what they say being so.
const CHECKED: usize = 16;
/// How old those are at least, in milliseconds: a row is written before its instance.
const CHECKED_AFTER_MS: u64 = 600_000;

/// Why a workflow is not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unstarted {
    /// As many of its tenant's are open as may be: so many.
    Full(u32),
    /// For another reason.
    Not(WorkflowError),
}

impl From<WorkflowError> for Unstarted {
    fn from(error: WorkflowError) -> Self {
        Self::Not(error)
    }
}

impl From<Unstarted> for WorkflowError {
    fn from(error: Unstarted) -> Self {
        match error {
            Unstarted::Full(max) => {
                Self::Unavailable(format!("{max} workflows are open, and no more may be"))
            }
            Unstarted::Not(error) => error,
        }
    }
}

/// How many were open at a moment, and have been started here since.
#[derive(Debug, Clone, Copy)]
struct Count {
    open: u32,
    at_ms: u64,
}

/// The last counts.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<HashMap<TenantName, Count>>);

impl Counts {
    fn all(&self) -> MutexGuard<'_, HashMap<TenantName, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether is to be counted anew. Others go by the last count while that is done.
    fn is_old(&self, tenant: &TenantName, max: u32, now_ms: u64) -> bool {
        let mut all = self.all();
        let Some(count) = all.get_mut(tenant) else {
            return true;
        };
        let good_ms = if count.open < max {
            GOOD_MS
        } else {
            FULL_GOOD_MS
        };
        let is_old = now_ms.saturating_sub(count.at_ms) >= good_ms;
        if is_old {
            count.at_ms = now_ms;
        }
        is_old
    }

    fn put(&self, tenant: &TenantName, count: Count) {
        let mut all = self.all();
        if all.len() >= TENANTS_MAX {
            all.clear();
        }
        all.insert(tenant.clone(), count);
    }

    /// Adds one, if there is room.
    fn add(&self, tenant: &TenantName, max: u32) -> bool {
        let mut all = self.all();
        let Some(count) = all.get_mut(tenant) else {
            return true;
        };
        let has_room = count.open < max;
        count.open += u32::from(has_room);
        has_room
    }
}

impl Workflows {
    /// Counts one more of a tenant as open, if there may be one.
    pub(super) async fn make_room(&self, tenant: &TenantName) -> Result<(), Unstarted> {
        let (max, now) = (self.needs.open_max, self.now_ms());
        if self.open.is_old(tenant, max, now) {
            let open = self.count_open(tenant, max, now).await;
            let open = open.map_err(|error| unavailable(&error))?;
            self.open.put(tenant, Count { open, at_ms: now });
        }
        if self.open.add(tenant, max) {
            return Ok(());
        }
        metrics::counter!("brink_core_workflows_refused_total", "tenant" => tenant.to_string())
            .increment(1);
        Err(Unstarted::Full(max))
    }

    /// How many are open, if it is fewer than may be.
    async fn count_open(&self, tenant: &TenantName, max: u32, now_ms: u64) -> Result<u32, Error> {
        let mut open: Vec<IndexRow> = Vec::new();
        let enough = usize::try_from(max).unwrap_or(usize::MAX);
        'shards: for shard in 0..SHARDS {
            let mut after = None;
            loop {
                let at = (shard, after.as_ref());
                let (rows, more) = index::open(self.store(), tenant, at, now_ms).await?;
                after = rows.last().cloned();
                open.extend(rows);
                if open.len() >= enough {
                    break 'shards;
                }
                if !more || after.is_none() {
                    break;
                }
            }
        }
        let mut count = open.len();
        if count >= enough {
            count -= self.drop_useless(&mut open, now_ms).await?;
        }
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Looks at some rows, chosen by chance, and drops those of instances that are not open: their core died between two
    /// writes. Gives how many.
    async fn drop_useless(&self, open: &mut Vec<IndexRow>, now_ms: u64) -> Result<usize, Error> {
        let mut dropped = 0;
        for _ in 0..CHECKED.min(open.len()) {
            let chosen = self.chance() % open.len().max(1) as u64;
            let row = open.swap_remove(usize::try_from(chosen).unwrap_or(0));
            let started = row.sort.get(..20).and_then(|text| text.parse().ok());
            if now_ms.saturating_sub(started.unwrap_or(0)) < CHECKED_AFTER_MS {
                continue;
            }
            let found = rows::read(self.store(), &row.place, now_ms).await?;
            let is_open = found.is_some_and(|found| {
                let instance = found.instance;
                instance.deployed.is_some()
                    && !instance.has_ended()
                    && row.place.index_sort(&instance) == row.sort
            });
            if !is_open {
                index::drop_open(self.store(), &row, now_ms).await?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }
}
