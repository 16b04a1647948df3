//! Rows as they are kept: walking over all partitions, and reading one.

use super::keys::{self, Row};
use super::tables::{ANSWERS, ENDED, FOREIGN, LOG, META, OrStore, RECORDS, decode};
use crate::{
    Error,
    store::{Answer, KeptRow, PAGE_BYTES_MAX, RowKey},
};
use ::redb::{ReadTransaction, ReadableTable};
use brink_protocol::{OriginId, Position, TenantName, address::PartitionAddress};
use bytes::Bytes;
use std::iter::Peekable;

const WHAT: &str = "reading rows as they are kept";

fn prefix(partition: &PartitionAddress) -> Vec<u8> {
    keys::partition(
        &partition.tenant,
        &partition.collection,
        &partition.partition,
    )
}

/// The first key of a table at or behind `start`.
fn first_key<V: ::redb::Value + 'static>(
    table: &impl ReadableTable<&'static [u8], V>,
    start: &[u8],
) -> Result<Option<Vec<u8>>, Error> {
    let mut rows = table.range::<&[u8]>(start..).or_store(WHAT)?;
    let first = rows.next().transpose().or_store(WHAT)?;
    Ok(first.map(|(key, _)| key.value().to_vec()))
}

/// Partitions that have a row, in the order of their keys.
pub(super) fn partitions(
    txn: &ReadTransaction,
    tenant: Option<&TenantName>,
    after: Option<&PartitionAddress>,
    limit: usize,
) -> Result<Vec<PartitionAddress>, Error> {
    let records = txn.open_table(RECORDS).or_store(WHAT)?;
    let ended = txn.open_table(ENDED).or_store(WHAT)?;
    let answers = txn.open_table(ANSWERS).or_store(WHAT)?;
    let mut start = match (after, tenant) {
        (Some(after), _) => keys::after_partition(prefix(after)),
        (None, Some(tenant)) => keys::tenant(tenant, None),
        (None, None) => Vec::new(),
    };
    let mut found = Vec::new();
    while found.len() < limit {
        let next = [
            first_key(&records, &start)?,
            first_key(&ended, &start)?,
            first_key(&answers, &start)?,
        ];
        let Some(key) = next.into_iter().flatten().min() else {
            break;
        };
        let (of, collection, partition, _) = keys::split_record(&key)?;
        if tenant.is_some_and(|tenant| of != *tenant) {
            break;
        }
        let address = PartitionAddress {
            tenant: of,
            collection,
            partition,
        };
        start = keys::after_partition(prefix(&address));
        // Answers to the idempotency keys of purges have no collection; they are no partition's.
        if !address.collection.is_empty() {
            found.push(address);
        }
    }
    Ok(found)
}

fn sort_of(key: &[u8], prefix: &[u8]) -> Result<String, Error> {
    let sort = key.get(prefix.len()..).unwrap_or_default();
    let sort = std::str::from_utf8(sort).map_err(|error| Error::corrupt("sort key", error))?;
    Ok(sort.to_owned())
}

pub(super) fn record_row(sort: String, row: &[u8]) -> Result<KeptRow, Error> {
    let row = Row::decode(row)?;
    Ok(KeptRow {
        key: RowKey::Record(sort),
        version: row.version,
        value: Some(Bytes::copy_from_slice(row.value)),
        expires_at_ms: (row.expires_at_ms > 0).then_some(row.expires_at_ms),
    })
}

fn gone(sort: String, version: u64) -> KeptRow {
    KeptRow {
        key: RowKey::Record(sort),
        version,
        value: None,
        expires_at_ms: None,
    }
}

/// Rows of a partition behind `after`.
pub(super) fn rows(
    txn: &ReadTransaction,
    partition: &PartitionAddress,
    after: Option<&RowKey>,
    limit: usize,
) -> Result<Vec<KeptRow>, Error> {
    let prefix = prefix(partition);
    let mut page = Page {
        rows: Vec::new(),
        bytes: 0,
        limit,
    };
    if !matches!(after, Some(RowKey::Answer { .. })) {
        records(txn, &prefix, after, &mut page)?;
    }
    answers(txn, &prefix, after, &mut page)?;
    Ok(page.rows)
}

struct Page {
    rows: Vec<KeptRow>,
    bytes: usize,
    limit: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.rows.len() >= self.limit || self.bytes > PAGE_BYTES_MAX
    }

    fn push(&mut self, row: KeptRow) {
        self.bytes += row.value.as_ref().map_or(0, Bytes::len);
        self.rows.push(row);
    }
}

/// Whether the first of `a` comes before the first of `b`, by their keys; none: both are at their end.
fn is_first<A, B, E>(
    a: &mut Peekable<impl Iterator<Item = Result<(Vec<u8>, A), E>>>,
    b: &mut Peekable<impl Iterator<Item = Result<(Vec<u8>, B), E>>>,
) -> Option<bool> {
    match (a.peek(), b.peek()) {
        (None, None) => None,
        (Some(Ok((x, _))), Some(Ok((y, _)))) => Some(x < y),
        // An error is met where it is taken.
        (Some(_), None) | (Some(Err(_)), Some(_)) => Some(true),
        (None | Some(Ok(_)), Some(_)) => Some(false),
    }
}

/// Records that are there and those that were, in the order of their sort keys.
fn records(
    txn: &ReadTransaction,
    prefix: &[u8],
    after: Option<&RowKey>,
    page: &mut Page,
) -> Result<(), Error> {
    let present = txn.open_table(RECORDS).or_store(WHAT)?;
    let ended = txn.open_table(ENDED).or_store(WHAT)?;
    let start = match after {
        // The least key behind it: no sort key has a zero byte.
        Some(RowKey::Record(sort)) => [prefix, sort.as_bytes(), &[0]].concat(),
        _ => prefix.to_vec(),
    };
    let end = keys::after_partition(prefix.to_vec());
    let range = start.as_slice()..end.as_slice();
    let mut present = present
        .range::<&[u8]>(range.clone())
        .or_store(WHAT)?
        .map(|row| row.map(|(key, row)| (key.value().to_vec(), row)))
        .peekable();
    let mut ended = ended
        .range::<&[u8]>(range)
        .or_store(WHAT)?
        .map(|row| row.map(|(key, version)| (key.value().to_vec(), version.value())))
        .peekable();
    while !page.is_full() {
        let row = match is_first(&mut present, &mut ended) {
            None => break,
            Some(true) => match present.next().transpose().or_store(WHAT)? {
                Some((key, row)) => record_row(sort_of(&key, prefix)?, row.value())?,
                None => break,
            },
            Some(false) => match ended.next().transpose().or_store(WHAT)? {
                Some((key, version)) => gone(sort_of(&key, prefix)?, version),
                None => break,
            },
        };
        page.push(row);
    }
    Ok(())
}

fn answers(
    txn: &ReadTransaction,
    prefix: &[u8],
    after: Option<&RowKey>,
    page: &mut Page,
) -> Result<(), Error> {
    let table = txn.open_table(ANSWERS).or_store(WHAT)?;
    let start = match after {
        Some(RowKey::Answer { command, key }) => [
            prefix,
            command.as_str().as_bytes(),
            &[0],
            key.as_bytes(),
            &[0],
        ]
        .concat(),
        _ => prefix.to_vec(),
    };
    let end = keys::after_partition(prefix.to_vec());
    for row in table
        .range::<&[u8]>(start.as_slice()..end.as_slice())
        .or_store(WHAT)?
    {
        if page.is_full() {
            break;
        }
        let (key, row) = row.or_store(WHAT)?;
        let name = sort_of(key.value(), prefix)?;
        let (command, key) = name
            .split_once('\0')
            .ok_or_else(|| Error::corrupt("answer key", "a part is missing"))?;
        let answer: Answer = decode("answer", row.value())?;
        page.push(KeptRow {
            key: RowKey::Answer {
                command: command.parse()?,
                key: key.to_owned(),
            },
            version: 1,
            value: Some(Bytes::copy_from_slice(row.value())),
            expires_at_ms: Some(answer.expires_at_ms),
        });
    }
    Ok(())
}

/// The records under some sort keys.
pub(super) fn some_records(
    txn: &ReadTransaction,
    partition: &PartitionAddress,
    sorts: &[String],
) -> Result<Vec<KeptRow>, Error> {
    let present = txn.open_table(RECORDS).or_store(WHAT)?;
    let ended = txn.open_table(ENDED).or_store(WHAT)?;
    let prefix = prefix(partition);
    let mut found = Vec::new();
    for sort in sorts {
        let key = [prefix.as_slice(), sort.as_bytes()].concat();
        if let Some(row) = present.get(key.as_slice()).or_store(WHAT)? {
            found.push(record_row(sort.clone(), row.value())?);
        } else if let Some(version) = ended.get(key.as_slice()).or_store(WHAT)? {
            found.push(gone(sort.clone(), version.value()));
        }
    }
    Ok(found)
}

/// The heads of all logs. What is read before this is in the log that is read now.
pub(super) fn heads(txn: &ReadTransaction, own: &OriginId) -> Result<Position, Error> {
    let mut heads = Position::default();
    let log = txn.open_table(LOG).or_store(WHAT)?;
    if let Some((sequence, _)) = log.last().or_store(WHAT)? {
        heads.advance(own, sequence.value());
    }
    let foreign = txn.open_table(FOREIGN).or_store(WHAT)?;
    for row in foreign.iter().or_store(WHAT)? {
        let (_, row) = row.or_store(WHAT)?;
        let (origin, _, head): (OriginId, u64, u64) = decode("foreign log", row.value())?;
        heads.advance(&origin, head);
    }
    Ok(heads)
}

/// From which backup the store is being put back.
pub(super) fn restoring(txn: &ReadTransaction) -> Result<Option<String>, Error> {
    let meta = txn.open_table(META).or_store(WHAT)?;
    let row = meta.get(super::put_back::RESTORING).or_store(WHAT)?;
    row.map(|row| decode("restore", row.value())).transpose()
}
