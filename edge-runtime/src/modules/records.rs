//! `brink:platform/records` over the core link. Whatever is read becomes a tag of the answer, found or not.

use super::run::{Collected, Run};
use crate::link::LinkError;
use async_trait::async_trait;
use brink_protocol::{
    Position,
    address::RecordAddress,
    link::{Condition, RecordOperation, RecordOutcome, RecordsAnswer, RecordsRequest, path},
    record::{Entry, Key, Page, Range, RecordError, Version},
    tag::Tag,
};
use brink_sandbox::Records;
use bytes::Bytes;

impl Run {
    async fn ask(&self, operation: RecordOperation) -> Result<RecordOutcome, RecordError> {
        let link = self.link().map_err(RecordError::Denied)?;
        let is_read = matches!(
            operation,
            RecordOperation::Get(_) | RecordOperation::Scan(_)
        );
        let request = RecordsRequest {
            tenant: self.tenant.clone(),
            module: self.module.clone(),
            at_least: self.at_least(),
            operation,
        };
        let asked = if is_read {
            link.call_again(path::RECORDS, &request, Some(&self.trace))
                .await
        } else {
            link.call(path::RECORDS, &request, Some(&self.trace)).await
        };
        let answer: RecordsAnswer = asked.map_err(|error| self.away(&error))?;
        let mut collected = self.note();
        if is_read {
            read_at(&mut collected, answer.position);
        } else if answer.outcome.is_ok() {
            collected.written.merge(&answer.position);
        }
        answer.outcome
    }

    fn away(&self, error: &LinkError) -> RecordError {
        self.note().core_away |= error.is_passing();
        match error {
            LinkError::Refused {
                status: 400,
                detail,
            } => RecordError::Invalid(detail.clone()),
            LinkError::Refused {
                status: 401 | 403,
                detail,
            } => RecordError::Denied(detail.clone()),
            _ => RecordError::Unavailable(error.to_string()),
        }
    }

    /// Before the core is asked: an answer that comes, or not, depends on it all the same.
    fn depends_on(&self, keys: &[Key]) {
        let tags = keys.iter().map(|key| {
            let address = RecordAddress::new(self.tenant.clone(), key.clone());
            Tag::Record {
                partition: address.partition,
                sort: address.sort,
            }
        });
        self.note().tags.extend(tags);
    }

    async fn write(
        &self,
        key: Key,
        value: Bytes,
        lifetime_ms: Option<u64>,
        condition: Condition,
    ) -> Result<Version, RecordError> {
        // Whether the condition held was learned from the record.
        if condition != Condition::Always {
            self.depends_on(std::slice::from_ref(&key));
        }
        let operation = RecordOperation::Put {
            key,
            value,
            lifetime_ms,
            condition,
        };
        match self.ask(operation).await? {
            RecordOutcome::Written(version) => Ok(version),
            other => Err(unexpected(&other)),
        }
    }
}

/// Keeps the earliest position over several reads: for each origin the least.
fn read_at(collected: &mut Collected, position: Position) {
    let Some(before) = collected.read.take() else {
        collected.read = Some(position);
        return;
    };
    let mut earliest = Position::default();
    for (origin, sequence) in position.iter() {
        earliest.advance(origin, sequence.min(before.get(origin)));
    }
    collected.read = Some(earliest);
}

fn unexpected(outcome: &RecordOutcome) -> RecordError {
    let kind = match outcome {
        RecordOutcome::Entries(_) => "entries",
        RecordOutcome::Page(_) => "a page",
        RecordOutcome::Written(_) => "a version",
        RecordOutcome::Deleted => "a deletion",
    };
    RecordError::Unavailable(format!(
        "the core answered with {kind}, which was not asked for"
    ))
}

#[async_trait]
impl Records for Run {
    async fn get(&self, key: Key) -> Result<Option<Entry>, RecordError> {
        Ok(self.get_many(vec![key]).await?.pop().flatten())
    }

    async fn get_many(&self, keys: Vec<Key>) -> Result<Vec<Option<Entry>>, RecordError> {
        self.depends_on(&keys);
        let count = keys.len();
        match self.ask(RecordOperation::Get(keys)).await? {
            RecordOutcome::Entries(entries) if entries.len() == count => Ok(entries),
            other => Err(unexpected(&other)),
        }
    }

    async fn scan(&self, range: Range) -> Result<Page, RecordError> {
        self.note().tags.push(Tag::Range {
            tenant: self.tenant.clone(),
            range: range.clone(),
        });
        match self.ask(RecordOperation::Scan(range)).await? {
            RecordOutcome::Page(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    async fn put(
        &self,
        key: Key,
        value: Bytes,
        lifetime_ms: Option<u64>,
    ) -> Result<Version, RecordError> {
        self.write(key, value, lifetime_ms, Condition::Always).await
    }

    async fn delete(&self, key: Key) -> Result<(), RecordError> {
        match self.ask(RecordOperation::Delete(key)).await? {
            RecordOutcome::Deleted => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn compare_and_set(
        &self,
        key: Key,
        expected: Option<Version>,
        value: Bytes,
        lifetime_ms: Option<u64>,
    ) -> Result<Version, RecordError> {
        let condition = expected.map_or(Condition::Absent, Condition::Version);
        self.write(key, value, lifetime_ms, condition).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_earliest_position_of_several_reads_counts() {
        for (reads, earliest) in [
            (vec!["a.1=5"], "a.1=5"),
            (vec!["a.1=5", "a.1=7"], "a.1=5"),
            (vec!["a.1=7", "a.1=5"], "a.1=5"),
            (vec!["a.1=7,b.1=2", "a.1=5,b.1=3"], "a.1=5,b.1=2"),
            (vec!["a.1=7", "b.1=3"], ""),
        ] {
            let mut collected = Collected::default();
            for read in &reads {
                read_at(&mut collected, read.parse().unwrap());
            }
            assert_eq!(collected.read.unwrap().to_string(), earliest, "{reads:?}");
        }
    }
}
