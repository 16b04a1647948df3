//! The logs of other origins: what peers have sent, kept so that followers of this core resume in them too.
//!
//! Each origin has a table of its own, so that one that is over is dropped at once.

use super::batch::Batch;
use super::ends::{ForeignEnds, keep_ends};
use super::purges::keep_foreign;
use super::tables::{FOREIGN, LOG, NumberTable, OrStore, decode, encode, foreign_log};
use crate::{
    Error,
    store::{Appended, CHANGES_BYTES_MAX},
};
use ::redb::{ReadTransaction, TableDefinition, TableError};
use brink_protocol::{OriginId, change::Change, log::Kept, position::ORIGINS_MAX};

const WHAT: &str = "keeping another core's log";

/// Changes of an origin's log, `own` or another's.
pub(super) fn read(
    txn: &ReadTransaction,
    own: &OriginId,
    origin: &OriginId,
    after: u64,
    limit: usize,
) -> Result<Vec<Change>, Error> {
    const WHAT: &str = "reading a log";
    let name = foreign_log(origin);
    let log = if origin == own {
        LOG
    } else {
        TableDefinition::new(&name)
    };
    let log = match txn.open_table(log) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        opened => opened.or_store(WHAT)?,
    };
    let mut changes = Vec::new();
    let mut bytes = 0;
    for row in log
        .range(after.saturating_add(1)..)
        .or_store(WHAT)?
        .take(limit)
    {
        let (_, row) = row.or_store(WHAT)?;
        bytes += row.value().len();
        if bytes > CHANGES_BYTES_MAX && !changes.is_empty() {
            break;
        }
        changes.push(decode("change", row.value())?);
    }
    Ok(changes)
}

/// Whether a later incarnation of the origin's node is held.
fn is_over(ends: &ForeignEnds, origin: &OriginId) -> bool {
    ends.keys()
        .any(|held| held.node == origin.node && held.incarnation > origin.incarnation)
}

/// Forgets the origin's earlier incarnations.
fn forget_earlier(batch: &mut Batch<'_>, origin: &OriginId) -> Result<(), Error> {
    let is_earlier =
        |held: &&OriginId| held.node == origin.node && held.incarnation < origin.incarnation;
    let earlier: Vec<OriginId> = batch.foreign.keys().filter(is_earlier).cloned().collect();
    for origin in earlier {
        forget(batch, &origin)?;
    }
    Ok(())
}

fn forget(batch: &mut Batch<'_>, origin: &OriginId) -> Result<(), Error> {
    let name = foreign_log(origin);
    let log: NumberTable<'_> = TableDefinition::new(&name);
    batch.txn.delete_table(log).or_store(WHAT)?;
    let mut table = batch.txn.open_table(FOREIGN).or_store(WHAT)?;
    table.remove(origin.to_string().as_bytes()).or_store(WHAT)?;
    batch.foreign.remove(origin);
    Ok(())
}

/// Whether there is room for an origin; an earlier incarnation of its node makes way for it.
fn check_foreign(own: &OriginId, ends: &ForeignEnds, origin: &OriginId) -> Result<(), Error> {
    if origin.node == own.node {
        return Err(brink_protocol::Error::Malformed {
            what: "change of another origin",
            reason: format!("{origin} is this core itself"),
        }
        .into());
    }
    // One more is this core's own.
    let is_known = ends.keys().any(|held| held.node == origin.node);
    if !is_known && ends.len() + 1 >= ORIGINS_MAX {
        return Err(brink_protocol::Error::Limit {
            what: "origins whose logs are kept",
            actual: ends.len() as u64 + 2,
            limit: ORIGINS_MAX as u64,
        }
        .into());
    }
    Ok(())
}

/// Appends what follows what is held; nothing at all if something is missing in between.
pub(super) fn append(batch: &mut Batch<'_>, changes: &[Change]) -> Result<Appended, Error> {
    let mut ends = batch.foreign.clone();
    let mut new: Vec<&Change> = Vec::with_capacity(changes.len());
    for change in changes {
        check_foreign(batch.log.origin(), &ends, &change.origin)?;
        if is_over(&ends, &change.origin) {
            continue;
        }
        let kept = ends
            .entry(change.origin.clone())
            .or_insert(Kept { oldest: 1, head: 0 });
        if change.sequence > kept.head.saturating_add(1) {
            return Ok(Appended::Gap {
                origin: change.origin.clone(),
                head: kept.head,
            });
        }
        if change.sequence > kept.head {
            kept.head = change.sequence;
            new.push(change);
        }
    }
    if new.is_empty() {
        return Ok(Appended::Held);
    }
    batch.touch();
    for run in new.chunk_by(|a, b| a.origin == b.origin) {
        append_run(batch, run)?;
    }
    Ok(Appended::Held)
}

/// Appends changes of one origin, each following the one before it.
fn append_run(batch: &mut Batch<'_>, run: &[&Change]) -> Result<(), Error> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return Ok(());
    };
    let origin = &first.origin;
    if !batch.foreign.contains_key(origin) {
        forget_earlier(batch, origin)?;
    }
    let kept = batch
        .foreign
        .entry(origin.clone())
        .or_insert(Kept { oldest: 1, head: 0 });
    kept.head = last.sequence;
    let name = foreign_log(origin);
    let log: NumberTable<'_> = TableDefinition::new(&name);
    let mut table = batch.txn.open_table(log).or_store(WHAT)?;
    for change in run {
        let row = encode(*change)?;
        table
            .insert(change.sequence, row.as_slice())
            .or_store(WHAT)?;
    }
    drop(table);
    keep_ends(batch.txn, origin, *kept)?;
    run.iter()
        .try_for_each(|change| keep_foreign(batch, change))
}

/// Begins an origin's log anew behind `head`.
pub(super) fn restart(batch: &mut Batch<'_>, origin: &OriginId, head: u64) -> Result<(), Error> {
    check_foreign(batch.log.origin(), &batch.foreign, origin)?;
    if is_over(&batch.foreign, origin) {
        return Ok(());
    }
    batch.touch();
    forget_earlier(batch, origin)?;
    forget(batch, origin)?;
    let kept = Kept {
        oldest: head.saturating_add(1),
        head,
    };
    batch.foreign.insert(origin.clone(), kept);
    keep_ends(batch.txn, origin, kept)
}
