//! A store whose records are those of all regions.

use super::{
    Home, Place, address, is_apart,
    message::{Operation, Outcome},
    unexpected,
};
use crate::{
    Error,
    store::{
        Action, Answer, AnswerKey, Appended, BATCH_BYTES_MAX, Commit, Held, NewAudit, NewPurge,
        NewVersion, PopRow, Published, PurgeAdded, PurgeRow, Reads, Span, Store, Swept,
        TableChange, TokenRow, Transaction,
    },
};
use async_trait::async_trait;
use brink_protocol::{
    Digest, ModuleName, NodeName, OriginId, PopName, Position, RegionName, StoreId, TenantName,
    address::PartitionAddress,
    change::Change,
    control,
    deployment::{Deployment, DeploymentTable},
    link::AppliedPurge,
    record::{Entry, Key, PLATFORM_SORT, Page, Range, Version},
    session::SessionKey,
    trail::Author,
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Records of all regions over the store of one; all else is that store's.
pub struct HomeStore {
    pub(super) inner: Arc<dyn Store>,
    pub(super) home: Arc<Home>,
    /// Where it reads.
    pub(super) reads: Reads,
}

impl HomeStore {
    /// Over the store of this core.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, home: Arc<Home>) -> Self {
        Self {
            inner,
            home,
            reads: Reads::default(),
        }
    }

    fn reading(&self, partition: &PartitionAddress) -> Result<Place, Error> {
        self.home.hot.read(partition);
        let placements = &self.home.placements;
        match self.reads {
            Reads::Here => placements.reading(partition),
            Reads::AtHome => placements.reading_at_home(partition),
            Reads::Within(max_staleness) => placements.reading_within(partition, max_staleness),
        }
    }

    async fn ask(&self, region: &RegionName, operation: Operation) -> Result<Outcome, Error> {
        let is_current = operation.is_read() && matches!(self.reads, Reads::Within(_));
        let forward = &self.home.forward;
        forward.ask_home(region, operation, is_current).await
    }

    async fn entries(
        &self,
        region: &RegionName,
        tenant: &TenantName,
        keys: Vec<Key>,
        now_ms: u64,
    ) -> Result<Vec<Option<Entry>>, Error> {
        let count = keys.len();
        let tenant = tenant.clone();
        let operation = Operation::Get {
            tenant,
            keys,
            now_ms,
        };
        match self.ask(region, operation).await? {
            Outcome::Entries(entries) if entries.len() == count => Ok(entries),
            _ => Err(unexpected()),
        }
    }
}

/// What is written without a lifetime gets that of its collection; rows of the platform have their own.
fn with_lifetime(transaction: &mut Transaction, lifetime_ms: u64) {
    let ends_at_ms = transaction.now_ms.saturating_add(lifetime_ms);
    for write in &mut transaction.writes {
        if let Action::Put { expires_at_ms, .. } = &mut write.action
            && !write.sort.starts_with(PLATFORM_SORT)
        {
            expires_at_ms.get_or_insert(ends_at_ms);
        }
    }
}

fn check_bytes(entries: &[Option<Entry>]) -> Result<(), Error> {
    let actual: usize = entries
        .iter()
        .flatten()
        .map(|entry| entry.value.len())
        .sum();
    if actual <= BATCH_BYTES_MAX {
        return Ok(());
    }
    Err(brink_protocol::Error::Limit {
        what: "bytes of the records of one get",
        actual: actual as u64,
        limit: BATCH_BYTES_MAX as u64,
    }
    .into())
}

#[async_trait]
impl Store for HomeStore {
    async fn get(
        &self,
        tenant: &TenantName,
        key: &Key,
        now_ms: u64,
    ) -> Result<Option<Entry>, Error> {
        match self.reading(&address(tenant, key))? {
            Place::Here => self.inner.get(tenant, key, now_ms).await,
            Place::At(region) => {
                let found = self
                    .entries(&region, tenant, vec![key.clone()], now_ms)
                    .await?;
                Ok(found.into_iter().next().flatten())
            }
        }
    }

    async fn get_many(
        &self,
        tenant: &TenantName,
        keys: &[Key],
        now_ms: u64,
    ) -> Result<Vec<Option<Entry>>, Error> {
        let mut regions: BTreeMap<RegionName, Vec<usize>> = BTreeMap::new();
        let mut here = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            match self.reading(&address(tenant, key))? {
                Place::Here => here.push(index),
                Place::At(region) => regions.entry(region).or_default().push(index),
            }
        }
        if regions.is_empty() {
            return self.inner.get_many(tenant, keys, now_ms).await;
        }
        let of = |indexes: &[usize]| -> Vec<Key> {
            let keys = indexes.iter().filter_map(|index| keys.get(*index));
            keys.cloned().collect()
        };
        let mut found = vec![None; keys.len()];
        let mut put = |indexes: &[usize], entries: Vec<Option<Entry>>| {
            for (index, entry) in indexes.iter().zip(entries) {
                if let Some(place) = found.get_mut(*index) {
                    *place = entry;
                }
            }
        };
        put(
            &here,
            self.inner.get_many(tenant, &of(&here), now_ms).await?,
        );
        for (region, indexes) in regions {
            put(
                &indexes,
                self.entries(&region, tenant, of(&indexes), now_ms).await?,
            );
        }
        check_bytes(&found)?;
        Ok(found)
    }

    async fn scan(&self, tenant: &TenantName, range: &Range, now_ms: u64) -> Result<Page, Error> {
        let partition = PartitionAddress {
            tenant: tenant.clone(),
            collection: range.collection.clone(),
            partition: range.partition.clone(),
        };
        let region = match self.reading(&partition)? {
            Place::Here => return self.inner.scan(tenant, range, now_ms).await,
            Place::At(region) => region,
        };
        let operation = Operation::Scan {
            tenant: tenant.clone(),
            range: range.clone(),
            now_ms,
        };
        match self.ask(&region, operation).await? {
            Outcome::Page(page) => Ok(page),
            _ => Err(unexpected()),
        }
    }

    async fn last_version(&self, tenant: &TenantName, key: &Key) -> Result<Version, Error> {
        let region = match self.reading(&address(tenant, key))? {
            Place::Here => return self.inner.last_version(tenant, key).await,
            Place::At(region) => region,
        };
        let operation = Operation::LastVersion {
            tenant: tenant.clone(),
            key: key.clone(),
        };
        match self.ask(&region, operation).await? {
            Outcome::Version(version) => Ok(version),
            _ => Err(unexpected()),
        }
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, Error> {
        self.commit_by(transaction, &Author::default()).await
    }

    async fn commit_by(&self, mut transaction: Transaction, by: &Author) -> Result<Commit, Error> {
        let under_way = self.home.placements.under_way().await;
        let writing = self.home.placements.writing(&transaction.partition)?;
        self.home.hot.written(&transaction.partition);
        if let Some(lifetime_ms) = writing.lifetime_ms {
            with_lifetime(&mut transaction, lifetime_ms);
        }
        let region = match writing.home {
            Place::Here => {
                return self
                    .home
                    .commit_here(transaction, writing.audit_ms, by)
                    .await;
            }
            Place::At(region) => region,
        };
        drop(under_way);
        let operation = Operation::Commit(transaction, by.clone());
        match self.ask(&region, operation).await? {
            Outcome::Commit(commit) => Ok(commit),
            _ => Err(unexpected()),
        }
    }

    async fn answer(&self, key: &AnswerKey, now_ms: u64) -> Result<Option<Answer>, Error> {
        if is_apart(key) {
            return self.inner.answer(key, now_ms).await;
        }
        let region = match self.reading(&key.partition)? {
            Place::Here => return self.inner.answer(key, now_ms).await,
            Place::At(region) => region,
        };
        let operation = Operation::Answer {
            key: key.clone(),
            now_ms,
        };
        match self.ask(&region, operation).await? {
            Outcome::Answer(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }

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

    async fn sweep(&self, now_ms: u64, limit: usize) -> Result<Swept, Error> {
        // It comes again and again: the moment to tell figures.
        self.home.hot.tell();
        match self.home.archiver.load_full() {
            Some(archiver) => {
                let table = self.home.placements.current();
                archiver.sweep(&*self.inner, &table, now_ms, limit).await
            }
            None => self.inner.sweep(now_ms, limit).await,
        }
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

    async fn token(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>, Error> {
        self.inner.token(hash).await
    }
}
