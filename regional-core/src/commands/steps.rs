//! Commands as steps of workflows: what is kept of a call, and calls that are never to take effect.
//!
//! A step is called under one key until its outcome is known, by whichever core, and by two at a time if it comes to that.
//! So a refusal is kept as well: it is the outcome for everybody who calls, although a later run might have succeeded.

use super::{Commands, check, store_failed};
use crate::{
    clock::now_ms,
    store::{ANSWER_LIFETIME_MS, Commit, NewAnswer, Transaction},
};
use brink_protocol::{
    Digest,
    address::PartitionAddress,
    link::{CommandError, CommandRequest},
};
use bytes::Bytes;

/// How long what came of a workflow's step is kept, in milliseconds: 35 days.
pub const STEP_ANSWER_LIFETIME_MS: u64 = 35 * 24 * 3600 * 1000;
/// Keys of steps begin so; no guest can choose such a key.
const STEP_KEY: char = '\u{1}';

/// First byte of what is kept of a step: it was done.
const DONE: u8 = 0;
/// It refused.
const REFUSED: u8 = 1;
/// It was given up: it has had no effect, and will have none.
const NEVER: u8 = 2;

/// What is kept under an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    /// The answer, for 24 hours. A refusal is not kept.
    Answers,
    /// The answer or the refusal, under a key of the platform.
    Steps,
}

impl Keeping {
    /// The key under which it is kept.
    pub(super) fn key(self, key: &str) -> String {
        match self {
            Self::Answers => key.to_owned(),
            Self::Steps => format!("{STEP_KEY}{key}"),
        }
    }

    /// For how long, in milliseconds.
    pub(super) fn lifetime_ms(self) -> u64 {
        match self {
            Self::Answers => ANSWER_LIFETIME_MS,
            Self::Steps => STEP_ANSWER_LIFETIME_MS,
        }
    }

    /// What is kept of a run; none: nothing.
    pub(super) fn written(self, answer: &Result<Bytes, Bytes>) -> Option<Bytes> {
        match (self, answer) {
            (Self::Answers, Ok(output)) => Some(output.clone()),
            (Self::Answers, Err(_)) => None,
            (Self::Steps, Ok(output)) => Some(tagged(DONE, output)),
            (Self::Steps, Err(refusal)) => Some(tagged(REFUSED, refusal)),
        }
    }

    /// What a caller is told of what was kept.
    pub(super) fn read(self, kept: Bytes) -> Result<Bytes, CommandError> {
        match self {
            Self::Answers => Ok(kept),
            Self::Steps => match kept.first() {
                Some(&DONE) => Ok(kept.slice(1..)),
                Some(&REFUSED) => Err(CommandError::Refused(kept.slice(1..))),
                _ => Err(CommandError::Failed("the call was given up before".into())),
            },
        }
    }
}

fn tagged(tag: u8, bytes: &[u8]) -> Bytes {
    let mut all = Vec::with_capacity(bytes.len() + 1);
    all.push(tag);
    all.extend_from_slice(bytes);
    all.into()
}

/// What is known of a call that is not to take effect any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It did: its answer.
    Done(Bytes),
    /// It refused; its bytes.
    Refused(Bytes),
    /// It did not, and never will under this key.
    Never,
}

impl Commands {
    /// Why no command will ever run in a partition, as its collection is placed now; none: one may.
    #[must_use]
    pub fn misplaced(&self, partition: &PartitionAddress) -> Option<String> {
        let table = self.home.as_ref()?.placements().current();
        let placed = table.place(partition).map(|_| ());
        placed.err().map(|error| error.to_string())
    }

    /// Calls a command as a step of a workflow. The request has an idempotency key; under it the command is done once or
    /// refuses once, whoever calls how often, and what came of it is kept for [`STEP_ANSWER_LIFETIME_MS`].
    ///
    /// # Errors
    /// As those of any call. [`CommandError::Failed`] and what is told before the command runs are not kept.
    pub async fn step(&self, request: &CommandRequest) -> Result<Bytes, CommandError> {
        let answer = self.call_and_count(request, None, Keeping::Steps).await;
        answer.outcome
    }

    /// Sees to it that a step does not take effect under its key from now on, and says whether it did before. Needs no
    /// command to be deployed.
    ///
    /// # Errors
    /// The partition cannot be reached, or the request is outside the limits.
    pub async fn give_up(&self, request: &CommandRequest) -> Result<Settled, CommandError> {
        check(request)?;
        let Some(key) = &request.idempotency_key else {
            return Err(CommandError::Invalid("a step has a key".into()));
        };
        let transaction = Transaction {
            partition: PartitionAddress {
                tenant: request.tenant.clone(),
                collection: request.collection.clone(),
                partition: request.partition.clone(),
            },
            seen: Vec::new(),
            writes: Vec::new(),
            answer: Some(NewAnswer {
                command: request.command.clone(),
                key: Keeping::Steps.key(key),
                input: Digest::of(&request.input),
                output: tagged(NEVER, &[]),
                lifetime_ms: STEP_ANSWER_LIFETIME_MS,
            }),
            now_ms: now_ms(),
        };
        let commit = self.store.commit(transaction).await;
        match commit.map_err(|error| store_failed(&error))? {
            Commit::Done { .. } => Ok(Settled::Never),
            Commit::Answered(kept) => match Keeping::Steps.read(kept.output) {
                Ok(output) => Ok(Settled::Done(output)),
                Err(CommandError::Refused(bytes)) => Ok(Settled::Refused(bytes)),
                Err(_) => Ok(Settled::Never),
            },
            Commit::Conflict { .. } => Err(CommandError::Unavailable(
                "the core's store answered out of turn".into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_is_told() {
        let bytes = Bytes::from_static(b"x");
        let refused = || Err(CommandError::Refused(bytes.clone()));
        for (answer, told) in [
            (Ok(bytes.clone()), Ok(bytes.clone())),
            (Err(bytes.clone()), refused()),
        ] {
            let kept = Keeping::Steps.written(&answer);
            assert_eq!(kept.map(|kept| Keeping::Steps.read(kept)), Some(told));
        }
        let ok: Result<Bytes, Bytes> = Ok(bytes.clone());
        assert_eq!(Keeping::Answers.written(&ok), Some(bytes.clone()));
        assert_eq!(
            Keeping::Answers.written(&Err(bytes.clone())),
            None,
            "a refusal frees the key"
        );
        assert!(matches!(
            Keeping::Steps.read(tagged(NEVER, &[])),
            Err(CommandError::Failed(_))
        ));
        assert_ne!(
            Keeping::Steps.key("k"),
            Keeping::Answers.key("k"),
            "a guest's keys are others"
        );
    }
}
