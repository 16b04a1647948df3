//! Notes when the lease runs out. Nothing depends on it: freshness is decided on each use.

use crate::cache::Cache;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often it is looked whether a lease that ran out holds again.
const LOOK: Duration = Duration::from_millis(20);

/// Watches the lease.
pub struct LeaseWatch {
    /// Whose.
    pub cache: Cache,
}

impl LeaseWatch {
    /// Watches until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut held = false;
        loop {
            let now = Instant::now();
            // The cache counts its ends.
            self.cache.poll(now);
            let holds = self.cache.connected(now);
            if held && !holds {
                tracing::warn!(
                    "the lease ran out: nothing is called fresh until the core has answered"
                );
            } else if holds && !held {
                tracing::info!("the lease holds");
            }
            held = holds;
            let known = self.cache.staleness_bound(now).unwrap_or_default();
            let rest = self.cache.lease().saturating_sub(known);
            let wait = if holds { rest.max(LOOK) } else { LOOK };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}
