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
    /// Records of one partition are about to be written, or were. A reader treats every phase as an invalidation.
    Records {
        /// The partition.
        partition: PartitionAddress,
        /// The records, 1 to [`RECORDS_PER_CHANGE_MAX`].
        records: Vec<RecordChange>,
        /// How far the write is.
        phase: Phase,
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

/// How far a write of records is (coherence.md, "Log before write").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// It is about to happen; whether it did is not known yet. Versions are not known either.
    Intended,
    /// What this earlier entry of the same log intended has happened, has failed, or was given up after a crash: nothing
    /// of it is still under way.
    Settled {
        /// Sequence of the entry that intended it.
        intent: u64,
    },
    /// It happened in one transaction with this entry: the way of a store that can do so.
    Written,
}

/// One written record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordChange {
    /// Its sort key.
    pub sort: String,
    /// Its version after the write; none: it was deleted or ended by its lifetime, or its version is not known.
    pub version: Option<Version>,
}
