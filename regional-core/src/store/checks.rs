//! What every store checks before it asks its engine, and decisions that do not depend on the engine.

use super::{Action, BATCH_BYTES_MAX, Transaction};
use crate::Error;
use brink_protocol::{
    address::PartitionAddress,
    change::RECORDS_PER_CHANGE_MAX,
    link::Condition,
    record::{Entry, GET_MANY_MAX, Key, Version, check_sort, check_value},
};

fn at_most(what: &'static str, actual: usize, limit: usize) -> Result<(), Error> {
    if actual > limit {
        let (actual, limit) = (actual as u64, limit as u64);
        return Err(brink_protocol::Error::Limit {
            what,
            actual,
            limit,
        }
        .into());
    }
    Ok(())
}

/// Checks a transaction's sizes and keys.
pub(super) fn transaction(transaction: &Transaction) -> Result<(), Error> {
    let PartitionAddress {
        collection,
        partition,
        ..
    } = &transaction.partition;
    brink_protocol::record::check_partition(collection, partition)?;
    at_most(
        "records of one transaction",
        transaction.writes.len(),
        RECORDS_PER_CHANGE_MAX,
    )?;
    let mut bytes = transaction
        .answer
        .as_ref()
        .map_or(0, |answer| answer.output.len());
    for write in &transaction.writes {
        check_sort(&write.sort)?;
        if let Action::Put { value, .. } = &write.action {
            check_value(value, None)?;
            bytes += value.len();
        }
    }
    at_most("bytes written by one transaction", bytes, BATCH_BYTES_MAX)
}

/// Checks what `get_many` is asked for.
pub(super) fn keys(keys: &[Key]) -> Result<(), Error> {
    at_most("records of one get", keys.len(), GET_MANY_MAX)?;
    for key in keys {
        key.check()?;
    }
    Ok(())
}

/// Adds a found record to the bytes that one `get_many` gives.
pub(super) fn count(bytes: &mut usize, entry: Option<&Entry>) -> Result<(), Error> {
    *bytes += entry.map_or(0, |entry| entry.value.len());
    at_most("bytes of the records of one get", *bytes, BATCH_BYTES_MAX)
}

/// Whether a record's present version meets a condition.
pub(super) fn holds(condition: Condition, present: Option<Version>) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent => present.is_none(),
        Condition::Version(version) => present == Some(version),
    }
}
