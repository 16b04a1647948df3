//! One transaction of a projection over one target partition: its writes, and how far the stream is applied there.

use super::{
    module::{Fault, Projection},
    retry::Failure,
    rows::{self, Checkpoint, Names, Place, applied_to, key_in},
};
use crate::{
    Error,
    clock::now_ms,
    records::record_error,
    store::{Action, Commit, Seen, Store, Transaction, Write},
    transaction::TransactionRecords,
};
use brink_protocol::{
    address::PartitionAddress,
    event::Event,
    link::Condition,
    record::RecordError,
    trail::{Author, AuthorKind},
};
use brink_sandbox::Records;
use bytes::Bytes;
use std::sync::Arc;

/// How often a transaction is repeated because others wrote to its partition.
const ATTEMPTS_MAX: u32 = 8;

/// What came of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Applied {
    /// All of the events are applied: so many now, the others before.
    Done(usize),
    /// A later replay has begun: who applied did so from an old place.
    Late,
    /// The projection failed at these events.
    Failed(Failure, String),
    /// The store or the sandbox could not be had; nothing was written, or it will be found.
    Unavailable(String),
}

/// Which mark of an event has to be there for it to be applied out of turn, or is left for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// In turn: the checkpoint moves on.
    Checkpoint,
    /// Out of turn, instead of the mark that it was passed over.
    Passed,
    /// Out of turn; a mark is left that it was done, of the giving up that this stands for ([`super::rows::Passed`]).
    Redone(u64),
}

/// Applies events of one stream to one target.
pub(super) struct Application<'a> {
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) projection: &'a dyn Projection,
    pub(super) names: &'a Names,
    pub(super) stream: &'a str,
    pub(super) target: &'a str,
    pub(super) place: Place,
    pub(super) mark: Mark,
}

/// Why a try came to nothing.
enum Stop {
    Conflict,
    Is(Applied),
}

impl From<RecordError> for Stop {
    fn from(error: RecordError) -> Self {
        Self::Is(match error {
            RecordError::Unavailable(text) => Applied::Unavailable(text),
            other => Applied::Failed(Failure::OfEvent, other.to_string()),
        })
    }
}

impl From<brink_protocol::Error> for Stop {
    fn from(error: brink_protocol::Error) -> Self {
        Self::Is(Applied::Unavailable(error.to_string()))
    }
}

impl Application<'_> {
    /// Applies those of the events that are not applied yet, in one transaction.
    pub(super) async fn run(&self, events: &[Event]) -> Applied {
        for attempt in 0..ATTEMPTS_MAX {
            match self.attempt(events).await {
                Ok(applied) => return Applied::Done(applied),
                Err(Stop::Is(applied)) => return applied,
                Err(Stop::Conflict) => {
                    let wait = std::time::Duration::from_millis(1 << attempt.min(6));
                    tokio::time::sleep(wait).await;
                }
            }
        }
        Applied::Unavailable("others write to the partition all the time".into())
    }

    async fn attempt(&self, events: &[Event]) -> Result<usize, Stop> {
        let now = now_ms();
        let partition = self.names.target(self.target);
        let store = Arc::clone(self.store);
        let records = Arc::new(TransactionRecords::new(store, partition.clone(), now));
        let Some(skip) = self.applied_before(&records, &partition, events).await? else {
            return Ok(0);
        };
        let events = events.get(skip..).unwrap_or_default();
        let Some(last) = events.last() else {
            return Ok(0);
        };
        let given: Arc<dyn Records> = Arc::clone(&records) as Arc<dyn Records>;
        let applied = self.projection.apply(self.stream, events, given, now).await;
        // A projection that then gives up is not to blame, and one that goes on has not seen what it should.
        if let Some(text) = records.unavailable() {
            return Err(Stop::Is(Applied::Unavailable(text)));
        }
        match applied {
            Ok(()) => {}
            Err(Fault::Failed(text)) => {
                return Err(Stop::Is(Applied::Failed(Failure::OfEvent, text)));
            }
            Err(Fault::Late(text)) => {
                return Err(Stop::Is(Applied::Failed(Failure::OfTime, text)));
            }
            Err(Fault::Unavailable(text)) => {
                return Err(Stop::Is(Applied::Unavailable(text)));
            }
        }
        self.write_mark(&records, &partition, last.number).await?;
        let (seen, writes) = records.take();
        let applied = events.len();
        self.commit(partition, seen, writes, now).await?;
        Ok(applied)
    }

    /// How many of the events, from the first, are applied already; none: the mark says that there is nothing to do.
    async fn applied_before(
        &self,
        records: &TransactionRecords,
        partition: &PartitionAddress,
        events: &[Event],
    ) -> Result<Option<usize>, Stop> {
        let first = events.first().map_or(0, |event| event.number);
        match self.mark {
            Mark::Checkpoint => {
                let key = key_in(partition, &self.names.checkpoint_sort(self.stream));
                let found = records.get(key).await?;
                let found = found.map(|entry| rows::decode::<Checkpoint>(&entry.value));
                let Some(until) = applied_to(self.place, found.transpose()?) else {
                    return Err(Stop::Is(Applied::Late));
                };
                let is_before = |event: &&Event| event.number <= until;
                Ok(Some(events.iter().take_while(is_before).count()))
            }
            Mark::Passed => {
                let key = key_in(partition, &self.names.passed_sort(self.stream, first));
                Ok(records.get(key).await?.map(|_| 0))
            }
            Mark::Redone(at_ms) => {
                let key = key_in(partition, &self.names.redone_sort(self.stream, first));
                let found = records.get(key).await?;
                let found = found.map(|entry| rows::decode::<u64>(&entry.value));
                Ok((found.transpose()? != Some(at_ms)).then_some(0))
            }
        }
    }

    async fn write_mark(
        &self,
        records: &TransactionRecords,
        partition: &PartitionAddress,
        last: u64,
    ) -> Result<(), Stop> {
        match self.mark {
            Mark::Checkpoint => {
                let key = key_in(partition, &self.names.checkpoint_sort(self.stream));
                let checkpoint = Checkpoint {
                    generation: self.place.generation,
                    number: last,
                };
                records.put(key, rows::encode(&checkpoint)?, None).await?;
            }
            Mark::Passed => {
                let key = key_in(partition, &self.names.passed_sort(self.stream, last));
                records.delete(key).await?;
            }
            Mark::Redone(at_ms) => {
                let key = key_in(partition, &self.names.redone_sort(self.stream, last));
                records.put(key, rows::encode(&at_ms)?, None).await?;
            }
        }
        Ok(())
    }

    async fn commit(
        &self,
        partition: PartitionAddress,
        seen: Vec<Seen>,
        writes: Vec<Write>,
        now_ms: u64,
    ) -> Result<(), Stop> {
        let transaction = Transaction {
            partition,
            seen,
            writes,
            answer: None,
            now_ms,
        };
        let by = Author::new(AuthorKind::Projection, self.names.name.as_str());
        match self.store.commit_by(transaction, &by).await {
            Ok(Commit::Done { .. }) => Ok(()),
            Ok(Commit::Conflict { .. } | Commit::Answered(_)) => Err(Stop::Conflict),
            Err(error) => Err(record_error(&error).into()),
        }
    }

    /// Passes over an event in turn: leaves the mark, and moves the checkpoint. Nothing happens if it is applied.
    pub(super) async fn pass_over(&self, number: u64) -> Applied {
        for _ in 0..ATTEMPTS_MAX {
            match self.try_to_pass_over(number).await {
                Ok(passed) => return Applied::Done(usize::from(passed)),
                Err(Stop::Is(applied)) => return applied,
                Err(Stop::Conflict) => tokio::task::yield_now().await,
            }
        }
        Applied::Unavailable("others write to the partition all the time".into())
    }

    async fn try_to_pass_over(&self, number: u64) -> Result<bool, Stop> {
        let now = now_ms();
        let partition = self.names.target(self.target);
        let store = Arc::clone(self.store);
        let records = TransactionRecords::new(store, partition.clone(), now);
        let key = key_in(&partition, &self.names.checkpoint_sort(self.stream));
        let found = records.get(key.clone()).await?;
        let found = found.map(|entry| rows::decode::<Checkpoint>(&entry.value));
        let until = applied_to(self.place, found.transpose()?).ok_or(Stop::Is(Applied::Late))?;
        if until >= number {
            return Ok(false);
        }
        let checkpoint = Checkpoint {
            generation: self.place.generation,
            number,
        };
        records.put(key, rows::encode(&checkpoint)?, None).await?;
        let mark = key_in(&partition, &self.names.passed_sort(self.stream, number));
        records.put(mark, Bytes::new(), None).await?;
        let (seen, writes) = records.take();
        self.commit(partition, seen, writes, now).await?;
        Ok(true)
    }
}

/// A write of one record, whatever is there.
pub(super) fn put(sort: String, value: Bytes, condition: Condition) -> Write {
    Write {
        sort,
        action: Action::Put {
            value,
            expires_at_ms: None,
        },
        condition,
    }
}

/// Commits writes to a partition; whether their conditions held.
pub(super) async fn commit(
    store: &dyn Store,
    partition: PartitionAddress,
    writes: Vec<Write>,
) -> Result<bool, Error> {
    let transaction = Transaction {
        partition,
        seen: Vec::new(),
        writes,
        answer: None,
        now_ms: now_ms(),
    };
    Ok(matches!(
        store.commit(transaction).await?,
        Commit::Done { .. }
    ))
}
