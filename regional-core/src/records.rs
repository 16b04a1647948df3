//! Records for edges: reads and single writes, at the position that the caller has seen or later.

use crate::{
    Error,
    clock::now_ms,
    store::{Action, Commit, Store, Transaction, Write},
};
use brink_protocol::{
    OriginId, Position, TenantName,
    address::PartitionAddress,
    link::{Condition, RecordOperation, RecordOutcome, RecordsAnswer, RecordsRequest},
    log::{self, Reach},
    record::{Key, RecordError, Version, check_value},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

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
}

impl Records {
    /// Over a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Does one operation. The answer's position is that of the write, or one that the read is at least as new as. What was
    /// read may be newer: a write shows in the store before the log's head does.
    pub async fn execute(&self, request: RecordsRequest) -> RecordsAnswer {
        if let Err(error) = reach(&*self.store, &request.at_least).await {
            return RecordsAnswer {
                position: position(&*self.store),
                outcome: Err(error),
            };
        }
        // Before the read: the state that is read may be newer than what is said of it, never older.
        let before = position(&*self.store);
        match self.operate(&request.tenant, request.operation).await {
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
    ) -> Result<(RecordOutcome, Option<Position>), RecordError> {
        let failed = |error: Error| record_error(&error);
        match operation {
            RecordOperation::Get(keys) => {
                let entries = self
                    .store
                    .get_many(tenant, &keys, now_ms())
                    .await
                    .map_err(failed)?;
                Ok((RecordOutcome::Entries(entries), None))
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
                let (version, position) =
                    self.put(tenant, key, value, lifetime_ms, condition).await?;
                Ok((RecordOutcome::Written(version), Some(position)))
            }
            RecordOperation::Delete(key) => {
                refuse_platform(&key)?;
                let (_, position) = self
                    .write(tenant, key, Action::Delete, Condition::Always)
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
        check_value(&value, lifetime_ms)?;
        let expires_at_ms = lifetime_ms.map(|lifetime| now_ms().saturating_add(lifetime));
        let action = Action::Put {
            value,
            expires_at_ms,
        };
        let (version, position) = self.write(tenant, key, action, condition).await?;
        Ok((version.unwrap_or_default(), position))
    }

    async fn write(
        &self,
        tenant: &TenantName,
        key: Key,
        action: Action,
        condition: Condition,
    ) -> Result<(Option<Version>, Position), RecordError> {
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
            answer: None,
            now_ms: now_ms(),
        };
        match self
            .store
            .commit(transaction)
            .await
            .map_err(|error| record_error(&error))?
        {
            Commit::Done { position, versions } => {
                let version = versions.into_iter().next().flatten();
                Ok((version, position))
            }
            Commit::Conflict { present } => Err(RecordError::Conflict(present)),
            Commit::Answered(_) => Err(RecordError::Unavailable(
                "the core's store answered out of turn".into(),
            )),
        }
    }
}
