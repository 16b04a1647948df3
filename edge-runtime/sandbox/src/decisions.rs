//! Outcomes to and decisions from a workflow's types; what comes back is checked.

use crate::{RunError, bindings::platform::workflow_types as wit};
use brink_protocol::workflow::{Decision, Outcome, Step, StepCall};
use std::fmt;

fn bad(error: impl fmt::Display) -> RunError {
    RunError::BadResponse {
        reason: error.to_string(),
    }
}

pub(crate) fn outcomes_out(outcomes: &[Outcome]) -> Vec<wit::Outcome> {
    let out = |outcome: &Outcome| match outcome {
        Outcome::Done(bytes) => wit::Outcome::Done(bytes.to_vec()),
        Outcome::Refused(bytes) => wit::Outcome::Refused(bytes.to_vec()),
        Outcome::Elapsed => wit::Outcome::Elapsed,
    };
    outcomes.iter().map(out).collect()
}

fn call_in(call: wit::StepCall) -> Result<StepCall, RunError> {
    Ok(StepCall {
        command: call
            .command
            .parse()
            .map_err(|error: brink_protocol::Error| bad(error))?,
        collection: call.collection,
        partition: call.partition,
        input: call.input.into(),
    })
}

pub(crate) fn decision_in(decision: wit::Decision) -> Result<Decision, RunError> {
    let decision = match decision {
        wit::Decision::Call(step) => Decision::Call(Step {
            call: call_in(step.call)?,
            compensation: step.compensation.map(call_in).transpose()?,
        }),
        wit::Decision::Wait(ms) => Decision::Wait(ms),
        wit::Decision::Complete(bytes) => Decision::Complete(bytes.into()),
        wit::Decision::Fail(bytes) => Decision::Fail(bytes.into()),
    };
    decision.check().map_err(bad)?;
    Ok(decision)
}
