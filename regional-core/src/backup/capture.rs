//! The registry as a backup takes it: whole, but for the audit log and the purges, of which it takes what is new.

use crate::{
    Error,
    store::{PURGES_MAX, Registry, Store},
};
use brink_protocol::{
    Digest, TenantName,
    control::AuditEntry,
    deployment::{Deployment, default_tenant},
};
use std::collections::{BTreeMap, BTreeSet};

/// Entries, or purges, that are read at a time.
const PAGE: usize = 1000;

/// What was taken already.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The last entry of the audit log, and the table's revision: what tells that something changed.
    seen: Option<(u64, u64)>,
    /// The newest purge of each tenant.
    purges: BTreeMap<TenantName, String>,
    /// Components.
    components: BTreeSet<Digest>,
}

/// The registry and the components that are not taken yet; none: nothing changed.
pub(super) async fn capture(
    store: &dyn Store,
    taken: &mut Taken,
) -> Result<Option<(Registry, Vec<Digest>)>, Error> {
    let newest = store.audit(None, None, 1).await?;
    let number = newest.first().map_or(0, |entry| entry.number);
    let table = store.table().await?;
    let now = (number, table.revision);
    if taken.seen == Some(now) {
        return Ok(None);
    }
    let tokens = store.tokens(None).await?;
    let mut tenants: BTreeSet<TenantName> =
        tokens.iter().map(|token| token.tenant.clone()).collect();
    tenants.extend(table.deployments.iter().map(|d| d.tenant.clone()));
    tenants.insert(default_tenant());
    let mut registry = Registry {
        tokens,
        ..Registry::default()
    };
    for Deployment { tenant, name, .. } in &table.deployments {
        let history = store.history(tenant, name).await?;
        registry
            .histories
            .push((tenant.clone(), name.clone(), history));
    }
    for tenant in tenants {
        for version in store.versions(&tenant, None).await? {
            registry.versions.push((tenant.clone(), version));
        }
        registry.purges.extend(purges(store, &tenant, taken).await?);
    }
    registry.table = table;
    registry.placements = store.placements(false).await?;
    let last = taken.seen.map_or(0, |(number, _)| number);
    registry.audit = audit(store, last, number).await?;
    let components: BTreeSet<Digest> = registry
        .versions
        .iter()
        .map(|(_, version)| version.digest)
        .filter(|digest| !taken.components.contains(digest))
        .collect();
    taken.components.extend(components.iter().copied());
    taken.seen = Some(now);
    Ok(Some((registry, components.into_iter().collect())))
}

/// Entries of the audit log after `last` up to `number`, oldest first.
async fn audit(store: &dyn Store, last: u64, number: u64) -> Result<Vec<AuditEntry>, Error> {
    let mut before = number.saturating_add(1);
    let mut found = Vec::new();
    while before > last + 1 {
        let page = store.audit(None, Some(before), PAGE).await?;
        let Some(oldest) = page.last() else { break };
        before = oldest.number;
        found.extend(page.into_iter().filter(|entry| entry.number > last));
    }
    found.reverse();
    Ok(found)
}

/// A tenant's purges that are not taken yet, oldest first.
async fn purges(
    store: &dyn Store,
    tenant: &TenantName,
    taken: &mut Taken,
) -> Result<Vec<crate::store::PurgeRow>, Error> {
    let last = taken.purges.get(tenant).cloned().unwrap_or_default();
    let mut before: Option<String> = None;
    let mut found = Vec::new();
    while (found.len() as u64) < PURGES_MAX {
        let page = store.purges(tenant, before.as_deref(), PAGE).await?;
        let Some(oldest) = page.last() else { break };
        before = Some(oldest.purge.id.clone());
        let is_last = oldest.purge.id <= last;
        found.extend(page.into_iter().filter(|row| row.purge.id > last));
        if is_last {
            break;
        }
    }
    if let Some(newest) = found.first() {
        taken.purges.insert(tenant.clone(), newest.purge.id.clone());
    }
    found.reverse();
    Ok(found)
}
