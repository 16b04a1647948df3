//! Projections: modules that make records of events, here at the core.
//!
//! For each event a projection names a partition of its target collection; events of one stream for one target are
//! applied in order, in one transaction over the target that also moves the checkpoint of that stream there. So each
//! takes effect exactly once, whoever applies it and how often: cores that work on one stream at one time, and those
//! that begin again after a crash, find the checkpoint moved and pass over what is applied. How far the stream itself was
//! read ([`rows::Place`]) is only a place to go on from, and may lag behind.
//!
//! An event at which the projection fails is tried again with growing waits, then put among the dead letters; the stream
//! goes on behind it, while there are not too many of those. What the store or the sandbox is to blame for is tried again for
//! ever.

mod apply;
mod letters;
mod module;
mod operate;
mod queue;
mod retry;
mod rows;
mod runner;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub use module::{Fault, Projection};
pub use operate::{Handled, Oversight, Stands};
pub use rows::{Letter, Names};
pub use settings::ProjectionsConfig;

use self::{
    runner::{Inbox, Runner},
    stream::Work,
};
use crate::events::follow::Follower;
use brink_protocol::{
    ModuleName, TenantName,
    address::PartitionAddress,
    deployment::{Deployment, World},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// How often is looked whether other projections are deployed.
const DEPLOYMENTS_LOOKED_AT: Duration = Duration::from_millis(500);
/// How long to wait after the logs could not be read.
const AGAIN: Duration = Duration::from_secs(1);

/// Which part of divided work is this core's.
pub type Share = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Runs what is deployed of projections.
pub struct Projections {
    /// What they need of the core.
    pub needs: Oversight,
    /// Which part of the work is this core's.
    pub share: Share,
    /// Settings.
    pub settings: ProjectionsConfig,
}

/// A projection that runs.
struct Running {
    deployment: Deployment,
    names: Names,
    inbox: Arc<Inbox>,
    task: AbortHandle,
}

type Key = (TenantName, ModuleName);

impl Projections {
    /// Runs what is deployed until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut follower = Follower::new(Arc::clone(&self.needs.store));
            let mut running: BTreeMap<Key, Running> = BTreeMap::new();
            let mut refused: BTreeSet<(Key, u64)> = BTreeSet::new();
            // Ends them with itself.
            let mut tasks = JoinSet::new();
            let mut look = tokio::time::interval(DEPLOYMENTS_LOOKED_AT);
            loop {
                tokio::select! {
                    _ = look.tick() => self.settle(&mut running, &mut refused, &mut tasks),
                    moved = follower.next() => match moved {
                        Ok(moved) => {
                            if moved.missed {
                                running.values().for_each(|one| one.inbox.look_through());
                            }
                            for partition in &moved.partitions {
                                running.values().for_each(|one| self.tell(one, partition));
                            }
                        }
                        Err(error) => {
                            tracing::warn!(%error, "projections did not hear of new events");
                            tokio::time::sleep(AGAIN).await;
                        }
                    },
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    fn tell(&self, one: &Running, partition: &PartitionAddress) {
        if partition.tenant != one.names.tenant {
            return;
        }
        if partition.collection == one.names.source {
            let shard = crate::events::shard(&partition.partition);
            if (self.share)(&one.names.share(shard)) {
                one.inbox.push(&partition.partition);
            }
        } else if *partition == one.names.control() {
            // It is to be replayed.
            one.inbox.look_through();
        }
    }

    /// Starts what was deployed, and ends what is not any more.
    fn settle(
        &self,
        running: &mut BTreeMap<Key, Running>,
        refused: &mut BTreeSet<(Key, u64)>,
        tasks: &mut JoinSet<()>,
    ) {
        while tasks.try_join_next().is_some() {}
        let table = self.needs.tables.current();
        let wanted: BTreeMap<Key, &Deployment> = table
            .deployments
            .iter()
            .filter(|deployment| deployment.world == World::Projection)
            .map(|deployment| {
                (
                    (deployment.tenant.clone(), deployment.name.clone()),
                    deployment,
                )
            })
            .collect();
        running.retain(|key, one| {
            let stays = wanted
                .get(key)
                .is_some_and(|wanted| **wanted == one.deployment)
                && !one.task.is_finished();
            if !stays {
                one.task.abort();
            }
            stays
        });
        for (key, deployment) in wanted {
            if running.contains_key(&key) {
                continue;
            }
            let (tenant, name) = key.clone();
            match Names::of(&self.needs.store, tenant, name, &deployment.config) {
                Ok(names) => {
                    let started = self.start(deployment, names, tasks);
                    running.insert(key, started);
                }
                Err(error) => {
                    if refused.insert((key, deployment.version)) {
                        tracing::error!(projection = %deployment.name, %error, "a projection cannot run");
                    }
                }
            }
        }
    }

    fn start(&self, deployment: &Deployment, names: Names, tasks: &mut JoinSet<()>) -> Running {
        let module = self.needs.module(deployment.clone());
        let inbox = Arc::<Inbox>::default();
        let runner = Runner {
            work: Arc::new(Work {
                store: Arc::clone(&self.needs.store),
                projection: Arc::new(module),
                names: names.clone(),
                attempts_max: self.settings.attempts_max.max(1),
                letters_max: letters::LETTERS_MAX,
                noted: Default::default(),
            }),
            inbox: Arc::clone(&inbox),
            share: Arc::clone(&self.share),
        };
        tracing::info!(projection = %deployment.name, source = %names.source, target = %names.target, "a projection runs");
        Running {
            deployment: deployment.clone(),
            names,
            inbox,
            task: tasks.spawn(runner.run()),
        }
    }
}
