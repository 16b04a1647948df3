//! Reading any log that is kept here.

use super::{
    group::{bucket_of, last_of, split},
    held::bucket_key,
    session::{Bind, Cql},
};
use crate::{Error, store::CHANGES_BYTES_MAX};
use brink_protocol::{OriginId, change::Change, log::Log};
use bytes::Bytes;

/// Groups of one request. Each is at most [`super::group::GROUP_BYTES_MAX`] and one change.
const GROUPS_MAX: i32 = 16;

const GROUPS: &str = "SELECT sequence, changes FROM log \
                      WHERE node = ? AND incarnation = ? AND bucket = ? AND sequence > ? LIMIT ?";
const LAST: &str = "SELECT open_from FROM log WHERE node = ? AND incarnation = ? AND bucket = ? \
                    ORDER BY sequence DESC LIMIT 1";

/// Changes after `after` up to `head`, at most `limit` and not many more than [`CHANGES_BYTES_MAX`].
pub(super) async fn changes(
    session: &Cql,
    origin: &OriginId,
    after: u64,
    head: u64,
    limit: usize,
) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    let (mut bytes, mut last) = (0, after);
    while last < head && changes.len() < limit {
        let bucket = bucket_of(last + 1);
        let mut values = bucket_key(origin, bucket);
        values.extend([Bind::Big(last.cast_signed()), Bind::Int(GROUPS_MAX)]);
        let rows: Vec<(i64, Option<Bytes>)> = session.rows(GROUPS, values).await?;
        if rows.is_empty() {
            // What was dropped is not given; the caller sees that it is missing.
            last = last_of(bucket);
            continue;
        }
        for (sequence, group) in rows {
            for (change, size) in split(group.unwrap_or_default())? {
                if change.sequence <= after || change.sequence > head {
                    continue;
                }
                bytes += size;
                if changes.len() >= limit || (bytes > CHANGES_BYTES_MAX && !changes.is_empty()) {
                    return Ok(changes);
                }
                changes.push(change);
            }
            last = sequence.cast_unsigned();
        }
    }
    Ok(changes)
}

/// The log that was left at `head`, with all that is open in it.
pub(super) async fn recover(
    session: &Cql,
    origin: &OriginId,
    oldest: u64,
    head: u64,
) -> Result<Log, Error> {
    if head < oldest {
        let mut log = Log::new(origin.clone());
        if head > 0 {
            return Err(Error::corrupt("log", "its last bucket is missing"));
        }
        log.dropped_before(oldest);
        return Ok(log);
    }
    let values = bucket_key(origin, bucket_of(head));
    let rows: Vec<(Option<i64>,)> = session.rows(LAST, values).await?;
    let open_from = rows
        .first()
        .and_then(|(open_from,)| *open_from)
        .map_or(oldest, i64::cast_unsigned);
    let mut tail = Vec::new();
    let mut after = open_from.min(head).max(oldest) - 1;
    while after < head {
        let read = changes(session, origin, after, head, usize::MAX).await?;
        let Some(last) = read.last() else {
            return Err(Error::corrupt("log", "its end is missing"));
        };
        after = last.sequence;
        tail.extend(read);
    }
    Ok(Log::recover_tail(origin.clone(), oldest, &tail)?)
}
