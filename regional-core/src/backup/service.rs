//! Taking backups while the core runs: a snapshot now and then, increments all the time.

use super::{
    directory::{Generation, Manifest},
    follow::Follower,
    take::{begin, resume},
};
use crate::{Error, clock::now_ms, core::make_private_directory, store::Store};
use brink_protocol::operations::{BackupGeneration, Backups as Shown};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

const HOUR_MS: u64 = 3600 * 1000;
/// How long after a failure it is begun anew.
const AGAIN: Duration = Duration::from_secs(10);

/// `[backup]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackupConfig {
    /// Where backups are kept: best on another disk or machine than the store. Default: none are taken. Of cores that share
    /// a store, one is enough.
    pub directory: Option<PathBuf>,
    /// How often what changed is kept, in milliseconds, 100 to 60,000: what is acknowledged within may be lost with the
    /// store. Default 1,000.
    pub interval_ms: u64,
    /// How often a snapshot is taken, in hours, 1 to 8,784. Default 24.
    pub snapshot_hours: u64,
    /// Snapshots that are kept, with what followed each, 1 to 1,000; the oldest go first. Default 7.
    pub keep: usize,
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self {
            directory: None,
            interval_ms: 1_000,
            snapshot_hours: 24,
            keep: 7,
        }
    }
}

impl BackupConfig {
    /// What is wrong with it.
    #[must_use]
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if !(100..=60_000).contains(&self.interval_ms) {
            mistakes.push("backup.interval_ms: it is 100 to 60000".into());
        }
        if !(1..=8_784).contains(&self.snapshot_hours) {
            mistakes.push("backup.snapshot_hours: it is 1 to 8784".into());
        }
        if !(1..=1_000).contains(&self.keep) {
            mistakes.push("backup.keep: it is 1 to 1000".into());
        }
        mistakes
    }

    /// When the youngest backup that is there now is gone, if they go on being taken, in milliseconds since 1970.
    #[must_use]
    pub fn lapse_ms(&self, now_ms: u64) -> Option<u64> {
        self.directory.as_ref()?;
        let generations = u64::try_from(self.keep)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let hours = self.snapshot_hours.saturating_mul(generations);
        Some(now_ms.saturating_add(hours.saturating_mul(HOUR_MS)))
    }
}

#[derive(Debug, Clone, Default)]
struct State {
    kept_until_ms: Option<u64>,
    failure: Option<String>,
}

/// The backups of a core.
pub struct Backups {
    store: Arc<dyn Store>,
    config: BackupConfig,
    state: Mutex<State>,
    wanted: Notify,
}

impl Backups {
    /// Of a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, config: BackupConfig) -> Arc<Self> {
        Arc::new(Self {
            store,
            config,
            state: Mutex::default(),
            wanted: Notify::new(),
        })
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &BackupConfig {
        &self.config
    }

    /// Takes a snapshot as soon as it can; whether backups are taken at all.
    pub fn take_now(&self) -> bool {
        self.wanted.notify_one();
        self.config.directory.is_some()
    }

    /// What is kept.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn shown(&self) -> Result<Shown, Error> {
        let state = self.state().clone();
        let mut generations = Vec::new();
        if let Some(directory) = self.config.directory.as_ref().filter(|path| path.exists()) {
            for generation in Generation::all(directory)? {
                // One that cannot be read is no backup; whoever restores is told why.
                let Ok(Some(manifest)) = generation.manifest() else {
                    continue;
                };
                generations.push(BackupGeneration {
                    bytes: bytes_of(&generation.path),
                    name: manifest.generation,
                    begun_ms: manifest.begun_ms,
                    from_ms: manifest.first.to_ms,
                    rows: manifest.rows,
                });
            }
        }
        Ok(Shown {
            directory: self
                .config
                .directory
                .as_ref()
                .map(|path| path.display().to_string()),
            kept_until_ms: state.kept_until_ms,
            failure: state.failure,
            generations,
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes backups until it is stopped. Everything that waits for the disk waits on a thread of its own.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let Some(root) = self.config.directory.clone() else {
            return;
        };
        let runtime = tokio::runtime::Handle::current();
        let running = tokio::task::spawn_blocking(move || {
            runtime.block_on(stop.run_until_cancelled(self.go_on(&root)));
        });
        if let Err(error) = running.await {
            tracing::error!(%error, "backups have ended");
        }
    }

    async fn go_on(&self, root: &Path) {
        loop {
            let Err(error) = self.follow(root).await;
            tracing::error!(%error, "the backup failed; it is begun anew");
            metrics::counter!("brink_core_backup_failures_total").increment(1);
            self.state().failure = Some(error.to_string());
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Follows until something fails.
    async fn follow(&self, root: &Path) -> Result<std::convert::Infallible, Error> {
        make_private_directory(root)?;
        let (mut follower, mut manifest) = match resume(&*self.store, root).await? {
            Some(found) => {
                tracing::info!(generation = %found.1.generation, "the backup goes on");
                found
            }
            None => self.begin(root, None).await?,
        };
        let mut ticks = tokio::time::interval(Duration::from_millis(self.config.interval_ms));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_wanted = tokio::select! {
                _ = ticks.tick() => false,
                () = self.wanted.notified() => true,
            };
            self.mark(&mut follower).await?;
            let age_ms = now_ms().saturating_sub(manifest.begun_ms);
            if is_wanted || age_ms >= self.config.snapshot_hours.saturating_mul(HOUR_MS) {
                (follower, manifest) = self.begin(root, Some(follower)).await?;
                self.prune(root)?;
            }
        }
    }

    async fn mark(&self, follower: &mut Follower) -> Result<(), Error> {
        let from_ms = now_ms();
        follower.mark(&*self.store, now_ms).await?;
        let mut state = self.state();
        state.kept_until_ms = Some(from_ms);
        state.failure = None;
        drop(state);
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds since 1970 are exact"
        )]
        metrics::gauge!("brink_core_backup_kept_until_seconds").set(from_ms as f64 / 1000.0);
        Ok(())
    }

    /// Takes a snapshot; the generation before it goes on meanwhile.
    async fn begin(
        &self,
        root: &Path,
        mut former: Option<Follower>,
    ) -> Result<(Follower, Manifest), Error> {
        let begun = std::time::Instant::now();
        let beginning = begin(&*self.store, root, now_ms);
        tokio::pin!(beginning);
        let mut ticks = tokio::time::interval(Duration::from_millis(self.config.interval_ms));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (follower, manifest) = loop {
            tokio::select! {
                begun = &mut beginning => break begun?,
                _ = ticks.tick(), if former.is_some() => {
                    if let Some(former) = &mut former {
                        self.mark(former).await?;
                    }
                }
            }
        };
        metrics::gauge!("brink_core_backup_snapshot_seconds").set(begun.elapsed().as_secs_f64());
        tracing::info!(generation = %manifest.generation, rows = manifest.rows,
            seconds = begun.elapsed().as_secs_f64(), "a snapshot was taken");
        Ok((follower, manifest))
    }

    /// Removes what is over the number that is kept, and what was cut off.
    fn prune(&self, root: &Path) -> Result<(), Error> {
        let mut kept = 0;
        for generation in Generation::all(root)?.into_iter().rev() {
            // One that cannot be read any more is left for whoever looks into it, as long as a whole one would be.
            let is_cut_off = matches!(generation.manifest(), Ok(None));
            kept += usize::from(!is_cut_off);
            if kept > self.config.keep || (kept > 0 && is_cut_off) {
                generation.remove()?;
                tracing::info!(generation = %generation.name, "an old backup was removed");
            }
        }
        Ok(())
    }
}

fn bytes_of(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    sizes.sum()
}
