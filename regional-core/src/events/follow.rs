//! Hears of new events from the logs of all origins.

use crate::{
    Error,
    store::{Held, Store},
};
use brink_protocol::{
    OriginId, Position,
    address::PartitionAddress,
    change::{Change, ChangeKind, Phase},
    event::number_of,
    log::Kept,
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::watch;

/// Changes of one reading.
const CHANGES_MAX: usize = 1000;

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moved {
    /// Streams that have new events, and partitions of the platform that were written to.
    pub partitions: BTreeSet<PartitionAddress>,
    /// The logs did not reach back to where the follower was: any stream may have new events.
    pub missed: bool,
}

/// Follows the logs of all origins.
pub struct Follower {
    store: Arc<dyn Store>,
    held: watch::Receiver<Arc<Held>>,
    place: Position,
    /// What was read and not given yet: whoever waits may go away in between.
    moved: Moved,
}

impl Follower {
    /// Begins at the heads of the logs: what is in them by now is not heard of.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let held = store.held();
        let place = held.borrow().heads.clone();
        Self {
            store,
            held,
            place,
            moved: Moved::default(),
        }
    }

    /// Waits until something has happened. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The store's. What was not read is read the next time.
    pub async fn next(&mut self) -> Result<Moved, Error> {
        loop {
            let held = Arc::clone(&self.held.borrow_and_update());
            for (origin, kept) in &held.kept {
                self.read(origin, *kept).await?;
            }
            if self.moved != Moved::default() {
                return Ok(std::mem::take(&mut self.moved));
            }
            if self.is_at(&held) && self.held.changed().await.is_err() {
                // The store is gone, and nothing happens any more.
                std::future::pending::<()>().await;
            }
        }
    }

    fn is_at(&self, held: &Held) -> bool {
        held.kept
            .iter()
            .all(|(origin, kept)| self.place.get(origin) >= kept.head)
    }

    async fn read(&mut self, origin: &OriginId, kept: Kept) -> Result<(), Error> {
        let after = self.place.get(origin);
        if after >= kept.head {
            return Ok(());
        }
        let changes = self.store.changes(origin, after, CHANGES_MAX).await?;
        let is_gapless = changes
            .first()
            .is_some_and(|first| first.sequence == after + 1);
        let last = changes.last().map(|last| last.sequence);
        if !is_gapless {
            self.moved.missed = true;
        }
        for change in changes {
            self.moved.partitions.extend(told_by(change));
        }
        self.place.advance(origin, last.unwrap_or(kept.head));
        Ok(())
    }
}

/// The partition that a change gave events to, or that is the platform's.
fn told_by(change: Change) -> Option<PartitionAddress> {
    let ChangeKind::Records {
        partition,
        records,
        phase,
    } = change.kind
    else {
        return None;
    };
    let is_done = !matches!(phase, Phase::Intended);
    let is_of_interest = partition
        .collection
        .starts_with(brink_protocol::record::PLATFORM_COLLECTION)
        || records
            .iter()
            .any(|record| number_of(&record.sort).is_some());
    (is_done && is_of_interest).then_some(partition)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::events::{Events, NewEvent};
    use crate::store::{Action, Options, RedbStore, Transaction, Write};
    use brink_protocol::link::Condition;
    use bytes::Bytes;

    fn partition(collection: &str, name: &str) -> PartitionAddress {
        PartitionAddress {
            tenant: "default".parse().unwrap(),
            collection: collection.into(),
            partition: name.into(),
        }
    }

    async fn put(store: &dyn Store, at: PartitionAddress) {
        let write = Write {
            sort: "s".into(),
            action: Action::Put {
                value: Bytes::new(),
                expires_at_ms: None,
            },
            condition: Condition::Always,
        };
        let transaction = Transaction {
            partition: at,
            seen: Vec::new(),
            writes: vec![write],
            answer: None,
            now_ms: 1,
        };
        store.commit(transaction).await.unwrap();
    }

    #[tokio::test]
    async fn new_events_are_heard_of() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = Options::new(directory.path(), "core-1".parse().unwrap());
        options.log_changes_max = 20;
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
        let events = Events::new(Arc::clone(&store));
        let append = async |name: &str| {
            let new = NewEvent {
                kind: "k".into(),
                payload: Bytes::new(),
                lifetime_ms: None,
            };
            let at = partition("orders", name);
            events.append(at, vec![new], None, 1).await.unwrap();
        };
        append("before").await;
        let mut follower = Follower::new(Arc::clone(&store));
        put(&*store, partition("orders", "no event")).await;
        append("a").await;
        let moved = follower.next().await.unwrap();
        assert!(moved.partitions.contains(&partition("orders", "a")));
        let names: Vec<_> = moved
            .partitions
            .iter()
            .filter(|at| at.collection == "orders")
            .collect();
        assert_eq!((names.len(), moved.missed), (1, false));
        // More than the log keeps.
        for _ in 0..50 {
            append("b").await;
        }
        let mut missed = false;
        let mut heard = false;
        while !(missed && heard) {
            let moved = follower.next().await.unwrap();
            missed |= moved.missed;
            heard |= moved.partitions.contains(&partition("orders", "b"));
        }
    }
}
