//! Where the kept logs begin and end, and how they are cut off at the old end.

use super::tables::{FOREIGN, NumberTable, OrStore, decode, encode, foreign_log};
use crate::Error;
use ::redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use brink_protocol::{OriginId, log::Kept};
use std::collections::BTreeMap;

const WHAT: &str = "keeping another core's log";
/// Changes that one batch may drop from the old end of the log.
const DROPPED_PER_BATCH_MAX: u64 = 4096;

/// What is held of the logs of other origins.
pub(super) type ForeignEnds = BTreeMap<OriginId, Kept>;

/// Reads them.
pub(super) fn ends(txn: &WriteTransaction) -> Result<ForeignEnds, Error> {
    let table = txn.open_table(FOREIGN).or_store(WHAT)?;
    let mut ends = ForeignEnds::new();
    for row in table.iter().or_store(WHAT)? {
        let (_, row) = row.or_store(WHAT)?;
        let (origin, oldest, head): (OriginId, u64, u64) = decode("foreign log", row.value())?;
        ends.insert(origin, Kept { oldest, head });
    }
    Ok(ends)
}

/// Keeps where what is held of an origin's log begins and ends.
pub(super) fn keep_ends(
    txn: &WriteTransaction,
    origin: &OriginId,
    kept: Kept,
) -> Result<(), Error> {
    let mut table = txn.open_table(FOREIGN).or_store(WHAT)?;
    let row = encode(&(origin, kept.oldest, kept.head))?;
    table
        .insert(origin.to_string().as_bytes(), row.as_slice())
        .or_store(WHAT)?;
    Ok(())
}

/// Drops what is over `changes_max` from the old ends.
pub(super) fn cut_all(
    txn: &WriteTransaction,
    ends: &mut ForeignEnds,
    changes_max: u64,
) -> Result<(), Error> {
    for (origin, kept) in ends {
        let wanted = kept.head.saturating_add(1).saturating_sub(changes_max);
        if wanted <= kept.oldest {
            continue;
        }
        let name = foreign_log(origin);
        let log: NumberTable<'_> = TableDefinition::new(&name);
        let mut table = txn.open_table(log).or_store(WHAT)?;
        kept.oldest = cut(&mut table, kept.oldest, wanted)?;
        keep_ends(txn, origin, *kept)?;
    }
    Ok(())
}

/// Drops entries from `oldest` up to `wanted`, [`DROPPED_PER_BATCH_MAX`] at most; gives the first that is left.
pub(super) fn cut(
    log: &mut Table<'_, u64, &'static [u8]>,
    oldest: u64,
    wanted: u64,
) -> Result<u64, Error> {
    let until = wanted.min(oldest.saturating_add(DROPPED_PER_BATCH_MAX));
    for sequence in oldest..until {
        log.remove(sequence).or_store("dropping from the log")?;
    }
    Ok(until.max(oldest))
}
