//! What a stored response depends on.

use crate::{
    ModuleName, TenantName, address::PartitionAddress, change::RecordChange, purge::TagName,
    record::Range,
};
use serde::{Deserialize, Serialize};

/// One thing that a stored response depends on. A change that touches it ends the response's life.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tag {
    /// One record was read, or found absent.
    Record {
        /// Its partition.
        partition: PartitionAddress,
        /// Its sort key.
        sort: String,
    },
    /// A range of a partition was read: any write between the bounds counts.
    Range {
        /// Whose partition.
        tenant: TenantName,
        /// The partition and the bounds; limit and direction do not count.
        range: Range,
    },
    /// A name given by its author.
    Name {
        /// Whose name.
        tenant: TenantName,
        /// The name.
        name: TagName,
    },
    /// The module that answered.
    Module {
        /// Whose module.
        tenant: TenantName,
        /// Its name.
        module: ModuleName,
    },
}

impl Tag {
    /// Whether a write to `change.sort` in `partition` touches what this tag stands for.
    #[must_use]
    pub fn touched_by_record(&self, partition: &PartitionAddress, change: &RecordChange) -> bool {
        match self {
            Self::Record {
                partition: own,
                sort,
            } => own == partition && *sort == change.sort,
            Self::Range { tenant, range } => {
                *tenant == partition.tenant
                    && range.collection == partition.collection
                    && range.partition == partition.partition
                    && range.contains(&change.sort)
            }
            Self::Name { .. } | Self::Module { .. } => false,
        }
    }
}
