//! Reading records.

use super::{
    keyspaces::Keyspaces,
    partition::{Reading, RowState, anchor, key},
    session::{Bind, Cql},
};
use crate::{Error, store::checks};
use brink_protocol::{
    TenantName,
    address::PartitionAddress,
    record::{Entry, Key, Version},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Records of one request: 16 of the largest are 16 MiB.
const RECORDS_AT_ONCE: usize = 16;
/// Requests of one `get_many` that are under way at a time: 32 MiB if all are the largest.
const REQUESTS_AT_ONCE: usize = 2;
/// How often a partition is read whose records take several requests, until none of them is from another moment.
const TRIES_MAX: usize = 5;

const GET: &str = "SELECT version, expires_at, value FROM records \
                   WHERE tenant = ? AND collection = ? AND partition = ? AND kind = 0 AND sort = ?";
const GET_MANY: &str = "SELECT sort, version, expires_at, value FROM records \
                        WHERE tenant = ? AND collection = ? AND partition = ? AND kind = 0 AND sort IN ?";

/// Sort key, version, end, value.
pub(super) type EntryRow = (String, Option<i64>, Option<i64>, Option<Bytes>);

/// A row as an entry, unless it is absent.
pub(super) fn entry(
    sort: String,
    state: Option<RowState>,
    value: Option<Bytes>,
    now_ms: u64,
) -> Option<Entry> {
    let state = state.filter(|state| state.is_alive(now_ms))?;
    Some(Entry {
        sort,
        // An empty value and none are told apart by the state alone.
        value: value.unwrap_or_default(),
        version: state.version,
        lifetime_ms: state.ends_at_ms().map(|end| end.saturating_sub(now_ms)),
    })
}

fn address(tenant: &TenantName, key: &Key) -> PartitionAddress {
    PartitionAddress {
        tenant: tenant.clone(),
        collection: key.collection.clone(),
        partition: key.partition.clone(),
    }
}

/// One record.
pub(super) async fn get(
    keyspaces: &Keyspaces,
    tenant: &TenantName,
    record: &Key,
    now_ms: u64,
) -> Result<Option<Entry>, Error> {
    record.check_any()?;
    let (state, value) = row(keyspaces, tenant, record).await?;
    Ok(entry(record.sort.clone(), state, value, now_ms))
}

async fn row(
    keyspaces: &Keyspaces,
    tenant: &TenantName,
    record: &Key,
) -> Result<(Option<RowState>, Option<Bytes>), Error> {
    let partition = address(tenant, record);
    let session = keyspaces.of(&partition).await?;
    let mut values = key(&partition);
    values.push(record.sort.as_str().into());
    let rows: Vec<(Option<i64>, Option<i64>, Option<Bytes>)> = session.rows(GET, values).await?;
    let found = rows.into_iter().next();
    Ok(found.map_or((None, None), |(version, expires_at, value)| {
        (RowState::read(version, expires_at), value)
    }))
}

/// The last version that a record ever had.
pub(super) async fn last_version(
    keyspaces: &Keyspaces,
    tenant: &TenantName,
    record: &Key,
) -> Result<Version, Error> {
    let (state, _) = row(keyspaces, tenant, record).await?;
    Ok(state.map_or(0, |state| state.version))
}

/// Several records; those of one partition are from one moment.
pub(super) async fn get_many(
    keyspaces: &Keyspaces,
    tenant: &TenantName,
    keys: &[Key],
    now_ms: u64,
) -> Result<Vec<Option<Entry>>, Error> {
    checks::keys(keys)?;
    let mut sorts: BTreeMap<PartitionAddress, BTreeSet<&str>> = BTreeMap::new();
    for key in keys {
        let of = sorts.entry(address(tenant, key)).or_default();
        of.insert(&key.sort);
    }
    // Of all partitions: what is too much is refused before more of it is asked for.
    let bytes = AtomicUsize::new(0);
    let read = sorts.into_iter().map(|(partition, sorts)| {
        let bytes = &bytes;
        async move {
            let sorts: Vec<&str> = sorts.into_iter().collect();
            let session = keyspaces.of(&partition).await?;
            let found = one_moment(&session, &partition, &sorts, now_ms, bytes).await?;
            Ok::<_, Error>((partition, found))
        }
    });
    let mut read = stream::iter(read.collect::<Vec<_>>()).buffer_unordered(REQUESTS_AT_ONCE);
    let mut found = BTreeMap::new();
    while let Some((partition, entries)) = read.try_next().await? {
        for entry in entries {
            let address = (partition.clone(), entry.sort.clone());
            found.insert(address, entry);
        }
    }
    let mut bytes = 0;
    let give = |record: &Key| {
        let entry = found
            .get(&(address(tenant, record), record.sort.clone()))
            .cloned();
        checks::count(&mut bytes, entry.as_ref())?;
        Ok(entry)
    };
    keys.iter().map(give).collect()
}

/// Records of a partition. Those of several requests are of one moment if the partition's revision did not change.
async fn one_moment(
    session: &Cql,
    partition: &PartitionAddress,
    sorts: &[&str],
    now_ms: u64,
    all_bytes: &AtomicUsize,
) -> Result<Vec<Entry>, Error> {
    let is_one_request = sorts.len() <= RECORDS_AT_ONCE;
    for _ in 0..TRIES_MAX {
        let before = match is_one_request {
            true => None,
            false => Some(anchor(session, partition, Reading::Quorum).await?),
        };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for sorts in sorts.chunks(RECORDS_AT_ONCE) {
            let asked = sorts.iter().map(|sort| (*sort).to_owned()).collect();
            for entry in partition_entries(session, partition, asked, now_ms).await? {
                bytes += entry.value.len();
                entries.push(entry);
            }
            let mut total = all_bytes.load(Ordering::Relaxed) + bytes;
            checks::count(&mut total, None)?;
        }
        let is_one = match &before {
            None => true,
            Some(before) => anchor(session, partition, Reading::Quorum).await? == *before,
        };
        if is_one {
            all_bytes.fetch_add(bytes, Ordering::Relaxed);
            return Ok(entries);
        }
    }
    Err(Error::Busy)
}

async fn partition_entries(
    session: &Cql,
    partition: &PartitionAddress,
    sorts: Vec<String>,
    now_ms: u64,
) -> Result<Vec<Entry>, Error> {
    let mut values = key(partition);
    values.push(Bind::Texts(sorts));
    let rows: Vec<EntryRow> = session.rows(GET_MANY, values).await?;
    let entries = rows.into_iter().filter_map(|(sort, version, end, value)| {
        entry(sort, RowState::read(version, end), value, now_ms)
    });
    Ok(entries.collect())
}
