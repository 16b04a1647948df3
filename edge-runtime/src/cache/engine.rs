//! The cache as the pipeline, the feed and the admin listener see it.

use super::{
    coders::Coders,
    config::Config,
    content::OBJECT_BYTES_MAX,
    counters::{Counters, Figures},
    disk::give_up_oldest,
    error::Error,
    explain,
    flights::{Bounds, Flights},
    ledger::{Ledger, Outcome, Terms},
    lookup::{self, Lookup},
    request::CacheRequest,
    shared::Shared,
    tiers::{Tiers, disk_dir, remove_all, remove_ended},
    unstored::LatelyUnstored,
};
use brink_policy::{
    coherence::{Admission, Depends, FillStart, Next, Start, Started, Touch, selected},
    shield::Outdated,
};
use brink_protocol::{PopName, Position, TenantName, change::Change, purge::Selector};
use metrics::gauge;
use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

/// The cache of one PoP. Clones share it.
#[derive(Debug, Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Entries of the memory tier that it ended (hard) or made stale (soft). Those on disk are refused when read.
    pub objects: u64,
    /// It had been applied before.
    pub repeated: bool,
    /// Changes of its origin are missing before it; every entry was dropped.
    pub gap: bool,
}

impl Cache {
    /// Opens the tiers and the journal in `config.dir`; what the journal cannot vouch for is dropped. Call it from
    /// within a tokio runtime, after the recorder of the metrics was installed.
    ///
    /// # Errors
    /// A bound is not usable, or the directory is not.
    pub async fn open(mut config: Config, pop: &PopName) -> Result<Self, Error> {
        if config.object_bytes_max > OBJECT_BYTES_MAX {
            return Err(Error::Config {
                key: "object_bytes_max",
                value: config.object_bytes_max,
                rule: "at most 4294967296",
            });
        }
        config.object_bytes_max = config.object_bytes_max();
        let lock = config.dir.as_deref().map(take).transpose()?;
        let (ledger, trusted) = Ledger::open(
            config.dir.as_deref(),
            config.changes_max,
            Terms {
                follows_feed: config.follows_feed,
                coherence: config.coherence,
            },
            new_generation(),
            &mut || match &config.dir {
                Some(dir) => give_up_oldest(&disk_dir(dir)),
                None => Ok(false),
            },
        )?;
        let tiers = Tiers::open(&config, ledger.generation(), trusted).await?;
        let shared = Shared {
            name: format!("brink-{pop}").into(),
            ledger,
            tiers: Arc::new(tiers),
            flights: Flights::new(Bounds {
                followers_max: config.followers_max,
                patience: Duration::from_millis(config.follower_wait_ms_max),
                uncollapsed_for: Duration::from_millis(config.uncollapsed_ms),
            }),
            counters: Counters::new(),
            unstored: LatelyUnstored::new(),
            outdated: Mutex::new(Outdated::begin(0)),
            base: Instant::now(),
            coders: Coders::new(),
            variants: Mutex::new(()),
            _lock: lock,
            config,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Looks for a stored answer. Waits for another request's fill of the same key, if there is one.
    pub async fn lookup(&self, request: &CacheRequest<'_>, now: SystemTime) -> Lookup {
        lookup::lookup(&self.shared, request, now).await
    }

    /// Applies one change of the feed. When it returns, nothing that the change ends is served any more. A repeated
    /// change does nothing. It does not wait; call it from within a tokio runtime.
    pub fn apply(&self, change: &Change) -> Applied {
        let Shared {
            ledger,
            tiers,
            counters,
            ..
        } = &*self.shared;
        let touch = match ledger.apply(change) {
            Outcome::Repeated => {
                return Applied {
                    repeated: true,
                    ..Applied::default()
                };
            }
            Outcome::EndedAll => {
                counters.changes.add(1);
                let (objects, _) = tiers.extent();
                remove_all(tiers);
                return Applied {
                    objects,
                    repeated: false,
                    gap: true,
                };
            }
            Outcome::Applied(touch) => touch,
        };
        counters.changes.add(1);
        let objects = tiers.concerned(&touch);
        counters.purged.add(objects);
        if !touch.soft && objects > 0 {
            remove_ended(tiers, &touch);
        }
        Applied {
            objects,
            repeated: false,
            gap: false,
        }
    }

    /// Ends entries by decision of this PoP, as a hard purge would: a module or a route took another's place here.
    pub fn invalidate(&self, tenant: &TenantName, selector: &Selector) {
        let tags: Vec<_> = selected(tenant, selector).collect();
        let touch = Touch::hard(&tags);
        self.shared.ledger.touch(&touch);
        remove_ended(&self.shared.tiers, &touch);
    }

    /// How many entries of memory a purge would end, and their bytes. Passes over each of them, a few at a time: where
    /// there may be many, call it from where blocking is allowed.
    #[must_use]
    pub fn count(&self, tenant: &TenantName, selectors: &[Selector]) -> (u64, u64) {
        let tags: Vec<_> = selectors.iter().flat_map(|s| selected(tenant, s)).collect();
        self.shared.tiers.count(&Touch::hard(&tags))
    }

    /// What was applied: where the feed is to be resumed.
    #[must_use]
    pub fn position(&self) -> Position {
        (*self.shared.ledger.position()).clone()
    }

    /// A feed begins that was `asked` at `sent` to go on from [`Cache::position`]; if it was not, or does not, every entry
    /// is dropped.
    pub fn start(&self, start: &Start, asked: bool, sent: Instant) -> Started {
        let started = self.shared.ledger.start(start, asked, sent);
        if started == Started::Reset {
            remove_all(&self.shared.tiers);
        }
        started
    }

    /// A core that was asked at `sent` has answered where the logs end, and how old its knowledge of them is: once as
    /// much is applied here, entries count as fresh until the lease is over.
    pub fn claim(&self, sent: Instant, head: Position, age: Duration) {
        self.shared.ledger.claim(sent, head, age);
    }

    /// What a change is to what was applied: whoever finds a gap can ask for the feed anew, instead of applying the
    /// change and losing every entry.
    #[must_use]
    pub fn next(&self, change: &Change) -> Next {
        self.shared.ledger.next(change)
    }

    /// How old what is served may be at most, at `now`; none: nothing vouches for it. Zero where there is no feed.
    #[must_use]
    pub fn staleness_bound(&self, now: Instant) -> Option<Duration> {
        self.shared.ledger.staleness_bound(now)
    }

    /// How long entries count as fresh after the moment as of which everything is known.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.shared.ledger.lease()
    }

    /// Notes whether the lease holds, for the figures: nobody else may look when it runs out. Cheap.
    pub fn poll(&self, now: Instant) {
        self.shared.ledger.poll(now);
        let expiries = self.shared.ledger.take_expiries();
        if expiries > 0 {
            self.shared.counters.lease_expiries.add(expiries);
        }
    }

    /// A fill of another cache begins, to be held against the changes by [`Cache::admit`].
    #[must_use]
    pub fn begin(&self) -> FillStart {
        self.shared.ledger.begin()
    }

    /// The fence for another cache: whether what was read at `read_at` since `start`, and depends on `on`, may be kept
    /// under the index of `start`.
    #[must_use]
    pub fn admit<D: Depends>(&self, start: &FillStart, on: &[D], read_at: &Position) -> bool {
        self.shared.admit(start, on, Some(read_at)) == Admission::Store
    }

    /// The position at which what another cache keeps still holds that was admitted under `index`: nothing it depends on
    /// was touched since, and the lease holds. None: it must not be used, and may be dropped.
    #[must_use]
    pub fn holds<D: Depends>(&self, on: &[D], index: u64) -> Option<Arc<Position>> {
        self.shared.ledger.holds(on, index, Instant::now())
    }

    /// What a feed does that begins anew.
    #[cfg(test)]
    pub(crate) fn reset(&self, position: Position) {
        let start = Start {
            head: position.clone(),
            position,
            resumed: false,
            lease_ms: 2_000,
            age_ms: 0,
        };
        self.start(&start, false, Instant::now());
    }

    /// Whether entries count as fresh at `now`. Always where there is no feed.
    #[must_use]
    pub fn connected(&self, now: Instant) -> bool {
        self.shared.ledger.connected(now)
    }

    /// What is stored for a URL of any tenant: variants, state, tags, apply index, age, lifetime, tier. Of tenants other
    /// than `default` only what is in memory is found.
    pub async fn explain(&self, url: &str) -> serde_json::Value {
        explain::explain(&self.shared, url, SystemTime::now()).await
    }

    /// What would become of a request now, and why. Nothing is fetched or stored.
    pub async fn explain_request(&self, request: &CacheRequest<'_>) -> serde_json::Value {
        explain::explain_request(&self.shared, request, SystemTime::now()).await
    }

    /// Figures since the start, and of now. Sets the gauges `brink_cache_*`.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.poll(Instant::now());
        let (entries, bytes) = self.shared.tiers.extent();
        let disk = self.shared.tiers.disk_figures();
        // A gauge is a floating-point number; counts of entries and bytes stay far below 2⁵².
        #[allow(clippy::cast_precision_loss)]
        {
            gauge!("brink_cache_entries").set(entries as f64);
            gauge!("brink_cache_bytes").set(bytes as f64);
            gauge!("brink_cache_disk_entries").set(disk.entries as f64);
            gauge!("brink_cache_disk_bytes").set(disk.bytes as f64);
            gauge!("brink_cache_disk_index_bytes").set(disk.index_bytes as f64);
        }
        Figures {
            pieces_missing: self.shared.tiers.missing_pieces(),
            ..self.shared.counters.figures(entries, bytes, disk)
        }
    }

    /// Waits until what was applied so far outlives a power failure, or nothing stored on disk does. Call it before
    /// anybody is told what was applied: a purge that was reported is not forgotten. Costs nothing without a directory,
    /// and no more than a look if nothing was applied since.
    pub async fn synced(&self) {
        if self.shared.config.dir.is_none() {
            return;
        }
        let shared = self.shared.clone();
        let syncing = tokio::task::spawn_blocking(move || shared.ledger.sync());
        if let Err(error) = syncing.await {
            tracing::error!(%error, "the cache's journal was not synced");
        }
    }

    /// Waits until what was stored so far is written to disk.
    pub async fn written(&self) {
        self.shared.tiers.written().await;
    }

    /// Writes what is under way to disk. Nothing is stored on disk afterwards.
    ///
    /// # Errors
    /// The disk tier could not be closed.
    pub async fn close(&self) -> Result<(), Error> {
        self.shared.tiers.close().await;
        Ok(())
    }
}

/// A number that no other journal has.
fn new_generation() -> u64 {
    let [high, low] = [
        ulid::Ulid::new().0 >> 64,
        ulid::Ulid::new().0 & u128::from(u64::MAX),
    ];
    u64::try_from((high ^ low) & u128::from(u64::MAX)).unwrap_or(1)
}

/// Makes the directory and locks it for as long as the file is held; the system lets go when the program dies.
fn take(dir: &Path) -> Result<File, Error> {
    let failed = |action, path: &Path, source| Error::File {
        action,
        path: path.to_owned(),
        source,
    };
    // Stored answers may be for their callers alone: nobody else on this machine looks in.
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(dir)
        .map_err(|source| failed("create", dir, source))?;
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|source| failed("create", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse {
            path: dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed("lock", &path, source)),
    }
}
