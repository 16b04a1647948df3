//! Where a core keeps what it owns: one trait, written for CQL from the start, and the embedded store behind it.
//!
//! What the trait asks of an engine is what CQL offers: rows by partition and sort key, bounded scans within one
//! partition, conditional writes of one partition (lightweight transactions), small tables under a revision. Nothing
//! asks for a transaction over two partitions, or for an order over all partitions; only the log of one origin is ordered.
//!
//! Each change of what edges may have cached is in the change log *before or together with* the write itself
//! (log before write). A store that writes both in one transaction appends it as settled.
//!
//! Time is an argument: a record whose lifetime has ended at `now_ms` is absent, whether or not it was swept.

mod archive;
mod beginning;
mod checks;
#[cfg(test)]
mod contract;
mod cql;
mod ending;
mod members;
mod placing;
mod redb;
mod rows;

pub use archive::{Archive, KEPT_ROWS_MAX, KeptRow, REVISIONS_APART, Registry, RowKey};
#[cfg(test)]
pub(crate) use cql::tests::fresh as fresh_cql;
pub use cql::{Confirm, CqlMembers, CqlStore, Credentials, Options as CqlOptions, Serial};
pub(crate) use ending::LOOKED_AT;
pub use ending::{CollectionNames, ENDED_BYTES_MAX, EndedRow, Endings, Spared, Sweeping, is_of};
pub use members::{Member, responsible};
pub use placing::{PlacementStore, Reads};
pub use redb::{Options, RedbStore};
pub use rows::{
    Action, Answer, AnswerKey, Appended, Commit, Held, LaterPurge, NewAnswer, NewAudit, NewPurge,
    NewVersion, PopRow, Published, PurgeAdded, PurgeRow, Seen, Span, Swept, TableChange, TokenRow,
    Transaction, WRITES, Write,
};

use crate::Error;
use async_trait::async_trait;
use brink_protocol::{
    Digest, ModuleName, NodeName, OriginId, PopName, Position, StoreId, TenantName,
    change::Change,
    control,
    deployment::{Deployment, DeploymentTable},
    link::AppliedPurge,
    record::{Entry, Key, Page, Range, Version},
    session::SessionKey,
    trail::Author,
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Bytes of values in one page of a scan; a page that would hold more ends early and says that there is more.
pub const PAGE_BYTES_MAX: usize = 4 << 20;
/// Bytes of values that one `get_many` may give, and that one transaction may write. More is refused.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// Bytes of one reading of a log, once there is a change in it.
pub const CHANGES_BYTES_MAX: usize = 1 << 20;
/// How long the answer to an idempotency key is kept, in milliseconds: 24 hours.
pub const ANSWER_LIFETIME_MS: u64 = 24 * 3600 * 1000;
/// Entries of the audit log that are kept; the oldest go first.
pub const AUDIT_ENTRIES_MAX: u64 = 100_000;
/// Purges of one tenant that are kept for their history; the oldest go first.
pub const PURGES_MAX: u64 = 10_000;
/// Purges of all tenants that are kept for their history; the oldest go first.
pub const ALL_PURGES_MAX: u64 = 100_000;
/// Hard halves of staggered purges of one tenant that wait for their time; further ones are refused.
pub const LATER_PURGES_MAX: usize = 100;
/// Earlier deployments of a module that are kept for a rollback; the oldest go first.
pub const HISTORY_MAX: usize = 50;

const _: () = assert!(
    BATCH_BYTES_MAX + (1 << 20) < brink_protocol::codec::MESSAGE_BYTES_MAX
        && PAGE_BYTES_MAX + brink_protocol::record::VALUE_BYTES_MAX < BATCH_BYTES_MAX
);

/// A core's store. Methods answer only after what they wrote is durable.
///
/// # Errors
/// Every method: [`Error::Busy`] (nothing was written) or [`Error::Store`] (a write may or may not have happened);
/// those that take keys, values or ranges also [`Error::Limit`].
#[async_trait]
pub trait Store: Archive + Endings + PlacementStore {
    /// Under which origin this core appends to the log.
    fn origin(&self) -> &OriginId;

    /// Which store this is: made once, kept in it, and the same for every core that writes to the engine.
    fn id(&self) -> StoreId;

    /// For how long the engine has not answered this core: since the last request that it did answer was sent, of those that
    /// are sent several times a second. Zero for an engine in this process.
    fn silence(&self) -> Duration;

    /// Whether several cores write to the engine. It then has the logs of all of them by itself: what peers hand on
    /// ([`Store::append_foreign`]) is only compared with that, and an origin that does not write to it is refused.
    fn is_shared(&self) -> bool;

    /// What the log of this origin holds now. Everything up to its head is seen by reads that begin afterwards.
    fn span(&self) -> Span;

    /// What is held of the logs of all origins; wakes when one of them moves.
    ///
    /// An engine that several cores share shows the logs of all cores that write to it. There a core whose peer is not
    /// reached reads on in what the peer has appended, and takes over its log when the peer is known to be gone: it
    /// settles what is open ([`brink_protocol::log::Log::take_over`]). An engine of one core's own, as the embedded one,
    /// holds of a peer's log what the peer has sent, and has nothing to fall back to.
    fn held(&self) -> watch::Receiver<Arc<Held>>;

    /// Appends changes of other origins, each origin's in order: those that are held are skipped, a gap is refused. The
    /// first change of a later incarnation drops what was kept of the earlier ones of its node.
    ///
    /// Also [`Error::Limit`]: they are of this core itself, or of more origins than a position may name.
    async fn append_foreign(&self, changes: Vec<Change>) -> Result<Appended, Error>;

    /// Begins another origin's log anew behind `head`: what was kept of it and of earlier incarnations of its node is
    /// dropped, so that readers from before start anew too. Nothing happens for an incarnation that is over.
    ///
    /// Also [`Error::Limit`], as [`Store::append_foreign`].
    async fn restart_foreign(&self, origin: OriginId, head: u64) -> Result<(), Error>;

    /// Session keys by the core node that made them. Never logged.
    async fn session_keys(&self) -> Result<BTreeMap<NodeName, Vec<SessionKey>>, Error>;

    /// Keeps a core node's session keys in the place of those kept before.
    async fn put_session_keys(&self, node: NodeName, keys: Vec<SessionKey>) -> Result<(), Error>;

    /// Cancelled when the engine takes no more writes and only opening the store anew can help: after a failure of the
    /// disk, or when the disk was full.
    fn failed(&self) -> CancellationToken;

    /// Changes of `origin` after `after`, oldest first, at most `limit` and not many more than [`CHANGES_BYTES_MAX`]; empty
    /// at the head, and for an origin that is not known. The caller compares the first with `after`: what was dropped is
    /// not given.
    async fn changes(
        &self,
        origin: &OriginId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Change>, Error>;

    /// The record, unless it is absent or its lifetime has ended.
    async fn get(
        &self,
        tenant: &TenantName,
        key: &Key,
        now_ms: u64,
    ) -> Result<Option<Entry>, Error>;

    /// Up to [`brink_protocol::record::GET_MANY_MAX`] records in the order asked, all from one moment where the engine can.
    async fn get_many(
        &self,
        tenant: &TenantName,
        keys: &[Key],
        now_ms: u64,
    ) -> Result<Vec<Option<Entry>>, Error>;

    /// A bounded part of one partition.
    async fn scan(&self, tenant: &TenantName, range: &Range, now_ms: u64) -> Result<Page, Error>;

    /// The last version that the record under a key ever had, whether or not it is there; 0: it was never written.
    async fn last_version(&self, tenant: &TenantName, key: &Key) -> Result<Version, Error>;

    /// Writes to one partition, all or none, together with their entry in the log and the answer to an idempotency key.
    async fn commit(&self, transaction: Transaction) -> Result<Commit, Error>;

    /// As [`Store::commit`], and says who writes, for the audit trail. A store of one engine keeps none: it is kept above.
    async fn commit_by(&self, transaction: Transaction, _by: &Author) -> Result<Commit, Error> {
        self.commit(transaction).await
    }

    /// The answer kept under an idempotency key.
    async fn answer(&self, key: &AnswerKey, now_ms: u64) -> Result<Option<Answer>, Error>;

    /// Removes up to `limit` records and answers whose lifetime has ended, with changes for the records.
    async fn sweep(&self, now_ms: u64, limit: usize) -> Result<Swept, Error>;

    /// Keeps a component and gives it the module's next version; a digest that the module has already keeps its version.
    async fn publish(
        &self,
        version: NewVersion,
        component: Bytes,
        audit: NewAudit,
    ) -> Result<Published, Error>;

    /// The bytes of a component.
    async fn component(&self, digest: &Digest) -> Result<Option<Bytes>, Error>;

    /// Versions of a module (of every module if there is no name), by module and version.
    async fn versions(
        &self,
        tenant: &TenantName,
        module: Option<&ModuleName>,
    ) -> Result<Vec<control::Version>, Error>;

    /// The deployment table of all tenants.
    async fn table(&self) -> Result<DeploymentTable, Error>;

    /// Puts a new table in the place of the one with the expected revision, with a change in the log. `None`: the table
    /// has another revision; read it again.
    async fn change_table(
        &self,
        change: TableChange,
        audit: NewAudit,
    ) -> Result<Option<Position>, Error>;

    /// The deployments of a module in the order in which they came into force; the last is the present one.
    async fn history(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Vec<Deployment>, Error>;

    /// Appends a purge to the log and keeps it for its status, together with the hard purge that follows and the answer to
    /// an idempotency key.
    async fn add_purge(
        &self,
        purge: NewPurge,
        audit: Option<NewAudit>,
    ) -> Result<PurgeAdded, Error>;

    /// Appends up to `limit` purges that waited for their time, each with an entry in the audit log; gives how many.
    async fn release_purges(&self, now_ms: u64, limit: usize) -> Result<usize, Error>;

    /// A purge.
    async fn purge(&self, tenant: &TenantName, id: &str) -> Result<Option<PurgeRow>, Error>;

    /// The newest purges whose ids come before `before`, newest first.
    async fn purges(
        &self,
        tenant: &TenantName,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PurgeRow>, Error>;

    /// Notes that a PoP applied purges. Repeats keep the first note; ids that are not known are left out. Gives how long
    /// after its acceptance each that was noted now was heard of, in milliseconds.
    async fn note_applied(
        &self,
        pop: &PopName,
        applied: &[AppliedPurge],
        now_ms: u64,
    ) -> Result<Vec<u64>, Error>;

    /// Keeps a token.
    async fn add_token(&self, token: TokenRow, audit: NewAudit) -> Result<(), Error>;

    /// The token with this SHA-256 of its secret.
    async fn token(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>, Error>;

    /// Tokens of a tenant, or all.
    async fn tokens(&self, tenant: Option<&TenantName>) -> Result<Vec<TokenRow>, Error>;

    /// Removes a token; whether it was there.
    async fn remove_token(&self, id: &str, audit: NewAudit) -> Result<bool, Error>;

    /// Appends to the audit log alone: for what leaves no other row.
    async fn add_audit(&self, audit: NewAudit) -> Result<(), Error>;

    /// Newest entries of the audit log before the one with this number, newest first; of all tenants if none is named.
    async fn audit(
        &self,
        tenant: Option<&TenantName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<control::AuditEntry>, Error>;

    /// Keeps what PoPs last said.
    async fn put_pops(&self, pops: Vec<PopRow>) -> Result<(), Error>;

    /// Every PoP that was kept.
    async fn pops(&self) -> Result<Vec<PopRow>, Error>;
}
