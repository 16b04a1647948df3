//! Changes of placements: what they are about, and whether they would move data.

use super::{Collection, Placement};
use crate::{RegionName, TenantName, address::PartitionAddress};
use serde::{Deserialize, Serialize};

/// A change under way. Cores refuse writes to what it is about, so that no two of them write at different places while
/// it spreads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pending {
    /// A ULID.
    pub id: String,
    /// When it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it is about.
    pub about: About,
}

/// What a change is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum About {
    /// One collection.
    Collection(TenantName, String),
    /// Everything whose home is, or is to be, one of these regions; none: the home of what has none.
    Homes(Vec<Option<RegionName>>),
}

impl Pending {
    /// Whether a partition with this home is part of it.
    #[must_use]
    pub fn is_about(&self, partition: &PartitionAddress, home: Option<&RegionName>) -> bool {
        match &self.about {
            About::Collection(tenant, name) => {
                *tenant == partition.tenant && *name == partition.collection
            }
            About::Homes(homes) => homes.iter().any(|found| found.as_ref() == home),
        }
    }
}

/// Whether records that are there would have to lie elsewhere if `to` took the place of `from`. `is_shared`: cores of all
/// regions share one database, so that only what is pinned lies at its home alone.
#[must_use]
pub fn moves_data(from: Option<&Collection>, to: Option<&Collection>, is_shared: bool) -> bool {
    let regions = |collection: Option<&Collection>| match collection.map(|c| &c.placement) {
        Some(Placement::Geo { regions, pinned }) if *pinned || !is_shared => Some(regions.clone()),
        _ => None,
    };
    let home = |collection: Option<&Collection>| collection.and_then(|c| c.home.clone());
    match (regions(from), regions(to)) {
        (None, None) => !is_shared && home(from) != home(to),
        // Further first parts may come: keys with them were refused so far.
        (Some(from), Some(to)) => from
            .iter()
            .any(|(prefix, region)| to.get(prefix) != Some(region)),
        _ => true,
    }
}
