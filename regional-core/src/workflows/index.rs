//! The index of a tenant's workflows: one row for each, and one for each that is open.

use super::rows::{Place, put, shard_name};
use crate::{
    Error,
    store::{Action, Store, Transaction, Write},
};
use brink_protocol::{
    TenantName,
    address::PartitionAddress,
    link::Condition,
    record::{Bound, Entry, INDEX_SORT, Range, SCAN_LIMIT_MAX},
    workflow::Instance,
};
use bytes::Bytes;

const INDEX: &str = "_workflows-index";
/// What rows of the index begin with that are there until their time is over, after [`INDEX_SORT`].
const ALL: char = 'a';
/// What those begin with that say what is open.
const OPEN: char = 'o';
/// How much longer than its instance a row of the index stays, in milliseconds.
const INDEX_STAYS_MS: u64 = 24 * 3600 * 1000;

impl Place {
    /// Its row of the index.
    pub(super) fn index_sort(&self, instance: &Instance) -> String {
        format!("{:020}/{}/{}", instance.started_at_ms, self.name, self.id)
    }
}

/// Puts the instance into its tenant's index, among those that are open unless it has ended. Then the row ends some time after
/// the instance.
pub(super) async fn put_index(
    store: &dyn Store,
    place: &Place,
    instance: &Instance,
    ended: Option<u64>,
    now_ms: u64,
) -> Result<(), Error> {
    let open = match ended {
        None => put(Bytes::new(), None),
        Some(_) => Action::Delete,
    };
    let expires_at_ms = ended.map(|end| end.saturating_add(INDEX_STAYS_MS));
    let row = put(Bytes::new(), expires_at_ms);
    let sort = place.index_sort(instance);
    let rows = vec![(sort_of(OPEN, &sort), open), (sort_of(ALL, &sort), row)];
    write_index(store, place, rows, now_ms).await
}

/// Takes it out again: the start came to nothing.
pub(super) async fn drop_index(
    store: &dyn Store,
    place: &Place,
    instance: &Instance,
    now_ms: u64,
) -> Result<(), Error> {
    let sort = place.index_sort(instance);
    let rows = [OPEN, ALL].map(|kind| (sort_of(kind, &sort), Action::Delete));
    write_index(store, place, rows.into(), now_ms).await
}

/// Takes a row from among those that are open.
pub(super) async fn drop_open(store: &dyn Store, row: &IndexRow, now_ms: u64) -> Result<(), Error> {
    let rows = vec![(sort_of(OPEN, &row.sort), Action::Delete)];
    write_index(store, &row.place, rows, now_ms).await
}

/// The sort key of a row of the index.
fn sort_of(kind: char, index_sort: &str) -> String {
    format!("{INDEX_SORT}{kind}{index_sort}")
}

async fn write_index(
    store: &dyn Store,
    place: &Place,
    rows: Vec<(String, Action)>,
    now_ms: u64,
) -> Result<(), Error> {
    let write = |(sort, action)| Write {
        sort,
        action,
        condition: Condition::Always,
    };
    let transaction = Transaction {
        partition: PartitionAddress {
            tenant: place.tenant.clone(),
            collection: INDEX.into(),
            partition: place.shard(),
        },
        seen: Vec::new(),
        writes: rows.into_iter().map(write).collect(),
        answer: None,
        now_ms,
    };
    store.commit(transaction).await?;
    Ok(())
}

/// A row of a tenant's index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IndexRow {
    /// Its sort key: rows are in the order of their starts.
    pub(super) sort: String,
    pub(super) place: Place,
}

/// Rows of a shard of a tenant's index before a sort key, the newest first.
pub(super) async fn page(
    store: &dyn Store,
    tenant: &TenantName,
    shard: u8,
    (before, limit): (Option<&str>, u32),
    now_ms: u64,
) -> Result<Vec<IndexRow>, Error> {
    let range = Range {
        collection: INDEX.into(),
        partition: shard_name(shard),
        lower: Bound::Inclusive(sort_of(ALL, "")),
        // No number begins so.
        upper: Bound::Exclusive(sort_of(ALL, before.unwrap_or(":"))),
        limit: limit.clamp(1, SCAN_LIMIT_MAX),
        descending: true,
    };
    let page = store.scan(tenant, &range, now_ms).await?;
    let row = |entry: Entry| index_row(tenant, &entry.sort);
    Ok(page.entries.into_iter().filter_map(row).collect())
}

/// From the sort key of a row of either kind.
fn index_row(tenant: &TenantName, sort: &str) -> Option<IndexRow> {
    let sort = sort.strip_prefix(INDEX_SORT)?.get(1..)?;
    let mut parts = sort.splitn(3, '/').skip(1);
    let place = Place {
        tenant: tenant.clone(),
        name: parts.next()?.parse().ok()?,
        id: parts.next()?.to_owned(),
    };
    Some(IndexRow {
        sort: sort.to_owned(),
        place,
    })
}

/// Rows of a shard that say what is open of a tenant, after one of them, the oldest first; whether there are more.
pub(super) async fn open(
    store: &dyn Store,
    tenant: &TenantName,
    (shard, after): (u8, Option<&IndexRow>),
    now_ms: u64,
) -> Result<(Vec<IndexRow>, bool), Error> {
    let range = Range {
        collection: INDEX.into(),
        partition: shard_name(shard),
        lower: match after {
            Some(row) => Bound::Exclusive(sort_of(OPEN, &row.sort)),
            None => Bound::Inclusive(sort_of(OPEN, "")),
        },
        upper: Bound::Exclusive(sort_of(OPEN, ":")),
        limit: SCAN_LIMIT_MAX,
        descending: false,
    };
    let page = store.scan(tenant, &range, now_ms).await?;
    let row = |entry: &Entry| index_row(tenant, &entry.sort);
    let rows = page.entries.iter().filter_map(row).collect();
    Ok((rows, page.more))
}
