//! Where partitions belong, as this core knows it, and changes of it.
//!
//! Every core reads the table again and again, and says from when its knowledge is. A change is told first and made later:
//! what it is about takes no writes in between, and not before every core that may take writes knows of it. Where the
//! database confirms writes in all data centres, a core whose knowledge is older than [`LEASE`] takes none; so a core that
//! is cut off, or was away, cannot write where it was home once.

mod change;

pub(crate) use self::change::is_empty;
pub use self::change::{Declared, Promotion};

use crate::{
    Error,
    clock::now_ms,
    store::{NewAudit, Store},
};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use brink_protocol::{
    RegionName, TenantName,
    address::PartitionAddress,
    placement::{Pending, PlacementTable},
};
use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::time::Instant;

/// How old the knowledge of a core that takes writes may be.
pub const LEASE: Duration = Duration::from_secs(5);
/// How often the table is read.
const READ_EVERY: Duration = Duration::from_millis(500);
/// How long one reading may take.
const READ_MAX: Duration = Duration::from_secs(2);
/// A change that was told so long ago was left by a core that died. Whatever it had done is known everywhere.
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
}

/// What this core knows of placements.
pub struct Placements {
    store: Arc<dyn Store>,
    own: Option<RegionName>,
    is_strict: bool,
    /// How long a write may be under way once it was let through.
    write_max: Duration,
    current: ArcSwap<PlacementTable>,
    /// When the last certain reading began.
    known: Mutex<Instant>,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
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
        write_max: Duration,
    ) -> Result<Arc<Self>, Error> {
        let began = Instant::now();
        let table = match store.placements(true).await {
            Err(error) if !is_strict => {
                tracing::warn!(%error, "placements are as this data centre knows them");
                store.placements(false).await?
            }
            read => read?,
        };
        let is_shared = store.is_shared();
        let placements = Arc::new(Self {
            store,
            own,
            is_strict,
            write_max,
            current: ArcSwap::from_pointee(table),
            known: Mutex::new(began),
            turn: tokio::sync::Mutex::default(),
        });
        if is_shared {
            tokio::spawn(follow(Arc::downgrade(&placements)));
        } else {
            // Nobody else writes here: whatever is under way was left by this core's former life.
            placements.end_left(&placements.current()).await?;
            placements.refresh(true).await?;
        }
        Ok(placements)
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
            self.check_lease()?;
        }
        Ok(Writing {
            home,
            lifetime_ms: place.lifetime_ms,
        })
    }

    fn check_lease(&self) -> Result<(), Error> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_strict || known.elapsed() <= LEASE {
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
            *known = (*known).max(began);
        }
        Ok(table)
    }

    /// Ends a change that a core that died left behind: whatever it had done is known everywhere by now.
    async fn end_what_was_left(&self, table: &PlacementTable) -> Result<(), Error> {
        let is_left = |pending: &Pending| pending.at_ms.saturating_add(LEFT_AFTER_MS) <= now_ms();
        if table.pending.as_ref().is_some_and(is_left) {
            self.end_left(table).await?;
        }
        Ok(())
    }

    /// Ends the change that is under way, if one is.
    async fn end_left(&self, table: &PlacementTable) -> Result<(), Error> {
        let Some(pending) = &table.pending else {
            return Ok(());
        };
        let ended = PlacementTable {
            pending: None,
            ..table.clone()
        };
        let audit = NewAudit {
            by: "core".into(),
            tenant: brink_protocol::deployment::default_tenant(),
            action: "placement.ended",
            subject: pending.id.clone(),
            at_ms: now_ms(),
        };
        self.store
            .change_placements(table.revision, ended, audit)
            .await?;
        Ok(())
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
                Ok(read) => placements.end_what_was_left(&*read?).await,
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

/// The collections of a tenant, and what is not one tenant's, as they stand.
#[must_use]
pub fn of_tenant(table: &PlacementTable, tenant: &TenantName) -> PlacementTable {
    let own = table.collections.get(tenant).cloned().unwrap_or_default();
    PlacementTable {
        collections: [(tenant.clone(), own)].into(),
        ..table.clone()
    }
}

#[cfg(test)]
mod tests;
