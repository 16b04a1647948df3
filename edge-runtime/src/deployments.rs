//! Takes up what is deployed: fetches the table, loads its components, then lets the new table take the old one's place.
//!
//! Requests never wait for a compiler: they are answered by the old table until the new one is ready. A component that
//! cannot be loaded leaves the old version of its module active, is told to the core in the log of that module, and is
//! tried again. The last table is kept on disk, so that an edge that restarts without a core serves on.

use crate::{
    backoff::Backoff,
    cache::Cache,
    chance::chance,
    error::Error,
    files,
    link::Link,
    modules::Store,
    progress::Progress,
    reports::{Reports, unix_ms},
    routes::{Deployed, DeployedMap, Table},
};
use arc_swap::ArcSwap;
use brink_protocol::{
    PopName, codec,
    deployment::{Deployment, DeploymentTable},
    link::{LogLine, path},
};
use brink_sandbox::{BoxError, Component, Sandbox};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_util::sync::CancellationToken;

/// Components loaded at a time: compiling takes a core each.
const LOADS_AT_A_TIME: usize = 2;
/// Shortest and longest wait before what could not be fetched or loaded is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Takes up deployments.
pub struct Deployments {
    /// Who takes them up.
    pub pop: PopName,
    /// Compiles and runs.
    pub sandbox: Sandbox,
    /// Where components come from.
    pub store: Store,
    /// The active table.
    pub table: Arc<ArcSwap<Table>>,
    /// Whose entries leave when the table changes.
    pub cache: Cache,
    /// Says which revision is wanted, is told which is active.
    pub progress: Arc<Progress>,
    /// Where failures are told.
    pub reports: Arc<Reports>,
    /// Where the last table is kept; none: nowhere.
    pub file: Option<PathBuf>,
}

impl Deployments {
    /// Takes up the table that was kept on disk, if there is one.
    pub async fn restore(&self) {
        let Some(file) = self.file.clone() else {
            return;
        };
        let table = match tokio::fs::read(&file).await {
            Ok(bytes) => codec::decode::<DeploymentTable>(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the kept deployments cannot be read");
                return;
            }
        };
        match table {
            Ok(table) => {
                self.progress.want_revision(table.revision);
                let loaded = self.load_all(&table, &Table::default()).await;
                let (revision, is_whole) = (table.revision, loaded.is_whole);
                // What the cache kept on disk was answered by this table.
                self.table
                    .store(Arc::new(Table::new(table, loaded.deployed)));
                if is_whole {
                    self.progress.set_revision_active(revision);
                }
                tracing::info!(revision, is_whole, "deployments taken up from disk");
            }
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the kept deployments cannot be used");
            }
        }
    }

    /// Follows the revisions that the feed says, until `stop`.
    pub async fn follow(&self, link: &Link, stop: CancellationToken) {
        let mut wanted = self.progress.revision_wanted();
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            let revision = *wanted.borrow_and_update();
            let is_taken_up =
                self.progress.revision_active() == revision || self.take_up(link, revision).await;
            tokio::select! {
                () = stop.cancelled() => return,
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    backoff.reset();
                }
                () = tokio::time::sleep(backoff.next(chance())), if !is_taken_up => {}
            }
        }
    }

    async fn take_up(&self, link: &Link, revision: u64) -> bool {
        let fetched = link
            .fetch(path::DEPLOYMENTS, "", codec::MESSAGE_BYTES_MAX)
            .await;
        let decoded = fetched
            .map_err(|e| e.to_string())
            .and_then(|bytes| codec::decode::<DeploymentTable>(&bytes).map_err(|e| e.to_string()));
        match decoded {
            Ok(table) => {
                // It may be newer than the feed has said yet, never older for good.
                if table.revision > revision {
                    self.progress.want_revision(table.revision);
                }
                let is_reached = table.revision >= revision;
                self.activate(table).await && is_reached
            }
            Err(error) => {
                tracing::warn!(
                    revision,
                    error,
                    "the deployments could not be fetched, trying on"
                );
                false
            }
        }
    }

    /// Loads what `source` deploys and lets it take over. Answers whether all of it is active.
    pub async fn activate(&self, source: DeploymentTable) -> bool {
        let old = self.table.load_full();
        let Loaded { deployed, is_whole } = self.load_all(&source, &old).await;
        let revision = source.revision;
        let kept = is_whole.then(|| source.clone());
        let digests = source.deployments.iter().map(|d| d.digest).collect();
        let new = Table::new(source, deployed);
        let outdated = new.outdates(&old);
        self.table.store(Arc::new(new));
        for (tenant, selector) in outdated {
            self.cache.invalidate(&tenant, &selector);
        }
        if let Some(source) = kept {
            // After the cache: a crash in between takes the table up, and outdates, once more.
            self.keep(&source);
            self.progress.set_revision_active(revision);
            self.store.prune(digests).await;
        }
        self.reports.urge();
        tracing::info!(revision, is_whole, "deployments taken up");
        is_whole
    }

    /// Loads what `source` deploys beyond what `old` has.
    async fn load_all(&self, source: &DeploymentTable, old: &Table) -> Loaded {
        let mut wanted = source.deployments.iter().filter(|d| d.world.is_of_edge());
        let mut loading = FuturesUnordered::new();
        let mut deployed = DeployedMap::new();
        let mut is_whole = true;
        loop {
            while loading.len() < LOADS_AT_A_TIME
                && let Some(deployment) = wanted.next()
            {
                loading.push(self.deployed(deployment, old));
            }
            let Some(outcome) = loading.next().await else {
                break;
            };
            is_whole &= outcome.is_whole;
            if let Some(module) = outcome.module {
                let key = (
                    module.deployment.tenant.clone(),
                    module.deployment.name.clone(),
                );
                deployed.insert(key, module);
            }
        }
        Loaded { deployed, is_whole }
    }

    /// A restart would find the table; without a disk it asks the core.
    fn keep(&self, source: &DeploymentTable) {
        let Some(file) = &self.file else { return };
        let kept = codec::encode(source)
            .map_err(|e| e.to_string())
            .and_then(|bytes| files::replace(file, &bytes).map_err(|e| e.to_string()));
        if let Err(error) = kept {
            tracing::warn!(file = %file.display(), error, "the deployments are not kept on disk");
        }
    }

    /// The module as the old table has it if nothing changed, else loaded; if that fails, as the old table has it.
    async fn deployed(&self, deployment: &Deployment, old: &Table) -> Outcome {
        let key = (deployment.tenant.clone(), deployment.name.clone());
        let before = old.deployed().get(&key);
        if let Some(same) = before.filter(|b| b.deployment == *deployment && !b.is_superseded) {
            return Outcome {
                module: Some(Arc::clone(same)),
                is_whole: true,
            };
        }
        match self.load(deployment).await {
            Ok(component) => Outcome {
                module: Some(Arc::new(Deployed::new(
                    deployment.clone(),
                    component,
                    false,
                ))),
                is_whole: true,
            },
            Err(error) => {
                self.tell(deployment, &error);
                let superseded = |b: &Arc<Deployed>| {
                    Arc::new(Deployed::new(
                        b.deployment.clone(),
                        b.component.clone(),
                        true,
                    ))
                };
                Outcome {
                    module: before.map(superseded),
                    is_whole: false,
                }
            }
        }
    }

    async fn load(&self, deployment: &Deployment) -> Result<Component, Error> {
        let digest = deployment.digest;
        let store = self.store.clone();
        let bytes = move || async move { store.bytes(digest).await.map_err(BoxError::from) };
        let component = self.sandbox.load(&digest, bytes).await?;
        if component.world() == deployment.world {
            Ok(component)
        } else {
            Err(Error::Component {
                digest,
                reason: format!(
                    "it is a {:?} and was deployed as a {:?}",
                    component.world(),
                    deployment.world
                ),
            })
        }
    }

    /// Whoever deployed it reads the log of the module.
    fn tell(&self, deployment: &Deployment, error: &Error) {
        let (module, version) = (&deployment.name, deployment.version);
        tracing::error!(%module, version, %error, "a deployment could not be loaded");
        metrics::counter!("brink_deployment_failures_total", "module" => module.as_str().to_owned())
            .increment(1);
        self.reports.logged(LogLine {
            at_ms: unix_ms(SystemTime::now()),
            tenant: deployment.tenant.clone(),
            module: module.clone(),
            place: self.pop.as_str().to_owned(),
            level: "error".into(),
            message: format!("version {version} could not be loaded at this PoP: {error}"),
            fields: vec![("digest".into(), deployment.digest.to_string())],
            trace_id: None,
        });
    }
}

/// What could be loaded of a table.
struct Loaded {
    deployed: DeployedMap,
    is_whole: bool,
}

struct Outcome {
    /// None: it could not be loaded, and there is no old version.
    module: Option<Arc<Deployed>>,
    is_whole: bool,
}
