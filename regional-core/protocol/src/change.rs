//! Entries of a core node's change log.

use crate::{OriginId, TenantName, address::PartitionAddress, purge::Purge, record::Version};
use serde::{Deserialize, Serialize};

/// Most records that one change may name: as many as one transaction may write.
pub const RECORDS_PER_CHANGE_MAX: usize = 1000;

/// One entry of an origin's log. Sequences of an origin begin at 1 and never skip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Who appended it.
    pub origin: OriginId,
    /// Its place in the origin's log.
    pub sequence: u64,
    /// When it was appended, in milliseconds since 1970, by the origin's clock. For people and figures, never for order.
    pub at_ms: u64,
    /// What happened.
    pub kind: ChangeKind,
}

/// What a change says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// Records of one partition are about to be written (`settled: false`) or were written (`settled: true`). A reader
    /// treats both as an invalidation. A store that writes log and records in one transaction appends only the latter.
    Records {
        /// The partition.
        partition: PartitionAddress,
        /// The records, 1 to [`RECORDS_PER_CHANGE_MAX`].
        records: Vec<RecordChange>,
        /// Whether the write is known to have happened.
        settled: bool,
    },
    /// Entries of a tenant are to leave every cache.
    Purge(Purge),
    /// The deployment table has a new revision: fetch it.
    Deployments {
        /// Revisions count from 1 and only grow.
        revision: u64,
        /// Whose modules changed; their answers leave the cache.
        tenant: TenantName,
        /// Names of the modules whose answers leave the cache, none for a change of routes alone.
        modules: Vec<crate::ModuleName>,
    },
}

/// One written record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordChange {
    /// Its sort key.
    pub sort: String,
    /// Its version after the write; none: it was deleted or ended by its lifetime.
    pub version: Option<Version>,
}
