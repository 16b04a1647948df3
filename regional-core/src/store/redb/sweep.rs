//! Removal of what has ended: records, with changes that tell of it, and answers to idempotency keys.

use super::batch::Batch;
use super::keys;
use super::records::{present, remove};
use super::tables::{OrStore, decode};
use crate::{
    Error,
    store::{Answer, Swept},
};
use ::redb::ReadableTable;
use brink_protocol::{
    address::PartitionAddress,
    change::{ChangeKind, Phase, RECORDS_PER_CHANGE_MAX, RecordChange},
};
use std::collections::BTreeMap;

/// Removes records and answers whose lifetime has ended.
pub(super) fn sweep(batch: &mut Batch<'_>, now_ms: u64, limit: usize) -> Result<Swept, Error> {
    let records = ended_rows(&batch.tables.expiry, now_ms, limit)?;
    let answers = ended_rows(&batch.tables.answer_expiry, now_ms, limit)?;
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

/// The first rows of an expiry index whose moment has come.
fn ended_rows(
    table: &impl ReadableTable<&'static [u8], ()>,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    const WHAT: &str = "reading the expiry index";
    let end = now_ms.saturating_add(1).to_be_bytes();
    let rows = table.range::<&[u8]>(..end.as_slice()).or_store(WHAT)?;
    rows.take(limit)
        .map(|row| {
            let (key, _) = row.or_store(WHAT)?;
            let (moment, key) = keys::split_expiry(key.value())?;
            Ok((moment, key.to_vec()))
        })
        .collect()
}
