//! The embedded store: redb, one writer with group commit, readers on snapshots.
//!
//! A write is answered after the transaction of the engine that holds it was synced to disk. Log and records are written
//! in one transaction, so every change is settled. The engine's checksums are not cryptographic: whoever can write the
//! file can forge its content.

mod archive;
mod batch;
mod ends;
mod files;
mod foreign;
mod kept;
mod keys;
mod opening;
mod placements;
mod purges;
mod put_back;
mod records;
mod registry;
mod sweep;
mod tables;
mod writer;

pub use self::opening::Options;

use self::batch::Batch;
use self::tables::{
    ANSWERS, AUDIT, DEPLOYMENTS, ENDED, HISTORY, LATER_PURGES, OrStore, POPS, PURGES, RECORDS,
    SESSION_KEYS, TOKENS, VERSIONS, decode, read_row,
};
use self::writer::{HeldSender, Writer};
use super::{
    Answer, AnswerKey, Appended, Commit, Held, NewAudit, NewPurge, NewVersion, PopRow, Published,
    PurgeAdded, PurgeRow, Span, Spared, Store, Swept, TableChange, TokenRow, Transaction, checks,
};
use crate::Error;
use ::redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use async_trait::async_trait;
use brink_protocol::{
    Digest, ModuleName, NodeName, OriginId, PopName, Position, StoreId, TenantName,
    change::Change,
    control,
    deployment::{Deployment, DeploymentTable},
    link::AppliedPurge,
    record::{Entry, Key, Page, Range, Version},
    session::SessionKey,
};
use bytes::Bytes;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Rows that a scan reads on the caller's own thread; longer ones go to a thread that may block.
const SCAN_HERE_MAX: u32 = 64;

/// The embedded store. Dropping it waits for the writes that were handed over.
pub struct RedbStore {
    // Before the database, so that the last writes are done when that is closed.
    writer: Writer,
    database: Arc<Database>,
    directory: PathBuf,
    origin: OriginId,
    id: StoreId,
    held: Arc<HeldSender>,
    failed: CancellationToken,
}

impl RedbStore {
    /// Opens the store of a directory, or makes it.
    ///
    /// # Errors
    /// The directory cannot be used, another process has the store open, it belongs to another node, or it was written by
    /// a newer layout.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let directory = options.directory.clone();
        std::fs::create_dir_all(&directory)
            .map_err(|error| Error::file("made", &directory, error))?;
        let path = directory.join("store.redb");
        let create = |path: &std::path::Path| {
            let mut builder = Database::builder();
            builder.set_cache_size(options.cache_bytes);
            builder.create(path).or_store("opening store.redb")
        };
        files::begin_whole(&path, |partial| create(partial).map(drop))?;
        let database = create(&path)?;
        opening::restrict(&path)?;
        // Only now is it certain that no other process writes here.
        files::remove_partial(&directory)?;
        let (id, log, foreign) = opening::begin(&database, &directory, &options.node)?;
        let database = Arc::new(database);
        let origin = log.origin().clone();
        let held = Arc::new(HeldSender::new(writer::held(&log, &foreign)));
        let failed = CancellationToken::new();
        let writer = Writer::start(
            Arc::clone(&database),
            (log, foreign),
            Arc::clone(&held),
            options.log_changes_max,
            options.queue_max,
            failed.clone(),
        )?;
        Ok(Self {
            failed,
            writer,
            database,
            directory,
            origin,
            id,
            held,
        })
    }

    fn read(&self) -> Result<ReadTransaction, Error> {
        self.database.begin_read().or_store("beginning to read")
    }

    /// Rows of a table of encoded rows whose keys begin with `prefix` (all if it is empty), last first if `newest`.
    fn rows<T: serde::de::DeserializeOwned>(
        &self,
        table: tables::BytesTable,
        what: &'static str,
        prefix: &[u8],
        limit: usize,
        newest: bool,
    ) -> Result<Vec<T>, Error> {
        let table = self.read()?.open_table(table).or_store(what)?;
        let end = keys::after_partition(prefix.to_vec());
        let mut rows = if prefix.is_empty() {
            table.iter().or_store(what)?
        } else {
            table
                .range::<&[u8]>(prefix..end.as_slice())
                .or_store(what)?
        };
        let mut found = Vec::new();
        while found.len() < limit {
            let next = if newest {
                rows.next_back()
            } else {
                rows.next()
            };
            let Some(row) = next else {
                break;
            };
            let (_, row) = row.or_store(what)?;
            found.push(decode(what, row.value())?);
        }
        Ok(found)
    }
}

#[async_trait]
impl Store for RedbStore {
    fn origin(&self) -> &OriginId {
        &self.origin
    }

    fn id(&self) -> StoreId {
        self.id
    }

    fn silence(&self) -> Duration {
        Duration::ZERO
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn span(&self) -> Span {
        let held = self.held.borrow();
        let own = held.kept.get(&self.origin);
        Span {
            origin: self.origin.clone(),
            oldest: own.map_or(1, |kept| kept.oldest),
            head: own.map_or(0, |kept| kept.head),
        }
    }

    fn held(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    async fn append_foreign(&self, changes: Vec<Change>) -> Result<Appended, Error> {
        self.writer
            .write(move |batch: &mut Batch<'_>| foreign::append(batch, &changes))
            .await
    }

    async fn restart_foreign(&self, origin: OriginId, head: u64) -> Result<(), Error> {
        self.writer
            .write(move |batch: &mut Batch<'_>| foreign::restart(batch, &origin, head))
            .await
    }

    async fn session_keys(&self) -> Result<BTreeMap<NodeName, Vec<SessionKey>>, Error> {
        let rows = self.rows(SESSION_KEYS, "session keys", &[], usize::MAX, false)?;
        Ok(rows.into_iter().collect())
    }

    async fn put_session_keys(&self, node: NodeName, keys: Vec<SessionKey>) -> Result<(), Error> {
        self.writer
            .write(move |batch: &mut Batch<'_>| registry::put_session_keys(batch, &node, &keys))
            .await
    }

    fn failed(&self) -> CancellationToken {
        self.failed.clone()
    }

    async fn changes(
        &self,
        origin: &OriginId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Change>, Error> {
        foreign::read(&self.read()?, &self.origin, origin, after, limit)
    }

    async fn get(
        &self,
        tenant: &TenantName,
        key: &Key,
        now_ms: u64,
    ) -> Result<Option<Entry>, Error> {
        key.check_any()?;
        let table = self
            .read()?
            .open_table(RECORDS)
            .or_store("reading a record")?;
        let stored = keys::record(tenant, &key.collection, &key.partition, &key.sort);
        records::get(&table, &stored, &key.sort, now_ms)
    }

    async fn get_many(
        &self,
        tenant: &TenantName,
        keys: &[Key],
        now_ms: u64,
    ) -> Result<Vec<Option<Entry>>, Error> {
        checks::keys(keys)?;
        let table = self
            .read()?
            .open_table(RECORDS)
            .or_store("reading records")?;
        let mut bytes = 0;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let stored = keys::record(tenant, &key.collection, &key.partition, &key.sort);
            let entry = records::get(&table, &stored, &key.sort, now_ms)?;
            checks::count(&mut bytes, entry.as_ref())?;
            found.push(entry);
        }
        Ok(found)
    }

    async fn scan(&self, tenant: &TenantName, range: &Range, now_ms: u64) -> Result<Page, Error> {
        const WHAT: &str = "scanning a partition";
        range.check_any()?;
        let table = self.read()?.open_table(RECORDS).or_store(WHAT)?;
        if range.limit <= SCAN_HERE_MAX {
            return records::scan(&table, tenant, range, now_ms);
        }
        let (tenant, range) = (tenant.clone(), range.clone());
        tokio::task::spawn_blocking(move || records::scan(&table, &tenant, &range, now_ms))
            .await
            .or_store(WHAT)?
    }

    async fn last_version(&self, tenant: &TenantName, key: &Key) -> Result<Version, Error> {
        const WHAT: &str = "reading a version";
        let txn = self.read()?;
        let records = txn.open_table(RECORDS).or_store(WHAT)?;
        let ended = txn.open_table(ENDED).or_store(WHAT)?;
        let stored = keys::record(tenant, &key.collection, &key.partition, &key.sort);
        records::last_version(&records, &ended, &stored)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, Error> {
        checks::transaction(&transaction)?;
        self.writer
            .write(move |batch: &mut Batch<'_>| records::commit(batch, &transaction))
            .await
    }

    async fn answer(&self, key: &AnswerKey, now_ms: u64) -> Result<Option<Answer>, Error> {
        let stored = records::stored_answer_key(key);
        let answer = read_row(&self.read()?, ANSWERS, "answer", &stored)?;
        Ok(records::alive(answer, now_ms))
    }

    async fn sweep(&self, now_ms: u64, limit: usize) -> Result<Swept, Error> {
        self.writer
            .write(move |batch: &mut Batch<'_>| {
                sweep::sweep(batch, now_ms, limit, &Spared::default())
            })
            .await
    }

    async fn publish(
        &self,
        version: NewVersion,
        component: Bytes,
        audit: NewAudit,
    ) -> Result<Published, Error> {
        let (directory, digest) = (self.directory.clone(), version.digest);
        let size = component.len() as u64;
        tokio::task::spawn_blocking(move || {
            files::write_component(&directory, &digest, &component)
        })
        .await
        .or_store("keeping a component")??;
        self.writer
            .write(move |batch: &mut Batch<'_>| registry::publish(batch, version, size, audit))
            .await
    }

    async fn component(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let (directory, digest) = (self.directory.clone(), *digest);
        tokio::task::spawn_blocking(move || files::read_component(&directory, &digest))
            .await
            .or_store("reading a component")?
    }

    async fn versions(
        &self,
        tenant: &TenantName,
        module: Option<&ModuleName>,
    ) -> Result<Vec<control::Version>, Error> {
        let prefix = keys::tenant(tenant, module.map(ModuleName::as_str));
        self.rows(VERSIONS, "version", &prefix, usize::MAX, false)
    }

    async fn table(&self) -> Result<DeploymentTable, Error> {
        const WHAT: &str = "deployment table";
        let table = self.read()?.open_table(DEPLOYMENTS).or_store(WHAT)?;
        match table.get(()).or_store(WHAT)? {
            Some(row) => decode(WHAT, row.value()),
            None => Ok(DeploymentTable::default()),
        }
    }

    async fn change_table(
        &self,
        change: TableChange,
        audit: NewAudit,
    ) -> Result<Option<Position>, Error> {
        self.writer
            .write(move |batch: &mut Batch<'_>| registry::change_table(batch, change, audit))
            .await
    }

    async fn history(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Vec<Deployment>, Error> {
        let key = keys::tenant(tenant, Some(module.as_str()));
        let history = read_row(&self.read()?, HISTORY, "history", &key)?;
        Ok(history.unwrap_or_default())
    }

    async fn add_purge(
        &self,
        purge: NewPurge,
        audit: Option<NewAudit>,
    ) -> Result<PurgeAdded, Error> {
        self.writer
            .write(move |batch: &mut Batch<'_>| purges::add(batch, purge, audit))
            .await
    }

    async fn release_purges(&self, now_ms: u64, limit: usize) -> Result<usize, Error> {
        const WHAT: &str = "reading later purges";
        // Asked again and again: the writer is bothered only when there is something.
        let first = {
            let table = self.read()?.open_table(LATER_PURGES).or_store(WHAT)?;
            let first = table.first().or_store(WHAT)?;
            first
                .map(|(key, _)| keys::split_expiry(key.value()).map(|(due_ms, _)| due_ms))
                .transpose()?
        };
        if first.is_none_or(|due_ms| due_ms > now_ms) {
            return Ok(0);
        }
        self.writer
            .write(move |batch: &mut Batch<'_>| purges::release(batch, now_ms, limit))
            .await
    }

    async fn purge(&self, tenant: &TenantName, id: &str) -> Result<Option<PurgeRow>, Error> {
        let key = [keys::tenant(tenant, None).as_slice(), id.as_bytes()].concat();
        read_row(&self.read()?, PURGES, "purge", &key)
    }

    async fn purges(
        &self,
        tenant: &TenantName,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PurgeRow>, Error> {
        const WHAT: &str = "listing purges";
        let begin = keys::tenant(tenant, None);
        let end = match before {
            Some(id) => [begin.as_slice(), id.as_bytes()].concat(),
            None => keys::after_partition(begin.clone()),
        };
        let table = self.read()?.open_table(PURGES).or_store(WHAT)?;
        let rows = table
            .range::<&[u8]>(begin.as_slice()..end.as_slice())
            .or_store(WHAT)?;
        let decoded = |row: Result<(_, ::redb::AccessGuard<'_, &'static [u8]>), _>| {
            let (_, row): (::redb::AccessGuard<'_, &'static [u8]>, _) = row.or_store(WHAT)?;
            decode("purge", row.value())
        };
        rows.rev().take(limit).map(decoded).collect()
    }

    async fn note_applied(
        &self,
        pop: &PopName,
        applied: &[AppliedPurge],
        now_ms: u64,
    ) -> Result<Vec<u64>, Error> {
        let (pop, applied) = (pop.clone(), applied.to_vec());
        self.writer
            .write(move |batch: &mut Batch<'_>| purges::note_applied(batch, &pop, &applied, now_ms))
            .await
    }

    async fn add_token(&self, token: TokenRow, audit: NewAudit) -> Result<(), Error> {
        self.writer
            .write(move |batch: &mut Batch<'_>| registry::add_token(batch, &token, audit))
            .await
    }

    async fn token(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>, Error> {
        read_row(&self.read()?, TOKENS, "token", hash)
    }

    async fn tokens(&self, tenant: Option<&TenantName>) -> Result<Vec<TokenRow>, Error> {
        let mut rows: Vec<TokenRow> = self.rows(TOKENS, "token", &[], usize::MAX, false)?;
        rows.retain(|row| tenant.is_none_or(|tenant| row.tenant == *tenant));
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(rows)
    }

    async fn remove_token(&self, id: &str, audit: NewAudit) -> Result<bool, Error> {
        let id = id.to_owned();
        self.writer
            .write(move |batch: &mut Batch<'_>| registry::remove_token(batch, &id, audit))
            .await
    }

    async fn add_audit(&self, audit: NewAudit) -> Result<(), Error> {
        self.writer
            .write(move |batch: &mut Batch<'_>| registry::add_audit(batch, audit))
            .await
    }

    async fn audit(
        &self,
        tenant: Option<&TenantName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<control::AuditEntry>, Error> {
        const WHAT: &str = "reading the audit log";
        let table = self.read()?.open_table(AUDIT).or_store(WHAT)?;
        let mut found = Vec::new();
        for row in table
            .range(..before.unwrap_or(u64::MAX))
            .or_store(WHAT)?
            .rev()
        {
            let (_, row) = row.or_store(WHAT)?;
            let entry: control::AuditEntry = decode("audit entry", row.value())?;
            if tenant.is_none_or(|tenant| entry.tenant == *tenant) {
                found.push(entry);
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    async fn put_pops(&self, pops: Vec<PopRow>) -> Result<(), Error> {
        self.writer
            .write(move |batch: &mut Batch<'_>| registry::put_pops(batch, &pops))
            .await
    }

    async fn pops(&self) -> Result<Vec<PopRow>, Error> {
        self.rows(POPS, "PoP", &[], usize::MAX, false)
    }
}

#[cfg(test)]
mod tests;
