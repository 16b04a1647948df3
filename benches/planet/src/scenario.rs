//! What a run is like: all of it follows from its seed.

use crate::{cities::CITIES, random::Random};

/// Cores of the largest runs.
pub const CORES_MAX: usize = 5;
/// PoPs of the largest runs.
pub const POPS_MAX: usize = 1_000;

/// A run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its seed.
    pub seed: u64,
    /// How many cores, 1 to [`CORES_MAX`].
    pub cores: usize,
    /// How many PoPs, 1 to [`POPS_MAX`].
    pub pops: usize,
    /// How many clients.
    pub clients: usize,
    /// How many records.
    pub keys: u64,
    /// How many objects of origins.
    pub objects: u64,
    /// How many different answers there are.
    pub pages: usize,
    /// See [`brink_policy::coherence::Lease`].
    pub lease_ms: u64,
    /// How many entries of each log a core keeps.
    pub keep: usize,
    /// Most tags that a PoP remembers.
    pub tags_max: usize,
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Between a core and the record store, one way, in microseconds.
    pub store_us: u64,
    /// How far behind the store's newest state a core may read, in microseconds.
    pub read_lag_us: u64,
    /// PoPs have disks.
    pub has_disks: bool,
    /// Most faults are power failures of PoPs, which serve what is stale then.
    pub has_power_failures: bool,
    /// The first of the PoPs, so many, are shields: the others ask them before a core.
    pub shields: usize,
    /// How long clients and faults go on, in microseconds.
    pub active_us: u64,
    /// How long it takes to come to rest, in microseconds.
    pub rest_us: u64,
    /// Between two faults, on average, in microseconds; 0: there are none.
    pub fault_us: u64,
    /// Probability that a core crashes right after it has sent a write to the store.
    pub crash_at_write: f64,
    /// Probability that the store is slow to begin with a write.
    pub slow_write: f64,
    /// Probability that frames of a feed, a few in a row, are dropped for good, which no network does and a peer might.
    pub drop_frame: f64,
    /// Longest pause of a client between two requests, in microseconds.
    pub think_us: u64,
    /// How many of a hundred requests of a client are reads.
    pub reads: u64,
}

impl Scenario {
    /// The run of a seed: every 50th has [`POPS_MAX`] PoPs, the others few.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        if seed % 50 == 49 {
            Self::large(seed, POPS_MAX)
        } else {
            Self::small(seed)
        }
    }

    /// Few nodes, and everything goes wrong.
    #[must_use]
    pub fn small(seed: u64) -> Self {
        let random = &mut Random::new(seed ^ 0x5ce_4a21_0000);
        let most_pops = if random.chance(0.2) { 28 } else { 8 };
        let lease_ms = [400, 1_000, 2_000]
            .get(random.below(3))
            .copied()
            .unwrap_or(2_000);
        Self {
            seed,
            cores: random.below(CORES_MAX) + 1,
            pops: 3 + random.below(most_pops),
            clients: 6 + random.below(20),
            keys: random.between(6, 40),
            objects: random.between(2, 8),
            pages: 6 + random.below(30),
            lease_ms,
            keep: [20, 200, 5_000]
                .get(random.below(3))
                .copied()
                .unwrap_or(200),
            tags_max: [8, 64, 100_000].get(random.below(3)).copied().unwrap_or(64),
            loss: [0.0, 0.01, 0.05]
                .get(random.below(3))
                .copied()
                .unwrap_or(0.0),
            store_us: random.between(500, 12_000),
            read_lag_us: if random.chance(0.5) {
                random.between(20_000, 250_000)
            } else {
                0
            },
            has_disks: random.chance(0.7),
            has_power_failures: random.chance(0.2),
            active_us: random.between(10, 30) * 1_000_000,
            rest_us: 14_000_000,
            fault_us: if random.chance(0.1) {
                0
            } else {
                random.between(300, 2_500) * 1_000
            },
            crash_at_write: if random.chance(0.7) { 0.06 } else { 0.0 },
            slow_write: if random.chance(0.8) { 0.2 } else { 0.0 },
            drop_frame: if random.chance(0.3) { 0.01 } else { 0.0 },
            think_us: random.between(10, 150) * 1_000,
            reads: random.between(60, 97),
            // Last, so that earlier seeds are what they were.
            shields: if random.chance(0.4) {
                1 + random.below(2)
            } else {
                0
            },
        }
    }

    /// Many PoPs, and something goes wrong now and then.
    #[must_use]
    pub fn large(seed: u64, pops: usize) -> Self {
        let mut scenario = Self::small(seed);
        scenario.pops = pops.clamp(1, POPS_MAX);
        scenario.clients = 60;
        scenario.keep = scenario.keep.max(200);
        scenario.tags_max = scenario.tags_max.max(64);
        scenario.active_us = 6_000_000;
        scenario.rest_us = 10_000_000;
        scenario.think_us = 100_000;
        scenario
    }

    /// No faults at all but lost frames: what purges take.
    #[must_use]
    pub fn calm(seed: u64, pops: usize, loss: f64) -> Self {
        let mut scenario = Self::large(seed, pops);
        scenario.cores = 1 + usize::try_from(seed % CORES_MAX as u64).unwrap_or(0);
        scenario.lease_ms = 2_000;
        scenario.keep = 5_000;
        scenario.tags_max = 100_000;
        scenario.loss = loss;
        scenario.fault_us = 0;
        scenario.crash_at_write = 0.0;
        scenario.slow_write = 0.0;
        scenario.drop_frame = 0.0;
        scenario
    }

    /// Where a core stands.
    #[must_use]
    pub fn core_place(&self, core: usize) -> usize {
        core.min(CORES_MAX - 1)
    }

    /// Where a PoP stands.
    #[must_use]
    pub fn pop_place(&self, pop: usize) -> usize {
        (pop * 7 + usize::try_from(self.seed % 60).unwrap_or(0)) % CITIES.len()
    }

    /// The bound on staleness that its history is held to, in microseconds: the lease, and 10 ms for milliseconds that are
    /// cut off and clocks that run at different rates.
    #[must_use]
    pub fn bound_us(&self) -> u64 {
        self.lease_ms * 1_000 + 10_000
    }
}
