//! Which streams have new events: at first all, then those that the logs name.

use super::waits::Waits;
use crate::{
    Error,
    clock::now_ms,
    events::{SHARDS, index_partitions, streams},
    store::{Held, Store},
};
use brink_protocol::{
    OriginId, TenantName,
    change::{Change, ChangeKind},
    event::is_of_stream,
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;

/// Changes of one reading of a log.
const CHANGES_MAX: usize = 1000;
/// Streams of one reading of the index.
const STREAMS_MAX: u32 = 1000;

/// Follows one collection.
pub(super) struct Streams {
    pub(super) store: Arc<dyn Store>,
    pub(super) tenant: TenantName,
    pub(super) collection: String,
}

impl Streams {
    /// Names streams to `tell`, each at least once after each of its events; waits where `tell` waits. Never ends.
    pub(super) async fn follow<F: Future<Output = ()>>(&self, tell: impl Fn(String) -> F) {
        let mut held = self.store.held();
        let mut waits = Waits::default();
        loop {
            // Before the index is read: what is appended meanwhile is in the logs after this.
            let mut places = self.heads(&held.borrow_and_update());
            let outcome = match self.all(&tell).await {
                Ok(()) => {
                    waits.reset();
                    self.on(&mut places, &mut held, &tell).await
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => tracing::info!(
                    collection = self.collection,
                    "the log no longer has what followed; all streams are looked at again"
                ),
                Err(error) => {
                    tracing::warn!(%error, collection = self.collection, "streams of events are not followed now");
                    tokio::time::sleep(waits.next()).await;
                }
            }
        }
    }

    /// The heads of the logs whose records this store has.
    fn heads(&self, held: &Held) -> BTreeMap<OriginId, u64> {
        let own = self.store.origin();
        let kept = held.kept.iter();
        kept.filter(|(origin, _)| self.store.is_shared() || *origin == own)
            .map(|(origin, kept)| (origin.clone(), kept.head))
            .collect()
    }

    /// Every stream that there is.
    async fn all<F: Future<Output = ()>>(&self, tell: &impl Fn(String) -> F) -> Result<(), Error> {
        let shards = 0..SHARDS;
        let of = |shard| index_partitions(&*self.store, &self.tenant, &self.collection, shard);
        for index in shards.flat_map(of) {
            let mut after = None;
            loop {
                let (names, more) =
                    streams(&*self.store, &index, after, STREAMS_MAX, now_ms()).await?;
                after = names.last().cloned();
                for name in names {
                    tell(name).await;
                }
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Follows the logs until one of them has lost something.
    async fn on<F: Future<Output = ()>>(
        &self,
        places: &mut BTreeMap<OriginId, u64>,
        held: &mut watch::Receiver<Arc<Held>>,
        tell: &impl Fn(String) -> F,
    ) -> Result<(), Error> {
        loop {
            let heads = self.heads(&held.borrow_and_update());
            for (origin, head) in heads {
                // A log that was not there before is read from its beginning.
                let place = places.entry(origin.clone()).or_insert(0);
                while *place < head {
                    let changes = self.store.changes(&origin, *place, CHANGES_MAX).await?;
                    let Some((first, last)) = changes.first().zip(changes.last()) else {
                        return Ok(());
                    };
                    if first.sequence != *place + 1 {
                        return Ok(());
                    }
                    *place = last.sequence;
                    let mut before = None;
                    for name in changes.iter().filter_map(|change| self.stream(change)) {
                        if before != Some(name) {
                            tell(name.to_owned()).await;
                        }
                        before = Some(name);
                    }
                }
            }
            if held.changed().await.is_err() {
                return Err(Error::store("following the logs", "the store is closed"));
            }
        }
    }

    /// The stream of this collection that a change appended to.
    fn stream<'c>(&self, change: &'c Change) -> Option<&'c str> {
        let ChangeKind::Records {
            partition, records, ..
        } = &change.kind
        else {
            return None;
        };
        let is_ours = partition.tenant == self.tenant && partition.collection == self.collection;
        (is_ours && records.iter().any(|record| is_of_stream(&record.sort)))
            .then_some(partition.partition.as_str())
    }
}
