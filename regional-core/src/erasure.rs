//! Erasures: everything of a person is deleted, nothing made from it is left at any PoP, and a signed certificate says so.
//!
//! Deletions go through the log, as all writes do: PoPs drop what they made from the records. A purge of a name that nobody
//! uses comes behind them in the log; a PoP that has applied it has applied the deletions. Each step may be repeated, so
//! any core goes on with one whose core died.

mod kept;
mod signing;
#[cfg(test)]
mod tests;

pub use signing::Signer;

use self::kept::Work;
use crate::{
    Error,
    backup::BackupConfig,
    purges::{Asker, Purges, Until},
    refusal::Refusal,
    store::{Action, Commit, KEPT_ROWS_MAX, KeptRow, NewAudit, RowKey, Store, Transaction, Write},
};
use brink_protocol::{
    Digest, TenantName,
    address::PartitionAddress,
    control::PurgeStatus,
    link::Condition,
    operations::{
        Certificate, ERASED_MAX, ErasedCollection, Erasure, ErasureStage, NewErasure, NotReached,
    },
    purge::Selector,
    record::{check_partition, check_sort},
};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often is looked for erasures whose core died.
const LOOKED_FOR: Duration = Duration::from_secs(10);
/// How long nobody must have gone on with one, in milliseconds.
const LEFT_MS: u64 = 60_000;
/// How long one call waits for PoPs before it notes that it still does.
const PURGE_WAIT: Duration = Duration::from_secs(15);
/// Records that one commit deletes.
const WRITES_MAX: usize = 500;
/// Times that rows which came back are deleted again.
const ROUNDS_MAX: usize = 5;

/// The erasures of a core.
pub struct Erasures {
    store: Arc<dyn Store>,
    purges: Purges,
    signer: Signer,
    backup: BackupConfig,
    node: String,
    log_changes_max: u64,
    now_ms: fn() -> u64,
}

impl Erasures {
    /// Over a store.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        purges: Purges,
        signer: Signer,
        backup: BackupConfig,
        log_changes_max: u64,
        now_ms: fn() -> u64,
    ) -> Arc<Self> {
        let node = store.origin().node.to_string();
        Arc::new(Self {
            store,
            purges,
            signer,
            backup,
            node,
            log_changes_max,
            now_ms,
        })
    }

    /// The public key that certificates are signed with, in base64.
    #[must_use]
    pub fn key(&self) -> String {
        self.signer.key()
    }

    /// Takes an erasure; it goes on by itself.
    ///
    /// # Errors
    /// What is asked for is not allowed, or the store.
    pub async fn begin(
        self: &Arc<Self>,
        tenant: TenantName,
        by: &str,
        plan: NewErasure,
    ) -> Result<Erasure, Refusal> {
        check(&plan)?;
        self.check_home(&tenant, &plan).await?;
        let now = (self.now_ms)();
        let erasure = Erasure {
            id: ulid::Ulid::new().to_string(),
            stage: ErasureStage::Deleting,
            asked_ms: now,
            by: by.to_owned(),
            certificate: None,
        };
        let work = Work {
            tenant,
            erasure: erasure.clone(),
            plan,
            erased: Default::default(),
            position: Default::default(),
            purge: None,
            touched_ms: now,
        };
        kept::begin(&*self.store, &work, now).await?;
        self.audit(&work, "erasure.begin").await?;
        tokio::spawn(Arc::clone(self).go_on(work));
        Ok(erasure)
    }

    /// Refuses what is not at home at this core: what lies elsewhere would not be found here, and so not be deleted.
    async fn check_home(&self, tenant: &TenantName, plan: &NewErasure) -> Result<(), Error> {
        let partitions = plan
            .partitions
            .iter()
            .map(|p| (&p.collection, &p.partition));
        let records = plan.records.iter().map(|r| (&r.collection, &r.partition));
        for (collection, partition) in partitions.chain(records) {
            let partition = address(tenant, collection, partition);
            self.store.check_home(&partition).await?;
        }
        Ok(())
    }

    /// How far one is.
    ///
    /// # Errors
    /// The store.
    pub async fn status(&self, tenant: &TenantName, id: &str) -> Result<Option<Erasure>, Error> {
        let work = kept::read(&*self.store, tenant, id, (self.now_ms)()).await?;
        Ok(work.map(|work| work.erasure))
    }

    /// Goes on with those whose core died, until it is stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOKED_FOR);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "erasures that were left were not looked for");
            }
        }
    }

    async fn look(self: &Arc<Self>) -> Result<(), Error> {
        let now = (self.now_ms)();
        for (tenant, id) in kept::open(&*self.store, now).await? {
            let Some(mut work) = kept::read(&*self.store, &tenant, &id, now).await? else {
                // Its core died between the list and the record: it was never answered.
                kept::end(&*self.store, format!("{tenant}/{id}"), now).await?;
                continue;
            };
            if work.touched_ms.saturating_add(LEFT_MS) <= now {
                self.touch(&mut work).await?;
                tokio::spawn(Arc::clone(self).go_on(work));
            }
        }
        Ok(())
    }

    async fn go_on(self: Arc<Self>, mut work: Work) {
        let id = work.erasure.id.clone();
        if let Err(error) = self.erase(&mut work).await {
            tracing::error!(%error, erasure = id, "an erasure was cut off; it is gone on with in a minute");
        }
    }

    /// Keeps how far it is, and that somebody goes on with it.
    async fn touch(&self, work: &mut Work) -> Result<(), Error> {
        work.touched_ms = (self.now_ms)();
        kept::keep(&*self.store, work, work.touched_ms).await
    }

    async fn erase(&self, work: &mut Work) -> Result<(), Error> {
        for _ in 0..ROUNDS_MAX {
            if work.erasure.stage == ErasureStage::Deleting {
                self.delete(work).await?;
                work.purge = None;
                work.erasure.stage = ErasureStage::Purging;
                self.touch(work).await?;
            }
            let purge = self.purge(work).await?;
            work.erasure.stage = ErasureStage::Checking;
            self.touch(work).await?;
            if self.is_gone(work).await? {
                return self.certify(work, purge).await;
            }
            tracing::warn!(
                erasure = work.erasure.id,
                "rows came back; they are deleted again"
            );
            work.erasure.stage = ErasureStage::Deleting;
        }
        Err(Error::Store {
            operation: "erasing",
            reason: "rows are written again all the time; stop whoever writes them".into(),
        })
    }

    async fn delete(&self, work: &mut Work) -> Result<(), Error> {
        for partition in partitions(work) {
            let mut after: Option<RowKey> = None;
            loop {
                let page = self
                    .store
                    .kept(&partition, after.as_ref(), KEPT_ROWS_MAX)
                    .await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key.clone());
                let sorts = page.into_iter().filter_map(present).collect();
                self.delete_records(work, &partition, sorts).await?;
            }
            let others = self.store.forget(&partition).await?;
            counted(work, &partition).others += others as u64;
            self.touch(work).await?;
        }
        for record in work.plan.records.clone() {
            let partition = address(&work.tenant, &record.collection, &record.partition);
            let found = self.store.kept_records(&partition, &[record.sort]).await?;
            let sorts = found.into_iter().filter_map(present).collect();
            self.delete_records(work, &partition, sorts).await?;
        }
        Ok(())
    }

    async fn delete_records(
        &self,
        work: &mut Work,
        partition: &PartitionAddress,
        sorts: Vec<String>,
    ) -> Result<(), Error> {
        for sorts in sorts.chunks(WRITES_MAX) {
            let write = |sort: &String| Write {
                sort: sort.clone(),
                action: Action::Delete,
                condition: Condition::Always,
            };
            let transaction = Transaction {
                partition: partition.clone(),
                seen: Vec::new(),
                writes: sorts.iter().map(write).collect(),
                answer: None,
                now_ms: (self.now_ms)(),
            };
            let Commit::Done { position, .. } = self.store.commit(transaction).await? else {
                return Err(Error::Busy);
            };
            work.position.merge(&position);
            counted(work, partition).records += sorts.len() as u64;
        }
        Ok(())
    }

    /// Waits until every PoP has applied what comes behind the deletions in the log.
    async fn purge(&self, work: &mut Work) -> Result<PurgeStatus, Error> {
        let failed = |refusal: Refusal| Error::store("proving an erasure", refusal.problem().title);
        let id = match &work.purge {
            Some(id) => id.clone(),
            None => {
                let name = format!("brink-erasure-{}", work.erasure.id);
                let asker = Asker::Token(work.erasure.by.clone());
                let selectors = vec![Selector::Key(name.parse()?)];
                let now = (self.now_ms)();
                let status = self
                    .purges
                    .create(work.tenant.clone(), &asker, selectors, false, now)
                    .await
                    .map_err(failed)?;
                work.purge = Some(status.id.clone());
                self.touch(work).await?;
                status.id
            }
        };
        loop {
            let status = self
                .purges
                .wait(&work.tenant, &id, &Until::All, PURGE_WAIT)
                .await
                .map_err(failed)?;
            let status =
                status.ok_or_else(|| Error::store("proving an erasure", "its purge is gone"))?;
            if Until::All.is_met(&status) {
                return Ok(status);
            }
            self.touch(work).await?;
        }
    }

    /// Whether nothing of what was asked for is there.
    async fn is_gone(&self, work: &Work) -> Result<bool, Error> {
        for partition in partitions(work) {
            let left = self.store.kept(&partition, None, 1).await?;
            if !left.is_empty() {
                return Ok(false);
            }
        }
        for record in &work.plan.records {
            let partition = address(&work.tenant, &record.collection, &record.partition);
            let sorts = [record.sort.clone()];
            let found = self.store.kept_records(&partition, &sorts).await?;
            if found.into_iter().any(|row| present(row).is_some()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn certify(&self, work: &mut Work, purge: PurgeStatus) -> Result<(), Error> {
        let done_ms = (self.now_ms)();
        let certificate = Certificate {
            form: 1,
            id: work.erasure.id.clone(),
            tenant: work.tenant.to_string(),
            node: self.node.clone(),
            asked_ms: work.erasure.asked_ms,
            done_ms,
            subjects: subjects(&work.plan),
            erased: work.erased.values().cloned().collect(),
            position: work.position.clone(),
            purge,
            not_reached: self.not_reached(&work.plan, done_ms),
        };
        work.erasure.certificate = Some(self.signer.sign(&certificate)?);
        work.erasure.stage = ErasureStage::Done;
        work.plan = NewErasure::default();
        self.touch(work).await?;
        self.audit(work, "erasure.done").await?;
        metrics::counter!("brink_core_erasures_total").increment(1);
        kept::end(&*self.store, kept::open_name(work), done_ms).await
    }

    fn not_reached(&self, plan: &NewErasure, now_ms: u64) -> Vec<NotReached> {
        let mut all = Vec::new();
        let mut add = |what: &str, lapses_ms| {
            all.push(NotReached {
                what: what.into(),
                lapses_ms,
            });
        };
        match self.backup.lapse_ms(now_ms) {
            Some(lapse) => add("backups that this core took before", Some(lapse)),
            None => add("backups, if others than this core take them", None),
        }
        let log = format!(
            "the names of partitions and records, not their values, in the change logs, until {} later changes",
            self.log_changes_max
        );
        add(&log, None);
        add(
            "the engine's files, until it uses the space again or compacts them",
            None,
        );
        if self.store.is_shared() {
            add(
                "the names of partitions, in the engine's rows of the partitions themselves",
                None,
            );
        }
        if !plan.records.is_empty() {
            add("the names and versions of the single records", None);
        }
        add(
            "answers that modules stored under a lifetime of their own, without reading the records",
            None,
        );
        all
    }

    async fn audit(&self, work: &Work, action: &'static str) -> Result<(), Error> {
        let audit = NewAudit {
            by: work.erasure.by.clone(),
            tenant: work.tenant.clone(),
            action,
            subject: work.erasure.id.clone(),
            at_ms: (self.now_ms)(),
        };
        self.store.add_audit(audit).await
    }
}

fn check(plan: &NewErasure) -> Result<(), brink_protocol::Error> {
    let count = plan.partitions.len() + plan.records.len();
    if !(1..=ERASED_MAX).contains(&count) {
        return Err(brink_protocol::Error::Limit {
            what: "partitions and records of one erasure (at least 1)",
            actual: count as u64,
            limit: ERASED_MAX as u64,
        });
    }
    for partition in &plan.partitions {
        check_partition(&partition.collection, &partition.partition)?;
    }
    for record in &plan.records {
        check_partition(&record.collection, &record.partition)?;
        check_sort(&record.sort)?;
    }
    Ok(())
}

fn address(tenant: &TenantName, collection: &str, partition: &str) -> PartitionAddress {
    PartitionAddress {
        tenant: tenant.clone(),
        collection: collection.to_owned(),
        partition: partition.to_owned(),
    }
}

fn partitions(work: &Work) -> Vec<PartitionAddress> {
    let all = work.plan.partitions.iter();
    all.map(|asked| address(&work.tenant, &asked.collection, &asked.partition))
        .collect()
}

/// The sort key of a record that is there.
fn present(row: KeptRow) -> Option<String> {
    match row.key {
        RowKey::Record(sort) if row.value.is_some() => Some(sort),
        RowKey::Record(_) | RowKey::Answer { .. } => None,
    }
}

fn counted<'w>(work: &'w mut Work, partition: &PartitionAddress) -> &'w mut ErasedCollection {
    let collection = &partition.collection;
    let counts = work.erased.entry(collection.clone());
    counts.or_insert_with(|| ErasedCollection {
        collection: collection.clone(),
        ..ErasedCollection::default()
    })
}

fn subjects(plan: &NewErasure) -> Vec<String> {
    let partitions = plan
        .partitions
        .iter()
        .map(|asked| format!("{}\0{}", asked.collection, asked.partition));
    let records = plan
        .records
        .iter()
        .map(|asked| format!("{}\0{}\0{}", asked.collection, asked.partition, asked.sort));
    partitions
        .chain(records)
        .map(|text| Digest::of(text.as_bytes()).to_string())
        .collect()
}
