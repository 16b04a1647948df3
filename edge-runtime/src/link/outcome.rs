//! What an answer says came of what was asked.

use brink_protocol::{
    link::{CommandAnswer, CommandError, RecordsAnswer},
    record::RecordError,
    workflow::{StartWorkflowAnswer, WorkflowError},
};
use serde::de::DeserializeOwned;

/// A message that says what came of a question.
pub trait Outcome: DeserializeOwned {
    /// It was done, now or before under the same key: this settles what earlier attempts left in doubt.
    fn is_done(&self) -> bool;

    /// It was not, for now: another core may have got further, or have room.
    fn is_for_now(&self) -> bool;
}

macro_rules! outcome {
    ($answer:ty, $error:ident) => {
        impl Outcome for $answer {
            fn is_done(&self) -> bool {
                self.outcome.is_ok()
            }

            fn is_for_now(&self) -> bool {
                matches!(self.outcome, Err($error::Unavailable(_)))
            }
        }
    };
}

outcome!(RecordsAnswer, RecordError);
outcome!(CommandAnswer, CommandError);
outcome!(StartWorkflowAnswer, WorkflowError);
