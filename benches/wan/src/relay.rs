//! Relays on loopback, for where namespaces are not permitted.
//!
//! Node N listens on `127.0.77.(N+1)`. Node A reaches the ports of node B at `127.77.(A+1).(B+1)`: there a relay takes
//! connections and datagrams and gives them on as the model says. A stream is delayed, and held while its way is cut; its
//! connection stays open meanwhile. Ports have to be known beforehand.

mod datagrams;
mod streams;

use crate::{
    Error,
    model::{Counts, Path, Wan},
    plan::Plan,
};
use datagrams::Datagram;
use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Where a node listens itself.
pub(crate) fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 77, last(node))
}

/// Where one node reaches another.
pub(crate) fn reached(from: usize, to: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, last(from), last(to))
}

fn last(node: usize) -> u8 {
    // The plan has at most 64 nodes.
    u8::try_from(node + 1).unwrap_or(u8::MAX)
}

/// The relays of a plan. Dropped: they are gone.
#[derive(Debug)]
pub(crate) struct Relays {
    shared: Arc<Shared>,
    /// Holds every task.
    runtime: Option<tokio::runtime::Runtime>,
}

/// What all relays share.
#[derive(Debug)]
struct Shared {
    wan: Mutex<Wan<Datagram>>,
    /// Changes with every change of a way, and with every datagram under way.
    changed: watch::Sender<u64>,
    started: Instant,
}

impl Shared {
    /// The model. Nobody panics while holding it.
    fn wan(&self) -> MutexGuard<'_, Wan<Datagram>> {
        self.wan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn tell(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Until a moment of the model's time.
    async fn until(&self, due: Duration) {
        tokio::time::sleep_until((self.started + due).into()).await;
    }

    /// When a piece of a stream arrives; waits while the way is cut.
    async fn stream(&self, (from, to): (usize, usize), bytes: u64) -> Duration {
        let mut changed = self.changed.subscribe();
        loop {
            let due = self.wan().stream(from, to, bytes, self.now());
            if let Some(due) = due {
                return due;
            }
            if changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

impl Relays {
    /// Makes them.
    pub(crate) fn create(plan: &Plan, wan: Wan<Datagram>) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(Error::io("the runtime of the relays"))?;
        let shared = Arc::new(Shared {
            wan: Mutex::new(wan),
            changed: watch::Sender::new(0),
            started: Instant::now(),
        });
        runtime.block_on(async {
            tokio::spawn(datagrams::deliver(Arc::clone(&shared)));
            for to in 0..plan.nodes.len() {
                for from in (0..plan.nodes.len()).filter(|from| *from != to) {
                    open(plan, &shared, from, to).await?;
                }
            }
            Ok::<(), Error>(())
        })?;
        Ok(Self {
            shared,
            runtime: Some(runtime),
        })
    }

    pub(crate) fn set(&self, from: usize, to: usize, path: Path) {
        self.shared.wan().set(from, to, path);
        self.shared.tell();
    }

    pub(crate) fn path(&self, from: usize, to: usize) -> Option<Path> {
        self.shared.wan().path(from, to).copied()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.shared.wan().counts()
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn open(plan: &Plan, shared: &Arc<Shared>, from: usize, to: usize) -> Result<(), Error> {
    let Some(node) = plan.nodes.get(to) else {
        return Ok(());
    };
    for port in &node.tcp {
        let here = (reached(from, to), *port);
        let there = (address(to), *port).into();
        streams::open(Arc::clone(shared), (from, to), here.into(), there).await?;
    }
    for port in &node.udp {
        let here = (reached(from, to), *port);
        let there = (address(to), *port).into();
        datagrams::open(Arc::clone(shared), (from, to), here.into(), there).await?;
    }
    Ok(())
}
