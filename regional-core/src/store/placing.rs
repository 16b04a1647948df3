//! What a store keeps of placements: one table for all cores of an engine.

use super::{Store, rows::NewAudit};
use crate::Error;
use async_trait::async_trait;
use brink_protocol::{RegionName, address::PartitionAddress, placement::PlacementTable};
use std::{sync::Arc, time::Duration};

/// Where records are read that lie in several regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reads {
    /// Where the read arrives.
    #[default]
    Here,
    /// At the partition's home: all that it has acknowledged is seen.
    AtHome,
    /// So that what was acknowledged anywhere so long before the read began is seen: here if this core can vouch for that,
    /// else at the home.
    Within(Duration),
}

/// The part of a store that keeps where partitions belong.
///
/// # Errors
/// As those of [`super::Store`].
#[async_trait]
pub trait PlacementStore: Send + Sync + 'static {
    /// What is declared. `is_certain`: no change that was answered before is missing, by whichever core in whichever data
    /// centre; this needs most replicas of all of them.
    async fn placements(&self, is_certain: bool) -> Result<PlacementTable, Error>;

    /// Puts a table in the place of the one with the expected revision; its own is the next. No: the table has another.
    async fn change_placements(
        &self,
        expected_revision: u64,
        table: PlacementTable,
        audit: NewAudit,
    ) -> Result<bool, Error>;

    /// Gives up the replicas in a data centre that is lost for good, so that the others alone decide.
    ///
    /// Also [`Error::Limit`]: the engine has no such thing.
    async fn give_up(&self, data_center: &str) -> Result<(), Error>;

    /// This core's data centre, where there are several of which each orders its own writes: then no partition may be written
    /// in two of them.
    fn own_center(&self) -> Option<&str> {
        None
    }

    /// Whether a read here, of what is not another region's alone, sees all that any core in any data centre has acknowledged.
    fn sees_all(&self) -> bool {
        true
    }

    /// The same store with other reads. None: it is so of this store's reads.
    fn reading(&self, reads: Reads) -> Option<Arc<dyn Store>> {
        let _ = reads;
        None
    }

    /// How long a write may take from the moment at which it is let through until nothing of it can happen any more.
    fn write_max(&self) -> Duration;

    /// Whether a region may have records that lie there alone.
    ///
    /// # Errors
    /// What is wrong with its name.
    fn check_region(&self, region: &RegionName) -> Result<(), Error> {
        let _ = region;
        Ok(())
    }

    /// The collection of the platform for rows about a partition: `base`, or the one of that kind that lies in the same
    /// region alone.
    fn collection_for(&self, base: &str, partition: &PartitionAddress) -> String {
        let _ = partition;
        base.to_owned()
    }

    /// Every collection that [`PlacementStore::collection_for`] may give for a base.
    fn collections_of(&self, base: &str) -> Vec<String> {
        vec![base.to_owned()]
    }
}
