//! What goes into a store and comes out of it, beyond the words of the protocol.

use crate::Error;
use brink_protocol::{
    Digest, ModuleName, OriginId, PopName, Position, TenantName,
    address::PartitionAddress,
    control::{self, Role},
    deployment::{Deployment, DeploymentTable, World},
    link::{Condition, PopFigures},
    log::{self, Kept},
    purge::Purge,
    record::{Range, Version},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// What is held of the logs of all origins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// By origin; this core's own is always there.
    pub kept: BTreeMap<OriginId, Kept>,
    /// Their heads.
    pub heads: Position,
    /// Of a store that cores share: everything that any of them had acknowledged then is in these logs. None: not known,
    /// or the store is one core's own. It moves without waking who follows.
    pub looked_at: Option<Instant>,
}

impl Held {
    /// With the heads of what is kept.
    #[must_use]
    pub fn new(kept: BTreeMap<OriginId, Kept>) -> Self {
        let heads = log::heads(&kept);
        Self {
            kept,
            heads,
            looked_at: None,
        }
    }
}

/// What came of appending another origin's changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// They are held, or were already, or are of an incarnation that a later one has followed.
    Held,
    /// Something between them and what is held is missing. Nothing was appended.
    Gap {
        /// Whose.
        origin: OriginId,
        /// The last one that is held.
        head: u64,
    },
}

/// What an origin's log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The origin.
    pub origin: OriginId,
    /// The first sequence that can still be read; `head + 1` if there is none.
    pub oldest: u64,
    /// The last sequence; 0 if nothing was appended yet.
    pub head: u64,
}

/// Writes to one partition that happen together or not at all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Transaction {
    /// The partition.
    pub partition: PartitionAddress,
    /// What was read before, and must still be so. Checked before any write.
    ///
    /// An engine that cannot name a range in a condition reads the partition's revision, checks the ranges itself and
    /// commits on the condition that the revision did not change.
    pub seen: Vec<Seen>,
    /// At most [`brink_protocol::change::RECORDS_PER_CHANGE_MAX`], each record once.
    pub writes: Vec<Write>,
    /// Kept with the writes.
    pub answer: Option<NewAnswer>,
    /// The present time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// Something that a transaction read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// A record and its version, or that there was none.
    Record {
        /// Its sort key.
        sort: String,
        /// Its version.
        version: Option<Version>,
    },
    /// A range and all that was in it, up to its limit.
    Range {
        /// The range; collection and partition are those of the transaction.
        range: Range,
        /// Sort keys and versions in the order of the range.
        entries: Vec<(String, Version)>,
        /// Whether the range had more.
        more: bool,
    },
}

/// One write of a transaction.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Write {
    /// The record's sort key.
    pub sort: String,
    /// What to do.
    pub action: Action,
    /// Under which condition; one that does not hold keeps the whole transaction from happening.
    pub condition: Condition,
}

/// What to do with a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Action {
    /// Write it.
    Put {
        /// Its value.
        value: Bytes,
        /// The moment from which on it is absent, in milliseconds since 1970.
        expires_at_ms: Option<u64>,
    },
    /// Delete it if it is there.
    Delete,
}

/// What came of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Commit {
    /// It happened.
    Done {
        /// That of its change in the log, or the head of this core's log if nothing was to be changed. It is of the origin
        /// that wrote it: another core, where that is the partition's home.
        position: Position,
        /// For each write the record's version after it; none: it is absent.
        versions: Vec<Option<Version>>,
    },
    /// A condition did not hold. Nothing was written.
    Conflict {
        /// The present version of the record whose condition did not hold.
        present: Option<Version>,
    },
    /// Its idempotency key has an answer already. Nothing was written.
    Answered(Answer),
}

/// Under what an answer is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AnswerKey {
    /// The partition of the command.
    pub partition: PartitionAddress,
    /// The command.
    pub command: ModuleName,
    /// The caller's key.
    pub key: String,
}

/// An answer to keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewAnswer {
    /// The command.
    pub command: ModuleName,
    /// The caller's key.
    pub key: String,
    /// The SHA-256 of what the command was called with.
    pub input: Digest,
    /// What it answered.
    pub output: Bytes,
    /// For how long it is kept, in milliseconds.
    pub lifetime_ms: u64,
}

/// Under which name the ends of writes with a key are kept beside those of commands; no module has it. What is kept is the
/// versions that the writes gave: see [`Answer::versions`].
pub const WRITES: &str = "brink-writes";

impl NewAnswer {
    /// As it is kept, beside writes that gave these versions.
    pub(super) fn kept(
        &self,
        position: Position,
        versions: &[Option<Version>],
        now_ms: u64,
    ) -> Result<Answer, Error> {
        let output = if self.command.as_str() == WRITES {
            let encoded = postcard::to_stdvec(versions);
            encoded
                .map_err(|error| Error::corrupt("answer", error))?
                .into()
        } else {
            self.output.clone()
        };
        Ok(Answer {
            input: self.input,
            output,
            position,
            expires_at_ms: now_ms.saturating_add(self.lifetime_ms),
        })
    }
}

impl Answer {
    /// What a write gave that is kept under [`WRITES`]: for each record its version then. None: it is not said.
    #[must_use]
    pub fn versions(&self) -> Option<Vec<Option<Version>>> {
        postcard::from_bytes(&self.output).ok()
    }
}

/// A kept answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The SHA-256 of what the command was called with.
    pub input: Digest,
    /// What it answered.
    pub output: Bytes,
    /// The position of its writes.
    pub position: Position,
    /// The moment from which on it is forgotten, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Records.
    pub records: usize,
    /// Answers.
    pub answers: usize,
}

/// An entry for the audit log.
#[derive(Debug, Clone)]
pub struct NewAudit {
    /// The id of the token, or `module:NAME`.
    pub by: String,
    /// Whose.
    pub tenant: TenantName,
    /// What was done: `deploy`, `purge`, `token.create`, ...
    pub action: &'static str,
    /// To what.
    pub subject: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// A version to publish.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// Whose.
    pub tenant: TenantName,
    /// Of which module.
    pub module: ModuleName,
    /// The component's content address.
    pub digest: Digest,
    /// What it exports.
    pub world: World,
    /// What it imports.
    pub imports: Vec<String>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The id of the token.
    pub by: String,
}

/// A published version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The version.
    pub version: control::Version,
    /// The module did not have this digest before.
    pub is_new: bool,
    /// The head of the log afterwards; publishing alone changes nothing at PoPs.
    pub position: Position,
}

/// A new deployment table.
#[derive(Debug, Clone)]
pub struct TableChange {
    /// The revision of the table that it takes the place of.
    pub expected_revision: u64,
    /// The table; its revision is set by the store.
    pub table: DeploymentTable,
    /// Whose part of it changed.
    pub tenant: TenantName,
    /// Modules whose answers leave the cache.
    pub modules: Vec<ModuleName>,
    /// The whole new history of one module; an empty one forgets it.
    pub history: Option<(ModuleName, Vec<Deployment>)>,
    /// What leaves the caches because other modules or origins answer there now.
    pub purge: Option<NewPurge>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// A purge to append.
#[derive(Debug, Clone)]
pub struct NewPurge {
    /// As it goes into the log.
    pub purge: Purge,
    /// Who asked for it.
    pub by: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Kept with it under the caller's idempotency key; see [`NewPurge::answer_key`].
    pub answer: Option<NewAnswer>,
    /// The hard purge of the same selectors that follows.
    pub later: Option<control::Later>,
    /// How far in the logs of all cores a PoP must have come besides, for the purge to count as applied there. Mostly
    /// nowhere: then the purge's own place is enough.
    pub behind: Position,
}

impl NewPurge {
    /// Under what the answer to a tenant's idempotency key for purges is kept: no partition of records has such a name.
    #[must_use]
    pub fn answer_key(tenant: &TenantName, command: &ModuleName, key: &str) -> AnswerKey {
        AnswerKey {
            partition: PartitionAddress {
                tenant: tenant.clone(),
                collection: String::new(),
                partition: String::new(),
            },
            command: command.clone(),
            key: key.to_owned(),
        }
    }

    /// The hard purge of the same selectors that follows, if there is one.
    pub(super) fn hard_half(&self) -> Option<LaterPurge> {
        let later = self.later.as_ref()?;
        Some(LaterPurge {
            purge: Purge {
                id: later.id.clone(),
                soft: false,
                ..self.purge.clone()
            },
            by: self.by.clone(),
            due_ms: later.at_ms,
        })
    }

    /// As it is kept once it is in the log.
    pub(super) fn into_row(self, mut position: Position) -> PurgeRow {
        position.merge(&self.behind);
        PurgeRow {
            purge: self.purge,
            by: self.by,
            at_ms: self.at_ms,
            position,
            applied: Vec::new(),
            later: self.later,
        }
    }
}

/// What came of adding a purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgeAdded {
    /// It is in the log.
    Done(Position),
    /// Its idempotency key has an answer already. Nothing was written.
    Answered(Answer),
    /// As many hard purges of the tenant as there may be wait for their time. Nothing was written.
    TooManyLater,
}

/// A hard purge that waits for its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaterPurge {
    /// As it goes into the log.
    pub purge: Purge,
    /// Who asked for it.
    pub by: String,
    /// From when on it is appended, in milliseconds since 1970.
    pub due_ms: u64,
}

impl LaterPurge {
    /// Its time has come: what is appended, and what the audit log says of it.
    pub(super) fn into_new(self, now_ms: u64) -> (NewPurge, NewAudit) {
        let audit = NewAudit {
            by: self.by.clone(),
            tenant: self.purge.tenant.clone(),
            action: "purge",
            subject: self.purge.id.clone(),
            at_ms: now_ms,
        };
        let new = NewPurge {
            purge: self.purge,
            by: self.by,
            at_ms: now_ms,
            answer: None,
            later: None,
            behind: Position::default(),
        };
        (new, audit)
    }
}

/// A kept purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRow {
    /// As it stands in the log.
    pub purge: Purge,
    /// Who asked for it.
    pub by: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Its position.
    pub position: Position,
    /// PoPs that said that they applied it.
    pub applied: Vec<control::PurgeAtPop>,
    /// The hard purge that follows.
    pub later: Option<control::Later>,
}

/// A kept token. Never its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// A ULID.
    pub id: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// What it is for.
    pub label: String,
    /// What it may do.
    pub role: Role,
    /// Whose.
    pub tenant: TenantName,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// Milliseconds since 1970; none: never.
    pub expires_at_ms: Option<u64>,
}

/// What a PoP last said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PopRow {
    /// Its name.
    pub name: PopName,
    /// What it has applied.
    pub position: Position,
    /// The revision of the deployment table that it runs.
    pub revision: u64,
    /// When it last reported, in milliseconds since 1970.
    pub seen_at_ms: u64,
    /// Its figures.
    pub figures: PopFigures,
}
