//! Finds instances whose time has come, and those whose core is gone.

use super::{
    AT_WORK_MAX, AT_WORK_MS, Workflows, drive,
    rows::{self, DueRow, SHARDS, shard_name},
};
use crate::{Error, store::Store};
use std::{sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often is looked where the store is this core's own.
const LOOK_OWN: Duration = Duration::from_millis(200);
/// How often where it is shared.
const LOOK_SHARED: Duration = Duration::from_millis(1000);
/// Pages of one shard that are looked at in one go.
const PAGES_MAX: usize = 16;
/// How long is waited at the end for what is under way.
const END: Duration = Duration::from_secs(5);

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

    /// Looks once at all shards that are this core's.
    pub(super) async fn look(self: &Arc<Self>) -> Result<(), Error> {
        let mut late_ms = 0;
        for shard in 0..SHARDS {
            let work = format!("workflows/{}", shard_name(shard));
            if self.needs.division.is_mine(&work) {
                late_ms = late_ms.max(self.look_at(shard).await?);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        metrics::gauge!("brink_core_workflows_late_seconds").set(late_ms as f64 / 1000.0);
        Ok(())
    }

    /// Looks at one shard; gives for how long the first has waited that is not under way here, in milliseconds.
    async fn look_at(self: &Arc<Self>, shard: u8) -> Result<u64, Error> {
        let mut after: Option<DueRow> = None;
        let mut late_ms = 0;
        for _ in 0..PAGES_MAX {
            let now = self.now_ms();
            let before = now.saturating_add(AT_WORK_MS + 1);
            let found = rows::due_before(self.store(), shard, after.as_ref(), before, now).await?;
            let (rows, has_more) = found;
            for row in &rows {
                let is_due = row.due.at_ms <= now;
                if !is_due && !self.is_left_behind(row) {
                    continue;
                }
                if self.at_work().contains(&row.place) {
                    continue;
                }
                late_ms = late_ms.max(now.saturating_sub(row.due.at_ms));
                match self.take_up(&row.place) {
                    Some(at_work) => {
                        self.tasks.spawn(drive::due(at_work, row.clone()));
                    }
                    None if self.slots.available_permits() == 0 => return Ok(late_ms),
                    None => {}
                }
            }
            after = rows.into_iter().next_back();
            if !has_more || after.is_none() {
                break;
            }
        }
        Ok(late_ms)
    }

    /// The core that is said to be at work on it is this one in an earlier life, or is gone.
    fn is_left_behind(&self, row: &DueRow) -> bool {
        row.at_work
            .as_ref()
            .is_some_and(|node| *node == self.needs.node || !self.needs.division.may_be_there(node))
    }
}
