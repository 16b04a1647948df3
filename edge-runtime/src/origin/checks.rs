//! Health checks: each origin that asks for them has a task, for as long as a route leads to it.

use super::upstream::Upstream;
use crate::chance::chance;
use brink_policy::origins::{Thresholds, next_check_ms};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// Asks the origin from time to time until nobody knows it any more. Call it from within a tokio runtime.
pub(super) fn begin(upstream: &Arc<Upstream>) {
    if upstream.spec().health.is_some() {
        tokio::spawn(check(Arc::downgrade(upstream)));
    }
}

async fn check(upstream: Weak<Upstream>) {
    let mut is_first = true;
    while let Some((wait, is_first_now)) = wait(&upstream, is_first) {
        is_first = is_first_now;
        tokio::time::sleep(wait).await;
        let Some(upstream) = upstream.upgrade() else {
            return;
        };
        let Some(health) = &upstream.spec().health else {
            return;
        };
        let limit = Duration::from_millis(health.timeout_ms.into());
        let passed = upstream.is_well(&health.path, limit).await;
        let thresholds = Thresholds {
            healthy_after: health.healthy_after,
            unhealthy_after: health.unhealthy_after,
        };
        upstream.gate().checked(passed, thresholds);
    }
}

fn wait(upstream: &Weak<Upstream>, is_first: bool) -> Option<(Duration, bool)> {
    let upstream = upstream.upgrade()?;
    let interval = upstream.spec().health.as_ref()?.interval_ms;
    let wait_ms = next_check_ms(interval.into(), is_first, chance());
    Some((Duration::from_millis(wait_ms), false))
}
