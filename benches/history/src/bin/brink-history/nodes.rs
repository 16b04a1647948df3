//! The database's nodes and the network, and what happens to them while clients run.

use crate::{Error, faults::Counts, lan::Lan};
use brink_engines::Cluster;
use brink_planet::random::Random;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(20);

/// Faults of nodes, in a thread of their own, since a node takes long to start.
pub(crate) struct NodeFaults {
    stops: Arc<AtomicBool>,
    thread: JoinHandle<Result<(Cluster, Counts), Error>>,
}

impl NodeFaults {
    /// `calm_ms`: how long clients run before the first fault, and at least between two, in milliseconds; none: there are
    /// no faults.
    pub(crate) fn begin(
        cluster: Cluster,
        lan: Option<Lan>,
        seed: u64,
        calm_ms: Option<u64>,
    ) -> Self {
        let stops = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stops);
        let thread = thread::spawn(move || {
            let mut faults = Faults {
                cluster,
                lan,
                random: Random::new(seed ^ 0x6e6f_6465),
                stops: seen,
                counts: Counts::default(),
            };
            if let Some(calm_ms) = calm_ms {
                faults.run(calm_ms)?;
            }
            Ok((faults.cluster, faults.counts))
        });
        Self { stops, thread }
    }

    /// Ends what is the matter, and gives the nodes back.
    pub(crate) fn end(self) -> Result<(Cluster, Counts), Error> {
        self.stops.store(true, Ordering::SeqCst);
        let joined = self.thread.join();
        joined.map_err(|_| Error::Other("the faults of nodes ended by themselves".to_owned()))?
    }
}

struct Faults {
    cluster: Cluster,
    lan: Option<Lan>,
    random: Random,
    stops: Arc<AtomicBool>,
    counts: Counts,
}

impl Faults {
    fn run(&mut self, calm_ms: u64) -> Result<(), Error> {
        let nodes = self.cluster.contact_points().len();
        while !self.stops() {
            let calm = self.random.between(calm_ms, calm_ms.saturating_mul(3));
            self.wait(calm);
            if self.stops() {
                break;
            }
            if self.lan.is_some() && self.random.chance(0.5) {
                self.cut(nodes)?;
                continue;
            }
            let node = self.random.below(nodes);
            match self.random.below(10) {
                0..=3 => {
                    self.counts.add("nodes killed");
                    self.cluster.kill(node);
                    let away = self.random.between(0, 4_000);
                    self.wait(away);
                    self.cluster.restart(node)?;
                }
                4 if nodes > 1 => {
                    // No quorum is left.
                    self.counts.add("two nodes stopped");
                    let other = (node + 1) % nodes;
                    self.cluster.pause(node);
                    self.cluster.pause(other);
                    let away = self.random.between(200, 3_000);
                    self.wait(away);
                    self.cluster.resume(node);
                    self.cluster.resume(other);
                }
                _ => {
                    self.counts.add("nodes stopped");
                    self.cluster.pause(node);
                    let away = self.random.between(100, 3_500);
                    self.wait(away);
                    self.cluster.resume(node);
                }
            }
        }
        Ok(())
    }

    /// Cuts something off, and heals it.
    fn cut(&mut self, nodes: usize) -> Result<(), Error> {
        let Some(lan) = &self.lan else {
            return Ok(());
        };
        let random = &mut self.random;
        let all = lan.count();
        let one = random.below(nodes);
        let client = nodes + random.below(all - nodes);
        // Who is cut off from whom.
        let (kind, sides): (_, Vec<(usize, usize)>) = match random.below(4) {
            0 => (
                "nodes cut off from all",
                (0..all)
                    .filter(|&at| at != one)
                    .map(|at| (one, at))
                    .collect(),
            ),
            1 if nodes > 1 => ("nodes cut from nodes", vec![(one, (one + 1) % nodes)]),
            2 => (
                "clients cut off from all",
                (0..nodes).map(|node| (client, node)).collect(),
            ),
            _ => ("clients cut from nodes", vec![(client, one)]),
        };
        let (there, back) = match random.below(4) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        let set = |is_cut: bool| {
            for &(from, to) in &sides {
                if there {
                    lan.cut(from, to, is_cut)?;
                }
                if back {
                    lan.cut(to, from, is_cut)?;
                }
            }
            Ok::<_, Error>(())
        };
        let lasts = random.between(200, 8_000);
        set(true)?;
        self.counts.add(if there && back {
            kind
        } else {
            "cut in one direction"
        });
        self.wait(lasts);
        set(false)
    }

    fn stops(&self) -> bool {
        self.stops.load(Ordering::SeqCst)
    }

    fn wait(&self, ms: u64) {
        let deadline = Instant::now() + Duration::from_millis(ms);
        while !self.stops() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
    }
}
