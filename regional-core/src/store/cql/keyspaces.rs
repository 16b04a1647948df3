//! Which keyspace a partition's rows lie in: the general one, which all data centres have, or that of one region, which
//! only its own data centre has. A core has the general one and its own region's; others it never asks for.
//!
//! The keyspace of a region is named `KEYSPACE_REGION`, with `_` for `-`. It is made when the first partition of it is
//! asked for, by a core of the region.

use super::{
    migrations::of_records,
    options::{Confirm, Options},
    placed, schema,
    session::Cql,
};
use crate::{
    Error,
    placement::{LEASE, refused},
};
use arc_swap::ArcSwap;
use brink_protocol::{RegionName, address::PartitionAddress, placement::PlacementTable};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::{sync::OnceCell, time::Instant};

/// An entry of the replication that is no data centre.
const CLASS: &str = "class";

/// The keyspaces of a core.
pub(super) struct Keyspaces {
    options: Options,
    general: Arc<Cql>,
    /// That of the region, once it was needed.
    apart: OnceCell<Arc<Cql>>,
    table: ArcSwap<PlacementTable>,
    /// When the last certain reading of it began.
    known: Mutex<Instant>,
}

/// Whether this core writes a partition by itself: what it removes because it has ended, and fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It does.
    Write,
    /// Where the partition belongs is being changed, or this core does not know enough.
    Wait,
    /// Another region does.
    Leave,
}

impl Keyspaces {
    pub(super) fn new(options: Options, general: Arc<Cql>) -> Self {
        Self {
            options,
            general,
            apart: OnceCell::new(),
            table: ArcSwap::default(),
            known: Mutex::new(Instant::now()),
        }
    }

    /// What is declared; see [`crate::store::PlacementStore::placements`].
    pub(super) async fn read(&self, is_certain: bool) -> Result<PlacementTable, Error> {
        let began = Instant::now();
        let row = placed::read(&self.general, is_certain).await?;
        let table = placed::decoded(row.as_deref())?;
        self.learn(&table);
        if is_certain {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            *known = (*known).max(began);
        }
        Ok(table)
    }

    /// Takes note of placements; an older table changes nothing.
    pub(super) fn learn(&self, table: &PlacementTable) {
        self.table.rcu(|present| {
            if present.revision < table.revision {
                Arc::new(table.clone())
            } else {
                Arc::clone(present)
            }
        });
    }

    /// This core's data centre.
    pub(super) fn own_center(&self) -> &str {
        &self.options.data_center
    }

    fn is_own(&self, region: &RegionName) -> bool {
        self.options.region.as_ref() == Some(region)
    }

    /// The connection to a partition's keyspace.
    ///
    /// # Errors
    /// [`Error::Region`]: it lies in another region alone.
    pub(super) async fn of(&self, partition: &PartitionAddress) -> Result<Arc<Cql>, Error> {
        let table = self.table.load();
        let Some(region) = table.apart(partition) else {
            return Ok(Arc::clone(&self.general));
        };
        if !self.is_own(region) {
            return Err(refused(
                region.as_str(),
                "the partition lies in this region alone",
            ));
        }
        self.apart(region).await
    }

    /// Whether this core writes a partition now. What requests write is decided above the store, by the same knowledge.
    pub(super) fn ruling(&self, partition: &PartitionAddress) -> Ruling {
        let table = self.table.load();
        let Ok(place) = table.place(partition) else {
            return Ruling::Leave;
        };
        if place.is_frozen {
            return Ruling::Wait;
        }
        if place.home.is_some_and(|home| !self.is_own(home)) {
            return Ruling::Leave;
        }
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if self.options.confirm == Confirm::Each && known.elapsed() > LEASE {
            return Ruling::Wait;
        }
        Ruling::Write
    }

    /// All keyspaces that this core has.
    ///
    /// # Errors
    /// That of the region cannot be made or asked.
    pub(super) async fn here(&self) -> Result<Vec<Arc<Cql>>, Error> {
        let mut here = vec![Arc::clone(&self.general)];
        if let Some(region) = &self.options.region
            && self.table.load().has_pinned(region)
        {
            here.push(self.apart(region).await?);
        }
        Ok(here)
    }

    /// That of the region, whatever is declared; none: the core has no region.
    ///
    /// # Errors
    /// It cannot be made or asked.
    pub(super) async fn own_apart(&self) -> Result<Option<Arc<Cql>>, Error> {
        match &self.options.region {
            Some(region) => self.apart(region).await.map(Some),
            None => Ok(None),
        }
    }

    async fn apart(&self, region: &RegionName) -> Result<Arc<Cql>, Error> {
        let open = self.apart.get_or_try_init(|| self.open(region));
        open.await.cloned()
    }

    fn keyspace_of(&self, region: &RegionName) -> String {
        let region = region.as_str().replace('-', "_");
        format!("{}_{region}", self.options.keyspace)
    }

    /// Whether a region's keyspace can have its name.
    pub(super) fn check_region(&self, region: &RegionName) -> Result<(), Error> {
        let name = self.keyspace_of(region);
        if name.len() <= schema::KEYSPACE_BYTES_MAX {
            return Ok(());
        }
        let most = schema::KEYSPACE_BYTES_MAX;
        Err(brink_protocol::Error::Malformed {
            what: "region",
            reason: format!(
                "the keyspace {name} of what lies in {region} alone would have more than the {most} bytes that engines take: a shorter name of the region is needed"
            ),
        }
        .into())
    }

    async fn open(&self, region: &RegionName) -> Result<Arc<Cql>, Error> {
        let keyspace = self.keyspace_of(region);
        let center = &self.options.data_center;
        let replicas = self.options.replication.get(center).copied().unwrap_or(3);
        let options = Options {
            keyspace,
            replication: [(center.clone(), replicas)].into(),
            ..self.options.clone()
        };
        let opened = schema::open_apart(&options, &self.general, &of_records()).await?;
        tracing::info!(keyspace = options.keyspace, %region, "records of the region lie in their own keyspace");
        Ok(Arc::new(opened))
    }

    /// Takes a data centre's replicas out of the general keyspace.
    ///
    /// # Errors
    /// It has none, they are the last or this core's own, or the engine.
    pub(super) async fn give_up(&self, data_center: &str) -> Result<(), Error> {
        let keyspace = self.options.keyspace.as_str();
        let mut replication = schema::replication(&self.general, keyspace).await?;
        if data_center == self.options.data_center {
            return Err(brink_protocol::Error::Malformed {
                what: "data centre",
                reason: "it is this core's own; ask a core of a region that is left".into(),
            }
            .into());
        }
        if replication.remove(data_center).is_none() {
            return Ok(());
        }
        replication.remove(CLASS);
        let text = schema::replicated("ALTER KEYSPACE", keyspace, &replication)?;
        self.general.define(&text).await?;
        tracing::warn!(data_center, "a data centre was given up");
        Ok(())
    }
}
