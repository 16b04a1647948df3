//! PoPs as the core sees them: who follows the feed, how far each has come.

use crate::{
    Error,
    store::{PopRow, Store},
};
use brink_protocol::{PopName, Position, control, link::PopFigures, link::Report};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// PoPs that are known at a time. The certificate of one more is taken, but it is not listed or waited for.
pub const POPS_MAX: usize = 10_000;
/// A PoP that has not been heard of for so long is forgotten, in milliseconds: 24 hours. Until then purges wait for it.
pub const FORGET_AFTER_MS: u64 = 24 * 3600 * 1000;

struct Known {
    row: PopRow,
    feeds: u32,
    /// Not in the store yet.
    is_new: bool,
}

/// All PoPs.
pub struct Pops {
    store: Arc<dyn Store>,
    known: Mutex<BTreeMap<PopName, Known>>,
    changed: watch::Sender<u64>,
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
    /// Those that the store remembers.
    ///
    /// # Errors
    /// The store.
    pub async fn load(store: Arc<dyn Store>) -> Result<Arc<Self>, Error> {
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
                    },
                )
            })
            .collect();
        Ok(Arc::new(Self {
            store,
            known: Mutex::new(known),
            changed: watch::Sender::new(0),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PopName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Wakes whenever something of a PoP changes.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn update(&self, name: &PopName, now_ms: u64, change: impl FnOnce(&mut Known)) {
        let mut pops = self.lock();
        if !pops.contains_key(name) && pops.len() >= POPS_MAX {
            return;
        }
        let known = pops.entry(name.clone()).or_insert_with(|| Known {
            row: PopRow {
                name: name.clone(),
                position: Position::default(),
                revision: 0,
                seen_at_ms: now_ms,
                figures: PopFigures::default(),
            },
            feeds: 0,
            is_new: true,
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

    /// A PoP reported.
    pub fn report(&self, report: &Report, now_ms: u64) {
        self.update(&report.pop, now_ms, |known| {
            known.row.position = report.position.clone();
            known.row.revision = report.revision;
            known.row.figures = report.figures;
        });
    }

    /// Every PoP, by name, measured against the head of the log.
    #[must_use]
    pub fn list(&self, head: &Position) -> Vec<control::Pop> {
        self.lock()
            .values()
            .map(|known| control::Pop {
                name: known.row.name.clone(),
                connected: known.feeds > 0,
                position: known.row.position.clone(),
                lag_changes: head
                    .iter()
                    .map(|(origin, sequence)| {
                        sequence.saturating_sub(known.row.position.get(origin))
                    })
                    .sum(),
                revision: known.row.revision,
                seen_at_ms: known.row.seen_at_ms,
                figures: known.row.figures,
            })
            .collect()
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
            pops.retain(|_, known| {
                known.feeds > 0 || now_ms.saturating_sub(known.row.seen_at_ms) < FORGET_AFTER_MS
            });
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
