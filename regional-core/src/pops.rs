//! PoPs as the core sees them: who follows the feed, how far each has come, how old what it serves may be.

mod canaries;

use self::canaries::{Canaries, Reading};
use crate::{
    Error,
    clock::now_ms,
    store::{PopRow, Store},
};
use brink_protocol::{PopName, Position, control, link::PopFigures, link::Report, record::Version};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// PoPs that are known at a time. The certificate of one more is taken, but it is not listed or waited for.
pub const POPS_MAX: usize = 10_000;
/// A PoP that has not been heard of for so long is forgotten, in milliseconds: 24 hours. Until then purges wait for it.
pub const FORGET_AFTER_MS: u64 = 24 * 3600 * 1000;

struct Known {
    row: PopRow,
    feeds: u32,
    /// Not in the store yet.
    is_new: bool,
    /// When its last report arrived; of one that was not heard since the start, the start: it may have reported until then.
    reported: Instant,
    /// Its last reading of the canary record.
    reading: Option<Reading>,
    /// Where it says that its admin interface is.
    admin: Option<SocketAddr>,
}

impl Known {
    fn lag_changes(&self, head: &Position) -> u64 {
        let behind =
            |(origin, sequence): (_, u64)| sequence.saturating_sub(self.row.position.get(origin));
        head.iter().map(behind).sum()
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// All PoPs.
pub struct Pops {
    store: Arc<dyn Store>,
    lease: Duration,
    known: Mutex<BTreeMap<PopName, Known>>,
    canaries: Mutex<Canaries>,
    members: AtomicU64,
    changed: watch::Sender<u64>,
}

/// A PoP on its way to a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Towards {
    /// Its name.
    pub name: PopName,
    /// It follows the feed now.
    pub connected: bool,
    /// When it was last heard of, in milliseconds since 1970.
    pub seen_at_ms: u64,
    /// It has applied everything up to there.
    pub covers: bool,
}

/// A PoP follows the feed for as long as this lives.
pub struct Following {
    pops: Arc<Pops>,
    name: PopName,
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(known) = self.pops.lock().get_mut(&self.name) {
            known.feeds = known.feeds.saturating_sub(1);
        }
        self.pops.notify();
    }
}

impl Pops {
    /// Those that the store remembers. `lease` is how long a PoP may call coherent entries fresh without word from a core.
    ///
    /// # Errors
    /// The store.
    pub async fn load(store: Arc<dyn Store>, lease: Duration) -> Result<Arc<Self>, Error> {
        let rows = store.pops().await?;
        let known = rows
            .into_iter()
            .map(|row| {
                (
                    row.name.clone(),
                    Known {
                        row,
                        feeds: 0,
                        is_new: false,
                        reported: Instant::now(),
                        reading: None,
                        admin: None,
                    },
                )
            })
            .collect();
        Ok(Arc::new(Self {
            store,
            lease,
            canaries: Mutex::default(),
            members: AtomicU64::new(0),
            known: Mutex::new(known),
            changed: watch::Sender::new(0),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PopName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a PoP may call coherent entries fresh without word from a core.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Wakes whenever something of a PoP changes.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// A number that changes whenever a PoP becomes known or is forgotten.
    #[must_use]
    pub fn members(&self) -> u64 {
        self.members.load(Ordering::Relaxed)
    }

    fn update(&self, name: &PopName, now_ms: u64, change: impl FnOnce(&mut Known)) {
        let mut pops = self.lock();
        if !pops.contains_key(name) && pops.len() >= POPS_MAX {
            return;
        }
        let known = pops.entry(name.clone()).or_insert_with(|| {
            self.members.fetch_add(1, Ordering::Relaxed);
            Known {
                row: PopRow {
                    name: name.clone(),
                    position: Position::default(),
                    revision: 0,
                    seen_at_ms: now_ms,
                    figures: PopFigures::default(),
                },
                feeds: 0,
                is_new: true,
                reported: Instant::now(),
                reading: None,
                admin: None,
            }
        });
        known.row.seen_at_ms = now_ms;
        known.is_new = true;
        change(known);
        drop(pops);
        self.notify();
    }

    /// A PoP begins to follow the feed. How far it has come is what it reports: where its feed begins is no proof that
    /// it has dropped what is older, for it may not have heard of the beginning yet.
    #[must_use]
    pub fn follow(self: &Arc<Self>, name: &PopName, now_ms: u64) -> Following {
        self.update(name, now_ms, |known| known.feeds += 1);
        Following {
            pops: Arc::clone(self),
            name: name.clone(),
        }
    }

    fn canaries(&self) -> MutexGuard<'_, Canaries> {
        self.canaries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The prober's record was committed with this version.
    pub fn canary_written(&self, version: Version) {
        self.canaries().written(version, Instant::now());
    }

    /// A PoP reported. Reports may overtake each other: what was applied stays so.
    pub fn report(&self, report: &Report, now_ms: u64) {
        let now = Instant::now();
        let canary = report.canary;
        let reading = canary.and_then(|canary| self.canaries().read(canary.version, now));
        if let Some(reading) = reading {
            let pop = report.pop.to_string();
            metrics::histogram!("brink_core_pop_staleness_seconds", "pop" => pop)
                .record(reading.staleness.as_secs_f64());
        }
        self.update(&report.pop, now_ms, |known| {
            known.row.position.merge(&report.position);
            known.row.revision = report.revision;
            known.row.figures = report.figures;
            known.reported = now;
            known.reading = reading.or(known.reading);
        });
    }

    /// A PoP that is known has said where its admin interface is.
    pub fn set_admin(&self, name: &PopName, admin: Option<SocketAddr>) {
        if let Some(known) = self.lock().get_mut(name) {
            known.admin = admin;
        }
    }

    /// Where a PoP's admin interface is, as it told this core since the core began.
    #[must_use]
    pub fn admin(&self, name: &PopName) -> Option<SocketAddr> {
        self.lock().get(name)?.admin
    }

    /// Who follows the feed now, and who does not.
    #[must_use]
    pub fn connected(&self) -> (Vec<PopName>, Vec<PopName>) {
        let (mut here, mut away) = (Vec::new(), Vec::new());
        for (name, known) in &*self.lock() {
            let list = if known.feeds > 0 {
                &mut here
            } else {
                &mut away
            };
            list.push(name.clone());
        }
        (here, away)
    }

    /// Whether one of these has applied everything up to a position, or is not known any more.
    #[must_use]
    pub fn any_covers(&self, names: &[PopName], position: &Position) -> bool {
        let pops = self.lock();
        names.iter().any(|name| {
            pops.get(name)
                .is_none_or(|known| known.row.position.covers(position))
        })
    }

    /// How many have applied everything up to a position.
    #[must_use]
    pub fn covering(&self, position: &Position) -> u64 {
        let pops = self.lock();
        let covering = pops.values();
        covering
            .filter(|known| known.row.position.covers(position))
            .count() as u64
    }

    /// Whether one of these is known, and has applied everything up to a position.
    #[must_use]
    pub fn any_joined(&self, names: &[PopName], position: &Position) -> bool {
        let pops = self.lock();
        let mut known = names.iter().filter_map(|name| pops.get(name));
        known.any(|known| known.row.position.covers(position))
    }

    /// Every PoP, by name, measured against the head of the log.
    #[must_use]
    pub fn list(&self, head: &Position) -> Vec<control::Pop> {
        let (now_ms, now) = (now_ms(), Instant::now());
        let canaries = self.canaries();
        let staleness = |reading: Reading| ms(canaries.since(&reading, self.lease, now));
        self.lock()
            .values()
            .map(|known| control::Pop {
                name: known.row.name.clone(),
                core: None,
                connected: known.feeds > 0,
                position: known.row.position.clone(),
                lag_changes: known.lag_changes(head),
                revision: known.row.revision,
                seen_at_ms: known.row.seen_at_ms,
                figures: known.row.figures,
                staleness_ms: known.reading.map(staleness),
                quarantined_since_ms: known
                    .reported
                    .elapsed()
                    .checked_sub(self.lease)
                    .map(|over| now_ms.saturating_sub(ms(over))),
            })
            .collect()
    }

    /// Changes that each PoP has not applied yet, against the head of the log.
    #[must_use]
    pub fn lags(&self, head: &Position) -> Vec<(PopName, u64)> {
        let pops = self.lock();
        let lag = |(name, known): (&PopName, &Known)| (name.clone(), known.lag_changes(head));
        pops.iter().map(lag).collect()
    }

    /// How far each PoP is towards a position.
    #[must_use]
    pub fn towards(&self, position: &Position) -> Vec<Towards> {
        let pops = self.lock();
        let towards = |known: &Known| Towards {
            name: known.row.name.clone(),
            connected: known.feeds > 0,
            seen_at_ms: known.row.seen_at_ms,
            covers: known.row.position.covers(position),
        };
        pops.values().map(towards).collect()
    }

    /// How many follow the feed now.
    #[must_use]
    pub fn following(&self) -> usize {
        self.lock().values().filter(|known| known.feeds > 0).count()
    }

    /// Writes what is new to the store, and forgets who was not heard of for [`FORGET_AFTER_MS`].
    ///
    /// # Errors
    /// The store; it is tried again with the next call.
    pub async fn keep(&self, now_ms: u64) -> Result<(), Error> {
        let rows: Vec<PopRow> = {
            let mut pops = self.lock();
            let before = pops.len();
            pops.retain(|_, known| {
                known.feeds > 0 || now_ms.saturating_sub(known.row.seen_at_ms) < FORGET_AFTER_MS
            });
            if pops.len() != before {
                self.members.fetch_add(1, Ordering::Relaxed);
            }
            let new = pops.values_mut().filter(|known| known.is_new);
            new.map(|known| {
                known.is_new = false;
                known.row.clone()
            })
            .collect()
        };
        if rows.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = rows.iter().map(|row| row.name.clone()).collect();
        let kept = self.store.put_pops(rows).await;
        if kept.is_err() {
            let mut pops = self.lock();
            for name in &names {
                if let Some(known) = pops.get_mut(name) {
                    known.is_new = true;
                }
            }
        }
        kept
    }
}
