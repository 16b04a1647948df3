//! Implementations of each host interface for a context that lacks the thing: every call is refused, and says why.

use crate::{
    Body,
    context::{
        CacheError, CommandCall, Commands, Context, Egress, EgressError, EgressTimeouts, EventLog,
        Events, Identity, Level, LogSink, Records, ResponseCache, Witness, Workflows,
    },
};
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
use std::sync::{Arc, LazyLock};

/// No records: every operation is denied.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRecords;

impl NoRecords {
    fn error() -> RecordError {
        RecordError::Denied("there are no records here".into())
    }
}

#[async_trait]
impl Records for NoRecords {
    async fn get(&self, _: Key) -> Result<Option<Entry>, RecordError> {
        Err(Self::error())
    }
    async fn get_many(&self, _: Vec<Key>) -> Result<Vec<Option<Entry>>, RecordError> {
        Err(Self::error())
    }
    async fn scan(&self, _: Range) -> Result<Page, RecordError> {
        Err(Self::error())
    }
    async fn put(&self, _: Key, _: Bytes, _: Option<u64>) -> Result<Version, RecordError> {
        Err(Self::error())
    }
    async fn delete(&self, _: Key) -> Result<(), RecordError> {
        Err(Self::error())
    }
    async fn compare_and_set(
        &self,
        _: Key,
        _: Option<Version>,
        _: Bytes,
        _: Option<u64>,
    ) -> Result<Version, RecordError> {
        Err(Self::error())
    }
}

/// No commands: every call is denied.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCommands;

#[async_trait]
impl Commands for NoCommands {
    async fn execute(&self, _: CommandCall) -> Result<Vec<u8>, CommandError> {
        Err(CommandError::Denied("there are no commands here".into()))
    }
}

/// No events: none are read and none appended.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvents;

impl NoEvents {
    fn error() -> RecordError {
        RecordError::Denied("there are no events here".into())
    }
}

#[async_trait]
impl Events for NoEvents {
    async fn read(&self, _: String, _: String, _: u64, _: u32) -> Result<EventPage, RecordError> {
        Err(Self::error())
    }
}

#[async_trait]
impl EventLog for NoEvents {
    async fn append(&self, _: String, _: Bytes, _: Option<u64>) -> Result<u64, RecordError> {
        Err(Self::error())
    }
}

/// No workflows: none is started or looked up.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWorkflows;

impl NoWorkflows {
    fn error() -> WorkflowError {
        WorkflowError::Denied("there are no workflows here".into())
    }
}

#[async_trait]
impl Workflows for NoWorkflows {
    async fn start(&self, _: ModuleName, _: String, _: Bytes) -> Result<bool, WorkflowError> {
        Err(Self::error())
    }
    async fn get(&self, _: ModuleName, _: String) -> Result<Option<WorkflowState>, WorkflowError> {
        Err(Self::error())
    }
}

/// No cache: tags and purges are denied; a lifetime is without effect.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCache;

impl NoCache {
    fn error() -> CacheError {
        CacheError::Denied("there is no cache here".into())
    }
}

#[async_trait]
impl ResponseCache for NoCache {
    fn tag(&self, _: Vec<String>) -> Result<(), CacheError> {
        Err(Self::error())
    }
    fn set_lifetime(&self, _: u32) {}
    fn no_store(&self) {}
    async fn purge(&self, _: Vec<String>) -> Result<String, CacheError> {
        Err(Self::error())
    }
}

/// Nobody, nowhere: empty names, no caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoIdentity;

impl Identity for NoIdentity {
    fn tenant(&self) -> String {
        String::new()
    }
    fn subject(&self) -> Option<String> {
        None
    }
    fn claims(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn region(&self) -> String {
        String::new()
    }
    fn pop(&self) -> String {
        String::new()
    }
}

/// What a module looks at is of no interest.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWitness;

impl Witness for NoWitness {
    fn credential(&self, _: &http::HeaderName) {}
    fn unnamed(&self) {}
}

/// Log lines go nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLog;

impl LogSink for NoLog {
    fn emit(&self, _: Level, _: String, _: Vec<(String, String)>) {}
}

/// No outbound HTTP: every request is denied.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEgress;

#[async_trait]
impl Egress for NoEgress {
    async fn send(
        &self,
        _: http::Request<Body>,
        _: EgressTimeouts,
    ) -> Result<http::Response<Body>, EgressError> {
        Err(EgressError::Denied("there is no outbound HTTP here".into()))
    }
}

static CONTEXT: LazyLock<Context> = LazyLock::new(|| Context {
    records: Arc::new(NoRecords),
    events: Arc::new(NoEvents),
    event_log: Arc::new(NoEvents),
    commands: Arc::new(NoCommands),
    workflows: Arc::new(NoWorkflows),
    cache: Arc::new(NoCache),
    identity: Arc::new(NoIdentity),
    witness: Arc::new(NoWitness),
    log: Arc::new(NoLog),
    egress: Arc::new(NoEgress),
    config: Arc::default(),
    grants: Grants::default(),
    now: None,
});

impl Context {
    /// A context that has nothing and may do nothing: the base for tests, benches and partial contexts.
    #[must_use]
    pub fn denied() -> Self {
        CONTEXT.clone()
    }
}
