//! Workflows, as their modules and those who start them see them.

use crate::{Error, ModuleName};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Longest id of a workflow, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Largest input of a workflow or of one of its steps, in bytes.
pub const INPUT_BYTES_MAX: usize = 256 << 10;
/// Largest result of a workflow, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 256 << 10;
/// Most decisions of one workflow.
pub const OUTCOMES_MAX: usize = 256;
/// Longest wait, in milliseconds (366 days).
pub const WAIT_MS_MAX: u64 = 366 * 24 * 3600 * 1000;

/// Checks the id under which a workflow is started.
///
/// # Errors
/// Says what would be allowed.
pub fn check_id(id: &str) -> Result<(), Error> {
    if !(1..=ID_BYTES_MAX).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::name(
            "id of a workflow",
            id,
            "1 to 128 visible ASCII characters",
        ));
    }
    Ok(())
}

/// A call of a command in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCall {
    /// Its deployed name.
    pub command: ModuleName,
    /// The partition of the transaction.
    pub collection: String,
    /// The partition of the transaction.
    pub partition: String,
    /// At most [`INPUT_BYTES_MAX`].
    pub input: Bytes,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it does.
    pub call: StepCall,
    /// What undoes it if a later step fails; none: it needs no undoing.
    pub compensation: Option<StepCall>,
}

/// What came of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The command's answer.
    Done(Bytes),
    /// The command refused; its bytes.
    Refused(Bytes),
    /// The time that was waited for has come.
    Elapsed,
}

/// What a workflow's module decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// Do this next.
    Call(Step),
    /// Go on after so many milliseconds, at most [`WAIT_MS_MAX`].
    Wait(u64),
    /// It ends well. At most [`OUTPUT_BYTES_MAX`].
    Complete(Bytes),
    /// It fails: every step that was done is compensated, the last first. At most [`OUTPUT_BYTES_MAX`].
    Fail(Bytes),
}

/// Where a workflow stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkflowState {
    /// Steps are under way, or it waits for its time.
    Running,
    /// A step failed; those before it are being compensated.
    Compensating,
    /// It ended well, with these bytes.
    Completed(Bytes),
    /// It failed, with these bytes; every step that had been done is compensated.
    Failed(Bytes),
}

/// Why a workflow was not started or looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum WorkflowError {
    /// Outside the limits; the text says which.
    #[error("invalid: {0}")]
    Invalid(String),
    /// No such workflow, or not for this caller.
    #[error("denied: {0}")]
    Denied(String),
    /// Not reached in time; it may or may not have been started.
    #[error("unavailable: {0}")]
    Unavailable(String),
}
