//! Where partitions of records belong: which keys a collection takes, which region is a partition's home, and whether its
//! records lie in that region alone.

mod buckets;
mod changes;

pub use self::buckets::Bucket;
pub use self::changes::{Pending, Step, moves_data};

use crate::{
    Error, RegionName, TenantName,
    address::PartitionAddress,
    record::{COLLECTION_BYTES_MAX, LIFETIME_MS_MAX, PLATFORM_COLLECTION, check_partition},
    workflow::INSTANCES,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Collections whose placement a tenant may declare.
pub const TENANT_COLLECTIONS_MAX: usize = 256;
/// Bytes of what a tenant may declare.
pub const TENANT_BYTES_MAX: usize = 64 << 10;
/// Bytes of what all tenants may declare: every core reads it twice a second.
pub const TABLE_BYTES_MAX: usize = 2 << 20;
/// Parts of a composite key.
pub const PARTS_MAX: usize = 16;
/// Prefixes of a collection that is placed by geography.
pub const PREFIXES_MAX: usize = 1_000;
/// Longest name of a part, and longest prefix, in bytes.
pub const PART_BYTES_MAX: usize = 64;
/// What separates the name of a platform's collection from the region whose rows it has: `_dead-letters__eu`.
const REGION_OF_PLATFORM: &str = "__";
/// What parts of a key are separated by.
pub const SEPARATOR: char = '/';

const WHAT: &str = "placement";

/// How the partitions of a collection are placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Placement {
    /// Every partition key is taken as it is: so are those of collections that are not declared.
    Hash {},
    /// The partition key has named parts, separated by `/`, none of them empty: `["warehouse", "sku"]` takes `ams-1/A7`.
    Composite {
        /// Their names, 2 to 16 different ones.
        parts: Vec<String>,
    },
    /// The first part of the partition key says in which region the partition has its home: `eu/C1000`. Other keys are
    /// refused. Of workflows, collection `_workflows`, it is the first part of the id.
    Geo {
        /// The region of each first part, at most 1,000.
        regions: BTreeMap<String, RegionName>,
        /// The records lie in that region alone, and never in a database of another. Default: true.
        #[serde(default = "yes")]
        pinned: bool,
    },
    /// The last part of the partition key is a span of time: `sensor-1/2026-11-21`.
    Time {
        /// How long a span is.
        bucket: Bucket,
        /// The lifetime of records that are written without one, in milliseconds; none: they stay.
        #[serde(default)]
        lifetime_ms: Option<u64>,
    },
}

fn yes() -> bool {
    true
}

/// A collection and how it is placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Collection {
    /// Whose.
    pub tenant: TenantName,
    /// Its name.
    pub name: String,
    /// How its partitions are placed.
    pub placement: Placement,
    /// The home of its partitions where the placement names none; none: the installation's main region.
    #[serde(default)]
    pub home: Option<RegionName>,
    /// For how long it is kept who changed a record, in milliseconds; none: it is not kept.
    #[serde(default)]
    pub audit_ms: Option<u64>,
    /// What ends by its lifetime is written to the core's archive before it is removed.
    #[serde(default)]
    pub archive: bool,
}

/// All that is declared, of all tenants. Revisions only grow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacementTable {
    /// 0: nothing was declared yet.
    pub revision: u64,
    /// The home of partitions that no placement gives another; none: every region, which is right only where there is one,
    /// or where conditional writes are ordered among all.
    pub main: Option<RegionName>,
    /// Regions that are lost for good, and which took their place.
    pub promoted: BTreeMap<RegionName, RegionName>,
    /// In which data centre of the database a region is, where each data centre orders its own writes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub centers: BTreeMap<RegionName, String>,
    /// By tenant and name.
    pub collections: BTreeMap<TenantName, BTreeMap<String, Collection>>,
    /// A change of regions under way: what it is about takes no writes.
    pub pending: Option<Pending>,
    /// Changes of collections under way, one of each tenant.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub declaring: BTreeMap<TenantName, Pending>,
}

/// Where a partition belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'t> {
    /// Where it is written; none: anywhere.
    pub home: Option<&'t RegionName>,
    /// It lies at its home alone.
    pub is_pinned: bool,
    /// The lifetime of records that are written without one, in milliseconds.
    pub lifetime_ms: Option<u64>,
    /// For how long it is kept who changed a record, in milliseconds; none: it is not kept.
    pub audit_ms: Option<u64>,
    /// What ends is archived before it is removed.
    pub is_archived: bool,
    /// It takes no writes until a change of its placement is known everywhere.
    pub is_frozen: bool,
}

fn wrong(reason: impl Into<String>) -> Error {
    Error::malformed(WHAT, reason)
}

fn is_part(part: &str) -> bool {
    (1..=PART_BYTES_MAX).contains(&part.len())
        && !part.contains(SEPARATOR)
        && !part.chars().any(char::is_control)
}

impl Placement {
    /// Checks what was declared.
    ///
    /// # Errors
    /// What is not allowed.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Hash {} => Ok(()),
            Self::Composite { parts } => {
                let different: BTreeSet<&String> = parts.iter().collect();
                if !(2..=PARTS_MAX).contains(&parts.len())
                    || different.len() < parts.len()
                    || !parts.iter().all(|part| is_part(part))
                {
                    return Err(wrong(
                        "a composite key has 2 to 16 parts with different names of 1 to 64 bytes, without `/`",
                    ));
                }
                Ok(())
            }
            Self::Geo { regions, .. } => {
                if !(1..=PREFIXES_MAX).contains(&regions.len())
                    || !regions.keys().all(|prefix| is_part(prefix))
                {
                    return Err(wrong(
                        "`regions` has 1 to 1000 first parts of 1 to 64 bytes, without `/`",
                    ));
                }
                Ok(())
            }
            Self::Time { lifetime_ms, .. } => match lifetime_ms {
                Some(ms) if !(1..=LIFETIME_MS_MAX).contains(ms) => {
                    Err(wrong("a lifetime is 1 ms to ten years"))
                }
                _ => Ok(()),
            },
        }
    }

    /// Checks a partition key against it.
    ///
    /// # Errors
    /// Which keys it takes.
    pub fn check_key(&self, partition: &str) -> Result<(), Error> {
        let fits = match self {
            Self::Hash {} => true,
            Self::Composite { parts } => {
                let mut found = partition.split(SEPARATOR);
                let named = parts
                    .iter()
                    .all(|_| found.next().is_some_and(is_part_of_key));
                named && found.next().is_none()
            }
            Self::Geo { regions, .. } => {
                first_part(partition).is_some_and(|p| regions.contains_key(p))
            }
            Self::Time { bucket, .. } => partition
                .rsplit_once(SEPARATOR)
                .is_some_and(|(series, span)| !series.is_empty() && bucket.is_span(span)),
        };
        if fits {
            return Ok(());
        }
        Err(Error::malformed("partition key", self.rule()))
    }

    /// What partition keys look like.
    fn rule(&self) -> String {
        match self {
            Self::Hash {} => String::new(),
            Self::Composite { parts } => {
                format!("in this collection it is written {}", parts.join("/"))
            }
            Self::Geo { regions, .. } => {
                let mut names: Vec<&str> = regions.keys().map(String::as_str).take(10).collect();
                if regions.len() > names.len() {
                    names.push("...");
                }
                let names = names.join(", ");
                format!(
                    "in this collection it is written PART/KEY, with one of these parts: {names}"
                )
            }
            Self::Time { bucket, .. } => format!(
                "in this collection it is written KEY/{}, in UTC",
                bucket.example()
            ),
        }
    }

    fn region_of(&self, partition: &str) -> Option<&RegionName> {
        match self {
            Self::Geo { regions, .. } => regions.get(first_part(partition)?),
            Self::Hash {} | Self::Composite { .. } | Self::Time { .. } => None,
        }
    }
}

/// The key by which a partition is placed: its own; of a workflow, which lies under `NAME/ID`, its id.
fn placed_key(partition: &PartitionAddress) -> &str {
    let key = partition.partition.as_str();
    match key.split_once(SEPARATOR) {
        Some((_, id)) if partition.collection == INSTANCES => id,
        _ => key,
    }
}

fn is_part_of_key(part: &str) -> bool {
    !part.is_empty()
}

/// What is before the first `/`, if something follows.
fn first_part(partition: &str) -> Option<&str> {
    let (first, rest) = partition.split_once(SEPARATOR)?;
    (!rest.is_empty()).then_some(first)
}

impl Collection {
    /// Checks what was declared.
    ///
    /// # Errors
    /// What is not allowed.
    pub fn check(&self) -> Result<(), Error> {
        const _: () = assert!(COLLECTION_BYTES_MAX <= 64);
        check_partition(&self.name, "p")?;
        let is_geo = matches!(self.placement, Placement::Geo { .. });
        if self.name.starts_with(PLATFORM_COLLECTION) && !(self.name == INSTANCES && is_geo) {
            return Err(wrong(
                "collections that begin with `_` are the platform's; `_workflows` alone may be placed, by `geo`",
            ));
        }
        if self.home.is_some() && matches!(self.placement, Placement::Geo { .. }) {
            return Err(wrong("`geo` names the home of each partition itself"));
        }
        if self
            .audit_ms
            .is_some_and(|ms| !(1..=LIFETIME_MS_MAX).contains(&ms))
        {
            return Err(wrong("an audit trail is kept for 1 ms to ten years"));
        }
        self.placement.check()
    }
}

impl PlacementTable {
    /// The declaration of a collection.
    #[must_use]
    pub fn collection(&self, tenant: &TenantName, name: &str) -> Option<&Collection> {
        self.collections.get(tenant)?.get(name)
    }

    /// The region that has the place of `region`, which may be lost.
    #[must_use]
    pub fn present<'t>(&'t self, region: &'t RegionName) -> &'t RegionName {
        let mut present = region;
        // Each promotion leads on to another region; a circle cannot be declared.
        for _ in 0..=self.promoted.len() {
            match self.promoted.get(present) {
                Some(next) => present = next,
                None => break,
            }
        }
        present
    }

    /// Every region that is named somewhere.
    #[must_use]
    pub fn regions(&self) -> BTreeSet<&RegionName> {
        let collections = self.collections.values().flat_map(BTreeMap::values);
        let placed = collections.clone().flat_map(|c| match &c.placement {
            Placement::Geo { regions, .. } => regions.values().collect(),
            Placement::Hash {} | Placement::Composite { .. } | Placement::Time { .. } => Vec::new(),
        });
        let homes = collections.filter_map(|collection| collection.home.as_ref());
        let promoted = self.promoted.iter().flat_map(|(from, to)| [from, to]);
        placed
            .chain(homes)
            .chain(promoted)
            .chain(self.main.as_ref())
            .collect()
    }

    /// The region that a partition lies in alone.
    #[must_use]
    pub fn apart(&self, partition: &PartitionAddress) -> Option<&RegionName> {
        let place = self.place(partition).ok()?;
        place.home.filter(|_| place.is_pinned)
    }

    /// The collection of the platform for rows about a partition, which must not leave its region if that does not:
    /// `base`, or `base__REGION`.
    #[must_use]
    pub fn collection_for(&self, base: &str, partition: &PartitionAddress) -> String {
        self.apart(partition).map_or_else(
            || base.to_owned(),
            |region| format!("{base}{REGION_OF_PLATFORM}{region}"),
        )
    }

    /// Every collection that [`PlacementTable::collection_for`] may give for a base.
    #[must_use]
    pub fn collections_of(&self, base: &str) -> Vec<String> {
        let regions = self.regions().into_iter();
        let apart = regions.map(|region| format!("{base}{REGION_OF_PLATFORM}{region}"));
        std::iter::once(base.to_owned()).chain(apart).collect()
    }

    /// The region of a platform's collection.
    fn region_of_platform(&self, collection: &str) -> Option<Result<&RegionName, Error>> {
        if !collection.starts_with(PLATFORM_COLLECTION) {
            return None;
        }
        let (_, name) = collection.rsplit_once(REGION_OF_PLATFORM)?;
        let mut regions = self.regions().into_iter();
        let found = regions.find(|region| region.as_str() == name);
        Some(found.ok_or_else(|| wrong(format!("no region is named {name}"))))
    }

    /// Where a partition belongs.
    ///
    /// # Errors
    /// The key does not fit its collection.
    pub fn place(&self, partition: &PartitionAddress) -> Result<Place<'_>, Error> {
        let apart = self.region_of_platform(&partition.collection).transpose()?;
        let declared = self.collection(&partition.tenant, &partition.collection);
        let key = placed_key(partition);
        if let Some(collection) = declared {
            collection.placement.check_key(key)?;
        }
        let placement = declared.map(|collection| &collection.placement);
        let region = apart
            .or_else(|| placement.and_then(|placement| placement.region_of(key)))
            .or_else(|| declared?.home.as_ref())
            .or(self.main.as_ref());
        let home = region.map(|region| self.present(region));
        let lifetime_ms = match placement {
            Some(Placement::Time { lifetime_ms, .. }) => *lifetime_ms,
            _ => None,
        };
        Ok(Place {
            home,
            is_pinned: apart.is_some()
                || matches!(placement, Some(Placement::Geo { pinned: true, .. })),
            lifetime_ms,
            audit_ms: declared.and_then(|collection| collection.audit_ms),
            is_archived: declared.is_some_and(|collection| collection.archive),
            is_frozen: self.is_frozen(partition, home),
        })
    }

    /// Whether records of a region lie there alone.
    #[must_use]
    pub fn has_pinned(&self, region: &RegionName) -> bool {
        let mut collections = self.collections.values().flat_map(BTreeMap::values);
        collections.any(|collection| match &collection.placement {
            Placement::Geo {
                regions,
                pinned: true,
            } => regions.values().any(|found| self.present(found) == region),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests;
