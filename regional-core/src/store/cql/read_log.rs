//! Reading any log that is kept here.
//!
//! A reading never passes over anything: entries follow each other without a gap, from the one after `after` on, or from the
//! first that is kept. What a quorum shows with a gap, or in part, is read again ([`Cql::rows_again`]); if it is there
//! still, the reading ends before it.

use super::{
    group::{bucket_of, split},
    look::bucket_key,
    session::{Bind, Cql},
};
use crate::{Error, store::CHANGES_BYTES_MAX};
use brink_protocol::{
    OriginId,
    change::Change,
    log::{Kept, Log},
};
use bytes::Bytes;

/// Groups of one request. Each is at most [`super::group::GROUP_BYTES_MAX`] and one change.
const GROUPS_MAX: i32 = 16;

/// With everything that a row has, so that a repair brings all of it.
const GROUPS: &str = "SELECT sequence, changes, open_from FROM log \
                      WHERE node = ? AND incarnation = ? AND bucket = ? AND sequence > ? LIMIT ?";
const LAST: &str = "SELECT open_from FROM log WHERE node = ? AND incarnation = ? AND bucket = ? \
                    ORDER BY sequence DESC LIMIT 1";

type GroupRow = (i64, Option<Bytes>, Option<i64>);

/// Changes after `after` of what is kept, at most `limit` and not many more than [`CHANGES_BYTES_MAX`].
pub(super) async fn changes(
    session: &Cql,
    origin: &OriginId,
    after: u64,
    kept: Kept,
    limit: usize,
) -> Result<Vec<Change>, Error> {
    let mut reading = Reading {
        next: (after + 1).max(kept.oldest),
        head: kept.head,
        limit,
        bytes: 0,
        changes: Vec::new(),
    };
    while reading.next <= kept.head && !reading.is_full() {
        let next = reading.next;
        let values = || {
            let mut values = bucket_key(origin, bucket_of(next));
            values.extend([Bind::Big((next - 1).cast_signed()), Bind::Int(GROUPS_MAX)]);
            values
        };
        let mut is_whole = reading.take(session.rows(GROUPS, values()).await?)?;
        if reading.next == next && !reading.is_full() {
            // Nothing of it, or not what was to come.
            is_whole = reading.take(session.rows_again(GROUPS, values()).await?)?;
        }
        if !is_whole || (reading.next == next && !reading.is_full()) {
            if reading.changes.is_empty() {
                let reason = format!("entry {} of {origin} is not there", reading.next);
                return Err(Error::store("reading a log", reason));
            }
            break;
        }
    }
    Ok(reading.changes)
}

struct Reading {
    /// The next entry.
    next: u64,
    head: u64,
    limit: usize,
    bytes: usize,
    changes: Vec<Change>,
}

impl Reading {
    fn is_full(&self) -> bool {
        self.changes.len() >= self.limit
            || (self.bytes > CHANGES_BYTES_MAX && !self.changes.is_empty())
    }

    /// Takes what follows from groups; whether there was no gap.
    fn take(&mut self, rows: Vec<GroupRow>) -> Result<bool, Error> {
        for (_, group, _) in rows {
            let Some(group) = group else {
                return Ok(false);
            };
            for (change, size) in split(group)? {
                if change.sequence < self.next || change.sequence > self.head {
                    continue;
                }
                if change.sequence > self.next {
                    return Ok(false);
                }
                if self.changes.len() >= self.limit
                    || (self.bytes + size > CHANGES_BYTES_MAX && !self.changes.is_empty())
                {
                    self.bytes = usize::MAX;
                    return Ok(true);
                }
                self.bytes += size;
                self.next += 1;
                self.changes.push(change);
            }
        }
        Ok(true)
    }
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
    // After the fence, a serial read: whatever was half-way is there whole.
    let rows: Vec<(Option<i64>,)> = session.serial_rows(LAST, values).await?;
    let open_from = rows
        .first()
        .and_then(|(open_from,)| *open_from)
        .map_or(oldest, i64::cast_unsigned);
    let mut tail = Vec::new();
    let mut after = open_from.min(head).max(oldest) - 1;
    while after < head {
        let kept = Kept { oldest, head };
        let read = changes(session, origin, after, kept, usize::MAX).await?;
        let Some(last) = read.last() else {
            return Err(Error::corrupt("log", "its end is missing"));
        };
        after = last.sequence;
        tail.extend(read);
    }
    Ok(Log::recover_tail(origin.clone(), oldest, &tail)?)
}
