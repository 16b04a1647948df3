//! Whether a collection has no record, wherever its records may lie.

use super::Placements;
use crate::{
    Error,
    store::{RowKey, Store},
};
use brink_protocol::{
    RegionName, TenantName,
    placement::{Collection, Placement},
};
use std::collections::BTreeSet;

/// Partitions of one reading.
const PARTITIONS: usize = 1000;

impl Placements {
    /// Whether a collection that was declared so has no record: here, where its partitions are at home, and, if that is
    /// anywhere, at every region that is known.
    pub(super) async fn is_empty(
        &self,
        tenant: &TenantName,
        name: &str,
        from: Option<&Collection>,
    ) -> Result<bool, Error> {
        if !is_empty(&*self.store, Some(tenant), Some(name)).await? {
            return Ok(false);
        }
        let regions = self.regions();
        let table = self.current();
        let mut elsewhere: BTreeSet<RegionName> = BTreeSet::new();
        match from.map(|from| (&from.placement, &from.home)) {
            Some((Placement::Geo { regions, .. }, _)) => {
                elsewhere.extend(regions.values().cloned())
            }
            Some((_, Some(home))) => {
                elsewhere.insert(home.clone());
            }
            _ => match (&table.main, &regions) {
                (Some(main), _) => {
                    elsewhere.insert(main.clone());
                }
                // With stores of their own each core has what was written to it.
                (None, Some(regions)) if !self.store.is_shared() => {
                    elsewhere.extend(regions.known())
                }
                _ => {}
            },
        }
        let present = elsewhere.iter().map(|region| table.present(region));
        for region in present.collect::<BTreeSet<_>>() {
            if self.own.as_ref() == Some(region) {
                continue;
            }
            let regions = regions
                .as_ref()
                .ok_or_else(|| super::refused(region.as_str(), "this core has not begun yet"))?;
            if !regions.is_empty_at(region, tenant, name).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether there is no record of a collection (of any that is not the platform's, if none is named) in this core's data.
pub(crate) async fn is_empty(
    store: &dyn Store,
    tenant: Option<&TenantName>,
    collection: Option<&str>,
) -> Result<bool, Error> {
    let mut after = None;
    loop {
        let found = store.partitions(tenant, after.as_ref(), PARTITIONS).await?;
        for partition in &found {
            let is_platform = partition.tenant.as_str() == brink_protocol::link::canary::TENANT
                || partition.collection.starts_with('_');
            let is_meant = collection.map_or(!is_platform, |collection| {
                collection == partition.collection
            });
            if is_meant && has_records(store, partition).await? {
                return Ok(false);
            }
        }
        after = found.into_iter().next_back();
        if after.is_none() {
            return Ok(true);
        }
    }
}

async fn has_records(
    store: &dyn Store,
    partition: &brink_protocol::address::PartitionAddress,
) -> Result<bool, Error> {
    let mut after: Option<RowKey> = None;
    loop {
        let rows = store.kept(partition, after.as_ref(), PARTITIONS).await?;
        let is_record = |row: &crate::store::KeptRow| {
            matches!(row.key, RowKey::Record(_)) && row.value.is_some()
        };
        if rows.iter().any(is_record) {
            return Ok(true);
        }
        after = rows.into_iter().next_back().map(|row| row.key);
        if after.is_none() {
            return Ok(false);
        }
    }
}
