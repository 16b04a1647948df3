//! What is held of all logs: this core's own as it appends, those of other cores as they are found by looking.

use super::{
    group::{bucket_of, last_of},
    origins,
    session::{Bind, Cql},
};
use crate::{Error, store::Held};
use brink_protocol::{OriginId, Position, log::Kept};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const LAST: &str = "SELECT sequence, open_from FROM log \
                    WHERE node = ? AND incarnation = ? AND bucket = ? ORDER BY sequence DESC LIMIT 1";

/// Where a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Its last entry.
    pub(super) head: u64,
    /// The first entry whose write has no end in the log yet; `head + 1`: there is none.
    pub(super) open_from: u64,
}

/// What is held of all logs.
pub(super) struct Logs {
    own: OriginId,
    held: watch::Sender<Arc<Held>>,
    /// By origin the first entry that is open. Moved before `held`.
    open_from: Mutex<BTreeMap<OriginId, u64>>,
}

impl Logs {
    /// With this core's own.
    pub(super) fn new(own: OriginId, kept: Kept) -> Self {
        let held = Held::new([(own.clone(), kept)].into());
        Self {
            own,
            held: watch::Sender::new(Arc::new(held)),
            open_from: Mutex::default(),
        }
    }

    /// Follows all.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    /// What is held now.
    pub(super) fn now(&self) -> Arc<Held> {
        Arc::clone(&self.held.borrow())
    }

    /// This core's own log.
    pub(super) fn own(&self) -> Kept {
        let held = self.held.borrow();
        let own = held.kept.get(&self.own).copied();
        own.unwrap_or(Kept { oldest: 1, head: 0 })
    }

    /// Moves this core's own.
    pub(super) fn move_own(&self, kept: Kept, open_from: u64) {
        self.note_open([(self.own.clone(), open_from)]);
        let insert = |all: &mut BTreeMap<OriginId, Kept>| {
            all.insert(self.own.clone(), kept);
        };
        self.change(insert);
    }

    fn note_open(&self, found: impl IntoIterator<Item = (OriginId, u64)>) {
        let mut open = self
            .open_from
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.extend(found);
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<OriginId, Kept>)) {
        self.held.send_if_modified(|held| {
            let mut kept = held.kept.clone();
            change(&mut kept);
            let is_new = kept != held.kept;
            if is_new {
                *held = Arc::new(Held::new(kept));
            }
            is_new
        });
    }

    /// A position that covers the end of the write that `intent` intended; none: it is not known to have one yet.
    fn settled(&self, origin: &OriginId, intent: u64) -> Option<Position> {
        let open = {
            let open = self
                .open_from
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            open.get(origin).copied()
        };
        let held = self.held.borrow();
        let is_over =
            |known: &OriginId| known.node == origin.node && known.incarnation > origin.incarnation;
        let mut position = Position::default();
        if held.kept.keys().any(is_over) {
            position.advance(origin, intent);
            return Some(position);
        }
        let kept = held.kept.get(origin)?;
        if kept.head < intent || open.is_none_or(|open| open <= intent) {
            return None;
        }
        position.advance(origin, kept.head);
        Some(position)
    }

    /// Waits for it.
    pub(super) async fn wait_settled(
        &self,
        origin: &OriginId,
        intent: u64,
        at_most: Duration,
    ) -> Result<Position, Error> {
        let mut held = self.subscribe();
        let found = async {
            loop {
                held.borrow_and_update();
                if let Some(position) = self.settled(origin, intent) {
                    return Some(position);
                }
                held.changed().await.ok()?;
            }
        };
        let timed = tokio::time::timeout(at_most, found).await;
        timed.ok().flatten().ok_or_else(|| {
            Error::store(
                "waiting for the end of a write",
                format!("entry {intent} of {origin} is still open"),
            )
        })
    }

    /// Looks at the other cores' logs.
    pub(super) async fn look(&self, session: &Cql) -> Result<(), Error> {
        let before = self.now();
        let others = origins::all(session).await?;
        let mut kept = BTreeMap::new();
        let mut open = Vec::new();
        for (origin, oldest) in others {
            if origin.node == self.own.node {
                continue;
            }
            let known = before.kept.get(&origin).map_or(0, |kept| kept.head);
            let head = match end(session, &origin, known.max(oldest)).await? {
                Some(end) => {
                    open.push((origin.clone(), end.open_from));
                    end.head.max(known)
                }
                None => known.max(oldest.saturating_sub(1)),
            };
            kept.insert(origin, Kept { oldest, head });
        }
        self.note_open(open);
        self.change(|all| {
            all.retain(|origin, _| *origin == self.own || kept.contains_key(origin));
            all.extend(kept);
        });
        Ok(())
    }

    /// Looks again and again.
    pub(super) async fn follow(
        self: Arc<Self>,
        session: Arc<Cql>,
        interval: Duration,
        closing: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while closing.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = self.look(&session).await {
                metrics::counter!("brink_core_store_looks_failed_total").increment(1);
                tracing::debug!(%error, "the other cores' logs were not read");
            }
        }
    }
}

/// Where a log ends, looked for from the bucket of the entry `from` on; none: nothing is kept there.
pub(super) async fn end(session: &Cql, origin: &OriginId, from: u64) -> Result<Option<End>, Error> {
    let mut bucket = bucket_of(from.max(1));
    let mut found = None;
    loop {
        let values = bucket_key(origin, bucket);
        let rows: Vec<(Option<i64>, Option<i64>)> = session.rows(LAST, values).await?;
        // A bucket that was fenced and has no entry yet is a row without a sequence.
        let Some(&(Some(head), open_from)) = rows.first() else {
            return Ok(found);
        };
        let unreadable = |error: std::num::TryFromIntError| Error::corrupt("end of a log", error);
        let head: u64 = head.try_into().map_err(unreadable)?;
        let open_from = match open_from {
            Some(open_from) => open_from.try_into().map_err(unreadable)?,
            None => head + 1,
        };
        found = Some(End { head, open_from });
        if head < last_of(bucket) {
            return Ok(found);
        }
        bucket += 1;
    }
}

/// The key of a bucket.
pub(super) fn bucket_key(origin: &OriginId, bucket: u64) -> Vec<Bind> {
    vec![
        origin.node.as_str().into(),
        Bind::Big(i64::from(origin.incarnation)),
        Bind::Big(bucket.cast_signed()),
    ]
}
