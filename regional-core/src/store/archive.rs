//! What backups, exports and erasures ask of a store: its rows as they are kept, and a way to put them back.
//!
//! A row as it is kept has its version and the end of its lifetime; a deleted record is one without a value, as long as the
//! store remembers its version. Whether a lifetime has ended is not asked here.

use super::{PurgeRow, TokenRow};
use crate::Error;
use async_trait::async_trait;
use brink_protocol::{
    Digest, ModuleName, Position, TenantName,
    address::PartitionAddress,
    control,
    deployment::{Deployment, DeploymentTable},
    placement::PlacementTable,
    record::Version,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Rows that one call gives, or takes, at most.
pub const KEPT_ROWS_MAX: usize = 1000;

/// Which row of a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RowKey {
    /// The record under a sort key, whether or not it is there.
    Record(String),
    /// The kept answer to an idempotency key.
    Answer {
        /// The command.
        command: ModuleName,
        /// The caller's key.
        key: String,
    },
}

/// A row as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRow {
    /// Which.
    pub key: RowKey,
    /// A record's version, the last one if it is gone; 0: the store does not know it any more. Of an answer: at least 1.
    pub version: Version,
    /// A record's value, or an answer as [`super::Answer`] in postcard; none: gone.
    pub value: Option<Bytes>,
    /// The moment from which on it is absent, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

/// Everything of a store that is no record, answer or component. Session keys, PoPs and hard purges that wait are not part of
/// it: a store that was put back begins a new life, in which they say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Registry {
    /// The deployment table.
    pub table: DeploymentTable,
    /// Where partitions belong.
    #[serde(default)]
    pub placements: PlacementTable,
    /// Earlier deployments by tenant and module.
    pub histories: Vec<(TenantName, ModuleName, Vec<Deployment>)>,
    /// Published versions.
    pub versions: Vec<(TenantName, control::Version)>,
    /// Tokens.
    pub tokens: Vec<TokenRow>,
    /// The audit log, oldest first.
    pub audit: Vec<control::AuditEntry>,
    /// Kept purges.
    pub purges: Vec<PurgeRow>,
}

/// How far the revisions of deployments and placements jump when they are put back: nobody may hold another table of one.
pub const REVISIONS_APART: u64 = 1000;

/// The part of a store that sees rows as they are kept.
///
/// # Errors
/// As [`super::Store`].
#[async_trait]
pub trait Archive: Send + Sync + 'static {
    /// Partitions that have a row, in an order of the store's own, behind `after`; empty: there are no more.
    async fn partitions(
        &self,
        tenant: Option<&TenantName>,
        after: Option<&PartitionAddress>,
        limit: usize,
    ) -> Result<Vec<PartitionAddress>, Error>;

    /// Rows of a partition, records before answers, behind `after`: at most `limit` and not many more bytes than
    /// [`super::PAGE_BYTES_MAX`]; empty: there are no more. Those of one call are of one moment.
    async fn kept(
        &self,
        partition: &PartitionAddress,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<KeptRow>, Error>;

    /// The records under some sort keys; those that the store knows nothing of are left out.
    async fn kept_records(
        &self,
        partition: &PartitionAddress,
        sorts: &[String],
    ) -> Result<Vec<KeptRow>, Error>;

    /// Whether this core's region is where a partition is written, so that its rows may be looked at and removed here.
    ///
    /// Also [`Error::Region`]: it is not.
    async fn check_home(&self, _partition: &PartitionAddress) -> Result<(), Error> {
        Ok(())
    }

    /// The heads of all logs as they are now: a write that was seen by a read before this is in them.
    async fn heads(&self) -> Result<Position, Error>;

    /// Removes what is kept of deleted records, and answers, of a partition; gives how many rows. Versions of those records
    /// begin anew. Records that are there stay.
    async fn forget(&self, partition: &PartitionAddress) -> Result<usize, Error>;

    /// From which backup the store is being put back; none: it is whole.
    async fn restoring(&self) -> Result<Option<String>, Error>;

    /// Begins to put a backup back, or goes on with one of the same name that was cut off.
    ///
    /// Also [`Error::Backup`]: there is something in the store, or another backup is being put back.
    async fn begin_restore(&self, from: &str) -> Result<(), Error>;

    /// Puts rows back over what is there. `step` grows with each call for one partition; a call may be repeated with its
    /// own. A row without value and version leaves nothing.
    async fn put_back(
        &self,
        partition: &PartitionAddress,
        rows: Vec<KeptRow>,
        step: u64,
    ) -> Result<(), Error>;

    /// Puts a component back.
    async fn put_back_component(&self, digest: &Digest, component: Bytes) -> Result<(), Error>;

    /// Puts the rest back, before the rows: it says where they lie. Revisions of tables are raised by [`REVISIONS_APART`].
    async fn put_back_registry(&self, registry: Registry) -> Result<(), Error>;

    /// Everything is back. Every node begins a new incarnation when it opens the store next, also one that `heads` does not
    /// name: `life`, or one later than those of `heads` if that is later. So that no incarnation is there twice when one
    /// backup is put back several times, `life` is the time, in seconds since 1970. This process may not go on with the store.
    async fn end_restore(&self, heads: &Position, life: u32) -> Result<(), Error>;
}
