//! The audit trail of records: a commit to a collection that keeps one also writes, in the same transaction, who changed
//! which record from which version to which ([`brink_protocol::trail`]).
//!
//! What a write comes after is read before the commit, and the commit is done on the condition that it is still so. So a
//! row of the trail never says what did not happen. Turns spare commits of this core that would be in each other's way.

use crate::{
    Error,
    store::{Action, Commit, KeptRow, RowKey, Seen, Store, Transaction, Write},
    turns::Turns,
};
use brink_protocol::{
    Digest,
    change::RECORDS_PER_CHANGE_MAX,
    link::Condition,
    record::{Key, PLATFORM_SORT, Version},
    trail::{self, Author, AuthorKind, TrailEntry, TrailPage},
};
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};

/// Records that one transaction may write where each leaves a row.
pub const RECORDS_MAX: usize = RECORDS_PER_CHANGE_MAX / 2;
/// Rows of a trail that are listed at a time.
const ROWS_MAX: u32 = 500;
/// How often a commit is tried that others were quicker than.
const ATTEMPTS_MAX: u32 = 12;
/// How long a commit waits for those before it in its partition.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// Records whose present versions are read at a time: with the largest values 16 MiB.
const READ_AT_ONCE: usize = 16;

/// Commits, and leaves a trail that is kept for `kept_ms`.
///
/// # Errors
/// As [`Store::commit`]; also [`Error::Limit`] for more than [`RECORDS_MAX`] records, and [`Error::Busy`] where others
/// write the same records all the time.
pub(crate) async fn commit(
    store: &dyn Store,
    turns: &Turns,
    transaction: Transaction,
    kept_ms: u64,
    by: &Author,
) -> Result<Commit, Error> {
    let is_of_record = |write: &&Write| !write.sort.starts_with(PLATFORM_SORT);
    let count = transaction.writes.iter().filter(is_of_record).count();
    if count == 0 || by.kind == AuthorKind::Erasure {
        return store.commit(transaction).await;
    }
    if count > RECORDS_MAX {
        return Err(brink_protocol::Error::Limit {
            what: "records of one transaction where an audit trail is kept",
            actual: count as u64,
            limit: RECORDS_MAX as u64,
        }
        .into());
    }
    let turn = turns.turn(&transaction.partition);
    let _turn = tokio::time::timeout(TURN_WAIT, turn)
        .await
        .map_err(|_| Error::Busy)?;
    let mut before = read(store, &transaction).await?;
    let mut is_certain = true;
    for _ in 0..ATTEMPTS_MAX {
        let noted = with_trail(&transaction, &before, kept_ms, by, is_certain)?;
        match store.commit(noted).await? {
            Commit::Done {
                position,
                mut versions,
            } => {
                versions.truncate(transaction.writes.len());
                return Ok(Commit::Done { position, versions });
            }
            Commit::Answered(answer) => return Ok(Commit::Answered(answer)),
            conflict @ Commit::Conflict { .. } => {
                let now = read(store, &transaction).await?;
                if now != before {
                    (before, is_certain) = (now, true);
                } else if is_certain {
                    // It is the caller's own condition that does not hold; or the trail is not that of these versions,
                    // and must not keep the record from being written.
                    is_certain = false;
                } else {
                    return Ok(conflict);
                }
            }
        }
    }
    Err(Error::Busy)
}

/// A record before a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Before {
    /// Its version; none: it is not there.
    present: Option<Version>,
    /// The last version that it ever had.
    last: Version,
}

async fn read(
    store: &dyn Store,
    transaction: &Transaction,
) -> Result<BTreeMap<String, Before>, Error> {
    let sorts: Vec<String> = transaction
        .writes
        .iter()
        .map(|write| write.sort.clone())
        .filter(|sort| !sort.starts_with(PLATFORM_SORT))
        .collect();
    let mut found = BTreeMap::new();
    for sorts in sorts.chunks(READ_AT_ONCE) {
        for row in store.kept_records(&transaction.partition, sorts).await? {
            let before = before(&row, transaction.now_ms);
            if let RowKey::Record(sort) = row.key {
                found.insert(sort, before);
            }
        }
    }
    Ok(found)
}

fn before(row: &KeptRow, now_ms: u64) -> Before {
    let is_alive = row.value.is_some() && row.expires_at_ms.is_none_or(|end| now_ms < end);
    Before {
        present: is_alive.then_some(row.version),
        last: row.version,
    }
}

/// The transaction with its trail behind its own writes.
fn with_trail(
    transaction: &Transaction,
    before: &BTreeMap<String, Before>,
    kept_ms: u64,
    by: &Author,
    is_certain: bool,
) -> Result<Transaction, Error> {
    let mut all = transaction.clone();
    let key = transaction.answer.as_ref().map(|answer| answer.key.clone());
    for write in &transaction.writes {
        if write.sort.starts_with(PLATFORM_SORT) {
            continue;
        }
        let found = before.get(&write.sort).copied().unwrap_or_default();
        if is_certain {
            all.seen.push(Seen::Record {
                sort: write.sort.clone(),
                version: found.present,
            });
        }
        let (to, value, expires_at_ms) = match &write.action {
            Action::Put {
                value,
                expires_at_ms,
            } => (Some(found.last + 1), Some(value), *expires_at_ms),
            // Nothing changes.
            Action::Delete if found.present.is_none() => continue,
            Action::Delete => (None, None, None),
        };
        let entry = TrailEntry {
            at_ms: transaction.now_ms,
            by: by.clone(),
            from: found.present,
            to,
            key: key.clone().map(|key| key.replace(char::is_control, "")),
            bytes: value.map(|value| value.len() as u64),
            sha256: value.map(|value| Digest::of(value)),
            expires_at_ms,
        };
        let is_deleted = to.is_none();
        all.writes.push(row(
            trail::sort_of(&write.sort, to.unwrap_or(found.last), is_deleted),
            entry.encode()?,
            transaction.now_ms.saturating_add(kept_ms),
            is_certain,
        ));
    }
    Ok(all)
}

fn row(sort: String, value: Bytes, expires_at_ms: u64, is_new: bool) -> Write {
    Write {
        sort,
        action: Action::Put {
            value,
            expires_at_ms: Some(expires_at_ms),
        },
        condition: if is_new {
            Condition::Absent
        } else {
            Condition::Always
        },
    }
}

/// A part of a record's trail, newest first; `before` is where the page before ended.
///
/// # Errors
/// A key or a limit that is not allowed, or the store.
pub async fn page(
    store: &dyn Store,
    tenant: &brink_protocol::TenantName,
    record: &Key,
    before: Option<&str>,
    limit: u32,
    now_ms: u64,
) -> Result<TrailPage, Error> {
    let range = trail::range(record, before, limit)?;
    let found = store.scan(tenant, &range, now_ms).await?;
    let last = found.entries.last();
    let next = last.and_then(|row| trail::place_of(&record.sort, &row.sort));
    let entries: Result<_, brink_protocol::Error> = found
        .entries
        .iter()
        .map(|row| TrailEntry::decode(&row.value))
        .collect();
    Ok(TrailPage {
        entries: entries?,
        next: next.filter(|_| found.more),
    })
}

/// Sort keys of rows of a record's trail, at most 500 at a time.
///
/// # Errors
/// A key that is not allowed, or the store.
pub(crate) async fn rows(
    store: &dyn Store,
    tenant: &brink_protocol::TenantName,
    record: &Key,
    now_ms: u64,
) -> Result<Vec<String>, Error> {
    let range = trail::range(record, None, ROWS_MAX)?;
    let found = store.scan(tenant, &range, now_ms).await?;
    Ok(found.entries.into_iter().map(|row| row.sort).collect())
}

#[cfg(test)]
mod tests;
