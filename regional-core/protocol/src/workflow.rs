//! Workflows: what their modules decide, what the core keeps of each, and how one is started.
//!
//! An instance is a record: collection [`INSTANCES`], partition `NAME/ID`, sort key empty ([`instance_key`]), value
//! [`Instance::encode`]. So whoever may read records may follow one, and an answer that was made of it is invalidated as
//! any other.

mod instance;

pub use instance::{Deployed, Due, Instance, Progress, StepRecord, Stuck, Undo};

use crate::{
    Error, ModuleName, Position, TenantName,
    record::{Key, PLATFORM_COLLECTION, check_partition},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Collection of instances.
pub const INSTANCES: &str = "_workflows";
/// Longest id of an instance, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Largest input of a workflow, and of a step, in bytes.
pub const INPUT_BYTES_MAX: usize = 256 << 10;
/// Most decisions of one workflow, and so most outcomes; another one fails it.
pub const OUTCOMES_MAX: usize = 256;
/// Longest wait of one decision, in milliseconds (366 days).
pub const WAIT_MS_MAX: u64 = 366 * 24 * 3600 * 1000;
/// Bytes of inputs, answers and calls that an instance may hold. A decision that would bring it over fails the workflow,
/// and so does an answer: the step is compensated with the others.
pub const INSTANCE_BYTES_MAX: usize = 960 << 10;
/// Largest result of a workflow, in bytes.
pub const OUTPUT_BYTES_MAX: usize = INPUT_BYTES_MAX;

/// A call of a command in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCall {
    /// The command's deployed name.
    pub command: ModuleName,
    /// The collection of the partition that it reads and writes.
    pub collection: String,
    /// The partition key.
    pub partition: String,
    /// At most [`INPUT_BYTES_MAX`].
    pub input: Bytes,
}

impl StepCall {
    /// Checks the partition and the input against their limits.
    ///
    /// # Errors
    /// The part that is not allowed, and what would be.
    pub fn check(&self) -> Result<(), Error> {
        check_partition(&self.collection, &self.partition)?;
        if self.collection.starts_with(PLATFORM_COLLECTION) {
            return Err(Error::name(
                "collection of a step",
                &self.collection,
                "one that does not begin with _: those are the platform's",
            ));
        }
        check_bytes("bytes in a step's input", &self.input)
    }

    /// Bytes that an instance holds of it.
    fn bytes(&self) -> usize {
        self.command.as_str().len()
            + self.collection.len()
            + self.partition.len()
            + self.input.len()
    }
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it does.
    pub call: StepCall,
    /// What undoes it; none: it needs no undoing.
    pub compensation: Option<StepCall>,
}

/// What came of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The command's answer.
    Done(Bytes),
    /// The command refused; its bytes. Nothing was written.
    Refused(Bytes),
    /// The time that was waited for has come.
    Elapsed,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// A step.
    Call(Step),
    /// Go on after so many milliseconds, at most [`WAIT_MS_MAX`].
    Wait(u64),
    /// It ends well.
    Complete(Bytes),
    /// It fails: what was done is compensated, the last first.
    Fail(Bytes),
}

impl Decision {
    /// Checks it against the limits.
    ///
    /// # Errors
    /// The part that is not allowed, and what would be.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Call(step) => {
                step.call.check()?;
                step.compensation.as_ref().map_or(Ok(()), StepCall::check)
            }
            Self::Wait(ms) if *ms > WAIT_MS_MAX => Err(Error::Limit {
                what: "milliseconds of a wait",
                actual: *ms,
                limit: WAIT_MS_MAX,
            }),
            Self::Wait(_) => Ok(()),
            Self::Complete(bytes) | Self::Fail(bytes) => {
                check_bytes("bytes in a workflow's result", bytes)
            }
        }
    }
}

/// Where an instance stands, as its users see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkflowState {
    /// Steps are under way, or it waits for its time.
    Running,
    /// It failed, or was cancelled; what was done is being compensated.
    Compensating,
    /// It ended well, with these bytes.
    Completed(Bytes),
    /// It failed, with these bytes, and all that was done is compensated.
    Failed(Bytes),
}

/// Starts a workflow. `POST /link/v1/workflows`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartWorkflow {
    /// Whose.
    pub tenant: TenantName,
    /// The module that starts it.
    pub caller: ModuleName,
    /// The authenticated subject on whose behalf; its commands are told.
    pub subject: Option<String>,
    /// Its deployed name.
    pub name: ModuleName,
    /// See [`check_id`].
    pub id: String,
    /// At most [`INPUT_BYTES_MAX`].
    pub input: Bytes,
}

impl StartWorkflow {
    /// Checks the id and the input against their limits.
    ///
    /// # Errors
    /// The part that is not allowed, and what would be.
    pub fn check(&self) -> Result<(), Error> {
        check_id(&self.id)?;
        check_bytes("bytes in a workflow's input", &self.input)
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartWorkflowAnswer {
    /// At which position the instance can be read.
    pub position: Position,
    /// `true`: it was started, durably. `false`: it was there, with the same input; nothing was started.
    pub outcome: Result<bool, WorkflowError>,
}

/// Why nothing was started, or why it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum WorkflowError {
    /// Outside the limits, or the id was used with another input; the text says which.
    #[error("invalid: {0}")]
    Invalid(String),
    /// No such workflow, or not for this caller.
    #[error("denied: {0}")]
    Denied(String),
    /// The core could not be reached in time. Start it again under the same id.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

/// Checks an instance's id: 1 to 128 visible ASCII characters.
///
/// # Errors
/// It is another.
pub fn check_id(id: &str) -> Result<(), Error> {
    if (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::name(
        "workflow's id",
        id,
        "1 to 128 visible ASCII characters",
    ))
}

fn check_bytes(what: &'static str, bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() <= INPUT_BYTES_MAX {
        return Ok(());
    }
    Err(Error::Limit {
        what,
        actual: bytes.len() as u64,
        limit: INPUT_BYTES_MAX as u64,
    })
}

/// Where an instance is kept.
#[must_use]
pub fn instance_key(name: &ModuleName, id: &str) -> Key {
    Key {
        collection: INSTANCES.into(),
        partition: format!("{name}/{id}"),
        sort: String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn call(partition: &str, bytes: usize) -> StepCall {
        StepCall {
            command: "reserve".parse().unwrap(),
            collection: "stock".into(),
            partition: partition.into(),
            input: vec![0; bytes].into(),
        }
    }

    #[test]
    fn limits() {
        let step = |partition: &str, bytes, compensation| {
            Decision::Call(Step {
                call: call(partition, bytes),
                compensation,
            })
        };
        let bytes = |length: usize| Bytes::from(vec![0; length]);
        for (decision, valid) in [
            (step("p", INPUT_BYTES_MAX, None), true),
            (step("p", INPUT_BYTES_MAX + 1, None), false),
            (step("", 0, None), false),
            (step("p", 0, Some(call("p", 0))), true),
            (step("p", 0, Some(call("\n", 0))), false),
            (Decision::Wait(0), true),
            (Decision::Wait(WAIT_MS_MAX), true),
            (Decision::Wait(WAIT_MS_MAX + 1), false),
            (Decision::Complete(bytes(OUTPUT_BYTES_MAX)), true),
            (Decision::Fail(bytes(OUTPUT_BYTES_MAX + 1)), false),
        ] {
            assert_eq!(decision.check().is_ok(), valid);
        }
        for (id, valid) in [
            ("o-1", true),
            ("a/b", true),
            ("", false),
            ("a b", false),
            ("é", false),
        ] {
            assert_eq!(check_id(id).is_ok(), valid, "{id:?}");
        }
        assert!(check_id(&"x".repeat(129)).is_err());
        let longest = instance_key(&"m".repeat(63).parse().unwrap(), &"x".repeat(128));
        longest.check().unwrap();
    }
}
