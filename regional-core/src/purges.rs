//! Purges: taking them, and proving where they were applied.

mod counts;
mod elsewhere;
mod history;
mod order;
mod proof;
mod selectors;
mod turns;

pub use counts::AskPops;
pub use history::{LIST_MAX, Search};
pub use order::{Budget, Order, PurgesConfig, Taken};
pub use proof::Until;
pub use selectors::{Asker, normal, selectors};

use self::{
    counts::Counts,
    elsewhere::Elsewhere,
    proof::{Proof, Proven},
    turns::Turns,
};
use crate::{
    Error,
    deployments::Tables,
    exchange::Peers,
    pops::Pops,
    refusal::Refusal,
    store::{
        ANSWER_LIFETIME_MS, Answer, NewAnswer, NewAudit, NewPurge, PurgeAdded, PurgeRow, Store,
    },
    tokens::authenticate,
};
use brink_protocol::{
    Digest, ModuleName, PopName, Position, TenantName,
    control::{Later, PurgeEstimate, PurgePage, PurgeStatus, Role},
    link::{AppliedPurge, Counted, ForwardedPurge, PurgeRefusal},
    purge::{Purge, Selector, normal_host},
};
use std::{sync::Arc, time::Duration};

/// The longest that a caller may wait for PoPs, in milliseconds.
pub const WAIT_MS_MAX: u64 = 60_000;
/// Callers that wait at a time; more are refused with 429.
pub const WAITERS_MAX: usize = 1024;
/// Callers of one tenant that wait at a time.
pub const TENANT_WAITERS_MAX: usize = 128;
/// Hard halves of staggered purges that are appended in one transaction.
const RELEASED_MAX: usize = 100;
/// A caller who waits looks again after at least so long: many PoPs answer at once.
const PACE: Duration = Duration::from_millis(5);

/// Takes purges and knows how far they are.
#[derive(Clone)]
pub struct Purges {
    store: Arc<dyn Store>,
    pops: Arc<Pops>,
    tables: Arc<Tables>,
    counts: Arc<Counts>,
    elsewhere: Arc<Elsewhere>,
    proof: Arc<Proof>,
    waiters: Arc<Turns>,
    config: PurgesConfig,
    /// Under which idempotency keys are kept.
    command: ModuleName,
}

/// A ULID of this moment: ids are in the order of their purges.
fn new_id(at_ms: u64) -> String {
    ulid::Ulid::from_parts(at_ms, ulid::Ulid::new().random()).to_string()
}

impl Purges {
    /// Over a store, the PoPs that are to apply purges, and the other cores, which have PoPs of their own.
    ///
    /// # Errors
    /// None in practice: a name of its own is not valid.
    pub fn new(
        store: Arc<dyn Store>,
        pops: Arc<Pops>,
        tables: Arc<Tables>,
        ask: AskPops,
        peers: Arc<Peers>,
        config: PurgesConfig,
    ) -> Result<Self, Error> {
        Ok(Self {
            counts: Arc::new(Counts::new(ask, Arc::clone(&pops))),
            proof: Arc::new(Proof::new(Arc::clone(&pops), store.origin().node.clone())),
            elsewhere: Arc::new(Elsewhere::new(peers)),
            waiters: Turns::new(WAITERS_MAX, TENANT_WAITERS_MAX),
            command: "purge".parse()?,
            store,
            pops,
            tables,
            config,
        })
    }

    /// Takes a purge as it is asked for through the control API.
    ///
    /// # Errors
    /// A value outside its limits, a budget that it passes, an idempotency key that was used for another purge, the store.
    pub async fn order(&self, order: Order, now_ms: u64) -> Result<Taken, Refusal> {
        order.check()?;
        let input = order.digest()?;
        if let Some(key) = &order.idempotency_key {
            let kept = NewPurge::answer_key(&order.tenant, &self.command, key);
            if let Some(answer) = self.store.answer(&kept, now_ms).await? {
                return self.before(&order.tenant, &answer, input).await;
            }
        }
        self.check_budget(&order).await?;
        let later = order.stagger_ms.map(|stagger| {
            let at_ms = now_ms.saturating_add(stagger);
            let id = new_id(at_ms);
            Later { id, at_ms }
        });
        let purge = Purge {
            id: new_id(now_ms),
            tenant: order.tenant.clone(),
            selectors: order.selectors,
            soft: order.soft || later.is_some(),
        };
        let answer = order.idempotency_key.map(|key| NewAnswer {
            command: self.command.clone(),
            key,
            input,
            output: purge.id.clone().into(),
            lifetime_ms: ANSWER_LIFETIME_MS,
        });
        let new = NewPurge {
            purge,
            by: order.asker.to_string(),
            at_ms: now_ms,
            answer,
            later,
            behind: order.behind,
        };
        match self.add(new, &order.asker).await? {
            Ok(status) => Ok(Taken::New(status)),
            Err(answer) => self.before(&order.tenant, &answer, input).await,
        }
    }

    /// Appends a purge; the answer that its idempotency key has already, if it has.
    async fn add(
        &self,
        new: NewPurge,
        asker: &Asker,
    ) -> Result<Result<PurgeStatus, Answer>, Refusal> {
        let row = PurgeRow {
            purge: new.purge.clone(),
            by: new.by.clone(),
            at_ms: new.at_ms,
            position: Position::default(),
            applied: Vec::new(),
            later: new.later.clone(),
        };
        let audit = matches!(asker, Asker::Token(_)).then(|| NewAudit {
            by: row.by.clone(),
            tenant: row.purge.tenant.clone(),
            action: "purge",
            subject: row.purge.id.clone(),
            at_ms: row.at_ms,
        });
        match self.store.add_purge(new, audit).await? {
            PurgeAdded::Answered(answer) => Ok(Err(answer)),
            PurgeAdded::TooManyLater => Err(Refusal::TooMany(
                "staggered purges of the tenant are waiting for their hard half".into(),
            )),
            PurgeAdded::Done(position) => {
                self.proof.appended(&row.purge.id);
                let row = PurgeRow { position, ..row };
                let told = self.elsewhere.last_known();
                Ok(Ok(self.proof.status(row, &told).status))
            }
        }
    }

    /// The purge that an idempotency key was used for.
    async fn before(
        &self,
        tenant: &TenantName,
        answer: &Answer,
        input: Digest,
    ) -> Result<Taken, Refusal> {
        if answer.input != input {
            return Err(Refusal::unfit(
                "idempotency-key",
                "The idempotency key was used for another purge",
                "Repeat the same request, or send another key.",
            ));
        }
        let id = String::from_utf8_lossy(&answer.output);
        match self.status(tenant, &id).await? {
            Some(status) => Ok(Taken::Before(status)),
            None => Err(Refusal::Conflict(format!(
                "the purge {id} of this idempotency key was done, and is no longer in the history"
            ))),
        }
    }

    async fn check_budget(&self, order: &Order) -> Result<(), Refusal> {
        let Some(limit) = order.budget.objects_max.or(self.config.objects_max) else {
            return Ok(());
        };
        if order.budget.confirm || order.stagger_ms.is_some() {
            return Ok(());
        }
        let selectors = order.selectors.clone();
        let wait = order.budget.wait;
        let estimate = self.estimate(&order.tenant, selectors, wait).await?;
        if estimate.objects <= limit {
            return Ok(());
        }
        Err(Refusal::Budget { limit, estimate })
    }

    /// How many entries a purge would end, at the PoPs of all cores. Nothing is purged.
    ///
    /// # Errors
    /// Too many are counted at a time.
    pub async fn estimate(
        &self,
        tenant: &TenantName,
        selectors: Vec<Selector>,
        wait: Duration,
    ) -> Result<PurgeEstimate, Refusal> {
        let asked = selectors.clone();
        let elsewhere = async { Ok(self.elsewhere.count(tenant, &asked, wait).await) };
        let here = self.count_here(tenant, selectors, wait);
        let (here, elsewhere) = tokio::try_join!(here, elsewhere)?;
        Ok(elsewhere.with(here))
    }

    /// How many entries a purge would end at the PoPs of this core.
    ///
    /// # Errors
    /// Too many are counted at a time.
    pub async fn count_here(
        &self,
        tenant: &TenantName,
        selectors: Vec<Selector>,
        wait: Duration,
    ) -> Result<PurgeEstimate, Refusal> {
        self.counts.ask(tenant, selectors, wait).await
    }

    /// Appends a purge of normal selectors to the log, whatever it ends. It is on its way to every PoP when this returns.
    ///
    /// # Errors
    /// The store.
    pub async fn create(
        &self,
        tenant: TenantName,
        asker: &Asker,
        selectors: Vec<Selector>,
        soft: bool,
        now_ms: u64,
    ) -> Result<PurgeStatus, Refusal> {
        let order = Order::confirmed(tenant, asker.clone(), selectors, soft);
        Ok(self.order(order, now_ms).await?.status())
    }

    /// Takes a `PURGE` request that arrived at an edge: of one URL, by whoever has the token of an operator.
    ///
    /// # Errors
    /// Why it is refused. What failed inside the core is logged here, and told as too much to do.
    pub async fn forwarded(
        &self,
        asked: ForwardedPurge,
        now_ms: u64,
    ) -> Result<PurgeStatus, PurgeRefusal> {
        let failed = |error: Error| {
            tracing::error!(%error, "a forwarded purge was not done");
            PurgeRefusal::Limited("The core could not do this now; try again.".into())
        };
        let caller = authenticate(&*self.store, &asked.token, now_ms).await;
        let caller = caller.map_err(failed)?;
        let caller = caller.ok_or(PurgeRefusal::Unauthenticated)?;
        if caller.role < Role::Operator {
            let detail = "Purges need a token with the role operator.";
            return Err(PurgeRefusal::Denied(detail.into()));
        }
        let host =
            normal_host(&asked.host).map_err(|error| PurgeRefusal::Invalid(error.to_string()))?;
        let url = format!("{host}{}", asked.path_and_query);
        let selectors = normal(vec![Selector::Url(url)])
            .map_err(|error| PurgeRefusal::Invalid(error.to_string()))?;
        if self.tables.belongs_to_other(&host, &caller.tenant) {
            let detail = "The host belongs to another tenant than the token.";
            return Err(PurgeRefusal::Denied(detail.into()));
        }
        let asker = Asker::Token(caller.id);
        let order = Order {
            idempotency_key: asked.idempotency_key,
            ..Order::confirmed(caller.tenant, asker, selectors, asked.soft)
        };
        match self.order(order, now_ms).await {
            Ok(taken) => Ok(taken.status()),
            Err(Refusal::Core(error)) => Err(failed(error)),
            Err(Refusal::TooMany(detail)) => Err(PurgeRefusal::Limited(detail)),
            Err(other) => Err(PurgeRefusal::Invalid(other.problem().summary())),
        }
    }

    /// How far a purge is now, at the PoPs of all cores.
    ///
    /// # Errors
    /// The store.
    pub async fn status(
        &self,
        tenant: &TenantName,
        id: &str,
    ) -> Result<Option<PurgeStatus>, Error> {
        let Some(row) = self.store.purge(tenant, id).await? else {
            return Ok(None);
        };
        let told = self.elsewhere.ask(&row).await;
        Ok(Some(self.proof.status(row, &told).status))
    }

    /// How far a purge is once those that are waited for have applied it, or after `wait`.
    ///
    /// # Errors
    /// The store, or [`WAITERS_MAX`] or [`TENANT_WAITERS_MAX`] wait already.
    pub async fn wait(
        &self,
        tenant: &TenantName,
        id: &str,
        until: &Until,
        wait: Duration,
    ) -> Result<Option<PurgeStatus>, Refusal> {
        let deadline = tokio::time::Instant::now() + wait;
        let Some(mut row) = self.store.purge(tenant, id).await? else {
            return Ok(None);
        };
        let mut changed = self.pops.changed();
        let mut turn = None;
        let named = until.names();
        let mut told = self.elsewhere.ask(&row).await;
        loop {
            changed.mark_unchanged();
            let Proven {
                status,
                waiting_here,
            } = self.proof.status(row.clone(), &told);
            if until.is_met(&status) {
                return Ok(Some(status));
            }
            if turn.is_none() {
                turn = Some(self.waiters.take(tenant).ok_or_else(|| {
                    Refusal::TooMany("callers are waiting for purges already".into())
                })?);
            }
            // The store is read again only when one of those who had not answered has come so far, or has begun to follow.
            let applied = |pop: &&PopName| status.applied.iter().any(|at| at.pop == **pop);
            let missing: Vec<_> = named.iter().filter(|pop| !applied(pop)).cloned().collect();
            let has_come = || {
                self.pops.any_covers(&waiting_here, &row.position)
                    || self.pops.any_joined(&missing, &row.position)
            };
            let comes = async {
                while !has_come() {
                    if changed.changed().await.is_err() {
                        return;
                    }
                    tokio::time::sleep(PACE).await;
                    changed.mark_unchanged();
                }
            };
            let is_here = tokio::select! {
                () = comes => true,
                () = self.elsewhere.hear(&row, &mut told) => false,
                // As it is now: leases have ended meanwhile.
                () = tokio::time::sleep_until(deadline) => {
                    let row = self.store.purge(tenant, id).await?;
                    return Ok(row.map(|row| self.proof.status(row, &told).status));
                }
            };
            if is_here {
                match self.store.purge(tenant, id).await? {
                    Some(again) => row = again,
                    None => return Ok(None),
                }
            }
        }
    }

    /// A part of the history, newest first.
    ///
    /// # Errors
    /// A value that is not allowed, or the store.
    pub async fn search(&self, tenant: &TenantName, search: Search) -> Result<PurgePage, Refusal> {
        let search = search.normal()?;
        let (mut before, not_asked) = (search.begin(), self.elsewhere.not_asked());
        let (mut purges, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
        let next = loop {
            let rows = self
                .store
                .purges(tenant, before.as_deref(), history::READ_MAX)
                .await?;
            let is_last = rows.len() < history::READ_MAX;
            for row in rows {
                if search.is_over(&row) {
                    return Ok(PurgePage { purges, next: None });
                }
                looked_at += 1;
                bytes += history::bytes(&row);
                before = Some(row.purge.id.clone());
                if search.matches(&row) {
                    purges.push(PurgeStatus {
                        unanswered: Vec::new(),
                        ..self.proof.status(row, &not_asked).status
                    });
                }
                let is_enough =
                    looked_at >= history::LOOKED_AT_MAX || bytes >= history::LOOKED_AT_BYTES_MAX;
                if purges.len() >= search.limit || is_enough {
                    return Ok(PurgePage {
                        purges,
                        next: before,
                    });
                }
            }
            if is_last {
                break None;
            }
        };
        Ok(PurgePage { purges, next })
    }

    /// A PoP applied purges. Durable before its position is believed.
    ///
    /// # Errors
    /// The store; the PoP reports again.
    pub async fn applied(
        &self,
        pop: &PopName,
        applied: &[AppliedPurge],
        now_ms: u64,
    ) -> Result<(), Error> {
        if applied.is_empty() {
            return Ok(());
        }
        for propagation_ms in self.store.note_applied(pop, applied, now_ms).await? {
            let seconds = Duration::from_millis(propagation_ms).as_secs_f64();
            metrics::histogram!("brink_core_purge_propagation_seconds", "pop" => pop.to_string())
                .record(seconds);
        }
        Ok(())
    }

    /// A PoP answered dry runs.
    pub fn counted(&self, pop: &PopName, counts: &[Counted]) {
        self.counts.answered(pop, counts);
    }

    /// Appends hard halves of staggered purges whose time has come.
    ///
    /// # Errors
    /// The store; what was not appended is tried again with the next call.
    pub async fn release(&self, now_ms: u64) -> Result<(), Error> {
        while self.store.release_purges(now_ms, RELEASED_MAX).await? == RELEASED_MAX {}
        Ok(())
    }
}
