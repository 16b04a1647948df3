//! The registry in pieces: what changed of it, and all of that together.

use crate::store::{ALL_PURGES_MAX, AUDIT_ENTRIES_MAX, PurgeRow, Registry, TokenRow};
use brink_protocol::{
    ModuleName, TenantName,
    control::{AuditEntry, Version},
    deployment::{Deployment, DeploymentTable},
    placement::PlacementTable,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// What changed of the registry. What is not named is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RegistryChange {
    /// The deployment table, whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<DeploymentTable>,
    /// Where partitions belong, whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) placements: Option<PlacementTable>,
    /// All tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<Vec<TokenRow>>,
    /// Earlier deployments of modules, each whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) histories: Vec<(TenantName, ModuleName, Vec<Deployment>)>,
    /// Versions that are new.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) versions: Vec<(TenantName, Version)>,
    /// New entries of the audit log, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) audit: Vec<AuditEntry>,
    /// New purges, the oldest of each tenant first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) purges: Vec<PurgeRow>,
}

/// Changes together, up to the last that was confirmed. It holds no more than a store keeps.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    waiting: Vec<RegistryChange>,
    table: DeploymentTable,
    placements: PlacementTable,
    tokens: Vec<TokenRow>,
    histories: BTreeMap<(TenantName, ModuleName), Vec<Deployment>>,
    versions: BTreeMap<(TenantName, ModuleName, u64), Version>,
    audit: VecDeque<AuditEntry>,
    /// By their ids, which are in the order of time.
    purges: BTreeMap<String, PurgeRow>,
}

impl Gathered {
    /// Takes a change, which waits for the mark behind it.
    pub(super) fn take(&mut self, change: RegistryChange) {
        self.waiting.push(change);
    }

    /// What waits counts.
    pub(super) fn confirm(&mut self) {
        for change in std::mem::take(&mut self.waiting) {
            self.absorb(change);
        }
    }

    /// What waits does not count.
    pub(super) fn give_up(&mut self) {
        self.waiting.clear();
    }

    fn absorb(&mut self, change: RegistryChange) {
        self.table = change
            .table
            .unwrap_or_else(|| std::mem::take(&mut self.table));
        self.placements = change
            .placements
            .unwrap_or_else(|| std::mem::take(&mut self.placements));
        self.tokens = change
            .tokens
            .unwrap_or_else(|| std::mem::take(&mut self.tokens));
        for (tenant, module, history) in change.histories {
            self.histories.insert((tenant, module), history);
        }
        for (tenant, version) in change.versions {
            let key = (tenant, version.module.clone(), version.version);
            self.versions.insert(key, version);
        }
        for entry in change.audit {
            self.audit.push_back(entry);
            if self.audit.len() as u64 > AUDIT_ENTRIES_MAX {
                self.audit.pop_front();
            }
        }
        for row in change.purges {
            self.purges.insert(row.purge.id.clone(), row);
            if self.purges.len() as u64 > ALL_PURGES_MAX {
                self.purges.pop_first();
            }
        }
    }

    /// As a store takes it.
    pub(super) fn into_registry(self) -> Registry {
        let histories = self.histories.into_iter();
        let versions = self.versions.into_iter();
        Registry {
            table: self.table,
            placements: self.placements,
            histories: histories
                .map(|((tenant, module), history)| (tenant, module, history))
                .collect(),
            versions: versions
                .map(|((tenant, ..), version)| (tenant, version))
                .collect(),
            tokens: self.tokens,
            audit: self.audit.into(),
            purges: self.purges.into_values().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(number: u64) -> AuditEntry {
        AuditEntry {
            number,
            at_ms: number,
            by: "t".into(),
            tenant: "t".parse().unwrap(),
            action: "x".into(),
            subject: String::new(),
        }
    }

    fn audited(number: u64) -> RegistryChange {
        RegistryChange {
            audit: vec![entry(number)],
            ..RegistryChange::default()
        }
    }

    #[test]
    fn what_is_not_named_stays_and_no_more_is_held_than_a_store_keeps() {
        let mut gathered = Gathered::default();
        gathered.take(RegistryChange {
            table: Some(DeploymentTable {
                revision: 3,
                ..DeploymentTable::default()
            }),
            ..audited(1)
        });
        gathered.confirm();
        for number in 2..=AUDIT_ENTRIES_MAX + 9 {
            gathered.take(audited(number));
            gathered.confirm();
        }
        gathered.take(audited(u64::MAX));
        gathered.give_up();
        let registry = gathered.into_registry();
        assert_eq!(registry.table.revision, 3);
        assert_eq!(registry.audit.len() as u64, AUDIT_ENTRIES_MAX);
        let ends = (registry.audit.first(), registry.audit.last());
        assert_eq!(ends.0.unwrap().number, 10);
        assert_eq!(ends.1.unwrap().number, AUDIT_ENTRIES_MAX + 9);
    }
}
