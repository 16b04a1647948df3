//! What changed of the registry since it was taken last.
//!
//! That something did is seen by the audit log and the revision of the deployment table. Whatever is large is read of those
//! modules and tenants alone that these name.

use super::gathered::RegistryChange;
use crate::{
    Error,
    store::{PURGES_MAX, PurgeRow, Registry, Store, TokenRow},
};
use brink_protocol::{
    Digest, ModuleName, TenantName,
    control::AuditEntry,
    deployment::{Deployment, DeploymentTable, default_tenant},
    placement::PlacementTable,
};
use std::collections::{BTreeMap, BTreeSet};

/// Entries, or purges, that are read at a time, and things of one kind in one piece.
const PAGE: usize = 1000;
/// Histories in one piece.
const HISTORIES: usize = 100;

/// What was taken already.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The last entry of the audit log, and the table's revision: what tells that something changed. None: it is to be looked.
    seen: Option<(u64, u64)>,
    /// The last entry of the audit log that was taken.
    audit: u64,
    table: DeploymentTable,
    placements: PlacementTable,
    tokens: Vec<TokenRow>,
    versions: BTreeSet<(TenantName, ModuleName, u64)>,
    /// The newest purge of each tenant.
    purges: BTreeMap<TenantName, String>,
    components: BTreeSet<Digest>,
    /// All tenants were looked through once.
    is_begun: bool,
}

/// What is new.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// Components that are not taken yet: they come first.
    pub(super) components: Vec<Digest>,
    /// What changed, in pieces.
    pub(super) changes: Vec<RegistryChange>,
}

impl Taken {
    /// What is in a generation that is gone on with.
    pub(super) fn of(registry: &Registry, components: BTreeSet<Digest>) -> Self {
        let mut taken = Self {
            seen: None,
            audit: registry.audit.last().map_or(0, |entry| entry.number),
            table: registry.table.clone(),
            placements: registry.placements.clone(),
            tokens: registry.tokens.clone(),
            versions: BTreeSet::new(),
            purges: BTreeMap::new(),
            components,
            is_begun: true,
        };
        for (tenant, version) in &registry.versions {
            let key = (tenant.clone(), version.module.clone(), version.version);
            taken.versions.insert(key);
        }
        for row in &registry.purges {
            taken.took(row);
        }
        taken
    }

    fn took(&mut self, row: &PurgeRow) {
        let last = self.purges.entry(row.purge.tenant.clone()).or_default();
        if row.purge.id > *last {
            last.clone_from(&row.purge.id);
        }
    }

    /// Deployments that are new or not what they were.
    fn deployed(&self, table: &DeploymentTable) -> Vec<(TenantName, ModuleName)> {
        let before: BTreeMap<_, &Deployment> = self
            .table
            .deployments
            .iter()
            .map(|deployment| ((&deployment.tenant, &deployment.name), deployment))
            .collect();
        let is_new =
            |now: &&Deployment| before.get(&(&now.tenant, &now.name)).copied() != Some(*now);
        let new = table.deployments.iter().filter(is_new);
        new.map(|now| (now.tenant.clone(), now.name.clone()))
            .collect()
    }
}

/// What changed, and the components that are not taken yet.
pub(super) async fn capture(store: &dyn Store, taken: &mut Taken) -> Result<Captured, Error> {
    let newest = store.audit(None, None, 1).await?;
    let number = newest.first().map_or(0, |entry| entry.number);
    let table = store.table().await?;
    let now = (number, table.revision);
    if taken.seen == Some(now) {
        return Ok(Captured::default());
    }
    let mut captured = Captured::default();
    let audit = audit(store, taken.audit, number).await?;
    let deployed = taken.deployed(&table);
    let mut tenants: BTreeSet<TenantName> =
        audit.iter().map(|entry| entry.tenant.clone()).collect();
    tenants.extend(deployed.iter().map(|(tenant, _)| tenant.clone()));
    captured.small(store, table, taken).await?;
    if !taken.is_begun {
        tenants.insert(default_tenant());
        tenants.extend(taken.tokens.iter().map(|token| token.tenant.clone()));
    }
    captured.histories(store, deployed).await?;
    for tenant in &tenants {
        captured.of_tenant(store, tenant, taken).await?;
    }
    captured.in_pieces(audit, |change, audit| change.audit = audit);
    taken.audit = taken.audit.max(number);
    taken.seen = Some(now);
    taken.is_begun = true;
    Ok(captured)
}

impl Captured {
    fn in_pieces<T>(&mut self, all: Vec<T>, put: impl Fn(&mut RegistryChange, Vec<T>)) {
        let mut all = all.into_iter();
        loop {
            let some: Vec<T> = all.by_ref().take(PAGE).collect();
            if some.is_empty() {
                return;
            }
            let mut change = RegistryChange::default();
            put(&mut change, some);
            self.changes.push(change);
        }
    }

    /// What is taken whole if it is not what it was.
    async fn small(
        &mut self,
        store: &dyn Store,
        table: DeploymentTable,
        taken: &mut Taken,
    ) -> Result<(), Error> {
        let mut change = RegistryChange::default();
        if table != taken.table {
            taken.table.clone_from(&table);
            change.table = Some(table);
        }
        let placements = store.placements(false).await?;
        if placements != taken.placements {
            taken.placements.clone_from(&placements);
            change.placements = Some(placements);
        }
        let tokens = store.tokens(None).await?;
        if tokens != taken.tokens {
            taken.tokens.clone_from(&tokens);
            change.tokens = Some(tokens);
        }
        if change != RegistryChange::default() {
            self.changes.push(change);
        }
        Ok(())
    }

    async fn histories(
        &mut self,
        store: &dyn Store,
        of: Vec<(TenantName, ModuleName)>,
    ) -> Result<(), Error> {
        for some in of.chunks(HISTORIES) {
            let mut change = RegistryChange::default();
            for (tenant, name) in some {
                let history = store.history(tenant, name).await?;
                let named = (tenant.clone(), name.clone(), history);
                change.histories.push(named);
            }
            self.changes.push(change);
        }
        Ok(())
    }

    async fn of_tenant(
        &mut self,
        store: &dyn Store,
        tenant: &TenantName,
        taken: &mut Taken,
    ) -> Result<(), Error> {
        let mut versions = Vec::new();
        for version in store.versions(tenant, None).await? {
            let key = (tenant.clone(), version.module.clone(), version.version);
            if !taken.versions.insert(key) {
                continue;
            }
            if taken.components.insert(version.digest) {
                self.components.push(version.digest);
            }
            versions.push((tenant.clone(), version));
        }
        self.in_pieces(versions, |change, versions| change.versions = versions);
        let purges = purges(store, tenant, taken).await?;
        self.in_pieces(purges, |change, purges| change.purges = purges);
        Ok(())
    }
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
) -> Result<Vec<PurgeRow>, Error> {
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
    found.reverse();
    for row in &found {
        taken.took(row);
    }
    Ok(found)
}
