//! Taking backups while the core runs: a snapshot now and then, increments all the time.

use super::{
    directory::{Generation, Manifest, lock, remove_cut_off},
    follow::Follower,
    moment::time,
    take::{Resumed, begin, resume},
};
use crate::{Error, clock::now_ms, core::make_private_directory, store::Store};
use brink_protocol::operations::{BackupGeneration, Backups as Shown};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
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
    /// Why what changed is not kept.
    failure: Option<String>,
    /// Why no snapshot is taken.
    no_snapshot: Option<String>,
    gap_ms: Option<u64>,
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
        let (mut generations, mut damaged) = (Vec::new(), Vec::new());
        if let Some(directory) = self.config.directory.as_ref().filter(|path| path.exists()) {
            for generation in Generation::all(directory)? {
                let manifest = match generation.manifest() {
                    Ok(Some(manifest)) => manifest,
                    Ok(None) => continue,
                    Err(error) => {
                        damaged.push(error.to_string());
                        continue;
                    }
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
            failure: state.failure.or(state.no_snapshot),
            gap_ms: state.gap_ms,
            damaged,
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
            self.failed(&error);
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn failed(&self, error: &Error) {
        tracing::error!(%error, "the backup failed; it is tried again");
        metrics::counter!("brink_core_backup_failures_total").increment(1);
        self.state().failure = Some(error.to_string());
    }

    /// Follows the newest whole generation, and takes another when it is time, or when there is none to follow. Neither ends
    /// with the other.
    async fn follow(&self, root: &Path) -> Result<std::convert::Infallible, Error> {
        make_private_directory(root)?;
        let _lock = lock(root)?;
        remove_cut_off(root)?;
        let every = Duration::from_millis(self.config.interval_ms);
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut former = Former::Lost(Instant::now());
        let mut taking = Taking::default();
        loop {
            let mut is_wanted = false;
            tokio::select! {
                _ = ticks.tick() => self.go_on_with(root, &mut former).await,
                () = self.wanted.notified() => is_wanted = true,
                taken = &mut taking => match taken {
                    Ok((follower, manifest)) => {
                        self.kept(&follower);
                        self.state().no_snapshot = None;
                        former = Former::Followed(Box::new(follower), manifest.begun_ms);
                        self.prune(root)?;
                    }
                    Err(error) => {
                        self.failed(&error);
                        self.state().no_snapshot = Some(error.to_string());
                        taking.pause();
                    }
                },
            }
            if taking.is_free(is_wanted) && (is_wanted || self.is_due(&former)) {
                taking.begin(self.take(root, every));
            }
        }
    }

    fn is_due(&self, former: &Former) -> bool {
        match former {
            Former::Followed(_, begun_ms) => {
                let age_ms = now_ms().saturating_sub(*begun_ms);
                age_ms >= self.config.snapshot_hours.saturating_mul(HOUR_MS)
            }
            Former::Lost(_) => false,
            Former::None => true,
        }
    }

    /// Keeps what changed in the newest generation; one that failed is taken up again, if that can be.
    async fn go_on_with(&self, root: &Path, former: &mut Former) {
        let done = match former {
            Former::Followed(follower, _) => match follower.mark(&*self.store, now_ms).await {
                Ok(_) => {
                    self.kept(follower);
                    Ok(())
                }
                Err(error) => {
                    // At once: if the logs do not reach back any more, a snapshot is due.
                    *former = Former::Lost(Instant::now());
                    Err(error)
                }
            },
            Former::Lost(again) if *again <= Instant::now() => {
                *again = Instant::now() + AGAIN;
                self.take_up(root).await.map(|found| *former = found)
            }
            Former::Lost(_) | Former::None => Ok(()),
        };
        if let Err(error) = done {
            self.failed(&error);
        }
    }

    async fn take_up(&self, root: &Path) -> Result<Former, Error> {
        match resume(&*self.store, root).await? {
            Resumed::On(follower, manifest) => {
                tracing::info!(generation = %manifest.generation, "the backup goes on");
                self.kept(&follower);
                snapshot_at(manifest.begun_ms);
                Ok(Former::Followed(follower, manifest.begun_ms))
            }
            Resumed::Cut(mark) => {
                metrics::counter!("brink_core_backup_gaps_total").increment(1);
                tracing::error!(since = %time(mark.to_ms), "the logs do not go on from the last backup: what changed since is \
                    kept again from the next snapshot on, and no moment in between can be restored");
                self.state().gap_ms = Some(mark.to_ms);
                Ok(Former::None)
            }
            Resumed::Nothing => Ok(Former::None),
        }
    }

    /// Notes how far a follower is.
    fn kept(&self, follower: &Follower) {
        let until_ms = follower.kept_until_ms();
        let mut state = self.state();
        state.kept_until_ms = Some(until_ms);
        state.failure = None;
        drop(state);
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds since 1970 are exact"
        )]
        metrics::gauge!("brink_core_backup_kept_until_seconds").set(until_ms as f64 / 1000.0);
    }

    async fn take(&self, root: &Path, every: Duration) -> Result<(Follower, Manifest), Error> {
        let begun = Instant::now();
        let (follower, manifest) = begin(&*self.store, root, every, now_ms).await?;
        let seconds = begun.elapsed().as_secs_f64();
        metrics::gauge!("brink_core_backup_snapshot_seconds").set(seconds);
        snapshot_at(manifest.begun_ms);
        tracing::info!(generation = %manifest.generation, rows = manifest.rows, seconds, "a snapshot was taken");
        Ok((follower, manifest))
    }

    /// Removes what is over the number that is kept.
    fn prune(&self, root: &Path) -> Result<(), Error> {
        // One that cannot be read any more is left for whoever looks into it, as long as a whole one would be.
        let old = Generation::all(root)?.into_iter().rev();
        for generation in old.skip(self.config.keep) {
            generation.remove()?;
            tracing::info!(generation = %generation.name, "an old backup was removed");
        }
        Ok(())
    }
}

/// The generation that is followed.
enum Former {
    /// With the moment at which it was begun, in milliseconds since 1970.
    Followed(Box<Follower>, u64),
    /// Whether there is one is looked for then.
    Lost(Instant),
    /// There is none: a snapshot is due.
    None,
}

/// A snapshot that is being taken.
#[derive(Default)]
struct Taking<'a> {
    taking: Option<Snapshot<'a>>,
    not_before: Option<Instant>,
}

type Snapshot<'a> = Pin<Box<dyn Future<Output = Result<(Follower, Manifest), Error>> + 'a>>;

impl<'a> Taking<'a> {
    fn begin(&mut self, taking: impl Future<Output = Result<(Follower, Manifest), Error>> + 'a) {
        self.taking = Some(Box::pin(taking));
    }

    /// After one that failed.
    fn pause(&mut self) {
        self.not_before = Some(Instant::now() + AGAIN);
    }

    fn is_free(&self, is_wanted: bool) -> bool {
        let is_soon = self.not_before.is_some_and(|then| Instant::now() < then);
        self.taking.is_none() && (is_wanted || !is_soon)
    }
}

/// Ready when a snapshot has come to its end; never, if none is being taken.
impl Future for Taking<'_> {
    type Output = Result<(Follower, Manifest), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(taking) = &mut self.taking else {
            return Poll::Pending;
        };
        let taken = taking.as_mut().poll(context);
        if taken.is_ready() {
            self.taking = None;
        }
        taken
    }
}

fn snapshot_at(begun_ms: u64) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds since 1970 are exact"
    )]
    metrics::gauge!("brink_core_backup_snapshot_at_seconds").set(begun_ms as f64 / 1000.0);
}

fn bytes_of(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    sizes.sum()
}
