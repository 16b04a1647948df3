//! What a run is given: the host's side of `brink:platform`, as traits.

use async_trait::async_trait;
use brink_protocol::{
    ModuleName,
    deployment::Grants,
    event::EventPage,
    link::CommandError,
    record::{Entry, Key, Page, Range, RecordError, Version},
    workflow::{WorkflowError, WorkflowState},
};
use bytes::Bytes;
use http::HeaderName;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::Body;

/// Records of one tenant (`brink:platform/records`). Arguments have been checked against their limits.
#[async_trait]
pub trait Records: Send + Sync {
    /// One record.
    async fn get(&self, key: Key) -> Result<Option<Entry>, RecordError>;
    /// Up to [`brink_protocol::record::GET_MANY_MAX`] records, in the order asked.
    async fn get_many(&self, keys: Vec<Key>) -> Result<Vec<Option<Entry>>, RecordError>;
    /// A bounded part of one partition.
    async fn scan(&self, range: Range) -> Result<Page, RecordError>;
    /// Writes whatever the present version is.
    async fn put(
        &self,
        key: Key,
        value: Bytes,
        lifetime_ms: Option<u64>,
    ) -> Result<Version, RecordError>;
    /// Deletes the record if there is one.
    async fn delete(&self, key: Key) -> Result<(), RecordError>;
    /// Writes only if the present version is `expected`; none: only if there is no record.
    async fn compare_and_set(
        &self,
        key: Key,
        expected: Option<Version>,
        value: Bytes,
        lifetime_ms: Option<u64>,
    ) -> Result<Version, RecordError>;
}

/// Streams of events (`brink:platform/events`). Arguments have been checked against their limits.
#[async_trait]
pub trait Events: Send + Sync {
    /// Events of one partition after the number `after` (0: from the oldest that is kept), oldest first. `limit` is 1 to
    /// [`brink_protocol::record::SCAN_LIMIT_MAX`].
    async fn read(
        &self,
        collection: String,
        partition: String,
        after: u64,
        limit: u32,
    ) -> Result<EventPage, RecordError>;
}

/// The stream of a command's partition (`brink:platform/event-append`). Arguments have been checked against their
/// limits.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Appends an event when the run's writes are committed; the number that it will have.
    async fn append(
        &self,
        kind: String,
        payload: Bytes,
        lifetime_ms: Option<u64>,
    ) -> Result<u64, RecordError>;
}

/// Starts workflows and says where they stand (`brink:platform/workflows`). Arguments have been checked against their
/// limits.
#[async_trait]
pub trait Workflows: Send + Sync {
    /// Starts a workflow under an id; whether it was started by this call.
    async fn start(
        &self,
        workflow: ModuleName,
        id: String,
        input: Bytes,
    ) -> Result<bool, WorkflowError>;
    /// Where it stands; none: there is none of this id.
    async fn get(
        &self,
        workflow: ModuleName,
        id: String,
    ) -> Result<Option<WorkflowState>, WorkflowError>;
}

/// A call of a command, checked against its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandCall {
    /// Its deployed name.
    pub command: ModuleName,
    /// The partition of the transaction.
    pub collection: String,
    /// The partition of the transaction.
    pub partition: String,
    /// At most 1 MiB.
    pub input: Bytes,
    /// 1 to 128 visible ASCII characters.
    pub idempotency_key: Option<String>,
}

/// Calls commands (`brink:platform/commands`).
#[async_trait]
pub trait Commands: Send + Sync {
    /// Runs the command at the core.
    async fn execute(&self, call: CommandCall) -> Result<Vec<u8>, CommandError>;
}

/// Why a cache operation was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Outside the limits; the text says which.
    #[error("invalid: {0}")]
    Invalid(String),
    /// Not allowed to this deployment.
    #[error("denied: {0}")]
    Denied(String),
    /// Not reached in time.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

/// The cache entry of the answer to the present request (`brink:platform/cache`).
#[async_trait]
pub trait ResponseCache: Send + Sync {
    /// Adds names to the answer. Each has been checked to be a [`brink_protocol::purge::TagName`], and there are at
    /// most [`brink_protocol::purge::TAG_NAMES_MAX`] in one run.
    ///
    /// # Errors
    /// There is no answer to tag here.
    fn tag(&self, names: Vec<String>) -> Result<(), CacheError>;
    /// PoPs may keep the answer for this many seconds at most.
    fn set_lifetime(&self, seconds: u32);
    /// The answer is kept out of every cache.
    fn no_store(&self);
    /// Purges every answer of the tenant that carries one of the names; the purge's id.
    async fn purge(&self, names: Vec<String>) -> Result<String, CacheError>;
}

/// Who asks, and where the module runs (`brink:platform/identity`).
pub trait Identity: Send + Sync {
    /// The tenant's name.
    fn tenant(&self) -> String;
    /// The authenticated caller. Being asked makes the answer private.
    fn subject(&self) -> Option<String>;
    /// What is known of the caller. Being asked makes the answer private.
    fn claims(&self) -> Vec<(String, String)>;
    /// The region.
    fn region(&self) -> String;
    /// The PoP, or the core's node name.
    fn pop(&self) -> String;
}

/// Told what a module learns that no interface hands out as a record (coherence.md, P3 and P6).
pub trait Witness: Send + Sync {
    /// The module looked for one of [`crate::CREDENTIALS`] in its request, whether it was there or not.
    fn credential(&self, name: &HeaderName);
    /// The module learned something that no tag names: the time, or chance.
    fn unnamed(&self);
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For finding faults.
    Debug,
    /// What a person may want to know.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Where a module's log lines go (`brink:platform/log`, and what it writes to stdout and stderr). At most 1,000 lines
/// of 16 KiB in one run: the sandbox holds these limits.
pub trait LogSink: Send + Sync {
    /// One line.
    fn emit(&self, level: Level, message: String, fields: Vec<(String, String)>);
}

/// Timeouts that the module set for an outbound request; none: the host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EgressTimeouts {
    /// To connect.
    pub connect: Option<Duration>,
    /// To the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Between two parts of the answer's body.
    pub between_bytes: Option<Duration>,
}

/// Why an outbound request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// Not allowed: no grant, or not this destination.
    #[error("denied: {0}")]
    Denied(String),
    /// The host has no address.
    #[error("no address for {0}")]
    NotFound(String),
    /// No connection.
    #[error("not reached: {0}")]
    Unreachable(String),
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// Took too long.
    #[error("timed out: {0}")]
    Timeout(String),
    /// The other side broke HTTP, or a limit of ours.
    #[error("protocol: {0}")]
    Protocol(String),
    /// Modules call each other too deep, or too often.
    #[error("loop: {0}")]
    Loop(String),
}

/// Hosts below this are modules of the same tenant: `NAME.module.brink.internal`. Requests to them leave no machine.
pub const MODULE_SUFFIX: &str = ".module.brink.internal";

/// Sends outbound HTTP requests (`wasi:http/outgoing-handler`). Asked only with the grant `outbound_http`, but for hosts
/// below [`MODULE_SUFFIX`], which need none.
#[async_trait]
pub trait Egress: Send + Sync {
    /// Sends the request; the URI is absolute and its scheme is `http` or `https`.
    async fn send(
        &self,
        request: http::Request<Body>,
        timeouts: EgressTimeouts,
    ) -> Result<http::Response<Body>, EgressError>;
}

/// Everything that one run is given. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The tenant's records.
    pub records: Arc<dyn Records>,
    /// The tenant's events.
    pub events: Arc<dyn Events>,
    /// The stream of a command's partition.
    pub event_log: Arc<dyn EventLog>,
    /// Commands at the core.
    pub commands: Arc<dyn Commands>,
    /// Workflows at the core.
    pub workflows: Arc<dyn Workflows>,
    /// The present answer's cache entry.
    pub cache: Arc<dyn ResponseCache>,
    /// Who asks, and where it runs.
    pub identity: Arc<dyn Identity>,
    /// Told what the module looks at.
    pub witness: Arc<dyn Witness>,
    /// Where log lines go.
    pub log: Arc<dyn LogSink>,
    /// Outbound HTTP.
    pub egress: Arc<dyn Egress>,
    /// Values set at deployment.
    pub config: Arc<BTreeMap<String, String>>,
    /// What the deployment may use.
    pub grants: Grants,
    /// The moment that all clocks show, for commands; none: they go.
    pub now: Option<SystemTime>,
}
