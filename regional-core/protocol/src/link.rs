//! Messages of the core link: edge to core, over mutually authenticated QUIC (HTTP/3) or TLS (HTTP/2).
//!
//! | path | request | answer |
//! |---|---|---|
//! | `POST /link/v1/records` | [`RecordsRequest`] | [`RecordsAnswer`] |
//! | `POST /link/v1/commands` | [`CommandRequest`] | [`CommandAnswer`] |
//! | `POST /link/v1/workflows` | [`crate::workflow::StartWorkflow`] | [`crate::workflow::StartWorkflowAnswer`] |
//! | `POST /link/v1/purges` | [`PurgeRequest`] | [`PurgeAnswer`] |
//! | `GET /link/v1/components/{digest}` | | the component |
//! | `GET /link/v1/deployments` | | [`crate::deployment::DeploymentTable`] |
//! | `POST /link/v1/forwarded-purges` | [`ForwardedPurge`] | [`ForwardedPurgeAnswer`] |
//! | `POST /link/v1/feed` | [`FeedRequest`] | frames of [`FeedMessage`], without end |
//! | `POST /link/v1/exchange` (of cores) | [`ExchangeRequest`] | frames of [`FeedMessage`], without end |
//! | `POST /link/v1/heads` (of cores) | [`HeadsRequest`] | [`ReportAnswer`] |
//! | `POST /link/v1/pops` (of cores) | [`crate::peers::PopsRequest`] | [`crate::peers::PopsAnswer`] |
//! | `POST /link/v1/counts` (of cores) | [`crate::peers::CountsRequest`] | [`crate::peers::CountsAnswer`] |
//! | `POST /link/v1/home` (of cores) | something to be done at a partition's home | what came of it |
//! | `POST /link/v1/reports` | [`Report`] | [`ReportAnswer`] |
//! | `GET /link/v1/probe` | - | [`ProbeAnswer`] |

use crate::{
    ModuleName, NodeName, PopName, Position, StoreId, TenantName,
    change::Change,
    purge::Selector,
    record::{Entry, Key, Page, Range, RecordError, Version},
    session::SessionKey,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Paths of the link.
pub mod path {
    /// Record operations.
    pub const RECORDS: &str = "/link/v1/records";
    /// Commands.
    pub const COMMANDS: &str = "/link/v1/commands";
    /// Starts of workflows.
    pub const WORKFLOWS: &str = "/link/v1/workflows";
    /// Purges by modules.
    pub const PURGES: &str = "/link/v1/purges";
    /// `PURGE` requests that arrived at an edge.
    pub const FORWARDED_PURGES: &str = "/link/v1/forwarded-purges";
    /// The log of one core for another.
    pub const EXCHANGE: &str = "/link/v1/exchange";
    /// How far the log of one core is, for another.
    pub const HEADS: &str = "/link/v1/heads";
    /// The PoPs of one core, for another.
    pub const POPS: &str = "/link/v1/pops";
    /// The PoPs of one core with all that it knows of them, for another.
    pub const ROSTER: &str = "/link/v1/roster";
    /// What the PoPs of one core hold of what a purge would end, for another.
    pub const COUNTS: &str = "/link/v1/counts";
    /// What one core has done at the home of a partition, for another.
    pub const HOME: &str = "/link/v1/home";
    /// Components, followed by `/` and the digest.
    pub const COMPONENTS: &str = "/link/v1/components";
    /// The deployment table.
    pub const DEPLOYMENTS: &str = "/link/v1/deployments";
    /// The feed.
    pub const FEED: &str = "/link/v1/feed";
    /// Reports of PoPs.
    pub const REPORTS: &str = "/link/v1/reports";
    /// Who the core is and how its store is, from memory and at once: how edges measure it. `GET`.
    pub const PROBE: &str = "/link/v1/probe";
}

/// Field of a request to [`path::RECORDS`] that writes: with it, the write is done once however often it is asked for.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// A field of reports: `ADDRESS:PORT` where the PoP's admin interface listens, for operators. An address of no host (`0.0.0.0`)
/// stands for that by which the core sees the PoP.
pub const POP_ADMIN: &str = "brink-pop-admin";
/// Field of a request: for how long its answer is waited for from now on, in milliseconds, 1 or more. Beyond it the core
/// does not work on. Streams have none.
pub const TIME_LEFT_MS: &str = "brink-time-left-ms";
/// Field of a read: how stale it may be, in milliseconds. Without it, it is read where it arrives if it lies there.
pub const MAX_STALENESS_MS: &str = "brink-max-staleness-ms";

/// Name in the core's link certificate.
pub const CORE_NAME: &str = "core.brink.internal";
/// What a PoP's client certificate is named after its own name.
pub const POP_SUFFIX: &str = ".pop.brink.internal";
/// What a core's client certificate is named after its node's name; its link certificate has that name too.
pub const CORE_SUFFIX: &str = ".core.brink.internal";
/// A feed carries a heartbeat this often, in milliseconds.
pub const HEARTBEAT_MS: u64 = 500;
/// Most log lines of one report.
pub const REPORT_LOG_LINES_MAX: usize = 500;

/// What a core answers at [`path::PROBE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeAnswer {
    /// The core.
    pub node: NodeName,
    /// Its region.
    pub region: String,
    /// Its store: an edge uses only cores that have one and the same.
    pub store: StoreId,
    /// For how long its store has not answered it, in milliseconds; 0 for one that is in its own process.
    pub store_silence_ms: u64,
}

/// An operation on the records of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsRequest {
    /// Whose records.
    pub tenant: TenantName,
    /// The module that asks, for the audit trail.
    pub module: ModuleName,
    /// The answer must be at least as new as this.
    pub at_least: Position,
    /// What to do.
    pub operation: RecordOperation,
}

/// What to do with records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordOperation {
    /// Up to [`crate::record::GET_MANY_MAX`] records.
    Get(Vec<Key>),
    /// A bounded part of a partition.
    Scan(Range),
    /// Write.
    Put {
        /// Where.
        key: Key,
        /// What.
        value: Bytes,
        /// For how long; none: for good.
        lifetime_ms: Option<u64>,
        /// Under which condition.
        condition: Condition,
    },
    /// Delete.
    Delete(Key),
}

/// Under which condition a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Whatever is there.
    Always,
    /// Only if there is no record.
    Absent,
    /// Only if this is its version.
    Version(Version),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsAnswer {
    /// At which position it was read, or at which the write is in the log.
    pub position: Position,
    /// The outcome.
    pub outcome: Result<RecordOutcome, RecordError>,
}

/// What a record operation gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordOutcome {
    /// To `Get`, in the order asked.
    Entries(Vec<Option<Entry>>),
    /// To `Scan`.
    Page(Page),
    /// To `Put`: the record's new version.
    Written(Version),
    /// To `Delete`.
    Deleted,
}

/// A call of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRequest {
    /// Whose command.
    pub tenant: TenantName,
    /// The module that calls.
    pub caller: ModuleName,
    /// The authenticated subject on whose behalf.
    pub subject: Option<String>,
    /// Its deployed name.
    pub command: ModuleName,
    /// The partition of the transaction.
    pub collection: String,
    /// The partition of the transaction.
    pub partition: String,
    /// At most [`crate::record::VALUE_BYTES_MAX`].
    pub input: Bytes,
    /// 1 to 128 visible ASCII characters.
    pub idempotency_key: Option<String>,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandAnswer {
    /// The position at which its writes are in the log.
    pub position: Position,
    /// It asked who calls, or it may have: its answer was kept.
    pub asked_for_caller: bool,
    /// Its answer.
    pub outcome: Result<Bytes, CommandError>,
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CommandError {
    /// Outside the limits; the text says which.
    #[error("invalid: {0}")]
    Invalid(String),
    /// No such command, or not for this caller.
    #[error("denied: {0}")]
    Denied(String),
    /// The command refused; its own bytes. Nothing was written.
    #[error("the command refused")]
    Refused(Bytes),
    /// It trapped or passed a limit. Nothing was written.
    #[error("failed: {0}")]
    Failed(String),
    /// Not reached in time; it may or may not have happened.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

/// A purge by a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRequest {
    /// Whose entries.
    pub tenant: TenantName,
    /// The module that purges.
    pub module: ModuleName,
    /// What.
    pub selectors: Vec<Selector>,
    /// See [`crate::purge::Purge::soft`].
    pub soft: bool,
}

/// What came of a purge by a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeAnswer {
    /// The position of the purge.
    pub position: Position,
    /// The purge's id.
    pub id: String,
}

/// A `PURGE` request that arrived at an edge. The edge vouches for nothing: the core authenticates the caller.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedPurge {
    /// The bearer token of the client, at most 512 bytes. Never logged.
    pub token: String,
    /// The host that was asked, `host[:port]`.
    pub host: String,
    /// The target, beginning with `/`.
    pub path_and_query: String,
    /// Whether entries become stale instead of leaving.
    pub soft: bool,
    /// See [`crate::control::NewPurge`]; from the field `Idempotency-Key`.
    pub idempotency_key: Option<String>,
}

impl std::fmt::Debug for ForwardedPurge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwardedPurge")
            .field("host", &self.host)
            .field("path_and_query", &self.path_and_query)
            .field("soft", &self.soft)
            .finish_non_exhaustive()
    }
}

/// What came of a forwarded purge.
pub type ForwardedPurgeAnswer = Result<PurgeAnswer, PurgeRefusal>;

/// Why a forwarded purge was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PurgeRefusal {
    /// No token, or none that is known: 401.
    #[error("the token is not known")]
    Unauthenticated,
    /// The token's role or tenant does not allow it: 403.
    #[error("{0}")]
    Denied(String),
    /// The URL is not allowed: 400.
    #[error("{0}")]
    Invalid(String),
    /// Too many: 429.
    #[error("{0}")]
    Limited(String),
}

/// Asks a core how far its own log is. The answer's head names that log alone, and its age is 0: what holds for
/// [`Report`] holds here, between cores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadsRequest {
    /// Who asks; must be the client certificate's name.
    pub node: NodeName,
}

/// Asks a core for the changes of its own log, and of those that it has taken over. The answer is as that to a
/// [`FeedRequest`], with the core's own session keys and without counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeRequest {
    /// Who asks; must be the client certificate's name.
    pub node: NodeName,
    /// What it has; none: nothing, begin at the head, or at the beginning of a log that is short.
    pub position: Option<Position>,
}

/// Asks for the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedRequest {
    /// Who asks; must be the client certificate's name.
    pub pop: PopName,
    /// What was applied; none: nothing is held, begin at the head.
    pub position: Option<Position>,
}

/// What the feed carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeedMessage {
    /// The first message.
    Start {
        /// The changes that follow begin after this position.
        position: Position,
        /// Where the core's log ends now: until the edge has applied as much, it does not know what it may call fresh.
        head: Position,
        /// The log reaches back to the position asked for. If not, the edge drops every coherent entry.
        resumed: bool,
        /// The present revision of the deployment table.
        revision: u64,
        /// The core's region.
        region: String,
        /// How long the edge may call coherent entries fresh without a new word of how far the log is, in milliseconds.
        lease_ms: u64,
        /// See [`ReportAnswer::age_ms`]; `head` is the head it speaks of.
        age_ms: u64,
    },
    /// The next change of its origin.
    Change(Change),
    /// Nothing happened; the core's log ends here.
    Heartbeat {
        /// The head of the log.
        head: Position,
    },
    /// With which keys session tokens are signed and verified, at most [`crate::session::KEYS_MAX`]. After `Start`, and
    /// whenever they change. PoPs get those of all cores, another core gets the sender's own.
    SessionKeys(Vec<SessionKey>),
    /// How many entries would a purge end? Not part of the log; answered in the next [`Report`].
    Count(CountRequest),
}

/// A purge that is only tried (`dry_run`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountRequest {
    /// A ULID.
    pub id: String,
    /// Whose entries.
    pub tenant: TenantName,
    /// What would be purged.
    pub selectors: Vec<Selector>,
}

/// What a PoP holds of what a purge would end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// See [`CountRequest::id`].
    pub id: String,
    /// Entries of the memory tier.
    pub objects: u64,
    /// Their bytes. Entries that are on disk alone are not counted: they are known only when they are read.
    pub bytes: u64,
}

/// The canary record that the core's prober writes, and every PoP reads through its cache.
pub mod canary {
    /// Tenant of the platform itself. No token, route or module can have it: names of tenants that begin with `brink-`
    /// are refused.
    pub const TENANT: &str = "brink-prober";
    /// Its collection.
    pub const COLLECTION: &str = "canary";
    /// Its partition.
    pub const PARTITION: &str = "canary";
    /// Its sort key.
    pub const SORT: &str = "canary";
}

/// What a PoP's cache answers for the canary record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Version of the record; 0: it was not there.
    pub version: Version,
    /// It came from the cache, not from the core.
    pub is_hit: bool,
}

/// What a PoP tells its core: once a second, and at once after it applied a purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who reports; must be the client certificate's name.
    pub pop: PopName,
    /// What it has applied.
    pub position: Position,
    /// The revision of the deployment table that it runs.
    pub revision: u64,
    /// Purges applied since the last report.
    pub purges: Vec<AppliedPurge>,
    /// Answers to [`FeedMessage::Count`].
    pub counts: Vec<Counted>,
    /// What the cache answers for the canary record; none: it was not read.
    pub canary: Option<Canary>,
    /// Log lines of modules, at most [`REPORT_LOG_LINES_MAX`].
    pub log_lines: Vec<LogLine>,
    /// Log lines that were dropped since the last report.
    pub log_lines_dropped: u64,
    /// Its figures.
    pub figures: PopFigures,
}

/// A purge that a PoP has applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedPurge {
    /// The purge.
    pub id: String,
    /// When, by the PoP's clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// Entries of the memory tier that it ended; entries of the disk tier are refused when they are next read.
    pub objects: u64,
}

/// One line that a module logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whose module.
    pub tenant: TenantName,
    /// The module.
    pub module: ModuleName,
    /// Where it ran: a PoP's or a core node's name.
    pub place: String,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What it said, at most 16 KiB.
    pub message: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
    /// The trace that it belongs to (W3C Trace Context), 32 hexadecimal digits.
    pub trace_id: Option<String>,
}

/// Figures of a PoP since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PopFigures {
    /// Requests answered.
    pub requests: u64,
    /// Of these, from the cache.
    pub hits: u64,
    /// Entries in the memory tier.
    pub entries: u64,
    /// Bytes in the memory tier.
    pub bytes: u64,
    /// Fills that the fence refused to store.
    pub fence_refusals: u64,
    /// Times that the feed was silent for longer than the lease.
    pub lease_expiries: u64,
    /// Times that everything was dropped because the log no longer reached back.
    pub feed_resets: u64,
    /// Round trip of the last report, in microseconds; 0: none yet.
    pub round_trip_us: u64,
    /// Record reads that were answered from the edge's own record cache.
    pub record_hits: u64,
    /// Record reads that went to the core.
    pub record_misses: u64,
}

/// The core's word to a report: what the lease is made of (coherence.md, P2). An edge that sent the report at `t`, by its
/// own clock, and has applied everything up to `head` knows every change that any core had acknowledged at
/// `t - age_ms`. No two clocks are compared, and a slow network makes the knowledge older, never wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// The heads of the logs of all origins that the core follows, its own among them.
    pub head: Position,
    /// How old the core's knowledge of the other cores' logs was at most when it answered, in milliseconds; 0 where it is
    /// the only one.
    pub age_ms: u64,
}
