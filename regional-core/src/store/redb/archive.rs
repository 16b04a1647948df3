//! The embedded store as backups, exports and erasures see it.

use super::batch::Batch;
use super::tables::OrStore;
use super::{RedbStore, files, kept, put_back, sweep};
use crate::{
    Error,
    store::{
        Archive, CollectionNames, EndedRow, Endings, KeptRow, Registry, RowKey, Spared, Swept,
    },
};
use ::redb::ReadTransaction;
use async_trait::async_trait;
use brink_protocol::{Digest, Position, TenantName, address::PartitionAddress};
use bytes::Bytes;

impl RedbStore {
    /// Reads on a thread that may block.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let txn = self.read()?;
        tokio::task::spawn_blocking(move || read(&txn))
            .await
            .or_store("reading rows as they are kept")?
    }
}

#[async_trait]
impl Endings for RedbStore {
    async fn ended(
        &self,
        now_ms: u64,
        limit: usize,
        collections: &CollectionNames,
    ) -> Result<Vec<EndedRow>, Error> {
        let collections = collections.clone();
        self.reading(move |txn| sweep::ended(txn, now_ms, limit, &collections))
            .await
    }

    async fn sweep_but(&self, now_ms: u64, limit: usize, spared: &Spared) -> Result<Swept, Error> {
        let spared = spared.clone();
        self.writer
            .write(move |batch: &mut Batch<'_>| sweep::sweep(batch, now_ms, limit, &spared))
            .await
    }
}

#[async_trait]
impl Archive for RedbStore {
    async fn partitions(
        &self,
        tenant: Option<&TenantName>,
        after: Option<&PartitionAddress>,
        limit: usize,
    ) -> Result<Vec<PartitionAddress>, Error> {
        let (tenant, after) = (tenant.cloned(), after.cloned());
        self.reading(move |txn| kept::partitions(txn, tenant.as_ref(), after.as_ref(), limit))
            .await
    }

    async fn kept(
        &self,
        partition: &PartitionAddress,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<KeptRow>, Error> {
        let (partition, after) = (partition.clone(), after.cloned());
        self.reading(move |txn| kept::rows(txn, &partition, after.as_ref(), limit))
            .await
    }

    async fn kept_records(
        &self,
        partition: &PartitionAddress,
        sorts: &[String],
    ) -> Result<Vec<KeptRow>, Error> {
        let (partition, sorts) = (partition.clone(), sorts.to_vec());
        self.reading(move |txn| kept::some_records(txn, &partition, &sorts))
            .await
    }

    async fn heads(&self) -> Result<Position, Error> {
        kept::heads(&self.read()?, &self.origin)
    }

    async fn forget(&self, partition: &PartitionAddress) -> Result<usize, Error> {
        let partition = partition.clone();
        self.writer
            .write(move |batch: &mut Batch<'_>| put_back::forget(batch, &partition))
            .await
    }

    async fn restoring(&self) -> Result<Option<String>, Error> {
        kept::restoring(&self.read()?)
    }

    async fn begin_restore(&self, from: &str) -> Result<(), Error> {
        let from = from.to_owned();
        self.writer
            .write(move |batch: &mut Batch<'_>| put_back::begin(batch, &from))
            .await
    }

    async fn put_back(
        &self,
        partition: &PartitionAddress,
        rows: Vec<KeptRow>,
        _: u64,
    ) -> Result<(), Error> {
        let partition = partition.clone();
        self.writer
            .write(move |batch: &mut Batch<'_>| put_back::rows(batch, &partition, rows))
            .await
    }

    async fn put_back_component(&self, digest: &Digest, component: Bytes) -> Result<(), Error> {
        let (directory, digest) = (self.directory.clone(), *digest);
        let write = move || files::write_component(&directory, &digest, &component);
        tokio::task::spawn_blocking(write)
            .await
            .or_store("keeping a component")?
    }

    async fn put_back_registry(&self, registry: Registry) -> Result<(), Error> {
        self.writer
            .write(move |batch: &mut Batch<'_>| put_back::registry(batch, registry))
            .await
    }

    async fn end_restore(&self, heads: &Position, life: u32) -> Result<(), Error> {
        // First the life that is to come: cut off after this, the restore is done again.
        put_back::note_lives(&self.directory, &self.origin, heads, life)?;
        self.writer.write(put_back::end).await
    }
}
