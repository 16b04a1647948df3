//! Looking at the logs of the other cores, and at whose this core's own is.
//!
//! A good look says as of when everything is known that any core had acknowledged: what PoPs may call fresh depends on it.
//! Where the keyspace lies in several data centres and commits are confirmed in one, only a look at a quorum of each says so.

use super::{
    group::{bucket_of, last_of},
    held::{End, Found, Logs},
    origins::{self, Claim},
    session::{Bind, Cql},
};
use crate::Error;
use brink_protocol::{OriginId, link::HEARTBEAT_MS};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often all data centres are looked at, where one is not enough.
const EACH_INTERVAL: Duration = Duration::from_millis(HEARTBEAT_MS);
/// Logs that are looked at at a time.
const AT_ONCE: usize = 8;

const LAST: &str = "SELECT sequence, open_from FROM log \
                    WHERE node = ? AND incarnation = ? AND bucket = ? ORDER BY sequence DESC LIMIT 1";
/// With everything that a row has, so that a repair brings all of it.
const LAST_WHOLE: &str = "SELECT sequence, open_from, changes FROM log \
                          WHERE node = ? AND incarnation = ? AND bucket = ? ORDER BY sequence DESC LIMIT 1";

/// Looks for all.
pub(super) struct Looks {
    pub(super) session: Arc<Cql>,
    pub(super) logs: Arc<Logs>,
    pub(super) claim: Claim,
    /// Cancelled when another process writes this core's log.
    pub(super) failed: CancellationToken,
    /// When the last look was begun that the engine answered.
    pub(super) answered: Answered,
}

/// A moment that only goes on.
#[derive(Debug)]
pub(super) struct Answered(Mutex<Instant>);

impl Default for Answered {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Answered {
    fn note(&self, began: Instant) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = began.max(*last);
    }

    fn silence(&self) -> Duration {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.elapsed()
    }
}

impl Looks {
    /// For how long the engine has not answered a look.
    pub(super) fn silence(&self) -> Duration {
        self.answered.silence()
    }

    /// Looks at the other cores' logs.
    pub(super) async fn look(&self) -> Result<(), Error> {
        self.look_at(false).await
    }

    /// As [`Looks::look`], at a quorum of each data centre where one of this may lack what another has.
    pub(super) async fn look_far(&self) -> Result<(), Error> {
        self.look_at(self.session.is_near_alone()).await
    }

    async fn look_at(&self, each: bool) -> Result<(), Error> {
        let began = Instant::now();
        let session = &self.session;
        let all = origins::all(session, each).await?;
        self.check_own(&all)?;
        let others = all
            .into_iter()
            .filter(|claim| claim.origin.node != self.claim.origin.node)
            .map(|Claim { origin, oldest, .. }| async move {
                let known = self.logs.kept(&origin).map_or(0, |kept| kept.head);
                let end = end(session, &origin, known.max(oldest), each).await?;
                Ok::<_, Error>(Found {
                    origin,
                    oldest,
                    end,
                })
            })
            .collect::<Vec<_>>();
        let found: Vec<Found> = stream::iter(others)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        self.answered.note(began);
        let is_enough = each || !session.is_near_alone();
        self.logs.found(found, is_enough.then_some(began));
        Ok(())
    }

    /// Whether this process still writes its log. If not it ends: what the other process acknowledges it does not know.
    fn check_own(&self, all: &[Claim]) -> Result<(), Error> {
        let own = all
            .iter()
            .find(|claim| claim.origin.node == self.claim.origin.node);
        match own {
            Some(own) if own.term == self.claim.term && own.origin == self.claim.origin => Ok(()),
            Some(own)
                if own.term > self.claim.term
                    || own.origin.incarnation > self.claim.origin.incarnation =>
            {
                self.failed.cancel();
                Err(origins::over(&self.claim.origin))
            }
            _ => Err(Error::store(
                "looking at the logs",
                "this core's own is not there",
            )),
        }
    }

    /// Looks again and again.
    pub(super) async fn follow(self: Arc<Self>, interval: Duration, closing: CancellationToken) {
        let near = self.again(interval, false, &closing);
        if self.session.is_near_alone() {
            tokio::join!(near, self.again(EACH_INTERVAL, true, &closing));
        } else {
            near.await;
        }
    }

    async fn again(&self, interval: Duration, each: bool, closing: &CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while closing.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = self.look_at(each).await {
                metrics::counter!("brink_core_store_looks_failed_total").increment(1);
                tracing::debug!(%error, each, "the other cores' logs were not read");
            }
        }
    }
}

/// Where a log ends, looked for from the bucket of the entry `from` on; none: nothing is kept there.
async fn end(
    session: &Cql,
    origin: &OriginId,
    from: u64,
    each: bool,
) -> Result<Option<End>, Error> {
    let mut bucket = bucket_of(from.max(1));
    let mut found = None;
    loop {
        let Some(end) = last(session, origin, bucket, each).await? else {
            return Ok(found);
        };
        found = Some(end);
        if end.head < last_of(bucket) {
            return Ok(found);
        }
        bucket += 1;
    }
}

type LastRow = (Option<i64>, Option<i64>);

/// What the last row of a bucket says. A row that was repaired in part does not say what is open: then all of it is read,
/// after everything that is half-way.
async fn last(
    session: &Cql,
    origin: &OriginId,
    bucket: u64,
    each: bool,
) -> Result<Option<End>, Error> {
    let values = bucket_key(origin, bucket);
    let rows: Vec<LastRow> = if each {
        session.each_rows(LAST, values).await?
    } else {
        session.rows(LAST, values).await?
    };
    // A bucket that was fenced and has no entry yet is a row without a sequence.
    let Some(&(Some(head), open_from)) = rows.first() else {
        return Ok(None);
    };
    let (head, open_from) = match open_from {
        Some(open_from) => (head, open_from),
        None => {
            let values = bucket_key(origin, bucket);
            let rows: Vec<(Option<i64>, Option<i64>, Option<Bytes>)> =
                session.rows_again(LAST_WHOLE, values).await?;
            match rows.first() {
                Some(&(Some(head), Some(open_from), Some(_))) => (head, open_from),
                _ => {
                    return Err(Error::store(
                        "looking at a log",
                        "its last row is there in part",
                    ));
                }
            }
        }
    };
    let unreadable = |error: std::num::TryFromIntError| Error::corrupt("end of a log", error);
    Ok(Some(End {
        head: head.try_into().map_err(unreadable)?,
        open_from: open_from.try_into().map_err(unreadable)?,
    }))
}

/// The key of a bucket.
pub(super) fn bucket_key(origin: &OriginId, bucket: u64) -> Vec<Bind> {
    vec![
        origin.node.as_str().into(),
        Bind::Big(i64::from(origin.incarnation)),
        Bind::Big(bucket.cast_signed()),
    ]
}
