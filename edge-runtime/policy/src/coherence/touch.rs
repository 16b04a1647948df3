//! What a change touches.

use super::{
    bounds::SortKey,
    few::Few,
    tags::{self, TagHash},
};
use brink_protocol::{
    ModuleName, TenantName,
    address::PartitionAddress,
    change::{Change, ChangeKind, RecordChange},
    purge::Selector,
};

/// Of a change that writes more records than this no sort key is looked at: it counts as a write of the whole partition.
pub const SORTS_MAX: usize = 16;

/// What a change touches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touch {
    /// The tags.
    pub tags: Few<TagHash, 4>,
    /// The partition that it writes to; not among `tags`, for ranges count by their bounds.
    pub written: Option<Written>,
    /// Entries become stale instead of ending. What it writes it ends.
    pub soft: bool,
}

/// Writes to one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// See [`tags::partition`].
    pub partition: TagHash,
    /// Sort keys of the records; none: any of the partition.
    pub sorts: Option<Few<SortKey, 1>>,
}

impl Touch {
    /// Ends what has any of the tags.
    #[must_use]
    pub fn hard(tags: &[TagHash]) -> Self {
        Self {
            tags: tags.iter().copied().collect(),
            written: None,
            soft: false,
        }
    }

    /// Makes stale what has any of the tags.
    #[must_use]
    pub fn soft(tags: &[TagHash]) -> Self {
        Self {
            soft: true,
            ..Self::hard(tags)
        }
    }

    /// Every tag that it touches, the partition's last.
    pub fn all_tags(&self) -> impl Iterator<Item = TagHash> {
        let partition = self.written.as_ref().map(|written| written.partition);
        self.tags.iter().copied().chain(partition)
    }

    /// A write of records. Deleted ones, and those whose lifetime has ended, count as written.
    #[must_use]
    pub fn write(partition: &PartitionAddress, records: &[RecordChange]) -> Self {
        let PartitionAddress {
            tenant,
            collection,
            partition: name,
        } = partition;
        let sorts = || records.iter().map(|record| record.sort.as_str());
        let few = (1..=SORTS_MAX).contains(&records.len());
        Self {
            tags: sorts().map(|sort| tags::record(partition, sort)).collect(),
            written: Some(Written {
                partition: tags::partition(tenant, collection, name),
                sorts: few.then(|| sorts().map(SortKey::of).collect()),
            }),
            soft: false,
        }
    }
}

/// What a change touches. Intended and settled writes alike.
#[must_use]
pub fn touched_by(change: &Change) -> Touch {
    match &change.kind {
        ChangeKind::Records {
            partition,
            records,
            phase: _,
        } => Touch::write(partition, records),
        ChangeKind::Purge(purge) => {
            let selectors = purge.selectors.iter();
            Touch {
                tags: selectors.flat_map(|s| selected(&purge.tenant, s)).collect(),
                written: None,
                soft: purge.soft,
            }
        }
        ChangeKind::Deployments {
            revision: _,
            tenant,
            modules,
        } => {
            let of = |module: &ModuleName| tags::module(tenant, module.as_str());
            Touch {
                tags: modules.iter().map(of).collect(),
                ..Touch::default()
            }
        }
    }
}

/// The tags of everything that a selector of `tenant` matches. A URL has a second one: where keys leave some of the query
/// out, it ends all that differ in their query alone.
pub fn selected(tenant: &TenantName, selector: &Selector) -> impl Iterator<Item = TagHash> {
    let page = match selector {
        Selector::Url(url) => Some(tags::page(tenant, url)),
        Selector::Key(_)
        | Selector::Prefix(_)
        | Selector::Host(_)
        | Selector::Module(_)
        | Selector::Everything => None,
    };
    let own = match selector {
        Selector::Key(name) => tags::name(tenant, name.as_str()),
        Selector::Url(url) => tags::url(tenant, url),
        Selector::Prefix(prefix) => tags::prefix(tenant, prefix),
        Selector::Host(host) => tags::host(tenant, host),
        Selector::Module(module) => tags::module(tenant, module.as_str()),
        Selector::Everything => tags::everything(tenant),
    };
    std::iter::once(own).chain(page)
}
