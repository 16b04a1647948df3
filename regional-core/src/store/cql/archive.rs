//! The store on a CQL engine as backups, exports and erasures see it.

use super::{CqlStore, kept, put_back, sweep};
use crate::{
    Error,
    store::{
        Archive, CollectionNames, EndedRow, Endings, KeptRow, Registry, RowKey, Spared, Swept,
    },
};
use async_trait::async_trait;
use brink_protocol::{Digest, Position, TenantName, address::PartitionAddress};
use bytes::Bytes;

#[async_trait]
impl Endings for CqlStore {
    async fn ended(
        &self,
        now_ms: u64,
        limit: usize,
        collections: &CollectionNames,
    ) -> Result<Vec<EndedRow>, Error> {
        sweep::ended(&self.engine, now_ms, limit, collections).await
    }

    async fn sweep_but(&self, now_ms: u64, limit: usize, spared: &Spared) -> Result<Swept, Error> {
        sweep::sweep(&self.engine, now_ms, limit, spared).await
    }
}

#[async_trait]
impl Archive for CqlStore {
    async fn partitions(
        &self,
        tenant: Option<&TenantName>,
        after: Option<&PartitionAddress>,
        limit: usize,
    ) -> Result<Vec<PartitionAddress>, Error> {
        kept::partitions(&self.engine, tenant, after, limit).await
    }

    async fn kept(
        &self,
        partition: &PartitionAddress,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<KeptRow>, Error> {
        kept::rows(&self.engine, partition, after, limit).await
    }

    async fn kept_records(
        &self,
        partition: &PartitionAddress,
        sorts: &[String],
    ) -> Result<Vec<KeptRow>, Error> {
        kept::some_records(&self.engine, partition, sorts).await
    }

    async fn heads(&self) -> Result<Position, Error> {
        kept::heads(&self.engine).await
    }

    async fn forget(&self, partition: &PartitionAddress) -> Result<usize, Error> {
        put_back::forget(&self.engine, partition).await
    }

    async fn restoring(&self) -> Result<Option<String>, Error> {
        put_back::restoring(&self.engine.session).await
    }

    async fn begin_restore(&self, from: &str) -> Result<(), Error> {
        put_back::begin(&self.engine, from).await
    }

    async fn put_back(
        &self,
        partition: &PartitionAddress,
        rows: Vec<KeptRow>,
        step: u64,
    ) -> Result<(), Error> {
        put_back::put_rows(&self.engine, partition, rows, step).await
    }

    async fn put_back_component(&self, digest: &Digest, component: Bytes) -> Result<(), Error> {
        put_back::component(&self.engine, digest, &component).await
    }

    async fn put_back_registry(&self, registry: Registry) -> Result<(), Error> {
        put_back::registry(&self.engine, registry).await
    }

    async fn end_restore(&self, heads: &Position, life: u32) -> Result<(), Error> {
        put_back::end(&self.engine, heads, life).await
    }
}
