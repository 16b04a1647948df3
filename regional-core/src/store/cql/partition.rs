//! Conditional writes of one partition, and finding out what became of one whose answer was lost.
//!
//! Each commit raises the partition's revision by one and leaves its id among the last ones. Its condition names the
//! revision, so a commit that read an older one can never happen once another has: that is how a write is given up
//! safely ([`Fence`]), however late its request may still arrive.

use super::session::{Applied, Bind, Cql, Failure};
use crate::{Error, random, store::checks};
use brink_protocol::{address::PartitionAddress, record::Version};
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// The row of the partition itself.
const ANCHOR: i8 = -1;
/// A record's row.
pub(super) const RECORD: i8 = 0;
/// An answer's row.
pub(super) const ANSWER: i8 = 1;
/// `expires_at` of a record that was deleted.
const DELETED: i64 = -1;
/// How many ids of the last commits a partition keeps.
const IDS_MAX: usize = 16;
const ID_BYTES: usize = 8;
/// Records of one request for their states.
const ROWS_MAX: usize = 100;
/// How long to wait before asking the engine again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Writes a row under the condition of what was there.
pub(super) const WRITE: &str = "UPDATE records SET version = ?, value = ?, expires_at = ?, ids = ? \
                     WHERE tenant = ? AND collection = ? AND partition = ? AND kind = ? AND sort = ? \
                     IF version = ? AND expires_at = ?";
/// Removes a row under the same condition.
const REMOVE: &str = "DELETE FROM records \
                      WHERE tenant = ? AND collection = ? AND partition = ? AND kind = ? AND sort = ? \
                      IF version = ? AND expires_at = ?";
const READ_ANCHOR: &str = "SELECT version, ids FROM records \
                           WHERE tenant = ? AND collection = ? AND partition = ? AND kind = -1 AND sort = ''";

/// The value is not wanted, but has to be among what is asked for: where replicas differ the engine repairs only the
/// columns that were asked for, and a repaired version beside a value that was not would be another record.
const READ: &str = "SELECT kind, sort, version, expires_at, ids, WRITETIME(value) FROM records \
                    WHERE tenant = ? AND collection = ? AND partition = ? AND (kind, sort) IN ?";

/// What a row is, apart from its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowState {
    /// Counts its writes.
    pub(super) version: Version,
    /// As it stands in the row.
    pub(super) expires_at: i64,
}

impl RowState {
    /// Of a row as it was read; none: there is no row.
    pub(super) fn read(version: Option<i64>, expires_at: Option<i64>) -> Option<Self> {
        let version = version?.cast_unsigned();
        Some(Self {
            version,
            expires_at: expires_at.unwrap_or(0),
        })
    }

    /// Of a row to be written.
    pub(super) fn new(version: Version, expires_at_ms: Option<u64>) -> Self {
        let end = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX).max(1);
        Self {
            version,
            expires_at: expires_at_ms.map_or(0, end),
        }
    }

    /// Of a record that is deleted; its versions go on.
    pub(super) fn deleted(version: Version) -> Self {
        Self {
            version,
            expires_at: DELETED,
        }
    }

    /// Whether there is something, if only until it is swept.
    pub(super) fn is_there(&self) -> bool {
        self.expires_at != DELETED
    }

    /// The moment at which it ends.
    pub(super) fn ends_at_ms(&self) -> Option<u64> {
        u64::try_from(self.expires_at).ok().filter(|ms| *ms > 0)
    }

    /// Whether its lifetime has not ended.
    pub(super) fn is_alive(&self, now_ms: u64) -> bool {
        self.is_there() && self.ends_at_ms().is_none_or(|end| now_ms < end)
    }
}

/// One row of a commit.
#[derive(Debug, Clone)]
pub(super) struct RowWrite {
    /// [`RECORD`] or [`ANSWER`].
    pub(super) kind: i8,
    /// Its sort key.
    pub(super) sort: String,
    /// What is there, and must still be.
    pub(super) before: Option<RowState>,
    /// What will be there.
    pub(super) after: RowState,
    /// None: deleted.
    pub(super) value: Option<Bytes>,
}

/// The state of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Anchor {
    /// None: nothing was ever committed.
    revision: Option<i64>,
    ids: Bytes,
}

/// The name of a commit. Chance makes it unlike others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitId([u8; ID_BYTES]);

impl CommitId {
    /// A new one.
    pub(super) fn new() -> Result<Self, Error> {
        random::bytes().map(Self)
    }
}

impl Anchor {
    fn read(revision: Option<i64>, ids: Option<Bytes>) -> Self {
        // One's own copy: the row's bytes are part of a larger buffer.
        let ids = Bytes::copy_from_slice(&ids.unwrap_or_default());
        Self { revision, ids }
    }

    /// After a commit.
    fn after(&self, id: CommitId) -> Self {
        let (revision, ids) = self.next(id);
        Self {
            revision: Some(revision),
            ids,
        }
    }

    /// Whether it is one commit later than `earlier`, in the same partition.
    pub(super) fn follows(&self, earlier: &Self) -> bool {
        self.since(earlier) == 1
    }

    fn next(&self, id: CommitId) -> (i64, Bytes) {
        let kept = self.ids.len().min((IDS_MAX - 1) * ID_BYTES);
        let ids = [&id.0[..], &self.ids.slice(..kept)].concat();
        (self.revision.unwrap_or(0).saturating_add(1), ids.into())
    }

    fn names(&self, id: CommitId) -> bool {
        self.ids.chunks_exact(ID_BYTES).any(|kept| kept == id.0)
    }

    /// How many commits there were since `earlier`.
    fn since(&self, earlier: &Self) -> i64 {
        self.revision.unwrap_or(0) - earlier.revision.unwrap_or(0)
    }
}

/// The key of a partition.
pub(super) fn key(partition: &PartitionAddress) -> Vec<Bind> {
    vec![
        partition.tenant.as_str().into(),
        partition.collection.as_str().into(),
        partition.partition.as_str().into(),
    ]
}

/// How a partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// From a quorum. What is half-way may be seen in one row and not in the next.
    Quorum,
    /// After all that is half-way was finished or given up: reads from a quorum that follow see all of it.
    Serial,
}

/// The state of a partition.
pub(super) async fn anchor(
    session: &Cql,
    partition: &PartitionAddress,
    reading: Reading,
) -> Result<Anchor, Error> {
    let values = key(partition);
    let rows: Vec<(Option<i64>, Option<Bytes>)> = match reading {
        Reading::Quorum => session.rows(READ_ANCHOR, values).await?,
        Reading::Serial => session.serial_rows(READ_ANCHOR, values).await?,
    };
    let found = rows.into_iter().next();
    Ok(found.map_or_else(Anchor::default, |(revision, ids)| {
        Anchor::read(revision, ids)
    }))
}

/// The state of a partition, and of some of its records; those that never were are left out. All from a quorum, and from
/// one moment unless there are more than a hundred.
pub(super) async fn read(
    session: &Cql,
    partition: &PartitionAddress,
    sorts: Vec<String>,
) -> Result<(Anchor, BTreeMap<String, RowState>), Error> {
    let mut found = (Anchor::default(), BTreeMap::new());
    let mut sorts = sorts.into_iter().map(|sort| (RECORD, sort)).peekable();
    let mut asked = vec![(ANCHOR, String::new())];
    while !asked.is_empty() || sorts.peek().is_some() {
        asked.extend(sorts.by_ref().take(ROWS_MAX));
        let mut values = key(partition);
        values.push(Bind::Rows(std::mem::take(&mut asked)));
        let rows: Vec<StateRow> = session.rows(READ, values).await?;
        for (kind, sort, version, expires_at, ids, _) in rows {
            if kind == ANCHOR {
                found.0 = Anchor::read(version, ids);
            } else if let Some(state) = RowState::read(version, expires_at) {
                found.1.insert(sort, state);
            }
        }
    }
    Ok(found)
}

type StateRow = (
    i8,
    String,
    Option<i64>,
    Option<i64>,
    Option<Bytes>,
    Option<i64>,
);

fn statement(
    partition: &PartitionAddress,
    (kind, sort): (i8, &str),
    written: [Bind; 4],
    before: (Option<i64>, Option<i64>),
) -> Vec<Bind> {
    let mut values = Vec::from(written);
    values.extend(key(partition));
    values.extend([
        Bind::Tiny(kind),
        sort.into(),
        before.0.into(),
        before.1.into(),
    ]);
    values
}

fn anchor_statement(partition: &PartitionAddress, before: &Anchor, id: CommitId) -> Vec<Bind> {
    let (revision, ids) = before.next(id);
    let condition = (before.revision, before.revision.map(|_| 0));
    let written = [
        Bind::Big(revision),
        Bind::Unset,
        Bind::Big(0),
        Bind::Blob(ids),
    ];
    statement(partition, (ANCHOR, ""), written, condition)
}

fn row_statement(partition: &PartitionAddress, row: &RowWrite) -> (&'static str, Vec<Bind>) {
    let before = (
        row.before.map(|before| before.version.cast_signed()),
        row.before.map(|before| before.expires_at),
    );
    if row.kind == RECORD && !row.after.is_there() && !checks::leaves_version(&row.sort) {
        let mut values = key(partition);
        values.extend([Bind::Tiny(row.kind), row.sort.as_str().into()]);
        values.extend([before.0.into(), before.1.into()]);
        return (REMOVE, values);
    }
    let after = [
        Bind::Big(row.after.version.cast_signed()),
        row.value.clone().into(),
        Bind::Big(row.after.expires_at),
        Bind::Unset,
    ];
    let values = statement(partition, (row.kind, &row.sort), after, before);
    (WRITE, values)
}

/// The statements of a commit.
pub(super) fn batch(
    partition: &PartitionAddress,
    before: &Anchor,
    rows: &[RowWrite],
    id: CommitId,
) -> Vec<(&'static str, Vec<Bind>)> {
    let mut statements = vec![(WRITE, anchor_statement(partition, before, id))];
    statements.extend(rows.iter().map(|row| row_statement(partition, row)));
    statements
}

/// What came of a commit.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It happened. Where its answer came, this is how it has left the partition.
    Applied(Option<Anchor>),
    /// It did not, and will not.
    Refused,
    /// It is not known. It may still happen until the partition is fenced.
    Unknown(Error),
}

/// Commits rows on the condition that they, and the partition's revision, are what they were. Asks until `deadline` what
/// came of it.
///
/// # Errors
/// The request itself is at fault; nothing was written.
pub(super) async fn commit(
    session: &Cql,
    partition: &PartitionAddress,
    before: &Anchor,
    rows: &[RowWrite],
    deadline: Instant,
) -> Result<Outcome, Error> {
    let id = CommitId::new()?;
    let statements = batch(partition, before, rows, id);
    match session.conditional_batch(statements).await {
        Ok(Applied::Yes) => Ok(Outcome::Applied(Some(before.after(id)))),
        Ok(Applied::No) => Ok(Outcome::Refused),
        Err(Failure {
            is_ours: true,
            error,
        }) => Err(error),
        Err(failure) => {
            metrics::counter!("brink_core_store_unknown_total").increment(1);
            tracing::debug!(error = %failure.error, "finding out what came of a commit");
            let finding = find_out(session, partition, before, id, deadline, failure.error);
            let found = tokio::time::timeout_at(deadline, finding).await;
            let found = found.unwrap_or_else(|_| {
                Outcome::Unknown(Error::store(
                    "commit",
                    "the engine did not say what came of it",
                ))
            });
            if !matches!(found, Outcome::Applied(_)) {
                return Ok(found);
            }
            // Its answer was lost: it may be in one data centre alone.
            let rows = rows.iter().map(|row| (row.kind, row.sort.clone()));
            let spread = spread(session, partition, rows.collect());
            Ok(match tokio::time::timeout_at(deadline, spread).await {
                Ok(Ok(())) => found,
                Ok(Err(error)) => Outcome::Unknown(error),
                Err(_) => Outcome::Unknown(Error::store("commit", "it is not everywhere yet")),
            })
        }
    }
}

/// Brings the partition's row and those named to a quorum of each data centre, if that is what confirms a commit.
/// Whatever is read from each is repaired where it is missing.
pub(super) async fn spread(
    session: &Cql,
    partition: &PartitionAddress,
    rows: Vec<(i8, String)>,
) -> Result<(), Error> {
    if !session.confirms_each() {
        return Ok(());
    }
    let mut rows = [(ANCHOR, String::new())].into_iter().chain(rows).peekable();
    while rows.peek().is_some() {
        let mut values = key(partition);
        values.push(Bind::Rows(rows.by_ref().take(ROWS_MAX).collect()));
        session.each_rows::<StateRow>(READ, values).await?;
    }
    Ok(())
}

/// What came of a commit whose answer was lost.
pub(super) async fn find_out(
    session: &Cql,
    partition: &PartitionAddress,
    before: &Anchor,
    id: CommitId,
    deadline: Instant,
    mut why: Error,
) -> Outcome {
    let mut backoff = BACKOFF.0;
    while Instant::now() < deadline {
        match anchor(session, partition, Reading::Serial).await {
            Ok(found) if found.names(id) => return Outcome::Applied(None),
            Ok(found) if found.since(before) > IDS_MAX as i64 => return Outcome::Unknown(why),
            Ok(found) if found != *before => return Outcome::Refused,
            // It has not happened, and may still: another commit takes its place.
            Ok(found) => match take_place(session, partition, &found).await {
                Ok(Applied::Yes) => return Outcome::Refused,
                Ok(Applied::No) => continue,
                Err(failure) => why = failure.error,
            },
            Err(error) => why = error,
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
    Outcome::Unknown(why)
}

/// A commit that writes nothing.
async fn take_place(
    session: &Cql,
    partition: &PartitionAddress,
    before: &Anchor,
) -> Result<Applied, Failure> {
    let id = CommitId::new().map_err(|error| Failure {
        is_ours: true,
        error,
    })?;
    let values = anchor_statement(partition, before, id);
    session.conditional(WRITE, values).await
}

/// What makes sure that no commit happens any more that has read a partition before now.
pub(super) struct Fence<'a> {
    partition: &'a PartitionAddress,
    rows: Vec<(i8, String)>,
    is_fenced: bool,
    backoff: Duration,
}

impl<'a> Fence<'a> {
    /// With the rows that have to be where a commit is confirmed, if it has happened.
    pub(super) fn new(partition: &'a PartitionAddress, rows: Vec<(i8, String)>) -> Self {
        Self {
            partition,
            rows,
            is_fenced: false,
            backoff: BACKOFF.0,
        }
    }

    /// One attempt. No: another commit was quicker.
    pub(super) async fn advance(&mut self, session: &Cql) -> Result<bool, Error> {
        if !self.is_fenced {
            let found = anchor(session, self.partition, Reading::Serial).await?;
            let taken = take_place(session, self.partition, &found).await?;
            self.is_fenced = taken == Applied::Yes;
        }
        if self.is_fenced {
            spread(session, self.partition, self.rows.clone()).await?;
        }
        Ok(self.is_fenced)
    }

    /// How long to wait before the next.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
        pause
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_live_and_end() {
        for (state, at, is_alive, is_there) in [
            (RowState::new(1, None), u64::MAX, true, true),
            (RowState::new(1, Some(10)), 9, true, true),
            (RowState::new(1, Some(10)), 10, false, true),
            (RowState::new(1, Some(0)), 1, false, true),
            (RowState::new(1, Some(u64::MAX)), 10, true, true),
            (RowState::deleted(1), 0, false, false),
        ] {
            assert_eq!(
                (state.is_alive(at), state.is_there()),
                (is_alive, is_there),
                "{state:?}"
            );
        }
        assert_eq!(RowState::read(None, Some(1)), None);
        assert_eq!(RowState::read(Some(3), None), Some(RowState::new(3, None)));
    }

    #[test]
    fn the_last_commits_are_named() {
        let mut anchor = Anchor::default();
        let id = |n: u8| CommitId([n; ID_BYTES]);
        for n in 1..=20 {
            let (revision, ids) = anchor.next(id(n));
            anchor = Anchor {
                revision: Some(revision),
                ids,
            };
            assert!(anchor.names(id(n)));
        }
        assert_eq!(
            (anchor.revision, anchor.ids.len()),
            (Some(20), IDS_MAX * ID_BYTES)
        );
        assert!(anchor.names(id(5)) && !anchor.names(id(4)));
        assert_eq!(anchor.since(&Anchor::default()), 20);
    }
}
