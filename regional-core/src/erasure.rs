//! Erasures: everything of a person is deleted, nothing made from it is left at any PoP, and a signed certificate says so.
//!
//! Deletions go through the log, as all writes do: PoPs drop what they made from the records. A purge of a name that nobody
//! uses comes behind them in the log, and counts as applied at a PoP that has come as far in the logs of all cores. Each step
//! may be repeated, so any core goes on with one whose core died.

mod kept;
mod outside;
mod plan;
mod signing;
#[cfg(test)]
mod tests;

pub use outside::Outside;
pub use signing::Signer;

use self::{
    kept::Work,
    plan::{address, check, counted, partitions, present, subjects},
};
use crate::{
    Error,
    purges::{Asker, Order, Purges, Until},
    refusal::Refusal,
    store::{Action, Commit, KEPT_ROWS_MAX, NewAudit, RowKey, Store, Transaction, Write},
    trail,
};
use brink_protocol::{
    NodeName, Position, TenantName,
    address::PartitionAddress,
    control::PurgeStatus,
    link::Condition,
    operations::{Certificate, ErasedRecord, Erasure, ErasureStage, NewErasure},
    purge::Selector,
    record::Key,
    trail::{Author, AuthorKind},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often is looked for erasures whose core died.
const LOOKED_FOR: Duration = Duration::from_secs(10);
/// How long nobody must have gone on with one, in milliseconds.
const LEFT_MS: u64 = 60_000;
/// How often a core says that it still does, in milliseconds.
const TOUCHED_MS: u64 = LEFT_MS / 6;
/// How long one call waits for PoPs before it notes that it still does.
const PURGE_WAIT: Duration = Duration::from_secs(15);
/// How long a core waits until it has read the logs of all, and how often it looks whether it has.
const LOGS_WAIT: Duration = Duration::from_secs(30);
const LOGS_AGAIN: Duration = Duration::from_millis(20);
/// Records that one commit deletes.
const WRITES_MAX: usize = 500;
/// Times that rows which came back are deleted again.
const ROUNDS_MAX: usize = 5;

/// The erasures of a core.
pub struct Erasures {
    store: Arc<dyn Store>,
    purges: Purges,
    signer: Signer,
    outside: Outside,
    node: String,
    now_ms: fn() -> u64,
    /// Those that this core goes on with now.
    under_way: Mutex<BTreeSet<String>>,
}

/// An erasure is gone on with for as long as this lives.
struct UnderWay {
    erasures: Arc<Erasures>,
    id: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.erasures.under_way().remove(&self.id);
    }
}

impl Erasures {
    /// Over a store.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        purges: Purges,
        signer: Signer,
        outside: Outside,
        node: &NodeName,
        now_ms: fn() -> u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            purges,
            signer,
            outside,
            node: node.to_string(),
            now_ms,
            under_way: Mutex::default(),
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
        self.spawn(work);
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
        for (tenant, id) in kept::open(&*self.store, (self.now_ms)()).await? {
            if let Err(error) = self.look_at(&tenant, &id).await {
                tracing::warn!(%error, erasure = id, "an erasure that was left was not gone on with");
            }
        }
        Ok(())
    }

    async fn look_at(self: &Arc<Self>, tenant: &TenantName, id: &str) -> Result<(), Error> {
        if self.under_way().contains(id) {
            return Ok(());
        }
        let now = (self.now_ms)();
        let Some(mut work) = kept::read(&*self.store, tenant, id, now).await? else {
            // Its core died between the list and the record: it was never answered. Or it is between the two now.
            let begun_ms = ulid::Ulid::from_string(id).map_or(0, |id| id.timestamp_ms());
            if begun_ms.saturating_add(LEFT_MS) <= now {
                kept::end(&*self.store, format!("{tenant}/{id}"), now).await?;
            }
            return Ok(());
        };
        if work.erasure.stage == ErasureStage::Done {
            // Its core died after the certificate.
            return kept::end(&*self.store, kept::open_name(&work), now).await;
        }
        if work.touched_ms.saturating_add(LEFT_MS) <= now {
            self.touch(&mut work).await?;
            self.spawn(work);
        }
        Ok(())
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with one, unless this core does so already.
    fn spawn(self: &Arc<Self>, work: Work) {
        let id = work.erasure.id.clone();
        if !self.under_way().insert(id.clone()) {
            return;
        }
        let erasures = Arc::clone(self);
        let under_way = UnderWay { erasures, id };
        let erasures = Arc::clone(self);
        tokio::spawn(async move {
            erasures.go_on(work).await;
            drop(under_way);
        });
    }

    async fn go_on(&self, mut work: Work) {
        if let Err(error) = self.erase(&mut work).await {
            let id = &work.erasure.id;
            tracing::error!(%error, erasure = id, "an erasure was cut off; it is gone on with in a minute");
        }
    }

    /// Keeps how far it is, and that somebody goes on with it.
    async fn touch(&self, work: &mut Work) -> Result<(), Error> {
        work.touched_ms = (self.now_ms)();
        kept::keep(&*self.store, work, work.touched_ms).await
    }

    /// The same, if it was not done of late.
    async fn touch_again(&self, work: &mut Work) -> Result<(), Error> {
        if work.touched_ms.saturating_add(TOUCHED_MS) > (self.now_ms)() {
            return Ok(());
        }
        self.touch(work).await
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
                self.touch_again(work).await?;
            }
            let others = self.store.forget(&partition).await?;
            counted(work, &partition).others += others as u64;
            self.touch(work).await?;
        }
        for record in work.plan.records.clone() {
            let partition = address(&work.tenant, &record.collection, &record.partition);
            let sorts = std::slice::from_ref(&record.sort);
            let found = self.store.kept_records(&partition, sorts).await?;
            let sorts = found.into_iter().filter_map(present).collect();
            self.delete_records(work, &partition, sorts).await?;
            loop {
                let trail = self.trail(&work.tenant, &record).await?;
                if trail.is_empty() {
                    break;
                }
                self.delete_records(work, &partition, trail).await?;
            }
        }
        Ok(())
    }

    /// Rows of a record's audit trail, some at a time.
    async fn trail(
        &self,
        tenant: &TenantName,
        record: &ErasedRecord,
    ) -> Result<Vec<String>, Error> {
        let key = Key {
            collection: record.collection.clone(),
            partition: record.partition.clone(),
            sort: record.sort.clone(),
        };
        // Those whose lifetime has ended, too: they are in the engine until it is swept.
        trail::rows(&*self.store, tenant, &key, 0).await
    }

    async fn delete_records(
        &self,
        work: &mut Work,
        partition: &PartitionAddress,
        sorts: Vec<String>,
    ) -> Result<(), Error> {
        // It leaves no trail: that would be about what is erased.
        let by = Author::new(AuthorKind::Erasure, "");
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
            let commit = self.store.commit_by(transaction, &by).await?;
            let Commit::Done { position, .. } = commit else {
                return Err(Error::Busy);
            };
            work.position.merge(&position);
            counted(work, partition).records += sorts.len() as u64;
        }
        Ok(())
    }

    /// Where the logs of all cores on this store end now: what is gone already may have been deleted by another, and so may
    /// what this erasure deleted before another core went on with it.
    async fn all_logs(&self) -> Result<Position, Error> {
        if !self.store.is_shared() {
            return Ok(Position::default());
        }
        let (began, held) = (Instant::now(), self.store.held());
        loop {
            let now = Arc::clone(&held.borrow());
            if now.looked_at.is_some_and(|at| at >= began) {
                return Ok(now.heads.clone());
            }
            if began.elapsed() > LOGS_WAIT {
                return Err(Error::store(
                    "proving an erasure",
                    "the logs of the other cores are not read",
                ));
            }
            tokio::time::sleep(LOGS_AGAIN).await;
        }
    }

    /// Waits until every PoP has applied what comes behind the deletions in the logs.
    async fn purge(&self, work: &mut Work) -> Result<PurgeStatus, Error> {
        let failed = |refusal: Refusal| Error::store("proving an erasure", refusal.problem().title);
        let id = match &work.purge {
            Some(id) => id.clone(),
            None => {
                let name = format!("brink-erasure-{}", work.erasure.id);
                let asker = Asker::Token(work.erasure.by.clone());
                let selectors = vec![Selector::Key(name.parse()?)];
                let mut order = Order::confirmed(work.tenant.clone(), asker, selectors, false);
                order.behind = self.all_logs().await?;
                order.behind.merge(&work.position);
                let taken = self.purges.order(order, (self.now_ms)()).await;
                let status = taken.map_err(failed)?.status();
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
            let is_there = found.into_iter().any(|row| present(row).is_some());
            if is_there || !self.trail(&work.tenant, record).await?.is_empty() {
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
            not_reached: self
                .outside
                .not_reached(&work.plan, self.store.is_shared(), done_ms),
        };
        work.erasure.certificate = Some(self.signer.sign(&certificate)?);
        work.erasure.stage = ErasureStage::Done;
        work.plan = NewErasure::default();
        self.touch(work).await?;
        self.audit(work, "erasure.done").await?;
        metrics::counter!("brink_core_erasures_total").increment(1);
        kept::end(&*self.store, kept::open_name(work), done_ms).await
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
