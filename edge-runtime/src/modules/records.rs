//! `brink:platform/records`: from what is kept here, else over the core link. Whatever is read becomes a tag of the answer,
//! found or not, here or there.

use super::{
    record_cache::Fetch,
    run::{Platform, Run},
    undone::Asks,
};
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
use std::time::Instant;

impl Run {
    async fn ask(
        &self,
        operation: RecordOperation,
        at_least: Position,
    ) -> Result<RecordsAnswer, RecordError> {
        let link = self.link().map_err(RecordError::Denied)?;
        let is_read = matches!(
            operation,
            RecordOperation::Get(_) | RecordOperation::Scan(_)
        );
        let request = RecordsRequest {
            tenant: self.tenant.clone(),
            module: self.module.clone(),
            at_least,
            operation,
        };
        let (asked, asks) = if is_read {
            // One that has not got as far as it must: another core may have.
            let asked = link.read(path::RECORDS, &request, self.asker()).await;
            (asked, Asks::ToRead)
        } else {
            let asked = link.write(&request, self.asker()).await;
            (asked, Asks::ToChange)
        };
        let answer: RecordsAnswer = asked.map_err(|error| self.undone(error, asks))?;
        if let Err(RecordError::Unavailable(_)) = answer.outcome {
            self.note().no_store = true;
        }
        Ok(answer)
    }

    async fn ask_write(&self, operation: RecordOperation) -> Result<RecordOutcome, RecordError> {
        let answer = self.ask(operation, self.at_least()).await?;
        if answer.outcome.is_ok() {
            self.note().written.merge(&answer.position);
        }
        answer.outcome
    }

    /// Reads at the core, at no older position than what was applied here when `fetch` began.
    async fn ask_read(
        &self,
        operation: RecordOperation,
        fetch: &Fetch,
    ) -> Result<(RecordOutcome, Position), RecordError> {
        let mut at_least = self.at_least();
        at_least.merge(fetch.at_least());
        let answer = self.ask(operation, at_least).await?;
        let outcome = answer.outcome?;
        let until = match &outcome {
            RecordOutcome::Entries(entries) => fetch.until(entries.iter().flatten()),
            RecordOutcome::Page(page) => fetch.until(&page.entries),
            RecordOutcome::Written(_) | RecordOutcome::Deleted => None,
        };
        let mut collected = self.note();
        collected.read_at(&answer.position);
        collected.ends(until);
        drop(collected);
        Ok((outcome, answer.position))
    }

    /// Records that are kept here, if the run may have them.
    fn kept(&self, keys: &[Tag]) -> Option<Vec<Option<Entry>>> {
        let Platform { records, cache, .. } = &*self.platform;
        if self.is_uncached {
            records.missed(keys.len());
            return None;
        }
        let found = records.find(cache, keys, &self.at_least(), Instant::now())?;
        let mut collected = self.note();
        collected.read_at(&found.read_at);
        collected.ends(found.until);
        Some(found.entries)
    }

    /// Before anything is read: an answer that comes, or not, depends on it all the same.
    pub(super) fn depends_on(&self, keys: &[Key]) -> Vec<Tag> {
        let tag = |key: &Key| {
            let address = RecordAddress::new(self.tenant.clone(), key.clone());
            Tag::Record {
                partition: address.partition,
                sort: address.sort,
            }
        };
        let tags: Vec<Tag> = keys.iter().map(tag).collect();
        self.note().tags.extend_from_slice(&tags);
        tags
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
        match self.ask_write(operation).await? {
            RecordOutcome::Written(version) => Ok(version),
            other => Err(unexpected(&other)),
        }
    }
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
        let tags = self.depends_on(&keys);
        if let Some(entries) = self.kept(&tags) {
            return Ok(entries);
        }
        let Platform { records, cache, .. } = &*self.platform;
        let fetch = records.fetch(cache);
        let (outcome, read_at) = self.ask_read(RecordOperation::Get(keys), &fetch).await?;
        match outcome {
            RecordOutcome::Entries(entries) if entries.len() == tags.len() => {
                records.keep(cache, &fetch, &tags, &entries, &read_at);
                Ok(entries)
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn scan(&self, range: Range) -> Result<Page, RecordError> {
        self.note().tags.push(Tag::Range {
            tenant: self.tenant.clone(),
            range: range.clone(),
        });
        let Platform { records, cache, .. } = &*self.platform;
        let fetch = records.fetch(cache);
        match self.ask_read(RecordOperation::Scan(range), &fetch).await? {
            (RecordOutcome::Page(page), _) => Ok(page),
            (other, _) => Err(unexpected(&other)),
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
        match self.ask_write(RecordOperation::Delete(key)).await? {
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
