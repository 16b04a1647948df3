//! Putting rows back as they were kept, and forgetting what is kept of those that are gone. Nothing of it is logged: a store
//! that was put back begins a new life.

use super::batch::Batch;
use super::keys::{self, Row};
use super::purges;
use super::records::{Present, keep_answer, stored_answer_key};
use super::tables::{
    AUDIT, DEPLOYMENTS, HISTORY, META, OrStore, PURGES, TOKENS, VERSIONS, decode, encode,
};
use super::{files, records};
use crate::{
    Error,
    store::{Answer, AnswerKey, HISTORY_MAX, KeptRow, REVISIONS_APART, Registry, RowKey},
};
use ::redb::{ReadableTable, ReadableTableMetadata};
use brink_protocol::{OriginId, Position, address::PartitionAddress};
use bytes::Bytes;
use std::path::Path;

const WHAT: &str = "putting rows back";
/// Name of the row that says which backup is being put back.
pub(super) const RESTORING: &str = "restoring";

/// Begins, or goes on.
pub(super) fn begin(batch: &mut Batch<'_>, from: &str) -> Result<(), Error> {
    let mut meta = batch.txn.open_table(META).or_store(WHAT)?;
    let present = meta
        .get(RESTORING)
        .or_store(WHAT)?
        .map(|row| decode::<String>("restore", row.value()))
        .transpose()?;
    match present {
        Some(present) if present == from => return Ok(()),
        Some(present) => {
            return Err(Error::Backup(format!(
                "{present} is being put back into this store, not {from}"
            )));
        }
        None => {}
    }
    let tables = &batch.tables;
    let mut rows = tables.records.len().or_store(WHAT)?;
    rows += tables.ended.len().or_store(WHAT)?;
    rows += tables.answers.len().or_store(WHAT)?;
    for table in [VERSIONS, HISTORY, PURGES, TOKENS] {
        let table = batch.txn.open_table(table).or_store(WHAT)?;
        rows += table.len().or_store(WHAT)?;
    }
    let deployments = batch.txn.open_table(DEPLOYMENTS).or_store(WHAT)?;
    rows += deployments.len().or_store(WHAT)?;
    drop(deployments);
    if rows > 0 {
        return Err(Error::Backup(format!(
            "the store has {rows} rows; a backup is put back into an empty one"
        )));
    }
    let row = encode(&from)?;
    meta.insert(RESTORING, row.as_slice()).or_store(WHAT)?;
    drop(meta);
    batch.touch();
    Ok(())
}

/// Puts rows of a partition back.
pub(super) fn rows(
    batch: &mut Batch<'_>,
    partition: &PartitionAddress,
    rows: Vec<KeptRow>,
) -> Result<(), Error> {
    batch.touch();
    rows.into_iter().try_for_each(|row| match row.key {
        RowKey::Record(sort) => {
            let key = keys::record(
                &partition.tenant,
                &partition.collection,
                &partition.partition,
                &sort,
            );
            record(batch, &key, row.version, row.expires_at_ms, row.value)
        }
        RowKey::Answer { command, key } => {
            let key = stored_answer_key(&AnswerKey {
                partition: partition.clone(),
                command,
                key,
            });
            remove_answer(batch, &key)?;
            row.value.map_or(Ok(()), |value| {
                let answer: Answer = decode("answer", &value)?;
                keep_answer(batch, &key, &answer)
            })
        }
    })
}

fn record(
    batch: &mut Batch<'_>,
    key: &[u8],
    version: u64,
    expires_at_ms: Option<u64>,
    value: Option<Bytes>,
) -> Result<(), Error> {
    // `now` does not matter: what is there goes, whether or not its lifetime has ended.
    let present: Present = records::present(batch, key, 0)?;
    if let Some(end @ 1..) = present.end() {
        let index = keys::expiry(end, key);
        let expiry = &mut batch.tables.expiry;
        expiry.remove(index.as_slice()).or_store(WHAT)?;
    }
    batch.tables.records.remove(key).or_store(WHAT)?;
    batch.tables.ended.remove(key).or_store(WHAT)?;
    let Some(value) = value else {
        if version > 0 {
            batch.tables.ended.insert(key, version).or_store(WHAT)?;
        }
        return Ok(());
    };
    let row = Row {
        version,
        expires_at_ms: expires_at_ms.unwrap_or(0),
        value: &value,
    };
    let bytes = row.encode();
    let records = &mut batch.tables.records;
    records.insert(key, bytes.as_slice()).or_store(WHAT)?;
    if row.expires_at_ms > 0 {
        let index = keys::expiry(row.expires_at_ms, key);
        let expiry = &mut batch.tables.expiry;
        expiry.insert(index.as_slice(), ()).or_store(WHAT)?;
    }
    Ok(())
}

fn remove_answer(batch: &mut Batch<'_>, key: &[u8]) -> Result<bool, Error> {
    let tables = &mut batch.tables;
    let Some(row) = tables.answers.remove(key).or_store(WHAT)? else {
        return Ok(false);
    };
    let answer: Answer = decode("answer", row.value())?;
    drop(row);
    let index = keys::expiry(answer.expires_at_ms, key);
    let ends = &mut tables.answer_expiry;
    ends.remove(index.as_slice()).or_store(WHAT)?;
    Ok(true)
}

/// Removes what is kept of deleted records, and answers; gives how many.
pub(super) fn forget(batch: &mut Batch<'_>, partition: &PartitionAddress) -> Result<usize, Error> {
    let begin = keys::partition(
        &partition.tenant,
        &partition.collection,
        &partition.partition,
    );
    let end = keys::after_partition(begin.clone());
    let range = begin.as_slice()..end.as_slice();
    let mut gone = Vec::new();
    for row in batch
        .tables
        .ended
        .range::<&[u8]>(range.clone())
        .or_store(WHAT)?
    {
        gone.push(row.or_store(WHAT)?.0.value().to_vec());
    }
    let mut answers = Vec::new();
    for row in batch.tables.answers.range::<&[u8]>(range).or_store(WHAT)? {
        answers.push(row.or_store(WHAT)?.0.value().to_vec());
    }
    batch.touch();
    for key in &gone {
        let ended = &mut batch.tables.ended;
        ended.remove(key.as_slice()).or_store(WHAT)?;
    }
    for key in &answers {
        remove_answer(batch, key)?;
    }
    Ok(gone.len() + answers.len())
}

/// Puts back what is no record.
pub(super) fn registry(batch: &mut Batch<'_>, registry: Registry) -> Result<(), Error> {
    batch.touch();
    let mut placements = registry.placements;
    if placements.revision > 0 {
        placements.revision = placements.revision.saturating_add(REVISIONS_APART);
        super::placements::put_back(batch, &placements)?;
    }
    let mut table = registry.table;
    if table.revision > 0 {
        table.revision = table.revision.saturating_add(REVISIONS_APART);
        let row = encode(&table)?;
        let mut deployments = batch.txn.open_table(DEPLOYMENTS).or_store(WHAT)?;
        deployments.insert((), row.as_slice()).or_store(WHAT)?;
    }
    let mut histories = batch.txn.open_table(HISTORY).or_store(WHAT)?;
    for (tenant, module, mut history) in registry.histories {
        history.drain(..history.len().saturating_sub(HISTORY_MAX));
        let key = keys::tenant(&tenant, Some(module.as_str()));
        let row = encode(&history)?;
        histories
            .insert(key.as_slice(), row.as_slice())
            .or_store(WHAT)?;
    }
    drop(histories);
    let mut versions = batch.txn.open_table(VERSIONS).or_store(WHAT)?;
    for (tenant, version) in registry.versions {
        let mut key = keys::tenant(&tenant, Some(version.module.as_str()));
        key.extend(version.version.to_be_bytes());
        let row = encode(&version)?;
        versions
            .insert(key.as_slice(), row.as_slice())
            .or_store(WHAT)?;
    }
    drop(versions);
    let mut tokens = batch.txn.open_table(TOKENS).or_store(WHAT)?;
    for token in registry.tokens {
        let row = encode(&token)?;
        tokens
            .insert(token.hash.as_slice(), row.as_slice())
            .or_store(WHAT)?;
    }
    drop(tokens);
    let mut audit = batch.txn.open_table(AUDIT).or_store(WHAT)?;
    for entry in registry.audit {
        let row = encode(&entry)?;
        audit.insert(entry.number, row.as_slice()).or_store(WHAT)?;
    }
    drop(audit);
    registry
        .purges
        .iter()
        .try_for_each(|row| purges::put_back(batch, row))
}

/// Takes the mark away.
pub(super) fn end(batch: &mut Batch<'_>) -> Result<(), Error> {
    batch.touch();
    let mut meta = batch.txn.open_table(META).or_store(WHAT)?;
    meta.remove(RESTORING).or_store(WHAT)?;
    Ok(())
}

/// Makes the next opening begin the life `life`, or a later one than any that `heads` names.
pub(super) fn note_lives(
    directory: &Path,
    own: &OriginId,
    heads: &Position,
    life: u32,
) -> Result<(), Error> {
    let lives = heads.iter().filter(|(origin, _)| origin.node == own.node);
    let last = lives.map(|(origin, _)| origin.incarnation).max();
    let noted = files::read_incarnation(directory)?;
    // What is noted is one before the next; more than the store itself says, for that is what opening takes as "older than
    // it was".
    let last = last.unwrap_or(0).max(life.saturating_sub(1)).max(noted);
    let last = last.max(own.incarnation.saturating_add(1));
    files::write_incarnation(directory, last)
}
