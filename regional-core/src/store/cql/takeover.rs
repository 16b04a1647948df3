//! Taking over the logs of cores that are gone: what one left open is settled by another, so that no write of it can happen
//! later and nobody waits for its end.
//!
//! Nothing is decided by who lives. Raising the term shuts the former process out, be it dead or not; it is raised only from
//! what it was when the core was found gone, so that a core that has come back meanwhile is left alone.

use super::{
    engine::Engine,
    log::{Writer, fence},
    origins::{self, Claim},
    read_log,
};
use crate::Error;
use brink_protocol::OriginId;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often is looked for logs of cores that are gone.
const INTERVAL: Duration = Duration::from_secs(1);

/// Takes over logs in which something is open and whose cores are gone, again and again.
pub(super) async fn run(engine: Arc<Engine>, closing: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut under_way = BTreeSet::new();
    let mut taking: JoinSet<OriginId> = JoinSet::new();
    while closing.run_until_cancelled(ticks.tick()).await.is_some() {
        while let Some(done) = taking.try_join_next() {
            match done {
                Ok(origin) => {
                    under_way.remove(&origin);
                }
                Err(error) => tracing::error!(%error, "a log was not taken over"),
            }
        }
        for origin in engine.logs.open_elsewhere() {
            if !engine.members.is_heir_of(&origin.node) || !under_way.insert(origin.clone()) {
                continue;
            }
            let engine = Arc::clone(&engine);
            taking.spawn(async move {
                if let Err(error) = take_over(&engine, &origin).await {
                    tracing::warn!(%error, %origin, "a log was not taken over; it is tried again");
                }
                origin
            });
        }
    }
}

/// Settles what is open in the log of a core that is gone.
async fn take_over(engine: &Arc<Engine>, origin: &OriginId) -> Result<(), Error> {
    let claims = origins::all(&engine.session, false).await?;
    let Some(found) = claims.into_iter().find(|claim| claim.origin == *origin) else {
        return Ok(());
    };
    // After its term was read: had it come back before, it would have said so first.
    engine.members.read().await?;
    if !engine.members.is_heir_of(&origin.node) {
        return Ok(());
    }
    let Some(claim) = origins::raise(&engine.session, &found).await? else {
        return Ok(());
    };
    settle(engine, claim).await
}

async fn settle(engine: &Arc<Engine>, claim: Claim) -> Result<(), Error> {
    let (session, origin) = (&engine.session, claim.origin.clone());
    let head = fence(session, &claim).await?;
    let log = read_log::recover(session, &origin, claim.oldest, head).await?;
    let open: Vec<_> = log
        .open()
        .map(|(sequence, intent)| (sequence, intent.clone()))
        .collect();
    tracing::warn!(%origin, head, writes = open.len(), "the log of a core that is gone is taken over");
    metrics::counter!("brink_core_store_logs_taken_over_total").increment(1);
    // It appends what settles, and ends.
    let appender = Writer::start(
        Arc::clone(session),
        claim,
        log,
        Arc::clone(&engine.logs),
        u64::MAX,
        CancellationToken::new(),
    );
    engine.settle_all(&appender, open).await
}
