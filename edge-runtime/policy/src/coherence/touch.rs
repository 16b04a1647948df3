//! Which tags a change touches.

use super::tags::{self, TagHash};
use brink_protocol::{
    ModuleName, TenantName,
    address::PartitionAddress,
    change::{Change, ChangeKind},
    purge::Selector,
    tag::Tag,
};

/// The hash of a dependency.
#[must_use]
pub fn tag_hash(tag: &Tag) -> TagHash {
    match tag {
        Tag::Record { partition, sort } => tags::record(partition, sort),
        Tag::Range { tenant, range } => {
            tags::partition(tenant, &range.collection, &range.partition)
        }
        Tag::Name { tenant, name } => tags::name(tenant, name.as_str()),
        Tag::Module { tenant, module } => tags::module(tenant, module.as_str()),
    }
}

/// What a change touches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touch {
    /// The tags.
    pub tags: Vec<TagHash>,
    /// Entries become stale instead of ending.
    pub soft: bool,
}

/// The tags that a change touches. Intended and settled writes alike.
#[must_use]
pub fn touched_by(change: &Change) -> Touch {
    match &change.kind {
        ChangeKind::Records {
            partition,
            records,
            phase: _,
        } => {
            let PartitionAddress {
                tenant,
                collection,
                partition: name,
            } = partition;
            let mut touched = vec![tags::partition(tenant, collection, name)];
            touched.extend(
                records
                    .iter()
                    .map(|record| tags::record(partition, &record.sort)),
            );
            Touch {
                tags: touched,
                soft: false,
            }
        }
        ChangeKind::Purge(purge) => Touch {
            tags: purge
                .selectors
                .iter()
                .map(|selector| selected(&purge.tenant, selector))
                .collect(),
            soft: purge.soft,
        },
        ChangeKind::Deployments {
            revision: _,
            tenant,
            modules,
        } => {
            let of = |module: &ModuleName| tags::module(tenant, module.as_str());
            Touch {
                tags: modules.iter().map(of).collect(),
                soft: false,
            }
        }
    }
}

/// The tag of everything that a selector of `tenant` matches.
#[must_use]
pub fn selected(tenant: &TenantName, selector: &Selector) -> TagHash {
    match selector {
        Selector::Key(name) => tags::name(tenant, name.as_str()),
        Selector::Url(url) => tags::url(tenant, url),
        Selector::Prefix(prefix) => tags::prefix(tenant, prefix),
        Selector::Host(host) => tags::host(tenant, host),
        Selector::Module(module) => tags::module(tenant, module.as_str()),
        Selector::Everything => tags::everything(tenant),
    }
}
