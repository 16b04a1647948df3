//! Where a record lives among all tenants.

use crate::{TenantName, record::Key};
use serde::{Deserialize, Serialize};

/// A partition: the unit of transaction, of ordering and of home region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionAddress {
    /// Whose it is.
    pub tenant: TenantName,
    /// See [`Key::collection`].
    pub collection: String,
    /// See [`Key::partition`].
    pub partition: String,
}

/// A record: its partition and its sort key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordAddress {
    /// The partition that it is in.
    pub partition: PartitionAddress,
    /// See [`Key::sort`].
    pub sort: String,
}

impl RecordAddress {
    /// The address of a tenant's key.
    #[must_use]
    pub fn new(tenant: TenantName, key: Key) -> Self {
        Self {
            partition: PartitionAddress {
                tenant,
                collection: key.collection,
                partition: key.partition,
            },
            sort: key.sort,
        }
    }
}
