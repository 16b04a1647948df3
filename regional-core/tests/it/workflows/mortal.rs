//! A store of a process that dies: before or after a chosen operation nothing more is done, and nothing is ever answered. Or
//! one operation alone fails.

use async_trait::async_trait;
use brink_core::{
    Error,
    store::{
        Answer, AnswerKey, Appended, Archive, CollectionNames, Commit, EndedRow, Endings, Held,
        KeptRow, NewAudit, NewPurge, NewVersion, PlacementStore, PopRow, Published, PurgeAdded,
        PurgeRow, Registry, RowKey, Span, Spared, Store, Swept, TableChange, TokenRow, Transaction,
    },
};
use brink_protocol::{
    Digest, ModuleName, NodeName, OriginId, PopName, Position, StoreId, TenantName,
    address::PartitionAddress,
    change::Change,
    control,
    deployment::{Deployment, DeploymentTable},
    link::AppliedPurge,
    placement::PlacementTable,
    record::{Entry, Key, Page, Range, Version},
    session::SessionKey,
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// When a process dies: at the so many-th operation on records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    Never,
    Before(usize),
    After(usize),
    /// It lives, and the operation fails without having been done.
    Fails(usize),
    /// It lives, and the operation fails although it was done.
    Loses(usize),
}

pub struct Mortal {
    inner: Arc<dyn Store>,
    death: Death,
    done: AtomicUsize,
    dead: CancellationToken,
}

impl Mortal {
    pub fn new(inner: Arc<dyn Store>, death: Death) -> Arc<Self> {
        Arc::new(Self {
            inner,
            death,
            done: AtomicUsize::new(0),
            dead: CancellationToken::new(),
        })
    }

    /// Operations on records so far.
    pub fn operations(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// Waits until the process is dead.
    pub async fn died(&self) {
        self.dead.cancelled().await;
    }

    /// Kills the process now.
    pub fn kill(&self) {
        self.dead.cancel();
    }

    async fn while_alive<T>(&self, operation: impl Future<Output = T>) -> T {
        if self.dead.is_cancelled() {
            return pending().await;
        }
        let done = operation.await;
        if self.dead.is_cancelled() {
            return pending().await;
        }
        done
    }

    async fn live<T>(&self, operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let number = self.done.fetch_add(1, Ordering::SeqCst);
        if self.death == Death::Before(number) {
            self.dead.cancel();
        }
        if self.dead.is_cancelled() {
            return pending().await;
        }
        let lost = || Error::Store {
            operation: "test",
            reason: "this one is to fail".to_owned(),
        };
        if self.death == Death::Fails(number) {
            return Err(lost());
        }
        let done = operation.await;
        if self.death == Death::Loses(number) {
            return Err(lost());
        }
        if self.death == Death::After(number) {
            self.dead.cancel();
        }
        if self.dead.is_cancelled() {
            return pending().await;
        }
        done
    }
}

#[async_trait]
impl Store for Mortal {
    fn origin(&self) -> &OriginId {
        self.inner.origin()
    }
    fn id(&self) -> StoreId {
        self.inner.id()
    }
    fn silence(&self) -> Duration {
        self.inner.silence()
    }
    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
    fn span(&self) -> Span {
        self.inner.span()
    }
    fn held(&self) -> watch::Receiver<Arc<Held>> {
        self.inner.held()
    }
    async fn append_foreign(&self, changes: Vec<Change>) -> Result<Appended, Error> {
        self.inner.append_foreign(changes).await
    }
    async fn restart_foreign(&self, origin: OriginId, head: u64) -> Result<(), Error> {
        self.inner.restart_foreign(origin, head).await
    }
    async fn session_keys(&self) -> Result<BTreeMap<NodeName, Vec<SessionKey>>, Error> {
        self.inner.session_keys().await
    }
    async fn put_session_keys(&self, node: NodeName, keys: Vec<SessionKey>) -> Result<(), Error> {
        self.inner.put_session_keys(node, keys).await
    }
    fn failed(&self) -> CancellationToken {
        self.inner.failed()
    }
    async fn changes(
        &self,
        origin: &OriginId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Change>, Error> {
        self.inner.changes(origin, after, limit).await
    }
    async fn get(
        &self,
        tenant: &TenantName,
        key: &Key,
        now_ms: u64,
    ) -> Result<Option<Entry>, Error> {
        self.live(self.inner.get(tenant, key, now_ms)).await
    }
    async fn get_many(
        &self,
        tenant: &TenantName,
        keys: &[Key],
        now_ms: u64,
    ) -> Result<Vec<Option<Entry>>, Error> {
        self.live(self.inner.get_many(tenant, keys, now_ms)).await
    }
    async fn scan(&self, tenant: &TenantName, range: &Range, now_ms: u64) -> Result<Page, Error> {
        self.while_alive(self.inner.scan(tenant, range, now_ms))
            .await
    }
    async fn last_version(&self, tenant: &TenantName, key: &Key) -> Result<Version, Error> {
        self.live(self.inner.last_version(tenant, key)).await
    }
    async fn commit(&self, transaction: Transaction) -> Result<Commit, Error> {
        self.live(self.inner.commit(transaction)).await
    }
    async fn answer(&self, key: &AnswerKey, now_ms: u64) -> Result<Option<Answer>, Error> {
        self.live(self.inner.answer(key, now_ms)).await
    }
    async fn sweep(&self, now_ms: u64, limit: usize) -> Result<Swept, Error> {
        self.inner.sweep(now_ms, limit).await
    }
    async fn publish(
        &self,
        version: NewVersion,
        component: Bytes,
        audit: NewAudit,
    ) -> Result<Published, Error> {
        self.inner.publish(version, component, audit).await
    }
    async fn component(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        self.inner.component(digest).await
    }
    async fn versions(
        &self,
        tenant: &TenantName,
        module: Option<&ModuleName>,
    ) -> Result<Vec<control::Version>, Error> {
        self.inner.versions(tenant, module).await
    }
    async fn table(&self) -> Result<DeploymentTable, Error> {
        self.inner.table().await
    }
    async fn change_table(
        &self,
        change: TableChange,
        audit: NewAudit,
    ) -> Result<Option<Position>, Error> {
        self.inner.change_table(change, audit).await
    }
    async fn history(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Vec<Deployment>, Error> {
        self.inner.history(tenant, module).await
    }
    async fn add_purge(
        &self,
        purge: NewPurge,
        audit: Option<NewAudit>,
    ) -> Result<PurgeAdded, Error> {
        self.inner.add_purge(purge, audit).await
    }
    async fn release_purges(&self, now_ms: u64, limit: usize) -> Result<usize, Error> {
        self.inner.release_purges(now_ms, limit).await
    }
    async fn purge(&self, tenant: &TenantName, id: &str) -> Result<Option<PurgeRow>, Error> {
        self.inner.purge(tenant, id).await
    }
    async fn purges(
        &self,
        tenant: &TenantName,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PurgeRow>, Error> {
        self.inner.purges(tenant, before, limit).await
    }
    async fn note_applied(
        &self,
        pop: &PopName,
        applied: &[AppliedPurge],
        now_ms: u64,
    ) -> Result<Vec<u64>, Error> {
        self.inner.note_applied(pop, applied, now_ms).await
    }
    async fn add_token(&self, token: TokenRow, audit: NewAudit) -> Result<(), Error> {
        self.inner.add_token(token, audit).await
    }
    async fn token(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>, Error> {
        self.inner.token(hash).await
    }
    async fn tokens(&self, tenant: Option<&TenantName>) -> Result<Vec<TokenRow>, Error> {
        self.inner.tokens(tenant).await
    }
    async fn remove_token(&self, id: &str, audit: NewAudit) -> Result<bool, Error> {
        self.inner.remove_token(id, audit).await
    }
    async fn add_audit(&self, audit: NewAudit) -> Result<(), Error> {
        self.inner.add_audit(audit).await
    }
    async fn audit(
        &self,
        tenant: Option<&TenantName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<control::AuditEntry>, Error> {
        self.inner.audit(tenant, before, limit).await
    }
    async fn put_pops(&self, pops: Vec<PopRow>) -> Result<(), Error> {
        self.inner.put_pops(pops).await
    }
    async fn pops(&self) -> Result<Vec<PopRow>, Error> {
        self.inner.pops().await
    }
}

#[async_trait]
impl PlacementStore for Mortal {
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
    fn write_max(&self) -> std::time::Duration {
        self.inner.write_max()
    }
}

#[async_trait]
impl Endings for Mortal {
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
impl Archive for Mortal {
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
        self.inner.kept(partition, after, limit).await
    }
    async fn kept_records(
        &self,
        partition: &PartitionAddress,
        sorts: &[String],
    ) -> Result<Vec<KeptRow>, Error> {
        self.inner.kept_records(partition, sorts).await
    }
    async fn heads(&self) -> Result<Position, Error> {
        self.inner.heads().await
    }
    async fn forget(&self, partition: &PartitionAddress) -> Result<usize, Error> {
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
