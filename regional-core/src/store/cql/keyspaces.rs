//! Which keyspace a partition's rows lie in: the general one, which all data centres have, or that of one region, which
//! only its own data centre has. A core has the general one and its own region's; others it never asks for.
//!
//! The keyspace of a region is named `KEYSPACE_REGION`, with `_` for `-`. It is made when the first partition of it is
//! asked for, by a core of the region.

use super::{migrations::of_records, options::Options, schema, session::Cql};
use crate::{Error, placement::refused};
use arc_swap::ArcSwap;
use brink_protocol::{RegionName, address::PartitionAddress, placement::PlacementTable};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// An entry of the replication that is no data centre.
const CLASS: &str = "class";

/// The keyspaces of a core.
pub(super) struct Keyspaces {
    options: Options,
    general: Arc<Cql>,
    /// That of the region, once it was needed.
    apart: OnceCell<Arc<Cql>>,
    table: ArcSwap<PlacementTable>,
}

impl Keyspaces {
    pub(super) fn new(options: Options, general: Arc<Cql>) -> Self {
        Self {
            options,
            general,
            apart: OnceCell::new(),
            table: ArcSwap::default(),
        }
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

    /// Whether a partition is written here.
    pub(super) fn is_home(&self, partition: &PartitionAddress) -> bool {
        let table = self.table.load();
        let place = table.place(partition);
        place.is_ok_and(|place| place.home.is_none_or(|home| self.is_own(home)))
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

    async fn apart(&self, region: &RegionName) -> Result<Arc<Cql>, Error> {
        let open = self.apart.get_or_try_init(|| self.open(region));
        open.await.cloned()
    }

    async fn open(&self, region: &RegionName) -> Result<Arc<Cql>, Error> {
        let keyspace = format!(
            "{}_{}",
            self.options.keyspace,
            region.as_str().replace('-', "_")
        );
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
