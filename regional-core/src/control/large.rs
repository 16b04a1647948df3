//! Bodies of components and imports: few are in memory at a time, and none for long.

use crate::Error;
use brink_protocol::TenantName;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies in memory at a time.
const BODIES_MAX: usize = 4;
/// Bodies of one tenant in memory at a time: others are served beside the slowest.
const TENANT_BODIES_MAX: usize = 2;
/// How long a request waits for its turn before it is refused.
const TURN_WAIT: Duration = Duration::from_secs(30);
/// Time in which a whole body must arrive.
pub(super) const BODY_TIME: Duration = Duration::from_secs(120);

/// Gives out turns.
pub struct LargeBodies {
    all: Arc<Semaphore>,
    /// Of tenants that have a turn or wait for one.
    tenants: Mutex<BTreeMap<TenantName, Arc<Semaphore>>>,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(BODIES_MAX)),
            tenants: Mutex::default(),
        }
    }
}

/// A body may be in memory for as long as this lives.
#[derive(Debug)]
pub(super) struct Turn {
    // In this order: the place among all is free before that of the tenant.
    _all: OwnedSemaphorePermit,
    _tenant: OwnedSemaphorePermit,
}

impl LargeBodies {
    fn of(&self, tenant: &TenantName) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|_, turns| Arc::strong_count(turns) > 1);
        let turns = tenants.entry(tenant.clone());
        Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(TENANT_BODIES_MAX))))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Error::Busy`]: none came within half a minute.
    pub(super) async fn turn(&self, tenant: &TenantName) -> Result<Turn, Error> {
        let own = self.of(tenant);
        let both = async {
            let tenant = own.acquire_owned().await?;
            let all = Arc::clone(&self.all).acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>(Turn {
                _all: all,
                _tenant: tenant,
            })
        };
        match tokio::time::timeout(TURN_WAIT, both).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(Error::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_tenant_does_not_take_every_turn() {
        let bodies = LargeBodies::default();
        let (a, b, c) = (
            "a".parse().unwrap(),
            "b".parse().unwrap(),
            "c".parse().unwrap(),
        );
        let first = bodies.turn(&a).await.unwrap();
        let _second = bodies.turn(&a).await.unwrap();
        assert!(matches!(bodies.turn(&a).await, Err(Error::Busy)));
        let _third = bodies.turn(&b).await.unwrap();
        let _fourth = bodies.turn(&b).await.unwrap();
        assert!(matches!(bodies.turn(&c).await, Err(Error::Busy)));
        drop(first);
        bodies.turn(&c).await.unwrap();
        assert_eq!(bodies.tenants.lock().unwrap().len(), 3);
        bodies.turn(&a).await.unwrap();
        assert_eq!(bodies.tenants.lock().unwrap().len(), 2, "c has no turn");
    }
}
