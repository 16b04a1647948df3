//! Where partitions belong, as this core knows it, and changes of it.
//!
//! Every core reads the table again and again, and says from when its knowledge is. A change is told first and made later:
//! what it is about takes no writes in between, and not before every core that may take writes knows of it. Where the
//! database confirms writes in all data centres, a core whose knowledge is older than [`LEASE`] takes none; so a core that
//! is cut off, or was away, cannot write where it was home once.

mod center;
mod change;
mod empty;
mod stale;

pub use self::change::{Declared, Promotion};
pub(crate) use self::empty::is_empty;

use self::stale::Knowledge;
use crate::{Error, clock::now_ms, store::Store};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use brink_protocol::{
    RegionName, TenantName, address::PartitionAddress, placement::PlacementTable,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::{RwLock, RwLockReadGuard},
    time::Instant,
};

/// How old the knowledge of a core that takes writes may be.
pub const LEASE: Duration = Duration::from_secs(5);
/// How often the table is read.
const READ_EVERY: Duration = Duration::from_millis(500);
/// How long one reading may take.
const READ_MAX: Duration = Duration::from_secs(2);
/// A change that was told so long ago is gone on with by others.
const LEFT_AFTER_MS: u64 = 120_000;

/// Where something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// At this core.
    Here,
    /// At a core of this region.
    At(RegionName),
}

/// Where a partition is written, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing {
    /// Where.
    pub home: Home,
    /// The lifetime of records that are written without one, in milliseconds.
    pub lifetime_ms: Option<u64>,
    /// For how long it is kept who changed a record, in milliseconds; none: it is not kept.
    pub audit_ms: Option<u64>,
}

/// Other regions, as far as a change of placements has to ask them.
#[async_trait]
pub trait Regions: Send + Sync {
    /// Whether a collection has no record in what lies in a region alone.
    ///
    /// # Errors
    /// The region is not reached.
    async fn is_empty_at(
        &self,
        region: &RegionName,
        tenant: &TenantName,
        collection: &str,
    ) -> Result<bool, Error>;

    /// The regions of the other cores that are known.
    fn known(&self) -> BTreeSet<RegionName>;
}

/// What this core knows of placements.
pub struct Placements {
    store: Arc<dyn Store>,
    own: Option<RegionName>,
    is_strict: bool,
    current: ArcSwap<PlacementTable>,
    /// When the last certain reading began, if there was one.
    known: Mutex<Option<Instant>>,
    /// Who asks other regions, once the core has begun.
    regions: OnceLock<Weak<dyn Regions>>,
    /// Ids of changes of others that this core is ending.
    ending: Mutex<BTreeSet<String>>,
    /// Held for reading while a write is under way, with a store of one's own.
    under_way: RwLock<()>,
}

impl Placements {
    /// What the store has. `own`: the region of this core. `is_strict`: writes wait for certain knowledge.
    ///
    /// # Errors
    /// The store; with `is_strict` also that it cannot be certain.
    pub async fn load(
        store: Arc<dyn Store>,
        own: Option<RegionName>,
        is_strict: bool,
    ) -> Result<Arc<Self>, Error> {
        let began = Instant::now();
        let (table, known) = match store.placements(true).await {
            Err(error) if !is_strict => {
                tracing::warn!(%error, "placements are as this data centre knows them");
                (store.placements(false).await?, None)
            }
            read => (read?, Some(began)),
        };
        let table = center::settle(&*store, own.as_ref(), table).await?;
        let is_shared = store.is_shared();
        let placements = Arc::new(Self {
            store,
            own,
            is_strict,
            current: ArcSwap::from_pointee(table),
            known: Mutex::new(known),
            regions: OnceLock::new(),
            ending: Mutex::default(),
            under_way: RwLock::default(),
        });
        if is_shared {
            tokio::spawn(follow(Arc::downgrade(&placements)));
        }
        Ok(placements)
    }

    /// From now on other regions can be asked.
    pub fn begin_with(self: &Arc<Self>, regions: Weak<dyn Regions>) {
        let _ = self.regions.set(regions);
        if !self.store.is_shared() {
            // Nobody else writes here: whatever is under way was left by this core's former life.
            self.end_left(u64::MAX);
        }
    }

    fn regions(&self) -> Option<Arc<dyn Regions>> {
        self.regions.get()?.upgrade()
    }

    /// To be held while a write is under way that was let through; none: others write as well, and time has to tell.
    pub async fn under_way(&self) -> Option<RwLockReadGuard<'_, ()>> {
        match self.store.is_shared() {
            true => None,
            false => Some(self.under_way.read().await),
        }
    }

    /// The table.
    #[must_use]
    pub fn current(&self) -> Arc<PlacementTable> {
        self.current.load_full()
    }

    /// See [`PlacementTable::collection_for`].
    #[must_use]
    pub fn collection_for(&self, base: &str, partition: &PartitionAddress) -> String {
        self.current.load().collection_for(base, partition)
    }

    /// This core's region, if its name is one that a placement can say.
    #[must_use]
    pub fn own(&self) -> Option<&RegionName> {
        self.own.as_ref()
    }

    /// Where a partition is written.
    ///
    /// # Errors
    /// [`Error::Limit`]: the key does not fit its collection. [`Error::Region`]: a change is under way, or this core does not
    /// know enough.
    pub fn writing(&self, partition: &PartitionAddress) -> Result<Writing, Error> {
        let table = self.current.load();
        let place = table.place(partition)?;
        if place.is_frozen {
            let region = place.home.map_or("any", RegionName::as_str);
            return Err(refused(
                region,
                "where this partition belongs is being changed; nothing was written, try again",
            ));
        }
        let home = match place.home {
            Some(home) if self.own.as_ref() != Some(home) => Home::At(home.clone()),
            _ => Home::Here,
        };
        if home == Home::Here {
            if place.home.is_none() && self.store.own_center().is_some() {
                return Err(refused("any", center::NO_MAIN));
            }
            self.check_lease()?;
        }
        Ok(Writing {
            home,
            lifetime_ms: place.lifetime_ms,
            audit_ms: place.audit_ms,
        })
    }

    /// How long ago this core knew for certain.
    fn age(&self) -> Duration {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.map_or(Duration::MAX, |known| known.elapsed())
    }

    fn check_lease(&self) -> Result<(), Error> {
        if !self.is_strict || self.age() <= LEASE {
            return Ok(());
        }
        let own = self.own.as_ref().map_or("of this core", RegionName::as_str);
        Err(refused(
            own,
            "the data centres have not told this core for 5 s whether it is still the home; nothing was written",
        ))
    }

    /// Where a partition is read.
    ///
    /// # Errors
    /// [`Error::Limit`]: the key does not fit its collection.
    pub fn reading(&self, partition: &PartitionAddress) -> Result<Home, Error> {
        let table = self.current.load();
        let place = table.place(partition)?;
        let is_apart = place.is_pinned || !self.store.is_shared();
        Ok(match place.home {
            Some(home) if is_apart && self.own.as_ref() != Some(home) => Home::At(home.clone()),
            _ => Home::Here,
        })
    }

    /// Where a partition is read so that all that its home has acknowledged is seen.
    ///
    /// # Errors
    /// [`Error::Limit`]: the key does not fit its collection.
    pub fn reading_at_home(&self, partition: &PartitionAddress) -> Result<Home, Error> {
        let table = self.current.load();
        Ok(match table.place(partition)?.home {
            Some(home) if self.own.as_ref() != Some(home) => Home::At(home.clone()),
            _ => Home::Here,
        })
    }

    /// Where a partition is read so that the answer is at most so stale.
    ///
    /// # Errors
    /// [`Error::Limit`]: the key does not fit its collection. [`Error::Region`]: nobody can vouch for it.
    pub fn reading_within(
        &self,
        partition: &PartitionAddress,
        max_staleness: Duration,
    ) -> Result<Home, Error> {
        let table = self.current.load();
        let knowledge = Knowledge {
            own: self.own.as_ref(),
            is_shared: self.store.is_shared(),
            sees_all: self.store.sees_all(),
            age: self.age(),
        };
        knowledge
            .reading(&table.place(partition)?, max_staleness)
            .ok_or_else(|| {
                refused(
                    self.own.as_ref().map_or("of this core", RegionName::as_str),
                    "this core cannot vouch for what it has: the data centres have not told it, or where the partition belongs is being changed",
                )
            })
    }

    /// Reads the table again.
    async fn refresh(&self, is_certain: bool) -> Result<Arc<PlacementTable>, Error> {
        let began = Instant::now();
        let table = Arc::new(self.store.placements(is_certain).await?);
        self.current.rcu(|present| {
            if present.revision < table.revision {
                Arc::clone(&table)
            } else {
                Arc::clone(present)
            }
        });
        if is_certain {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            *known = (*known).max(Some(began));
        }
        Ok(table)
    }

    /// Goes on with changes that began before a moment: their cores have died, or are slow, and are not disturbed.
    fn end_left(self: &Arc<Self>, before_ms: u64) {
        let table = self.current();
        for pending in table
            .all_pending()
            .filter(|pending| pending.at_ms <= before_ms)
        {
            let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
            if !ending.insert(pending.id.clone()) {
                continue;
            }
            let (placements, pending) = (Arc::clone(self), pending.clone());
            tokio::spawn(async move {
                tracing::warn!(step = ?pending.step, "a change of placements was left behind; going on with it");
                if let Err(error) = placements.carry_out(&pending).await {
                    tracing::warn!(%error, "a change of placements that was left behind came to nothing");
                }
                let mut ending = placements
                    .ending
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                ending.remove(&pending.id);
            });
        }
    }
}

/// What is refused for a region's sake.
pub(crate) fn refused(region: &str, reason: impl Into<String>) -> Error {
    Error::Region {
        region: region.to_owned(),
        reason: reason.into(),
    }
}

/// Reads the table again and again; ends with it.
async fn follow(placements: Weak<Placements>) {
    let mut ticks = tokio::time::interval(READ_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_told = false;
    loop {
        ticks.tick().await;
        let Some(placements) = placements.upgrade() else {
            return;
        };
        let reading = async {
            match tokio::time::timeout(READ_MAX, placements.refresh(true)).await {
                Ok(read) => {
                    read.map(|_| placements.end_left(now_ms().saturating_sub(LEFT_AFTER_MS)))
                }
                Err(_) => Err(Error::store("reading placements", "it takes too long")),
            }
        };
        if let Err(error) = reading.await {
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(%error, "placements were not read for certain; trying on");
            }
            // What this data centre knows is better than nothing, and renews no lease.
            let _ = tokio::time::timeout(READ_MAX, placements.refresh(false)).await;
        } else {
            is_told = false;
        }
    }
}

#[cfg(test)]
mod tests;
