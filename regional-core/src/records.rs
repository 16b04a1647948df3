//! Records for edges: reads and single writes, at the position that the caller has seen or later.

use crate::{
    Error,
    clock::now_ms,
    store::{Action, Commit, NewAnswer, Reads, Store, Transaction, WRITES, Write},
};
use brink_protocol::{
    Digest, OriginId, Position, TenantName,
    address::PartitionAddress,
    link::{Condition, RecordOperation, RecordOutcome, RecordsAnswer, RecordsRequest},
    log::{self, Reach},
    record::{Key, RecordError, Version, check_value},
    trail::{Author, AuthorKind},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// How long it is known that a write with a key was done, in milliseconds: ten minutes.
pub const WRITE_KNOWN_MS: u64 = 600_000;
/// Longest key of a write, in bytes.
pub const WRITE_KEY_BYTES_MAX: usize = 64;
/// How long a read waits for the position that the caller has seen.
const POSITION_WAIT: Duration = Duration::from_secs(2);

/// The heads of all logs that the store holds. What is read after this call is at least as new.
#[must_use]
pub fn position(store: &dyn Store) -> Position {
    store.held().borrow().heads.clone()
}

/// A sequence of one origin as a position.
#[must_use]
pub fn position_of(origin: &OriginId, sequence: u64) -> Position {
    let mut position = Position::default();
    position.advance(origin, sequence);
    position
}

/// What a failure of the store is to a guest. The engine's own words stay in the core's log.
#[must_use]
pub fn record_error(error: &Error) -> RecordError {
    match error {
        Error::Limit(limit) => RecordError::Invalid(limit.to_string()),
        Error::Region { .. } => RecordError::Unavailable(error.to_string()),
        Error::Busy => RecordError::Unavailable("the core has too many writes waiting".into()),
        other => {
            tracing::error!(error = %other, "a record operation failed");
            RecordError::Unavailable("the core's store failed".into())
        }
    }
}

/// Waits until this core has everything that `at_least` names, its own changes and those of other cores.
///
/// # Errors
/// It did not get there within two seconds.
pub async fn reach(store: &dyn Store, at_least: &Position) -> Result<(), RecordError> {
    let mut behind = None;
    let mut held = store.held();
    let reached = held.wait_for(|held| match log::reach(&held.heads, at_least) {
        Reach::Reached => true,
        Reach::Behind(origin, sequence) => {
            behind = Some((origin, sequence));
            false
        }
    });
    let reached = matches!(
        tokio::time::timeout(POSITION_WAIT, reached).await,
        Ok(Ok(_))
    );
    match behind {
        Some((origin, sequence)) if !reached => Err(RecordError::Unavailable(format!(
            "this core has not reached {origin}={sequence}; if {} is gone for good, drop the session that has seen it",
            origin.node
        ))),
        _ => Ok(()),
    }
}

/// What is the platform's may be read by those whose it is about, and is written by the platform alone.
fn refuse_platform(key: &Key) -> Result<(), RecordError> {
    if !key.is_platform() {
        return Ok(());
    }
    Err(RecordError::Denied(format!(
        "records of {:?} under such a key are the platform's: it alone writes them",
        key.collection
    )))
}

/// Answers record operations.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn Store>,
    max_staleness: Option<Duration>,
}

impl Records {
    /// Over a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            max_staleness: None,
        }
    }

    /// With reads that are at most so stale; none: they are made where they arrive, if the records lie there.
    #[must_use]
    pub fn within(&self, max_staleness: Option<Duration>) -> Self {
        Self {
            store: Arc::clone(&self.store),
            max_staleness,
        }
    }

    /// The store of one request. Where the records of another region's homes may be here later than what its log says of
    /// them, what must be as new as a position is read at the home.
    fn reading(&self, at_least: &Position) -> Option<Arc<dyn Store>> {
        let reads = match self.max_staleness {
            Some(max_staleness) => Reads::Within(max_staleness),
            None if !at_least.is_empty() && !self.store.sees_all() => Reads::AtHome,
            None => return None,
        };
        self.store.reading(reads)
    }

    /// Does one operation. The answer's position is that of the write, or one that the read is at least as new as. What was
    /// read may be newer: a write shows in the store before the log's head does.
    ///
    /// With a key, a write is done once however often it is asked for, at any core over the store, within
    /// [`WRITE_KNOWN_MS`].
    pub async fn execute(&self, request: RecordsRequest, once: Option<String>) -> RecordsAnswer {
        if let Err(error) = reach(&*self.store, &request.at_least).await {
            return RecordsAnswer {
                position: position(&*self.store),
                outcome: Err(error),
            };
        }
        // Before the read: the state that is read may be newer than what is said of it, never older.
        let before = position(&*self.store);
        let by = Author::new(AuthorKind::Module, request.module.as_str());
        let own = self.reading(&request.at_least).map(Self::new);
        let records = own.as_ref().unwrap_or(self);
        let done = records.operate(&request.tenant, request.operation, once, &by);
        match done.await {
            Ok((outcome, written)) => RecordsAnswer {
                position: written.unwrap_or(before),
                outcome: Ok(outcome),
            },
            Err(error) => RecordsAnswer {
                position: before,
                outcome: Err(error),
            },
        }
    }

    async fn operate(
        &self,
        tenant: &TenantName,
        operation: RecordOperation,
        once: Option<String>,
        by: &Author,
    ) -> Result<(RecordOutcome, Option<Position>), RecordError> {
        let failed = |error: Error| record_error(&error);
        match operation {
            RecordOperation::Get(keys) => {
                let entries = match keys.as_slice() {
                    // Less for an engine to do than one of several.
                    [key] => self
                        .store
                        .get(tenant, key, now_ms())
                        .await
                        .map(|one| vec![one]),
                    several => self.store.get_many(tenant, several, now_ms()).await,
                };
                Ok((RecordOutcome::Entries(entries.map_err(failed)?), None))
            }
            RecordOperation::Scan(range) => {
                let page = self
                    .store
                    .scan(tenant, &range, now_ms())
                    .await
                    .map_err(failed)?;
                Ok((RecordOutcome::Page(page), None))
            }
            RecordOperation::Put {
                key,
                value,
                lifetime_ms,
                condition,
            } => {
                refuse_platform(&key)?;
                let action = put(value, lifetime_ms)?;
                let (version, position) = self
                    .write(tenant, key, (action, condition), once, by)
                    .await?;
                let version = version.unwrap_or_default();
                Ok((RecordOutcome::Written(version), Some(position)))
            }
            RecordOperation::Delete(key) => {
                refuse_platform(&key)?;
                let (_, position) = self
                    .write(tenant, key, (Action::Delete, Condition::Always), once, by)
                    .await?;
                Ok((RecordOutcome::Deleted, Some(position)))
            }
        }
    }

    /// Writes one record; gives its version and the position of the write.
    ///
    /// # Errors
    /// A limit, a condition that did not hold, or the store.
    pub async fn put(
        &self,
        tenant: &TenantName,
        key: Key,
        value: Bytes,
        lifetime_ms: Option<u64>,
        condition: Condition,
    ) -> Result<(Version, Position), RecordError> {
        let action = put(value, lifetime_ms)?;
        let (version, position) = self
            .write(tenant, key, (action, condition), None, &Author::default())
            .await?;
        Ok((version.unwrap_or_default(), position))
    }

    async fn write(
        &self,
        tenant: &TenantName,
        key: Key,
        (action, condition): (Action, Condition),
        once: Option<String>,
        by: &Author,
    ) -> Result<(Option<Version>, Position), RecordError> {
        let answer = once.map(|once| done(once, &action)).transpose()?;
        let transaction = Transaction {
            partition: PartitionAddress {
                tenant: tenant.clone(),
                collection: key.collection,
                partition: key.partition,
            },
            seen: Vec::new(),
            writes: vec![Write {
                sort: key.sort,
                action,
                condition,
            }],
            answer,
            now_ms: now_ms(),
        };
        match self
            .store
            .commit_by(transaction, by)
            .await
            .map_err(|error| record_error(&error))?
        {
            Commit::Done { position, versions } => {
                let version = versions.into_iter().next().flatten();
                Ok((version, position))
            }
            Commit::Conflict { present } => Err(RecordError::Conflict(present)),
            Commit::Answered(kept) => match kept.versions().and_then(|all| all.first().copied()) {
                // That of this write, whatever others have made of the record since.
                Some(version) => Ok((version, kept.position)),
                None => Err(RecordError::Unavailable(
                    "it was written before, and its version is not known".into(),
                )),
            },
        }
    }
}

fn put(value: Bytes, lifetime_ms: Option<u64>) -> Result<Action, RecordError> {
    check_value(&value, lifetime_ms)?;
    Ok(Action::Put {
        value,
        expires_at_ms: lifetime_ms.map(|lifetime| now_ms().saturating_add(lifetime)),
    })
}

/// That a write was done: kept with it.
fn done(key: String, action: &Action) -> Result<NewAnswer, RecordError> {
    let failed = |error: brink_protocol::Error| RecordError::Unavailable(error.to_string());
    let value = match action {
        Action::Put { value, .. } => value.as_ref(),
        Action::Delete => &[],
    };
    Ok(NewAnswer {
        command: WRITES.parse().map_err(failed)?,
        key,
        input: Digest::of(value),
        output: Bytes::new(),
        lifetime_ms: WRITE_KNOWN_MS,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{Options, RedbStore};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_write_with_a_key_is_done_once() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path(), "core-1".parse().unwrap());
        let records = Records::new(Arc::new(RedbStore::open(&options).unwrap()));
        let key = Key {
            collection: "c".into(),
            partition: "p".into(),
            sort: "s".into(),
        };
        let put = |value: &'static str, condition| RecordOperation::Put {
            key: key.clone(),
            value: Bytes::from_static(value.as_bytes()),
            lifetime_ms: None,
            condition,
        };
        let written = |version| Ok(RecordOutcome::Written(version));
        let first = put("a", Condition::Absent);
        for (number, (once, operation, expected)) in [
            ("k1", first.clone(), written(1)),
            ("k1", first.clone(), written(1)),
            ("k2", put("b", Condition::Version(1)), written(2)),
            ("k2", put("b", Condition::Version(1)), written(2)),
            // What came in between stays, and the version is that of the write itself.
            ("k1", first.clone(), written(1)),
            ("k3", put("a", Condition::Always), written(3)),
            ("k1", first, written(1)),
            ("k2", put("b", Condition::Version(1)), written(2)),
            (
                "k4",
                RecordOperation::Delete(key.clone()),
                Ok(RecordOutcome::Deleted),
            ),
            ("k5", put("d", Condition::Absent), written(4)),
            (
                "k4",
                RecordOperation::Delete(key.clone()),
                Ok(RecordOutcome::Deleted),
            ),
            ("k5", put("d", Condition::Absent), written(4)),
        ]
        .into_iter()
        .enumerate()
        {
            let request = RecordsRequest {
                tenant: "t".parse().unwrap(),
                module: "m".parse().unwrap(),
                at_least: Position::default(),
                operation,
            };
            let answer = records.execute(request, Some(once.into())).await;
            assert_eq!(answer.outcome, expected, "{number}: {once}");
        }
    }
}
