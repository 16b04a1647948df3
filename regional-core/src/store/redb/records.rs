//! Records: reading them from any view of their table, and the writes of one transaction.

use super::batch::Batch;
use super::keys::{self, Row};
use super::tables::{OrStore, decode, encode};
use crate::{
    Error,
    store::{Action, Answer, Commit, PAGE_BYTES_MAX, Seen, Transaction, Write, checks},
};
use ::redb::ReadableTable;
use brink_protocol::{
    ModuleName, TenantName,
    address::PartitionAddress,
    change::{ChangeKind, Phase, RecordChange},
    record::{Entry, Page, Range, Version},
};
use bytes::Bytes;

/// The record under a key, if its lifetime has not ended.
pub(super) fn get(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
    sort: &str,
    now_ms: u64,
) -> Result<Option<Entry>, Error> {
    let Some(found) = table.get(key).or_store("reading a record")? else {
        return Ok(None);
    };
    let row = Row::decode(found.value())?;
    Ok(row.is_alive(now_ms).then(|| entry(sort, &row, now_ms)))
}

/// A page of a partition.
pub(super) fn scan(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    tenant: &TenantName,
    range: &Range,
    now_ms: u64,
) -> Result<Page, Error> {
    let mut entries = Vec::new();
    let more = walk(table, tenant, range, now_ms, &mut |sort, row| {
        entries.push(entry(sort, &row, now_ms));
    })?;
    Ok(Page { entries, more })
}

fn entry(sort: &str, row: &Row<'_>, now_ms: u64) -> Entry {
    let is_for_good = row.expires_at_ms == 0;
    Entry {
        sort: sort.to_owned(),
        value: Bytes::copy_from_slice(row.value),
        version: row.version,
        lifetime_ms: (!is_for_good).then(|| row.expires_at_ms.saturating_sub(now_ms)),
    }
}

/// Visits the records of a range that a page holds; says whether the range has more.
fn walk(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    tenant: &TenantName,
    range: &Range,
    now_ms: u64,
    visit: &mut dyn FnMut(&str, Row<'_>),
) -> Result<bool, Error> {
    let mut parts = checks::parts(range);
    if range.descending {
        parts.reverse();
    }
    let mut taken = Taken::default();
    for part in &parts {
        if walk_part(table, tenant, part, now_ms, &mut taken, visit)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a page holds so far.
#[derive(Default)]
struct Taken {
    records: u32,
    bytes: usize,
}

fn walk_part(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    tenant: &TenantName,
    range: &Range,
    now_ms: u64,
    taken: &mut Taken,
    visit: &mut dyn FnMut(&str, Row<'_>),
) -> Result<bool, Error> {
    const WHAT: &str = "scanning a partition";
    let Some((lower, upper)) = keys::range(tenant, range) else {
        return Ok(false);
    };
    let prefix = keys::partition(tenant, &range.collection, &range.partition).len();
    let bounds = (
        lower.as_ref().map(Vec::as_slice),
        upper.as_ref().map(Vec::as_slice),
    );
    let mut rows = table.range::<&[u8]>(bounds).or_store(WHAT)?;
    loop {
        let next = if range.descending {
            rows.next_back()
        } else {
            rows.next()
        };
        let Some((key, value)) = next.transpose().or_store(WHAT)? else {
            return Ok(false);
        };
        let row = Row::decode(value.value())?;
        if !row.is_alive(now_ms) {
            continue;
        }
        let is_full = taken.records > 0 && taken.bytes + row.value.len() > PAGE_BYTES_MAX;
        if taken.records == range.limit || is_full {
            return Ok(true);
        }
        let sort = key.value().get(prefix..).unwrap_or_default();
        let sort = std::str::from_utf8(sort).map_err(|e| Error::corrupt("sort key", e))?;
        visit(sort, row);
        taken.records += 1;
        taken.bytes += row.value.len();
    }
}

/// A record as the transaction finds it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Present {
    /// The version it has; none: it is absent or its lifetime has ended.
    version: Option<Version>,
    /// The version that was last used, also by a record that is gone; 0: none ever was.
    last: Version,
    /// The row that is there, with the end of its lifetime.
    row: Option<u64>,
}

impl Present {
    /// The version that was last used; 0: none ever was.
    pub(super) fn last(&self) -> Version {
        self.last
    }

    /// The end of the lifetime of the row that is there; 0: it stays.
    pub(super) fn end(&self) -> Option<u64> {
        self.row
    }
}

pub(super) fn present(batch: &Batch<'_>, key: &[u8], now_ms: u64) -> Result<Present, Error> {
    const WHAT: &str = "reading a record";
    if let Some(found) = batch.tables.records.get(key).or_store(WHAT)? {
        let row = Row::decode(found.value())?;
        return Ok(Present {
            version: row.is_alive(now_ms).then_some(row.version),
            last: row.version,
            row: Some(row.expires_at_ms),
        });
    }
    let ended = batch.tables.ended.get(key).or_store(WHAT)?;
    Ok(Present {
        last: ended.map_or(0, |version| version.value()),
        ..Present::default()
    })
}

/// The last version that was used under a key.
pub(super) fn last_version(
    records: &impl ReadableTable<&'static [u8], &'static [u8]>,
    ended: &impl ReadableTable<&'static [u8], u64>,
    key: &[u8],
) -> Result<Version, Error> {
    const WHAT: &str = "reading a version";
    if let Some(found) = records.get(key).or_store(WHAT)? {
        return Ok(Row::decode(found.value())?.version);
    }
    let ended = ended.get(key).or_store(WHAT)?;
    Ok(ended.map_or(0, |version| version.value()))
}

/// Does a transaction.
pub(super) fn commit(batch: &mut Batch<'_>, transaction: &Transaction) -> Result<Commit, Error> {
    let answer_key = transaction
        .answer
        .as_ref()
        .map(|answer| answer_key(&transaction.partition, &answer.command, &answer.key));
    if let Some(key) = &answer_key
        && let Some(row) = batch
            .tables
            .answers
            .get(key.as_slice())
            .or_store("reading an answer")?
    {
        let answer: Answer = decode("answer", row.value())?;
        if transaction.now_ms < answer.expires_at_ms {
            return Ok(Commit::Answered(answer));
        }
    }
    for seen in &transaction.seen {
        if let Some(conflict) = changed(batch, transaction, seen)? {
            return Ok(conflict);
        }
    }
    let mut found = Vec::with_capacity(transaction.writes.len());
    for write in &transaction.writes {
        let key = record_key(&transaction.partition, &write.sort);
        let present = present(batch, &key, transaction.now_ms)?;
        if !checks::holds(write.condition, present.version) {
            return Ok(Commit::Conflict {
                present: present.version,
            });
        }
        found.push((key, present));
    }
    if transaction.writes.is_empty() && transaction.answer.is_none() {
        return Ok(Commit::Done {
            position: batch.position(batch.head()),
            versions: Vec::new(),
        });
    }
    batch.touch();
    let (versions, sequence) = write_all(batch, transaction, found)?;
    if let (Some(answer), Some(key)) = (&transaction.answer, answer_key) {
        let position = batch.position(sequence);
        let answer = answer.kept(position, &versions, transaction.now_ms)?;
        keep_answer(batch, &key, &answer)?;
    }
    Ok(Commit::Done {
        position: batch.position(sequence),
        versions,
    })
}

fn record_key(partition: &PartitionAddress, sort: &str) -> Vec<u8> {
    keys::record(
        &partition.tenant,
        &partition.collection,
        &partition.partition,
        sort,
    )
}

fn answer_key(partition: &PartitionAddress, command: &ModuleName, key: &str) -> Vec<u8> {
    keys::answer(
        &partition.tenant,
        &partition.collection,
        &partition.partition,
        command,
        key,
    )
}

/// The stored form of an answer's key, for readers.
pub(super) fn stored_answer_key(key: &crate::store::AnswerKey) -> Vec<u8> {
    answer_key(&key.partition, &key.command, &key.key)
}

/// The conflict, if something that was seen is no longer so.
fn changed(
    batch: &Batch<'_>,
    transaction: &Transaction,
    seen: &Seen,
) -> Result<Option<Commit>, Error> {
    let now_ms = transaction.now_ms;
    let partition = &transaction.partition;
    match seen {
        Seen::Record { sort, version } => {
            let present = present(batch, &record_key(partition, sort), now_ms)?.version;
            Ok((present != *version).then_some(Commit::Conflict { present }))
        }
        Seen::Range {
            range,
            entries,
            more,
        } => {
            let range = Range {
                collection: partition.collection.clone(),
                partition: partition.partition.clone(),
                ..range.clone()
            };
            let mut expected = entries.iter();
            let mut is_same = true;
            let table = &batch.tables.records;
            let has_more = walk(
                table,
                &partition.tenant,
                &range,
                now_ms,
                &mut |sort, row| {
                    is_same &= expected
                        .next()
                        .is_some_and(|(s, v)| s == sort && *v == row.version);
                },
            )?;
            is_same &= expected.next().is_none() && has_more == *more;
            Ok((!is_same).then_some(Commit::Conflict { present: None }))
        }
    }
}

/// Does the writes and appends their change; gives the versions after them and the change's sequence.
fn write_all(
    batch: &mut Batch<'_>,
    transaction: &Transaction,
    found: Vec<(Vec<u8>, Present)>,
) -> Result<(Vec<Option<Version>>, u64), Error> {
    let mut versions = Vec::with_capacity(found.len());
    let mut changes = Vec::with_capacity(found.len());
    for (write, (key, present)) in transaction.writes.iter().zip(found) {
        let version = write_one(batch, write, &key, present)?;
        if version.is_some() || present.row.is_some() {
            changes.push(RecordChange {
                sort: write.sort.clone(),
                version,
            });
        }
        versions.push(version);
    }
    if changes.is_empty() {
        return Ok((versions, batch.head()));
    }
    let kind = ChangeKind::Records {
        partition: transaction.partition.clone(),
        records: changes,
        phase: Phase::Written,
    };
    let sequence = batch.append(transaction.now_ms, kind)?;
    Ok((versions, sequence))
}

fn write_one(
    batch: &mut Batch<'_>,
    write: &Write,
    key: &[u8],
    present: Present,
) -> Result<Option<Version>, Error> {
    const WHAT: &str = "writing a record";
    if let Some(expires_at_ms @ 1..) = present.row {
        let index = keys::expiry(expires_at_ms, key);
        batch
            .tables
            .expiry
            .remove(index.as_slice())
            .or_store(WHAT)?;
    }
    let Action::Put {
        value,
        expires_at_ms,
    } = &write.action
    else {
        remove(batch, key, &write.sort, present)?;
        return Ok(None);
    };
    if present.row.is_none() && present.last > 0 {
        batch.tables.ended.remove(key).or_store(WHAT)?;
    }
    let row = Row {
        version: present.last + 1,
        expires_at_ms: expires_at_ms.unwrap_or(0),
        value,
    };
    batch
        .tables
        .records
        .insert(key, row.encode().as_slice())
        .or_store(WHAT)?;
    if row.expires_at_ms > 0 {
        let index = keys::expiry(row.expires_at_ms, key);
        batch
            .tables
            .expiry
            .insert(index.as_slice(), ())
            .or_store(WHAT)?;
    }
    Ok(Some(row.version))
}

/// Removes the row, and keeps its version if that could be used again.
pub(super) fn remove(
    batch: &mut Batch<'_>,
    key: &[u8],
    sort: &str,
    present: Present,
) -> Result<(), Error> {
    const WHAT: &str = "deleting a record";
    if present.row.is_some() {
        batch.tables.records.remove(key).or_store(WHAT)?;
        if !checks::leaves_version(sort) {
            return Ok(());
        }
        batch
            .tables
            .ended
            .insert(key, present.last)
            .or_store(WHAT)?;
    }
    Ok(())
}

pub(super) fn keep_answer(batch: &mut Batch<'_>, key: &[u8], answer: &Answer) -> Result<(), Error> {
    const WHAT: &str = "keeping an answer";
    let row = encode(answer)?;
    let index = keys::expiry(answer.expires_at_ms, key);
    let tables = &mut batch.tables;
    tables.answers.insert(key, row.as_slice()).or_store(WHAT)?;
    tables
        .answer_expiry
        .insert(index.as_slice(), ())
        .or_store(WHAT)?;
    Ok(())
}

/// The kept answer, if it is not forgotten yet.
pub(super) fn alive(answer: Option<Answer>, now_ms: u64) -> Option<Answer> {
    answer.filter(|answer| now_ms < answer.expires_at_ms)
}
