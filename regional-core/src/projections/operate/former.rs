//! What projections that are not deployed any more have left.

use super::{Oversight, delete};
use crate::{
    Error,
    projections::{apply::commit, rows::Names},
    refusal::Refusal,
    store::Write,
};
use brink_protocol::{
    address::PartitionAddress,
    change::RECORDS_PER_CHANGE_MAX,
    deployment::World,
    event::{TARGET, is_of_stream},
    record::{Bound, PLATFORM_SORT},
    trail::is_of_trail,
};

impl Oversight {
    /// Deletes what a projection has written to a target that it does not have any more: the records of the partitions that
    /// it has named there, its checkpoints, places and dead letters. Gives how many records of targets were deleted.
    ///
    /// # Errors
    /// It never had that source and target, or it is done; a projection writes there; or the store's: to be asked for again
    /// until it is done.
    pub async fn drop_target(&self, names: &Names) -> Result<u64, Refusal> {
        let table = self.tables.current();
        let used = table.deployments.iter().find(|d| {
            d.tenant == names.tenant
                && d.world == World::Projection
                && d.config.get(TARGET) == Some(&names.target)
        });
        if let Some(used) = used {
            return Err(Refusal::Conflict(format!(
                "the projection {} is deployed and writes to {}: remove its deployment first",
                used.name, names.target
            )));
        }
        if !self.has_left_something(names).await? {
            return Err(Refusal::NotFound(format!(
                "{} has read nothing of {} for {}, or all of it is dropped already",
                names.name, names.source, names.target
            )));
        }
        let mut dropped = 0;
        for shard in Names::shards() {
            for index in names.targets_of_shard(shard) {
                dropped += self.drop_targets_of(names, &index).await?;
            }
            for at in names.places_of_shard(shard) {
                self.empty(&at).await?;
            }
        }
        for at in names.all_letters() {
            self.empty(&at).await?;
        }
        self.empty(&names.control()).await?;
        Ok(dropped)
    }

    /// Whether there is anything that a projection of this name keeps of this source and target.
    async fn has_left_something(&self, names: &Names) -> Result<bool, Error> {
        let of_shard = |shard| {
            let places = names.places_of_shard(shard);
            names.targets_of_shard(shard).into_iter().chain(places)
        };
        let all = Names::shards().flat_map(of_shard);
        for at in all.chain(names.all_letters()).chain([names.control()]) {
            if !self.page(&at, Bound::Unbounded, 1).await?.0.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn drop_targets_of(&self, names: &Names, index: &PartitionAddress) -> Result<u64, Error> {
        let mut dropped = 0;
        loop {
            let (targets, _) = self.page(index, Bound::Unbounded, 100).await?;
            if targets.is_empty() {
                return Ok(dropped);
            }
            for entry in targets {
                dropped += self.empty(&names.target(&entry.sort)).await?;
                commit(&*self.store, index.clone(), vec![delete(entry.sort)]).await?;
            }
        }
    }

    /// Deletes the records of a partition, also those of the platform, but for events and the audit trail. Gives how many were guests'.
    async fn empty(&self, at: &PartitionAddress) -> Result<u64, Error> {
        let mut deleted = 0;
        for lower in [
            Bound::Unbounded,
            Bound::Inclusive(PLATFORM_SORT.to_string()),
        ] {
            let mut lower = lower;
            loop {
                let limit = u32::try_from(RECORDS_PER_CHANGE_MAX / 2).unwrap_or(1);
                let (entries, more) = self.page(at, lower, limit).await?;
                let Some(last) = entries.last().map(|entry| entry.sort.clone()) else {
                    break;
                };
                let writes: Vec<_> = entries
                    .into_iter()
                    .filter(|entry| !is_of_stream(&entry.sort) && !is_of_trail(&entry.sort))
                    .map(|entry| delete(entry.sort))
                    .collect();
                let is_guests = |write: &&Write| !write.sort.starts_with(PLATFORM_SORT);
                deleted += writes.iter().filter(is_guests).count() as u64;
                if !writes.is_empty() {
                    commit(&*self.store, at.clone(), writes).await?;
                }
                if !more {
                    break;
                }
                lower = Bound::Exclusive(last);
            }
        }
        Ok(deleted)
    }
}
