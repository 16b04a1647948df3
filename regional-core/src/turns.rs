//! Turns: one at a time in each partition.

use brink_protocol::address::PartitionAddress;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Mutex as Lock, OwnedMutexGuard};

/// Partitions that are looked through at the earliest for those that nobody uses.
const PRUNED_FROM: usize = 1024;

#[derive(Default)]
struct Partitions {
    locks: HashMap<PartitionAddress, Arc<Lock<()>>>,
    prune_at: usize,
}

/// Gives out turns. Each partition has a lock of its own: what one tenant's callers wait for never holds up another's.
#[derive(Default)]
pub(crate) struct Turns {
    partitions: Mutex<Partitions>,
}

impl Turns {
    fn of(&self, partition: &PartitionAddress) -> Arc<Lock<()>> {
        let mut guard = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Partitions { locks, prune_at } = &mut *guard;
        if locks.len() >= (*prune_at).max(PRUNED_FROM) {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            // Twice what is in use: looking through all is paid for by as many new ones.
            *prune_at = locks.len() * 2;
        }
        Arc::clone(locks.entry(partition.clone()).or_default())
    }

    /// Waits until those before are done. The turn ends when what is given is dropped.
    pub(crate) async fn turn(&self, partition: &PartitionAddress) -> OwnedMutexGuard<()> {
        self.of(partition).lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::FutureExt as _;

    fn partition(name: &str) -> PartitionAddress {
        PartitionAddress {
            tenant: "default".parse().unwrap(),
            collection: "c".into(),
            partition: name.into(),
        }
    }

    #[test]
    fn a_partition_is_held_up_by_itself_alone() {
        let turns = Turns::default();
        let held = turns.turn(&partition("a")).now_or_never().unwrap();
        for n in 0..5 * PRUNED_FROM {
            let other = partition(&format!("p{n}"));
            assert!(turns.turn(&other).now_or_never().is_some());
        }
        assert!(turns.turn(&partition("a")).now_or_never().is_none());
        drop(held);
        assert!(turns.turn(&partition("a")).now_or_never().is_some());
        let kept = turns.partitions.lock().unwrap().locks.len();
        assert!(kept <= PRUNED_FROM, "{kept}");
    }
}
