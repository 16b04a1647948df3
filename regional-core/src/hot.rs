//! Which partitions are read and written most: what an operator splits, or lets edges cache.

mod sketch;

use self::sketch::{Counted, Sketch};
use brink_protocol::address::PartitionAddress;
use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Partitions that are counted at a time, of reads and of writes each.
pub const COUNTED_MAX: usize = SKETCHES * SKETCH_KEYS;
const SKETCHES: usize = 8;
const SKETCH_KEYS: usize = 64;
/// After how long counts are halved.
const HALVED_AFTER: Duration = Duration::from_secs(10);
/// Counts halved again and again come to so many times what is counted between two halvings.
const SPANS: f64 = 2.0;

/// Counts reads and writes of partitions at this core. What is counted is not what others do with the same partitions.
pub struct Hot {
    hasher: RandomState,
    reads: Vec<Mutex<Aging>>,
    writes: Vec<Mutex<Aging>>,
}

struct Aging {
    sketch: Sketch<PartitionAddress>,
    halved: Instant,
}

/// How much is done with a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Heat {
    /// The partition.
    pub partition: PartitionAddress,
    /// In a second, over the last 20 s or so; at most.
    pub per_second: f64,
    /// How much of that may have been other partitions.
    pub per_second_error: f64,
}

impl Default for Hot {
    fn default() -> Self {
        let sketches = || {
            let aging = || Aging {
                sketch: Sketch::new(SKETCH_KEYS),
                halved: Instant::now(),
            };
            (0..SKETCHES).map(|_| Mutex::new(aging())).collect()
        };
        Self {
            hasher: RandomState::new(),
            reads: sketches(),
            writes: sketches(),
        }
    }
}

impl Hot {
    /// A partition was read.
    pub fn read(&self, partition: &PartitionAddress) {
        self.count(&self.reads, partition);
    }

    /// A partition was written.
    pub fn written(&self, partition: &PartitionAddress) {
        self.count(&self.writes, partition);
    }

    fn count(&self, sketches: &[Mutex<Aging>], partition: &PartitionAddress) {
        let hash = self.hasher.hash_one(partition);
        let index = usize::try_from(hash % SKETCHES as u64).unwrap_or_default();
        if let Some(sketch) = sketches.get(index) {
            let mut aging = sketch.lock().unwrap_or_else(PoisonError::into_inner);
            aging.age();
            aging.sketch.count(hash, || partition.clone());
        }
    }

    /// The partitions that are read most, first the first.
    #[must_use]
    pub fn most_read(&self) -> Vec<Heat> {
        most(&self.reads)
    }

    /// The partitions that are written most, first the first.
    #[must_use]
    pub fn most_written(&self) -> Vec<Heat> {
        most(&self.writes)
    }

    /// Tells figures how hot the hottest are.
    pub fn tell(&self) {
        let first = |heats: Vec<Heat>| heats.first().map_or(0.0, |heat| heat.per_second);
        metrics::gauge!("brink_core_hottest_partition_reads_per_second")
            .set(first(self.most_read()));
        metrics::gauge!("brink_core_hottest_partition_writes_per_second")
            .set(first(self.most_written()));
    }
}

impl Aging {
    fn age(&mut self) {
        while self.halved.elapsed() >= HALVED_AFTER {
            self.sketch.halve();
            self.halved += HALVED_AFTER;
            if self.sketch.is_empty() {
                self.halved = Instant::now();
            }
        }
    }
}

fn most(sketches: &[Mutex<Aging>]) -> Vec<Heat> {
    let mut all: Vec<Heat> = Vec::new();
    for sketch in sketches {
        let mut aging = sketch.lock().unwrap_or_else(PoisonError::into_inner);
        aging.age();
        // What is counted since the last halving weighs in full.
        let seconds = HALVED_AFTER.as_secs_f64() * (SPANS - 1.0)
            + aging.halved.elapsed().as_secs_f64().max(1.0);
        let heat = |counted: &Counted<PartitionAddress>| Heat {
            partition: counted.key.clone(),
            per_second: counted.count as f64 / seconds,
            per_second_error: counted.error as f64 / seconds,
        };
        all.extend(aging.sketch.counted().map(heat));
    }
    all.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(partition: usize) -> PartitionAddress {
        PartitionAddress {
            tenant: "default".parse().unwrap(),
            collection: "c".into(),
            partition: partition.to_string(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_hottest_come_first_and_cool_down() {
        let hot = Hot::default();
        for n in 0..20_000 {
            hot.read(&at(n));
            if n % 10 == 0 {
                hot.read(&at(7));
            }
        }
        hot.written(&at(1));
        let first = hot.most_read().into_iter().next().unwrap();
        assert_eq!(first.partition, at(7));
        assert!(
            first.per_second - first.per_second_error > 100.0,
            "{first:?}"
        );
        assert!(hot.most_read().len() <= COUNTED_MAX);
        assert_eq!(hot.most_written().len(), 1);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(hot.most_read(), []);
    }
}
