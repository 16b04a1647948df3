//! Finds instances whose time has come, and those whose core is gone.

use super::{
    AT_WORK_MAX, AT_WORK_MS, Workflows, drive,
    rows::{self, DueRow, From, SHARDS, shard_name},
};
use crate::{Error, store::Store};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often is looked where the store is this core's own.
const LOOK_OWN: Duration = Duration::from_millis(200);
/// How often where it is shared.
const LOOK_SHARED: Duration = Duration::from_millis(1000);
/// Pages of one shard that are looked at in one go.
const PAGES_MAX: usize = 16;
/// How often a shard is looked at from its beginning, in milliseconds. In between it is from before the first row that there was:
/// an engine goes through all that was removed for a while.
const WHOLE_EVERY_MS: u64 = 600_000;
/// So much before, in milliseconds: what another core has put there by a clock that is behind is found at once.
const BEFORE_MS: u64 = 3_600_000;
/// How long is waited at the end for what is under way.
const END: Duration = Duration::from_secs(5);

/// Up to where a shard was looked through.
#[derive(Debug, Clone, Copy)]
struct Looked {
    /// Nothing was due before that moment.
    first_ms: u64,
    /// When it was looked at from its beginning.
    whole_at_ms: u64,
}

/// Of all shards that this core looks at, by index and number.
#[derive(Debug, Default)]
pub(super) struct Shards(Mutex<HashMap<(String, u8), Looked>>);

impl Shards {
    fn all(&self) -> MutexGuard<'_, HashMap<(String, u8), Looked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From which moment on a shard is to be looked at.
    fn begin_ms(&self, shard: &(String, u8), now_ms: u64) -> u64 {
        match self.all().get(shard) {
            Some(looked) if looked.whole_at_ms.abs_diff(now_ms) < WHOLE_EVERY_MS => {
                looked.first_ms.min(now_ms).saturating_sub(BEFORE_MS)
            }
            _ => 0,
        }
    }

    /// It was, and the first row there is due at `first_ms`.
    fn looked(&self, shard: &(String, u8), (from_ms, first_ms): (u64, u64), now_ms: u64) {
        let mut all = self.all();
        let new = Looked {
            first_ms,
            whole_at_ms: now_ms,
        };
        let looked = all.entry(shard.clone()).or_insert(new);
        looked.first_ms = first_ms;
        if from_ms == 0 {
            looked.whole_at_ms = now_ms;
        }
    }
}

/// How often is looked for what is due in a store: waits are so much longer at most, if there is a hand free.
#[must_use]
pub fn look_every(store: &dyn Store) -> Duration {
    match store.is_shared() {
        true => LOOK_SHARED,
        false => LOOK_OWN,
    }
}

impl Workflows {
    /// Looks for what is due until it is told to stop. Then no further step is taken, and those that are under way are
    /// waited for, within limits.
    pub async fn run(self: &Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = self.look_again_and_again() => {}
            () = stop.cancelled() => {}
        }
        self.end().await;
    }

    async fn look_again_and_again(self: &Arc<Self>) {
        let mut look = interval(self.needs.look_every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "what is due of workflows was not found; it is looked for again");
            }
            let at_work = AT_WORK_MAX.saturating_sub(self.slots.available_permits());
            #[expect(clippy::cast_precision_loss, reason = "at most 256")]
            metrics::gauge!("brink_core_workflows_at_work").set(at_work as f64);
        }
    }

    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(END, self.tasks.wait()).await.is_err() {
            tracing::warn!("steps of workflows are still under way; they are found again");
        }
    }

    /// Looks once at all shards that are this core's; the first time, in those of others, at what it left behind itself: they take
    /// it for being at work on that.
    pub(super) async fn look(self: &Arc<Self>) -> Result<(), Error> {
        let mut late_ms = 0;
        for collection in rows::due_indices(self.store()) {
            for shard in 0..SHARDS {
                let work = format!("workflows/{}", shard_name(shard));
                let of = (collection.clone(), shard);
                let partition = rows::due_partition(&collection, shard)?;
                let is_mine = self.needs.division.is_mine(&work);
                if (is_mine || !self.has_looked.load(Ordering::Relaxed))
                    && self.store().check_home(&partition).await.is_ok()
                {
                    late_ms = late_ms.max(self.look_at(&of, is_mine).await?);
                }
                if !is_mine {
                    self.shards.all().remove(&of);
                }
            }
        }
        self.has_looked.store(true, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        metrics::gauge!("brink_core_workflows_late_seconds").set(late_ms as f64 / 1000.0);
        Ok(())
    }

    /// Looks at one shard, which may be another core's; gives for how long the first has waited that is not under way here, in
    /// milliseconds.
    async fn look_at(self: &Arc<Self>, shard: &(String, u8), is_mine: bool) -> Result<u64, Error> {
        let now = self.now_ms();
        let from_ms = self.shards.begin_ms(shard, now);
        let mut from = From::Moment(from_ms);
        let mut first_ms = None;
        let mut late_ms = 0;
        for _ in 0..PAGES_MAX {
            let now = self.now_ms();
            let before = now.saturating_add(AT_WORK_MS + 1);
            let of = (shard.0.as_str(), shard.1);
            let (rows, has_more) = rows::due_before(self.store(), of, &from, before, now).await?;
            let Some(last) = rows.last().cloned() else {
                break;
            };
            first_ms = first_ms.or(rows.first().map(|row| row.due.at_ms));
            let is_own = |row: &DueRow| row.at_work.as_ref() == Some(&self.needs.node);
            let rows = rows.into_iter().filter(|row| is_mine || is_own(row));
            late_ms = late_ms.max(self.take_up_due(rows, now));
            if !has_more || self.slots.available_permits() == 0 {
                break;
            }
            from = From::Row(last);
        }
        self.shards
            .looked(shard, (from_ms, first_ms.unwrap_or(now)), now);
        Ok(late_ms)
    }

    /// Takes up what is due of these rows, as far as there is a hand free.
    fn take_up_due(self: &Arc<Self>, rows: impl Iterator<Item = DueRow>, now_ms: u64) -> u64 {
        let mut late_ms = 0;
        for row in rows {
            let is_due = row.due.at_ms <= now_ms;
            if (!is_due && !self.is_left_behind(&row)) || self.at_work().contains(&row.place) {
                continue;
            }
            late_ms = late_ms.max(now_ms.saturating_sub(row.due.at_ms));
            match self.take_up(&row.place) {
                Some(at_work) => {
                    self.tasks.spawn(drive::due(at_work, row));
                }
                None if self.slots.available_permits() == 0 => break,
                None => {}
            }
        }
        late_ms
    }

    /// The core that is said to be at work on it is this one in an earlier life, or is gone.
    fn is_left_behind(&self, row: &DueRow) -> bool {
        row.at_work
            .as_ref()
            .is_some_and(|node| *node == self.needs.node || !self.needs.division.may_be_there(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_looked_at_from_its_first_row_and_sometimes_as_a_whole() {
        const NOW: u64 = 1_000_000_000;
        let shards = Shards::default();
        let shard = ("due".to_owned(), 3);
        assert_eq!(shards.begin_ms(&shard, NOW), 0);
        shards.looked(&shard, (0, NOW - 9_000_000), NOW);
        let (first, later) = (NOW - 9_000_000 - BEFORE_MS, NOW + 10_000);
        assert_eq!(shards.begin_ms(&shard, later), first, "it is still there");
        shards.looked(&shard, (first, later + 40_000), later);
        assert_eq!(shards.begin_ms(&shard, later), later - BEFORE_MS);
        let whole = NOW + WHOLE_EVERY_MS;
        assert_eq!(shards.begin_ms(&shard, whole), 0);
        shards.looked(&shard, (0, whole), whole);
        assert_ne!(shards.begin_ms(&shard, whole), 0);
        assert_eq!(
            shards.begin_ms(&shard, NOW - 1_000),
            0,
            "the clock went back"
        );
    }
}
