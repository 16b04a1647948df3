//! What unsafe requests outdated here, for the questions to shields, which have not heard of them.

use super::shared::Shared;
use brink_policy::coherence::tags;
use brink_protocol::TenantName;
use std::{sync::PoisonError, time::Instant};

/// Remembers what an unsafe request has outdated; with a group nobody knows which URLs.
pub(super) fn note(shared: &Shared, tenant: &TenantName, urls: &[String], has_groups: bool) {
    let outdated = shared.outdated.lock();
    let mut outdated = outdated.unwrap_or_else(PoisonError::into_inner);
    let now_ms = now_ms(shared);
    if has_groups {
        outdated.note_all(now_ms);
    }
    for url in urls {
        outdated.note(tags::url(tenant, url), now_ms);
    }
}

/// The time, in milliseconds since the cache began.
pub(super) fn now_ms(shared: &Shared) -> u64 {
    let since = Instant::now().saturating_duration_since(shared.base);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
