//! Changes of placements: what they are about, and whether they would move data.

use super::{
    Collection, Placement, PlacementTable, TABLE_BYTES_MAX, TENANT_BYTES_MAX,
    TENANT_COLLECTIONS_MAX,
};
use crate::{Error, RegionName, TenantName, address::PartitionAddress};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A change under way. Cores refuse writes to what it is about, so that no two of them write at different places while
/// it spreads. Any core can end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pending {
    /// A ULID.
    pub id: String,
    /// When it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whose token asked for it.
    pub by: String,
    /// What is to be.
    pub step: Step,
}

/// What a change is to come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Step {
    /// How a collection is placed.
    Collection {
        /// Whose.
        tenant: TenantName,
        /// Its name.
        name: String,
        /// Its declaration; none: it has none any more.
        to: Option<Collection>,
    },
    /// The home of what no placement gives another.
    Main {
        /// The region; none: any.
        to: Option<RegionName>,
    },
    /// The homes of a region that is lost for good.
    Promote {
        /// The lost region.
        from: RegionName,
        /// The one that takes its place.
        to: RegionName,
    },
}

impl Step {
    /// Whether it is so.
    #[must_use]
    pub fn is_done(&self, table: &PlacementTable) -> bool {
        match self {
            Self::Collection { tenant, name, to } => table.collection(tenant, name) == to.as_ref(),
            Self::Main { to } => table.main == *to,
            Self::Promote { from, to } => table.promoted.get(from) == Some(to),
        }
    }

    /// Makes it so.
    pub fn make(&self, table: &mut PlacementTable) {
        match self {
            Self::Collection { tenant, name, to } => {
                let own = table.collections.entry(tenant.clone()).or_default();
                match to {
                    Some(to) => own.insert(name.clone(), to.clone()),
                    None => own.remove(name),
                };
                table.collections.retain(|_, own| !own.is_empty());
            }
            Self::Main { to } => table.main.clone_from(to),
            Self::Promote { from, to } => {
                table.promoted.insert(from.clone(), to.clone());
            }
        }
    }
}

impl PlacementTable {
    /// The change under way in the place that one of this kind has: a tenant has one place for its collections, the
    /// installation one for its regions. So tenants do not hold up each other, nor a promotion.
    #[must_use]
    pub fn pending_of(&self, step: &Step) -> Option<&Pending> {
        match step {
            Step::Collection { tenant, .. } => self.declaring.get(tenant),
            Step::Main { .. } | Step::Promote { .. } => self.pending.as_ref(),
        }
    }

    /// All changes under way.
    pub fn all_pending(&self) -> impl Iterator<Item = &Pending> {
        self.declaring.values().chain(&self.pending)
    }

    /// Notes that a change is under way.
    pub fn begin(&mut self, pending: Pending) {
        match &pending.step {
            Step::Collection { tenant, .. } => {
                self.declaring.insert(tenant.clone(), pending);
            }
            Step::Main { .. } | Step::Promote { .. } => self.pending = Some(pending),
        }
    }

    /// Forgets a change that was under way.
    pub fn end(&mut self, step: &Step) {
        match step {
            Step::Collection { tenant, .. } => {
                self.declaring.remove(tenant);
            }
            Step::Main { .. } | Step::Promote { .. } => self.pending = None,
        }
    }

    /// Whether a partition with this home is part of a change under way.
    pub(super) fn is_frozen(
        &self,
        partition: &PartitionAddress,
        home: Option<&RegionName>,
    ) -> bool {
        self.all_pending().any(|pending| match &pending.step {
            Step::Collection { tenant, name, .. } => {
                *tenant == partition.tenant && *name == partition.collection
            }
            Step::Main { .. } => home == self.main.as_ref().map(|main| self.present(main)),
            Step::Promote { from, .. } => home == Some(from),
        })
    }

    /// Checks that what a tenant has declared leaves room for others.
    ///
    /// # Errors
    /// The limit that it is over.
    pub fn check_room(&self, tenant: &TenantName) -> Result<(), Error> {
        let limit = |what, actual: usize, limit: usize| match actual > limit {
            true => Err(Error::Limit {
                what,
                actual: actual as u64,
                limit: limit as u64,
            }),
            false => Ok(()),
        };
        let own = self.collections.get(tenant);
        let count = own.map_or(0, BTreeMap::len);
        limit(
            "collections that a tenant has declared",
            count,
            TENANT_COLLECTIONS_MAX,
        )?;
        let weight =
            |own: &BTreeMap<String, Collection>| own.values().map(Collection::weight).sum();
        limit(
            "bytes of a tenant's declared collections",
            own.map_or(0, weight),
            TENANT_BYTES_MAX,
        )?;
        let all = self.collections.values().map(weight).sum();
        limit("bytes of all declared collections", all, TABLE_BYTES_MAX)
    }
}

impl Collection {
    /// About as many bytes as it takes in the table.
    fn weight(&self) -> usize {
        const EMPTY: usize = 128;
        let named = |name: &str| name.len() + 8;
        let placed: usize = match &self.placement {
            Placement::Hash {} | Placement::Time { .. } => 0,
            Placement::Composite { parts } => parts.iter().map(|part| named(part)).sum(),
            Placement::Geo { regions, .. } => {
                let pair =
                    |(part, region): (&String, &RegionName)| named(part) + named(region.as_str());
                regions.iter().map(pair).sum()
            }
        };
        EMPTY + 2 * self.name.len() + placed
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
