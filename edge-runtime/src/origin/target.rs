//! The origins that a route names, until and after they are known.

use super::group::Group;
use crate::reach::Owner;
use brink_protocol::{TenantName, origins::OriginGroup};
use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// The origins of a route.
pub struct OriginTarget {
    /// In normal form; an error says why there are none.
    spec: Result<OriginGroup, String>,
    owner: Owner,
    /// That there are none was said.
    is_told: AtomicBool,
    pub(super) group: OnceLock<Arc<Group>>,
}

impl fmt::Debug for OriginTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginTarget")
            .field("spec", &self.spec)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl OriginTarget {
    /// The origins of a route of `tenant`.
    #[must_use]
    pub fn new(tenant: &TenantName, group: OriginGroup) -> Self {
        Self {
            spec: group.normal().map_err(|error| error.to_string()),
            owner: Owner::of(tenant),
            is_told: AtomicBool::new(false),
            group: OnceLock::new(),
        }
    }

    /// As [`OriginTarget::new`], with one origin and the defaults of all else.
    #[must_use]
    pub fn one(tenant: &TenantName, url: &str) -> Self {
        Self::new(tenant, OriginGroup::of([url]))
    }

    pub(super) fn spec(&self) -> Result<&OriginGroup, &str> {
        self.spec.as_ref().map_err(String::as_str)
    }

    /// Whether it is to be said that there are none: once.
    pub(super) fn is_new_mistake(&self) -> bool {
        !self.is_told.swap(true, Ordering::Relaxed)
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }
}
