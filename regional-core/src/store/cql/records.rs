//! Reading records.

use super::{
    partition::{RowState, key},
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
use std::collections::BTreeMap;

/// Partitions of one `get_many` that are read at a time.
const PARTITIONS_AT_ONCE: usize = 8;

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
    session: &Cql,
    tenant: &TenantName,
    record: &Key,
    now_ms: u64,
) -> Result<Option<Entry>, Error> {
    record.check_any()?;
    let (state, value) = row(session, tenant, record).await?;
    Ok(entry(record.sort.clone(), state, value, now_ms))
}

async fn row(
    session: &Cql,
    tenant: &TenantName,
    record: &Key,
) -> Result<(Option<RowState>, Option<Bytes>), Error> {
    let mut values = key(&address(tenant, record));
    values.push(record.sort.as_str().into());
    let rows: Vec<(Option<i64>, Option<i64>, Option<Bytes>)> = session.rows(GET, values).await?;
    let found = rows.into_iter().next();
    Ok(found.map_or((None, None), |(version, expires_at, value)| {
        (RowState::read(version, expires_at), value)
    }))
}

/// The last version that a record ever had.
pub(super) async fn last_version(
    session: &Cql,
    tenant: &TenantName,
    record: &Key,
) -> Result<Version, Error> {
    let (state, _) = row(session, tenant, record).await?;
    Ok(state.map_or(0, |state| state.version))
}

/// Several records; those of one partition are from one moment.
pub(super) async fn get_many(
    session: &Cql,
    tenant: &TenantName,
    keys: &[Key],
    now_ms: u64,
) -> Result<Vec<Option<Entry>>, Error> {
    checks::keys(keys)?;
    let mut sorts: BTreeMap<PartitionAddress, Vec<String>> = BTreeMap::new();
    for key in keys {
        let of = sorts.entry(address(tenant, key)).or_default();
        of.push(key.sort.clone());
    }
    let read = sorts.into_iter().map(|(partition, mut sorts)| async move {
        sorts.sort_unstable();
        sorts.dedup();
        let found = partition_entries(session, &partition, sorts, now_ms).await?;
        Ok::<_, Error>((partition, found))
    });
    let mut read = stream::iter(read).buffer_unordered(PARTITIONS_AT_ONCE);
    let mut found = BTreeMap::new();
    let mut bytes = 0;
    while let Some((partition, entries)) = read.try_next().await? {
        for entry in entries {
            checks::count(&mut bytes, Some(&entry))?;
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
