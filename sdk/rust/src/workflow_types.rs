//! The types of `brink:platform/workflow-types`, as wit-bindgen would make them. [`crate::workflow!`] generates the rest of the
//! world over them.

/// A call of a command in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepCall {
    /// Its deployed name.
    pub command: String,
    /// The partition that the transaction reads and writes.
    pub collection: String,
    /// The partition that the transaction reads and writes.
    pub partition: String,
    /// At most 256 KiB.
    pub input: Vec<u8>,
}

/// A call, and what undoes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub call: StepCall,
    /// What undoes it if a later step fails; none: it needs no undoing. It must be able to run without the call having run.
    pub compensation: Option<StepCall>,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command's answer.
    Done(Vec<u8>),
    /// The command refused; its bytes.
    Refused(Vec<u8>),
    /// The time that was waited for has come.
    Elapsed,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This step. A command that cannot be reached is tried again, with growing waits.
    Call(Step),
    /// Go on after so many milliseconds, at most 366 days.
    Wait(u64),
    /// It ends well.
    Complete(Vec<u8>),
    /// It fails: every step that was done is compensated, the last first.
    Fail(Vec<u8>),
}
