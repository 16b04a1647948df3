//! What of a [`HomeStore`] is its own store's alone: placements, and rows as they are kept.

use super::HomeStore;
use crate::{
    Error,
    placement::{Home, refused},
    store::{
        Archive, CollectionNames, EndedRow, Endings, KeptRow, NewAudit, PlacementStore, Reads,
        Registry, RowKey, Spared, Store, Swept,
    },
};
use async_trait::async_trait;
use brink_protocol::{
    Digest, Position, RegionName, TenantName, address::PartitionAddress, placement::PlacementTable,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

#[async_trait]
impl PlacementStore for HomeStore {
    async fn placements(&self, is_certain: bool) -> Result<PlacementTable, Error> {
        self.inner.placements(is_certain).await
    }

    async fn change_placements(
        &self,
        expected_revision: u64,
        table: PlacementTable,
        audit: NewAudit,
    ) -> Result<bool, Error> {
        self.inner
            .change_placements(expected_revision, table, audit)
            .await
    }

    async fn give_up(&self, data_center: &str) -> Result<(), Error> {
        self.inner.give_up(data_center).await
    }

    fn own_center(&self) -> Option<&str> {
        self.inner.own_center()
    }

    fn sees_all(&self) -> bool {
        self.inner.sees_all()
    }

    fn reading(&self, reads: Reads) -> Option<Arc<dyn Store>> {
        Some(Arc::new(Self {
            inner: Arc::clone(&self.inner),
            home: Arc::clone(&self.home),
            reads,
        }))
    }

    fn write_max(&self) -> Duration {
        self.inner.write_max()
    }

    fn check_region(&self, region: &RegionName) -> Result<(), Error> {
        self.inner.check_region(region)
    }

    fn collection_for(&self, base: &str, partition: &PartitionAddress) -> String {
        self.home.placements().collection_for(base, partition)
    }

    fn collections_of(&self, base: &str) -> Vec<String> {
        self.home.placements().current().collections_of(base)
    }
}

impl HomeStore {
    /// Whether a partition's rows are in this core's store.
    fn here(&self, partition: &PartitionAddress) -> Result<(), Error> {
        match self.home.placements().reading(partition)? {
            Home::Here => Ok(()),
            Home::At(region) => Err(elsewhere(&region)),
        }
    }

    /// Whether a partition is written here.
    fn at_home(&self, partition: &PartitionAddress) -> Result<(), Error> {
        match self.home.placements().writing(partition)?.home {
            Home::Here => Ok(()),
            Home::At(region) => Err(elsewhere(&region)),
        }
    }
}

fn elsewhere(region: &RegionName) -> Error {
    refused(
        region.as_str(),
        "this partition's home is there: ask a core of that region",
    )
}

#[async_trait]
impl Endings for HomeStore {
    async fn ended(
        &self,
        now_ms: u64,
        limit: usize,
        collections: &CollectionNames,
    ) -> Result<Vec<EndedRow>, Error> {
        self.inner.ended(now_ms, limit, collections).await
    }

    async fn sweep_but(&self, now_ms: u64, limit: usize, spared: &Spared) -> Result<Swept, Error> {
        self.inner.sweep_but(now_ms, limit, spared).await
    }
}

#[async_trait]
impl Archive for HomeStore {
    async fn partitions(
        &self,
        tenant: Option<&TenantName>,
        after: Option<&PartitionAddress>,
        limit: usize,
    ) -> Result<Vec<PartitionAddress>, Error> {
        self.inner.partitions(tenant, after, limit).await
    }

    async fn kept(
        &self,
        partition: &PartitionAddress,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<KeptRow>, Error> {
        self.here(partition)?;
        self.inner.kept(partition, after, limit).await
    }

    async fn kept_records(
        &self,
        partition: &PartitionAddress,
        sorts: &[String],
    ) -> Result<Vec<KeptRow>, Error> {
        self.here(partition)?;
        self.inner.kept_records(partition, sorts).await
    }

    async fn check_home(&self, partition: &PartitionAddress) -> Result<(), Error> {
        self.at_home(partition)
    }

    async fn heads(&self) -> Result<Position, Error> {
        self.inner.heads().await
    }

    async fn forget(&self, partition: &PartitionAddress) -> Result<usize, Error> {
        self.at_home(partition)?;
        self.inner.forget(partition).await
    }

    async fn restoring(&self) -> Result<Option<String>, Error> {
        self.inner.restoring().await
    }

    async fn begin_restore(&self, from: &str) -> Result<(), Error> {
        self.inner.begin_restore(from).await
    }

    async fn put_back(
        &self,
        partition: &PartitionAddress,
        rows: Vec<KeptRow>,
        step: u64,
    ) -> Result<(), Error> {
        self.inner.put_back(partition, rows, step).await
    }

    async fn put_back_component(&self, digest: &Digest, component: Bytes) -> Result<(), Error> {
        self.inner.put_back_component(digest, component).await
    }

    async fn put_back_registry(&self, registry: Registry) -> Result<(), Error> {
        self.inner.put_back_registry(registry).await
    }

    async fn end_restore(&self, heads: &Position, life: u32) -> Result<(), Error> {
        self.inner.end_restore(heads, life).await
    }
}
