//! How many entries would a purge end? Every connected PoP is asked over its feed and answers in its next report.

use super::turns::Turns;
use crate::{Error, pops::Pops, refusal::Refusal};
use brink_protocol::{
    PopName, TenantName,
    control::{EstimateAtPop, PurgeEstimate},
    link::{CountRequest, Counted},
    purge::Selector,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// Counts under way at a time.
const COUNTS_MAX: usize = 32;
/// Counts of one tenant under way at a time.
const TENANT_COUNTS_MAX: usize = 4;

/// Sends a question to every PoP that follows the feed. Does not block.
pub type AskPops = Arc<dyn Fn(&CountRequest) -> Result<(), Error> + Send + Sync>;

/// What PoPs have answered so far.
type Answers = BTreeMap<PopName, Counted>;

/// Questions under way.
pub(super) struct Counts {
    ask: AskPops,
    pops: Arc<Pops>,
    turns: Arc<Turns>,
    open: Mutex<BTreeMap<String, watch::Sender<Answers>>>,
}

/// A question is open for as long as this lives.
struct Asking<'c> {
    counts: &'c Counts,
    id: String,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.counts.open().remove(&self.id);
    }
}

impl Counts {
    pub(super) fn new(ask: AskPops, pops: Arc<Pops>) -> Self {
        Self {
            ask,
            pops,
            turns: Turns::new(COUNTS_MAX, TENANT_COUNTS_MAX),
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<Answers>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A PoP answered. Answers that nobody waits for are left out.
    pub(super) fn answered(&self, pop: &PopName, answers: &[Counted]) {
        let open = self.open();
        for answer in answers {
            if let Some(asked) = open.get(&answer.id) {
                asked.send_modify(|all| {
                    all.insert(pop.clone(), answer.clone());
                });
            }
        }
    }

    /// Asks the PoPs of this core, and waits until every connected one has answered, or `wait` is over.
    ///
    /// # Errors
    /// Too many are under way, or the question cannot be sent.
    pub(super) async fn ask(
        &self,
        tenant: &TenantName,
        selectors: Vec<Selector>,
        wait: Duration,
    ) -> Result<PurgeEstimate, Refusal> {
        let _turn = self.turns.take(tenant).ok_or_else(|| {
            Refusal::TooMany(format!(
                "dry runs and budgets of the tenant: {TENANT_COUNTS_MAX} at a time"
            ))
        })?;
        let request = CountRequest {
            id: ulid::Ulid::new().to_string(),
            tenant: tenant.clone(),
            selectors,
        };
        let (sender, mut answers) = watch::channel(Answers::new());
        self.open().insert(request.id.clone(), sender);
        let asking = Asking {
            counts: self,
            id: request.id.clone(),
        };
        let (connected, away) = self.pops.connected();
        (self.ask)(&request)?;
        let all_answered = answers.wait_for(|all| {
            all.len() >= connected.len() && connected.iter().all(|pop| all.contains_key(pop))
        });
        // Those who have not answered by then are named.
        let _ = tokio::time::timeout(wait, all_answered).await;
        let answers = answers.borrow().clone();
        drop(asking);
        let silent = connected.into_iter().chain(away);
        let silent = silent.filter(|pop| !answers.contains_key(pop)).collect();
        Ok(estimate(request.selectors, answers, silent))
    }
}

fn estimate(selectors: Vec<Selector>, answers: Answers, silent: Vec<PopName>) -> PurgeEstimate {
    let pops: Vec<_> = answers
        .into_iter()
        .map(|(pop, counted)| EstimateAtPop {
            pop,
            objects: counted.objects,
            bytes: counted.bytes,
        })
        .collect();
    let sum = |of: fn(&EstimateAtPop) -> u64| pops.iter().map(of).fold(0, u64::saturating_add);
    PurgeEstimate {
        selectors,
        objects: sum(|pop| pop.objects),
        bytes: sum(|pop| pop.bytes),
        pops,
        silent,
        unreached: Vec::new(),
    }
}
