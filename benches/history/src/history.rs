//! What clients note: lines of JSON, each written before the next step is taken, so that a killed client leaves what it
//! had begun.

use brink_protocol::{OriginId, link::Condition, record::Version};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, BufRead},
};

/// Records of each partition. The first one counts: it is only ever written as one more than what was read.
pub const RECORDS: usize = 4;
/// Idempotency keys of each partition.
pub const KEYS: usize = 3;

/// Under which sort key a record is.
#[must_use]
pub fn sort(record: usize) -> String {
    format!("r{record}")
}

/// A record that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    /// What it holds.
    pub value: u64,
    /// Its version.
    pub version: Version,
}

/// What is asked of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// One record.
    Get(usize),
    /// All records by their keys.
    GetMany,
    /// All records by a scan.
    Scan,
    /// The last version of a record.
    LastVersion(usize),
    /// The answer under an idempotency key.
    Answer(usize),
    /// Writes that happen together or not at all.
    Commit(Commit),
}

/// Writes that happen together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Records and their versions as they were read before.
    pub seen: Vec<(usize, Option<Version>)>,
    /// That is all there was in the partition, and it was read by a scan.
    pub is_range: bool,
    /// Each record at most once.
    pub writes: Vec<Write>,
    /// The idempotency key, and the answer that is kept under it.
    pub answer: Option<(usize, u64)>,
}

/// A write of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Which.
    pub record: usize,
    /// None: it is deleted.
    pub value: Option<u64>,
    /// Under which condition.
    pub condition: Condition,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// To [`Call::Get`].
    Record(Option<Held>),
    /// To [`Call::GetMany`] and [`Call::Scan`]: one for each record.
    Records(Vec<Option<Held>>),
    /// To [`Call::LastVersion`].
    Version(Version),
    /// To [`Call::Answer`].
    Kept(Option<u64>),
    /// The commit happened.
    Done {
        /// Of its change.
        sequence: u64,
        /// One for each write.
        versions: Vec<Option<Version>>,
    },
    /// A condition did not hold.
    Conflict {
        /// The present version of the record that it was about.
        present: Option<Version>,
    },
    /// The idempotency key had an answer.
    Answered(u64),
    /// The store took nothing: it did not happen, and will not.
    Refused,
    /// It is not known whether it happened or will.
    Unknown,
}

/// A line of a client's notes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A client has opened its store. Its operations follow.
    Opened {
        /// Under which origin the store logs.
        origin: OriginId,
    },
    /// An operation begins.
    Called {
        /// Names the operation within the run.
        id: u64,
        /// When, in nanoseconds of the machine's monotonic clock.
        at_ns: u64,
        /// Of which partition.
        partition: String,
        /// What.
        call: Call,
    },
    /// An operation has ended.
    Ended {
        /// The operation.
        id: u64,
        /// When.
        at_ns: u64,
        /// How.
        outcome: Outcome,
    },
}

/// An operation of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Names it within the run.
    pub id: u64,
    /// The log of the client's store.
    pub origin: OriginId,
    /// Of which partition.
    pub partition: String,
    /// When it began, in nanoseconds of the machine's monotonic clock.
    pub began_ns: u64,
    /// When it ended; none: nobody was there to see it.
    pub ended_ns: Option<u64>,
    /// What was asked.
    pub call: Call,
    /// What was answered.
    pub outcome: Outcome,
}

impl Operation {
    /// Whether it may happen at any moment after it began, or never.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.outcome == Outcome::Unknown
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| format!("{}.{:03}", ns / 1_000_000, ns / 1_000 % 1_000);
        let ended = self.ended_ns.filter(|_| !self.is_open());
        write!(
            f,
            "#{} {} [{} .. {} ms] {:?} -> {:?}",
            self.id,
            self.origin,
            ms(self.began_ns),
            ended.map_or_else(|| "?".to_owned(), ms),
            self.call,
            self.outcome
        )
    }
}

/// Why notes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They cannot be read.
    #[error("the history cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line in their midst is not one.
    #[error("line {number} of a history: {reason}")]
    Line {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// The operations of one client's notes. The last line of a client that was killed may be torn: what it would have said
/// did not begin, or is not known to have ended.
///
/// # Errors
/// The notes cannot be read, or a line other than the last is not one.
pub fn read(notes: impl BufRead) -> Result<Vec<Operation>, Error> {
    let mut operations = BTreeMap::new();
    let mut own = None;
    let mut torn = None;
    for (line, number) in notes.lines().zip(1..) {
        let fault = |reason: String| Error::Line { number, reason };
        if let Some(reason) = torn.take() {
            return Err(fault(reason));
        }
        match serde_json::from_str(&line?) {
            Ok(Line::Opened { origin }) => own = Some(origin),
            Ok(Line::Called {
                id,
                at_ns,
                partition,
                call,
            }) => {
                let Some(origin) = own.clone() else {
                    return Err(fault("an operation without a store".to_owned()));
                };
                let operation = Operation {
                    id,
                    origin,
                    partition,
                    began_ns: at_ns,
                    ended_ns: None,
                    call,
                    outcome: Outcome::Unknown,
                };
                operations.insert(id, operation);
            }
            Ok(Line::Ended { id, at_ns, outcome }) => {
                let Some(operation) = operations.get_mut(&id) else {
                    return Err(fault("an end without a beginning".to_owned()));
                };
                operation.ended_ns = Some(at_ns);
                operation.outcome = outcome;
            }
            Err(error) => torn = Some(error.to_string()),
        }
    }
    Ok(operations.into_values().collect())
}
