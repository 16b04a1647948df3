//! When records and answers end: an index by hour, written before what it is about. A row may be about something that
//! did not happen, or that was written anew since; what ends is decided by the record alone.

use super::{
    partition::{RowWrite, key},
    session::{Bind, Cql},
};
use crate::Error;
use brink_protocol::{Digest, address::PartitionAddress};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

/// Partitions of an hour's index, so that an hour in which much ends is not one partition.
const SLICES: u8 = 8;
const HOUR_MS: u64 = 3600 * 1000;
/// Rows that are written at a time.
const AT_ONCE: usize = 32;
/// How long after its end an hour may still be noted, in hours, by cores whose clocks are behind.
const HOURS_OPEN: i64 = 2;
/// How old a note must be before it is forgotten without anything having been removed, in milliseconds: the write that it is
/// about has ended by then. What is compared are clocks of machines, and all that depends on it is the sweep.
const NOTED_MS_MIN: u64 = 60_000;
/// Hours that are looked at in one sweep.
const HOURS_MAX: i32 = 1000;

const NOTE: &str = "INSERT INTO ends (hour, slice, expires_at, tenant, collection, partition, kind, sort, note) \
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)";
const NOTE_HOUR: &str = "INSERT INTO end_hours (every, hour, note) VALUES (0, ?, 1)";
const HOURS: &str =
    "SELECT hour, WRITETIME(note) FROM end_hours WHERE every = 0 AND hour <= ? LIMIT ?";
const ENDED: &str = "SELECT expires_at, tenant, collection, partition, kind, sort, WRITETIME(note) FROM ends \
                     WHERE hour = ? AND slice = ? AND expires_at <= ? LIMIT ?";
const ENDED_AFTER: &str = "SELECT expires_at, tenant, collection, partition, kind, sort, WRITETIME(note) FROM ends \
                           WHERE hour = ? AND slice = ? AND (expires_at) <= (?) \
                           AND (expires_at, tenant, collection, partition, kind, sort) > (?, ?, ?, ?, ?, ?) LIMIT ?";
/// Pages of a slice that one sweep reads to find what is of its own homes.
const PAGES_MAX: usize = 20;
const ANY: &str = "SELECT expires_at FROM ends WHERE hour = ? AND slice = ? LIMIT 1";
const FORGET: &str = "DELETE FROM ends USING TIMESTAMP ? WHERE hour = ? AND slice = ? AND expires_at = ? \
                      AND tenant = ? AND collection = ? AND partition = ? AND kind = ? AND sort = ?";
const FORGET_HOUR: &str = "DELETE FROM end_hours USING TIMESTAMP ? WHERE every = 0 AND hour = ?";

fn hour_of(ms: u64) -> i64 {
    (ms / HOUR_MS).cast_signed()
}

fn slice_of(partition: &PartitionAddress, sort: &str) -> i32 {
    let parts = [&partition.collection, &partition.partition, sort];
    let digest = Digest::of(parts.join("\n").as_bytes());
    let first = digest.as_bytes().first().copied().unwrap_or_default();
    i32::from(first % SLICES)
}

/// Notes when rows end that are about to be written at `now_ms`. One that has ended already ends now: no note is put into
/// an hour that is long over.
pub(super) async fn note(
    session: &Cql,
    partition: &PartitionAddress,
    rows: &[&RowWrite],
    now_ms: u64,
) -> Result<(), Error> {
    let ending = rows.iter().filter_map(|row| {
        let end = row.after.ends_at_ms()?.max(now_ms);
        Some((*row, end))
    });
    let written = ending.map(|(row, end)| async move {
        let hour = hour_of(end);
        let mut values = vec![
            Bind::Big(hour),
            Bind::Int(slice_of(partition, &row.sort)),
            Bind::Big(end.cast_signed()),
        ];
        values.extend(key(partition));
        values.extend([Bind::Tiny(row.kind), row.sort.as_str().into()]);
        // First the row: a sweep that finds the hour empty does not forget what was noted after it looked.
        session.write(NOTE, values).await?;
        session.write(NOTE_HOUR, vec![Bind::Big(hour)]).await
    });
    let written: Vec<_> = written.collect();
    stream::iter(written)
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| async { Ok(()) })
        .await
}

/// Something whose end was noted.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// The partition that it is in.
    pub(super) partition: PartitionAddress,
    /// The kind of its row.
    pub(super) kind: i8,
    /// Its sort key.
    pub(super) sort: String,
    /// The end that was noted.
    pub(super) expires_at: i64,
    hour: i64,
    slice: i32,
    noted_us: i64,
}

type EndedRow = (i64, String, String, String, i8, String, i64);

/// What has ended at `now_ms` of partitions whose home is here, at most `limit` of it. Hours of which nothing is left are forgotten.
pub(super) async fn ended(
    session: &Cql,
    now_ms: u64,
    limit: usize,
    is_home: impl Fn(&PartitionAddress) -> bool,
) -> Result<Vec<Ended>, Error> {
    let values = vec![Bind::Big(hour_of(now_ms)), Bind::Int(HOURS_MAX)];
    let hours: Vec<(i64, i64)> = session.rows(HOURS, values).await?;
    let mut found = Vec::new();
    for (hour, noted_us) in hours {
        let mut is_empty = true;
        for slice in 0..i32::from(SLICES) {
            let left = limit.saturating_sub(found.len());
            if left == 0 {
                return Ok(found);
            }
            let rows = of_slice(session, (hour, slice), now_ms, left, &is_home).await?;
            let Some(rows) = rows else {
                let values = vec![Bind::Big(hour), Bind::Int(slice)];
                is_empty &= session.rows::<(i64,)>(ANY, values).await?.is_empty();
                continue;
            };
            is_empty = false;
            found.extend(rows);
        }
        // Nothing is noted for it any more: whoever writes now notes no end before now.
        if is_empty && hour.saturating_add(HOURS_OPEN) < hour_of(now_ms) {
            let values = vec![Bind::Big(noted_us), Bind::Big(hour)];
            session.write(FORGET_HOUR, values).await?;
        }
    }
    Ok(found)
}

/// Of one slice; none: nothing of any home has ended there. What is of other homes is passed over.
async fn of_slice(
    session: &Cql,
    (hour, slice): (i64, i32),
    now_ms: u64,
    limit: usize,
    is_home: impl Fn(&PartitionAddress) -> bool,
) -> Result<Option<Vec<Ended>>, Error> {
    let until = Bind::Big(i64::try_from(now_ms).unwrap_or(i64::MAX));
    let most = Bind::Int(i32::try_from(limit).unwrap_or(i32::MAX));
    let of = || vec![Bind::Big(hour), Bind::Int(slice), until.clone()];
    let mut values = of();
    values.push(most.clone());
    let mut rows: Vec<EndedRow> = session.rows(ENDED, values).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for page in 0..PAGES_MAX {
        let is_last = rows.len() < limit || page + 1 == PAGES_MAX;
        let mut end = None;
        for row in std::mem::take(&mut rows) {
            let ended = ended_of(row, hour, slice)?;
            end = Some(ended.clone());
            if is_home(&ended.partition) && found.len() < limit {
                found.push(ended);
            }
        }
        let Some(end) = end.filter(|_| !is_last && found.is_empty()) else {
            break;
        };
        let mut values = of();
        values.push(Bind::Big(end.expires_at));
        values.extend(key(&end.partition));
        values.extend([Bind::Tiny(end.kind), end.sort.as_str().into(), most.clone()]);
        rows = session.rows(ENDED_AFTER, values).await?;
    }
    Ok(Some(found))
}

fn ended_of(row: EndedRow, hour: i64, slice: i32) -> Result<Ended, Error> {
    let (expires_at, tenant, collection, partition, kind, sort, noted_us) = row;
    Ok(Ended {
        partition: PartitionAddress {
            tenant: tenant.parse()?,
            collection,
            partition,
        },
        kind,
        sort,
        expires_at,
        hour,
        slice,
        noted_us,
    })
}

impl Ended {
    /// Whether the write that was noted must have ended, one way or another, at `now_ms` of the machine's clock.
    pub(super) fn is_old(&self, now_ms: u64) -> bool {
        let noted_ms = u64::try_from(self.noted_us / 1000).unwrap_or(0);
        noted_ms.saturating_add(NOTED_MS_MIN) <= now_ms
    }
}

/// Forgets a note; one that was written anew since it was read stays.
pub(super) async fn forget(session: &Cql, ended: &Ended) -> Result<(), Error> {
    let mut values = vec![
        Bind::Big(ended.noted_us),
        Bind::Big(ended.hour),
        Bind::Int(ended.slice),
        Bind::Big(ended.expires_at),
    ];
    values.extend(key(&ended.partition));
    values.extend([Bind::Tiny(ended.kind), ended.sort.as_str().into()]);
    session.write(FORGET, values).await
}
