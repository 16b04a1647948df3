//! Removal of what has ended: records, with changes that tell of it, and answers to idempotency keys.

use super::batch::Batch;
use super::kept::record_row;
use super::keys;
use super::records::{present, remove};
use super::tables::{EXPIRY, OrStore, RECORDS, decode};
use crate::{
    Error,
    store::{
        Answer, CollectionNames, ENDED_BYTES_MAX, EndedRow, LOOKED_AT, Spared, Sweeping, Swept,
        is_of,
    },
};
use ::redb::{ReadTransaction, ReadableTable};
use brink_protocol::{
    address::PartitionAddress,
    change::{ChangeKind, Phase, RECORDS_PER_CHANGE_MAX, RecordChange},
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Removes records and answers whose lifetime has ended, and leaves what is spared.
pub(super) fn sweep(
    batch: &mut Batch<'_>,
    now_ms: u64,
    limit: usize,
    spared: &Spared,
) -> Result<Swept, Error> {
    let records = due(batch, now_ms, limit, spared)?;
    let answers = ended_rows(&batch.tables.answer_expiry, now_ms, limit, |_| Ok(true))?;
    if records.is_empty() && answers.is_empty() {
        return Ok(Swept::default());
    }
    batch.touch();
    let swept = Swept {
        records: records.len(),
        answers: answers.len(),
    };
    let mut by_partition: BTreeMap<PartitionAddress, Vec<RecordChange>> = BTreeMap::new();
    for (moment, key) in records {
        const WHAT: &str = "sweeping a record";
        let index = keys::expiry(moment, &key);
        batch
            .tables
            .expiry
            .remove(index.as_slice())
            .or_store(WHAT)?;
        let present = present(batch, &key, now_ms)?;
        let (tenant, collection, partition, sort) = keys::split_record(&key)?;
        remove(batch, &key, &sort, present)?;
        let address = PartitionAddress {
            tenant,
            collection,
            partition,
        };
        let change = RecordChange {
            sort,
            version: None,
        };
        by_partition.entry(address).or_default().push(change);
    }
    for (partition, changes) in by_partition {
        for records in changes.chunks(RECORDS_PER_CHANGE_MAX) {
            let kind = ChangeKind::Records {
                partition: partition.clone(),
                records: records.to_vec(),
                phase: Phase::Written,
            };
            batch.append(now_ms, kind)?;
        }
    }
    sweep_answers(batch, answers)?;
    Ok(swept)
}

/// Records that may be removed now.
fn due(
    batch: &Batch<'_>,
    now_ms: u64,
    limit: usize,
    spared: &Spared,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    ended_rows(&batch.tables.expiry, now_ms, limit, |key| {
        if spared.collections.is_empty() {
            return Ok(true);
        }
        let (partition, sort) = address(key)?;
        Ok(match spared.of(&partition, &sort) {
            Sweeping::Any => true,
            Sweeping::Leave => false,
            Sweeping::Only(version) => present(batch, key, now_ms)?.last() == version,
        })
    })
}

fn address(key: &[u8]) -> Result<(PartitionAddress, String), Error> {
    let (tenant, collection, partition, sort) = keys::split_record(key)?;
    let partition = PartitionAddress {
        tenant,
        collection,
        partition,
    };
    Ok((partition, sort))
}

/// Records of some collections whose lifetime has ended.
pub(super) fn ended(
    txn: &ReadTransaction,
    now_ms: u64,
    limit: usize,
    collections: &CollectionNames,
) -> Result<Vec<EndedRow>, Error> {
    const WHAT: &str = "reading what has ended";
    let index = txn.open_table(EXPIRY).or_store(WHAT)?;
    let records = txn.open_table(RECORDS).or_store(WHAT)?;
    let due = ended_rows(&index, now_ms, limit, |key| {
        Ok(is_of(collections, &address(key)?.0))
    })?;
    let (mut all, mut bytes) = (Vec::new(), 0);
    for (_, key) in due {
        let (partition, sort) = address(&key)?;
        let row = match records.get(key.as_slice()).or_store(WHAT)? {
            Some(row) => Some(record_row(sort.clone(), row.value())?),
            None => None,
        };
        bytes += row
            .as_ref()
            .and_then(|row| row.value.as_ref())
            .map_or(0, Bytes::len);
        all.push(EndedRow {
            partition,
            sort,
            row,
        });
        if bytes > ENDED_BYTES_MAX {
            break;
        }
    }
    Ok(all)
}

fn sweep_answers(batch: &mut Batch<'_>, answers: Vec<(u64, Vec<u8>)>) -> Result<(), Error> {
    const WHAT: &str = "sweeping an answer";
    for (moment, key) in answers {
        let tables = &mut batch.tables;
        let index = keys::expiry(moment, &key);
        tables
            .answer_expiry
            .remove(index.as_slice())
            .or_store(WHAT)?;
        let is_due = match tables.answers.get(key.as_slice()).or_store(WHAT)? {
            // The key was used again since, and the newer answer has a later end.
            Some(row) => decode::<Answer>("answer", row.value())?.expires_at_ms == moment,
            None => false,
        };
        if is_due {
            tables.answers.remove(key.as_slice()).or_store(WHAT)?;
        }
    }
    Ok(())
}

/// The first rows of an expiry index whose moment has come, and that are wanted. Not many more than those are looked at.
fn ended_rows(
    table: &impl ReadableTable<&'static [u8], ()>,
    now_ms: u64,
    limit: usize,
    is_wanted: impl Fn(&[u8]) -> Result<bool, Error>,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    const WHAT: &str = "reading the expiry index";
    let end = now_ms.saturating_add(1).to_be_bytes();
    let rows = table.range::<&[u8]>(..end.as_slice()).or_store(WHAT)?;
    let mut found = Vec::new();
    for row in rows.take(limit.saturating_mul(LOOKED_AT)) {
        if found.len() == limit {
            break;
        }
        let (key, _) = row.or_store(WHAT)?;
        let (moment, key) = keys::split_expiry(key.value())?;
        if is_wanted(key)? {
            found.push((moment, key.to_vec()));
        }
    }
    Ok(found)
}
