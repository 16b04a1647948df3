//! What cores ask of the core that is a partition's home.

use crate::store::{Answer, AnswerKey, Commit, Transaction};
use brink_protocol::{
    NodeName, RegionName, TenantName,
    link::{CommandAnswer, CommandRequest},
    record::{Entry, Key, Page, Range, Version},
    trail::Author,
};
use serde::{Deserialize, Serialize};

/// Something to be done at a partition's home. Who is asked does it or refuses; it asks nobody in turn.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HomeRequest {
    /// Who asks; must be the client certificate's name.
    pub node: NodeName,
    /// The region that is meant.
    pub region: RegionName,
    /// How long whoever asks waits, in milliseconds.
    pub time_ms: u64,
    /// A read is answered only by a core that is certainly the home of what is read.
    pub is_current: bool,
    /// What.
    pub operation: Operation,
}

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Operation {
    /// A transaction, and who writes.
    Commit(Transaction, Author),
    /// Records of one home.
    Get {
        /// Whose.
        tenant: TenantName,
        /// Which.
        keys: Vec<Key>,
        /// The present time, in milliseconds since 1970.
        now_ms: u64,
    },
    /// A part of a partition.
    Scan {
        /// Whose.
        tenant: TenantName,
        /// Which.
        range: Range,
        /// The present time, in milliseconds since 1970.
        now_ms: u64,
    },
    /// The last version of a record.
    LastVersion {
        /// Whose.
        tenant: TenantName,
        /// Which.
        key: Key,
    },
    /// The answer kept under an idempotency key.
    Answer {
        /// Which.
        key: AnswerKey,
        /// The present time, in milliseconds since 1970.
        now_ms: u64,
    },
    /// A command.
    Command {
        /// Its call.
        request: CommandRequest,
        /// The trace that it belongs to.
        trace_id: Option<String>,
    },
    /// Whether a collection has no record in what lies in the region alone.
    IsEmpty {
        /// Whose.
        tenant: TenantName,
        /// Its name.
        collection: String,
    },
}

impl Operation {
    /// For figures.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Commit(..) => "commit",
            Self::Get { .. } => "get",
            Self::Scan { .. } => "scan",
            Self::LastVersion { .. } => "version",
            Self::Answer { .. } => "answer",
            Self::Command { .. } => "command",
            Self::IsEmpty { .. } => "empty",
        }
    }

    /// Whether it may be asked twice.
    #[must_use]
    pub fn is_read(&self) -> bool {
        !matches!(self, Self::Commit(..) | Self::Command { .. })
    }
}

/// What came of it.
pub type HomeAnswer = Result<Outcome, HomeRefusal>;

/// What an operation gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Outcome {
    /// To a transaction.
    Commit(Commit),
    /// In the order asked.
    Entries(Vec<Option<Entry>>),
    /// To a scan.
    Page(Page),
    /// The version.
    Version(Version),
    /// The answer.
    Answer(Option<Answer>),
    /// To a command.
    Command(CommandAnswer),
    /// Whether it is empty.
    IsEmpty(bool),
}

/// Why an operation was not done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum HomeRefusal {
    /// What is asked for is not allowed.
    Invalid(String),
    /// Nothing was done: another core may be asked.
    NotNow(String),
    /// A write may or may not have happened.
    Failed(String),
}
