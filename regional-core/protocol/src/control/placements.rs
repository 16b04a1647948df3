//! Collections and regions in the control API.

use crate::{
    NodeName, RegionName,
    placement::{Pending, Placement},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a collection is to be placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewCollection {
    /// How its partitions are placed.
    pub placement: Placement,
    /// The home of its partitions where the placement names none; none: the main region.
    #[serde(default)]
    pub home: Option<RegionName>,
    /// For how long it is kept who changed a record, in milliseconds, at most ten years; none: it is not kept.
    #[serde(default)]
    pub audit_ms: Option<u64>,
    /// What ends by its lifetime is written to the core's archive before it is removed.
    #[serde(default)]
    pub archive: bool,
}

/// The home of partitions that no placement gives another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MainRegion {
    /// None: any region.
    pub region: Option<RegionName>,
}

/// What takes the place of a lost region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PromoteRegion {
    /// The region that takes its place.
    pub to: RegionName,
    /// The data centre of the database that is given up with it; none: the database is whole.
    #[serde(default)]
    pub data_center: Option<String>,
}

/// The regions, as one core knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Regions {
    /// That of the core.
    pub own: String,
    /// The home of partitions that no placement gives another; none: any.
    pub main: Option<RegionName>,
    /// Lost regions, and which took their places.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, String>))]
    pub promoted: BTreeMap<RegionName, RegionName>,
    /// Changes under way: of the tenant's own collections, and of regions.
    pub pending: Vec<Pending>,
    /// By name.
    pub regions: Vec<RegionCores>,
}

/// A region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegionCores {
    /// Its name.
    pub name: RegionName,
    /// Its cores that can be asked, the one that says so aside.
    pub cores: Vec<NodeName>,
}
