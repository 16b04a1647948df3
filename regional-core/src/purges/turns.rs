//! Requests that wait are counted: as many at a time as there may be, and of one tenant only a part of them.

use brink_protocol::TenantName;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Gives out turns; never waits for one.
pub(super) struct Turns {
    all_max: usize,
    tenant_max: usize,
    taken: Mutex<BTreeMap<TenantName, usize>>,
}

/// One request may wait for as long as this lives.
pub(super) struct Turn {
    turns: Arc<Turns>,
    tenant: TenantName,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.taken();
        if let Some(count) = taken.get_mut(&self.tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

impl Turns {
    pub(super) fn new(all_max: usize, tenant_max: usize) -> Arc<Self> {
        Arc::new(Self {
            all_max,
            tenant_max,
            taken: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<TenantName, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn; none: there are too many already.
    pub(super) fn take(self: &Arc<Self>, tenant: &TenantName) -> Option<Turn> {
        let mut taken = self.taken();
        let own = taken.get(tenant).copied().unwrap_or_default();
        if own >= self.tenant_max || taken.values().sum::<usize>() >= self.all_max {
            return None;
        }
        taken.insert(tenant.clone(), own + 1);
        Some(Turn {
            turns: Arc::clone(self),
            tenant: tenant.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_tenant_leaves_room_for_others() {
        let turns = Turns::new(3, 2);
        let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<TenantName>().unwrap());
        let first = turns.take(&a).unwrap();
        let _second = turns.take(&a).unwrap();
        assert!(turns.take(&a).is_none());
        let _third = turns.take(&b).unwrap();
        assert!(turns.take(&c).is_none(), "three are taken");
        drop(first);
        let fourth = turns.take(&c).unwrap();
        drop(fourth);
        assert_eq!(turns.taken().len(), 2, "who has none is forgotten");
    }
}
