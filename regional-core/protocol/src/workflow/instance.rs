//! An instance of a workflow, as the core keeps it.

use super::{Decision, INSTANCE_BYTES_MAX, Outcome, StepCall, WorkflowState};
use crate::{
    Digest, Error, ModuleName, codec,
    deployment::{Grants, Limits},
    record::VALUE_BYTES_MAX,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// First byte of a record of this form.
const FORM: u8 = 1;
/// Longest text of an error that is kept, in bytes; longer ones are cut.
const ERROR_BYTES_MAX: usize = 1024;

const _: () = assert!(INSTANCE_BYTES_MAX + (32 << 10) < VALUE_BYTES_MAX);

/// The deployment with which an instance began, and goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The module's version.
    pub version: u64,
    /// The component's content address.
    pub digest: Digest,
    /// Values for `brink:platform/config`.
    pub config: BTreeMap<String, String>,
    /// Bounds of its runs.
    pub limits: Limits,
    /// What it may use.
    pub grants: Grants,
}

/// When somebody looks at an instance next. The index has a row with the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The version of the record that the writer of the row had read; 0: there was none. Once the record has a later
    /// version, what the row was written for has happened or never will.
    pub based_on: u64,
    /// Chosen by chance: no two writers have the same row, so that one who was too late may remove his.
    pub nonce: u64,
}

/// How the compensation of one step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {
    /// It has none, or it is not needed, or not yet.
    None,
    /// To be called, or called.
    Pending {
        /// Refusals so far. A refusal is final for its key, so that each round has another.
        round: u32,
        /// Since when, in milliseconds since 1970.
        since_ms: u64,
    },
    /// It was done at this moment, in milliseconds since 1970.
    Done {
        /// Milliseconds since 1970.
        at_ms: u64,
    },
}

/// How one decision stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// A call whose outcome is not known.
    Calling,
    /// A wait until this moment, in milliseconds since 1970.
    Waiting(u64),
    /// It has its outcome.
    Ended(Outcome),
    /// It never had its effect, and never will: the platform gave it up, for this reason.
    GivenUp(String),
}

/// One decision and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// What is called; none: it waits. The input is dropped once the outcome is known.
    pub call: Option<StepCall>,
    /// What undoes it; dropped with the success of the workflow.
    pub compensation: Option<StepCall>,
    /// When it was decided, in milliseconds since 1970.
    pub began_at_ms: u64,
    /// When its outcome was known, in milliseconds since 1970; 0: it is not.
    pub ended_at_ms: u64,
    /// How it stands.
    pub progress: Progress,
    /// How its compensation stands.
    pub undo: Undo,
}

impl StepRecord {
    fn bytes(&self) -> usize {
        let outcome = match &self.progress {
            Progress::Ended(Outcome::Done(bytes) | Outcome::Refused(bytes)) => bytes.len(),
            Progress::GivenUp(text) => text.len(),
            Progress::Ended(Outcome::Elapsed) | Progress::Calling | Progress::Waiting(_) => 0,
        };
        let calls = self.call.iter().chain(&self.compensation);
        // 64: the numbers and lengths between.
        64 + outcome + calls.map(StepCall::bytes).sum::<usize>()
    }
}

/// Why an instance stands still until an operator has looked at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// For people.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub at_ms: u64,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// With what it began; none: no workflow was started under this id, and a start that is still under way begins anew.
    pub deployed: Option<Deployed>,
    /// Chosen by chance at its start: tells its steps from those of an earlier instance under the same id.
    pub run: u64,
    /// The module that started it; none: an operator did.
    pub caller: Option<ModuleName>,
    /// On whose behalf.
    pub subject: Option<String>,
    /// What it was started with.
    pub input: Bytes,
    /// When it was started, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// When it ended, in milliseconds since 1970; 0: it has not.
    pub ended_at_ms: u64,
    /// Its decisions, oldest first. At most the last has no outcome.
    pub steps: Vec<StepRecord>,
    /// It ended well, with these bytes.
    pub completed: Option<Bytes>,
    /// It failed, with these bytes; it is compensated, or being compensated.
    pub failure: Option<Bytes>,
    /// It stands still.
    pub stuck: Option<Stuck>,
    /// Attempts at what comes next that came to nothing because it could not be reached.
    pub unreached: u32,
    /// Attempts at what comes next that failed.
    pub failed: u32,
    /// What comes next is not tried before this moment, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// Why the last attempt came to nothing.
    pub last_error: Option<String>,
    /// When somebody looks at it next; none: it has ended or is stuck.
    pub due: Option<Due>,
    /// The core node that is at work on it until it is due; none: nobody is.
    pub at_work: Option<String>,
}

impl Instance {
    /// Where it stands, as its users see it; none: no workflow was started under this id.
    #[must_use]
    pub fn state(&self) -> Option<WorkflowState> {
        self.deployed.as_ref()?;
        Some(match (&self.completed, &self.failure) {
            (Some(bytes), _) => WorkflowState::Completed(bytes.clone()),
            (None, Some(bytes)) if self.has_ended() => WorkflowState::Failed(bytes.clone()),
            (None, Some(_)) => WorkflowState::Compensating,
            (None, None) => WorkflowState::Running,
        })
    }

    /// Nothing is to be done any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended_at_ms > 0
    }

    /// The outcomes of all decisions so far, if each has one.
    #[must_use]
    pub fn outcomes(&self) -> Option<Vec<Outcome>> {
        let outcomes = self.steps.iter().map(|step| match &step.progress {
            Progress::Ended(outcome) => Some(outcome.clone()),
            Progress::Calling | Progress::Waiting(_) | Progress::GivenUp(_) => None,
        });
        outcomes.collect()
    }

    /// Bytes of inputs, answers and calls that it holds: what [`INSTANCE_BYTES_MAX`] bounds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let ends = self.completed.iter().chain(&self.failure).map(Bytes::len);
        let config = self.deployed.iter().flat_map(|deployed| &deployed.config);
        let config = config.map(|(name, value)| name.len() + value.len() + 8);
        self.input.len()
            + self.subject.as_ref().map_or(0, String::len)
            + ends.sum::<usize>()
            + config.sum::<usize>()
            + self.steps.iter().map(StepRecord::bytes).sum::<usize>()
    }

    /// Whether it would still hold after this decision, with room for the words of a failure.
    #[must_use]
    pub fn has_room_for(&self, decision: &Decision) -> bool {
        let more = match decision {
            Decision::Call(step) => {
                step.call.bytes() + step.compensation.as_ref().map_or(0, StepCall::bytes)
            }
            Decision::Complete(bytes) | Decision::Fail(bytes) => bytes.len(),
            Decision::Wait(_) => 0,
        };
        self.has_room(more)
    }

    /// Whether it may hold so many bytes more.
    #[must_use]
    pub fn has_room(&self, more: usize) -> bool {
        self.bytes() + more + 64 <= INSTANCE_BYTES_MAX
    }

    /// The value of its record.
    ///
    /// # Errors
    /// It is over the limit of a record.
    pub fn encode(&self) -> Result<Bytes, Error> {
        let body = codec::encode(self)?;
        if body.len() >= VALUE_BYTES_MAX {
            return Err(Error::Limit {
                what: "bytes of a workflow's state",
                actual: body.len() as u64 + 1,
                limit: VALUE_BYTES_MAX as u64,
            });
        }
        let mut value = Vec::with_capacity(body.len() + 1);
        value.push(FORM);
        value.extend_from_slice(&body);
        Ok(value.into())
    }

    /// Out of the value of its record.
    ///
    /// # Errors
    /// It is of another form, cut short or too long.
    pub fn decode(value: &[u8]) -> Result<Self, Error> {
        match value.split_first() {
            Some((&FORM, body)) => codec::decode(body),
            Some((form, _)) => Err(Error::malformed(
                "workflow's state",
                format!("it has the form {form}, this software reads form {FORM}"),
            )),
            None => Err(Error::malformed("workflow's state", "it is empty")),
        }
    }

    /// The text of an error as it is kept.
    #[must_use]
    pub fn error_text(text: &str) -> String {
        let end = text.floor_char_boundary(ERROR_BYTES_MAX);
        text.get(..end).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn instance() -> Instance {
        Instance {
            deployed: Some(Deployed {
                version: 3,
                digest: Digest::of(b"component"),
                config: [("a".to_owned(), "b".to_owned())].into(),
                limits: Limits::default(),
                grants: Grants::default(),
            }),
            run: 7,
            caller: None,
            subject: Some("c-1".into()),
            input: Bytes::from_static(b"{}"),
            started_at_ms: 1,
            ended_at_ms: 0,
            steps: vec![StepRecord {
                call: None,
                compensation: None,
                began_at_ms: 2,
                ended_at_ms: 3,
                progress: Progress::Ended(Outcome::Elapsed),
                undo: Undo::None,
            }],
            completed: None,
            failure: None,
            stuck: None,
            unreached: 0,
            failed: 0,
            not_before_ms: 0,
            last_error: None,
            due: Some(Due {
                at_ms: 9,
                based_on: 1,
                nonce: 5,
            }),
            at_work: None,
        }
    }

    #[test]
    fn states() {
        let bytes = Bytes::from_static(b"x");
        let running = instance();
        let completed = Instance {
            completed: Some(bytes.clone()),
            ended_at_ms: 9,
            ..instance()
        };
        let compensating = Instance {
            failure: Some(bytes.clone()),
            ..instance()
        };
        let failed = Instance {
            ended_at_ms: 9,
            ..compensating.clone()
        };
        let void = Instance {
            deployed: None,
            ..instance()
        };
        for (instance, state) in [
            (running, Some(WorkflowState::Running)),
            (completed, Some(WorkflowState::Completed(bytes.clone()))),
            (compensating, Some(WorkflowState::Compensating)),
            (failed, Some(WorkflowState::Failed(bytes.clone()))),
            (void, None),
        ] {
            assert_eq!(instance.state(), state);
            let value = instance.encode().unwrap();
            assert_eq!(Instance::decode(&value).unwrap(), instance);
        }
    }

    #[test]
    fn the_largest_fits_into_a_record() {
        let mut large = instance();
        while large.has_room(4096) && large.steps.len() < super::super::OUTCOMES_MAX {
            large.steps.push(StepRecord {
                call: None,
                compensation: None,
                began_at_ms: u64::MAX,
                ended_at_ms: u64::MAX,
                progress: Progress::Ended(Outcome::Done(vec![7; 4096 - 64].into())),
                undo: Undo::Done { at_ms: u64::MAX },
            });
        }
        let rest = INSTANCE_BYTES_MAX - large.bytes();
        large.input = vec![0; rest].into();
        large.last_error = Some(Instance::error_text(&"é".repeat(2000)));
        assert!(large.encode().is_ok());
        assert!(!large.has_room(0));
    }

    #[test]
    fn other_forms_are_refused() {
        let value = instance().encode().unwrap();
        let mut other = value.to_vec();
        other[0] = 2;
        for wrong in [&other[..], b"", &value[..value.len() - 1]] {
            assert!(Instance::decode(wrong).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Instance::decode(&bytes);
            let mut with_form = vec![FORM];
            with_form.extend(bytes);
            let _ = Instance::decode(&with_form);
        }
    }
}
