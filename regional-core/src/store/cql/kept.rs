//! Rows as they are kept: walking over all partitions in the order of their tokens, and reading one.

use super::{
    engine::Engine,
    partition::{ANSWER, RECORD, RowState, key},
    session::{Bind, Cql},
};
use crate::{
    Error,
    store::{KeptRow, PAGE_BYTES_MAX, RowKey},
};
use brink_protocol::{Position, TenantName, address::PartitionAddress};
use bytes::Bytes;
use std::sync::Arc;

/// Rows of one request: 64 of the largest are 64 MiB.
const ROWS_MAX: usize = 64;
/// Records that are asked for by their names at a time.
const NAMES_MAX: usize = 32;

const FIRST: &str = "SELECT DISTINCT tenant, collection, partition FROM records LIMIT ?";
const NEXT: &str = "SELECT DISTINCT tenant, collection, partition FROM records \
                    WHERE token(tenant, collection, partition) > token(?, ?, ?) LIMIT ?";
const BESIDE: &str = "SELECT DISTINCT tenant, collection, partition FROM records \
                      WHERE token(tenant, collection, partition) = token(?, ?, ?)";
const ROWS: &str = "SELECT kind, sort, version, expires_at, value FROM records \
                    WHERE tenant = ? AND collection = ? AND partition = ? AND (kind, sort) > (?, ?) LIMIT ?";
const NAMED: &str = "SELECT kind, sort, version, expires_at, value FROM records \
                     WHERE tenant = ? AND collection = ? AND partition = ? AND kind = 0 AND sort IN ?";

type Names = (String, String, String);
type Row = (i8, String, Option<i64>, Option<i64>, Option<Bytes>);

fn address((tenant, collection, partition): Names) -> Result<PartitionAddress, Error> {
    Ok(PartitionAddress {
        tenant: tenant.parse()?,
        collection,
        partition,
    })
}

/// Partitions behind `after`, keyspace by keyspace. Only those that lie where they are found.
pub(super) async fn partitions(
    engine: &Engine,
    tenant: Option<&TenantName>,
    after: Option<&PartitionAddress>,
    limit: usize,
) -> Result<Vec<PartitionAddress>, Error> {
    let mut after = after.cloned();
    let begin = match &after {
        Some(after) => Some(engine.keyspaces.of(after).await?),
        None => None,
    };
    let mut found = Vec::new();
    for session in engine.keyspaces.here().await? {
        let is_before = |begin: &Arc<Cql>| after.is_some() && !Arc::ptr_eq(begin, &session);
        if begin.as_ref().is_some_and(is_before) {
            continue;
        }
        let walk = Walk {
            engine,
            session: &session,
            tenant,
        };
        walk.go(after.take(), limit, &mut found).await?;
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

/// A walk over one keyspace.
struct Walk<'a> {
    engine: &'a Engine,
    session: &'a Arc<Cql>,
    tenant: Option<&'a TenantName>,
}

impl Walk<'_> {
    /// Of partitions with one and the same token all are given, so that none is passed over.
    async fn go(
        &self,
        after: Option<PartitionAddress>,
        limit: usize,
        found: &mut Vec<PartitionAddress>,
    ) -> Result<(), Error> {
        let mut last = after;
        let most = Bind::Int(i32::try_from(limit.max(1)).unwrap_or(i32::MAX));
        while found.len() < limit {
            let rows: Vec<Names> = match &last {
                None => self.session.rows(FIRST, vec![most.clone()]).await?,
                Some(last) => {
                    let mut values = key(last);
                    values.push(most.clone());
                    self.session.rows(NEXT, values).await?
                }
            };
            let mut page = Vec::new();
            for names in rows {
                page.push(address(names)?);
            }
            let Some(end) = page.last().cloned() else {
                break;
            };
            let beside: Vec<Names> = self.session.rows(BESIDE, key(&end)).await?;
            for names in beside {
                let beside = address(names)?;
                if !page.contains(&beside) {
                    // Before the last, whose token is where the next request goes on.
                    page.insert(page.len() - 1, beside);
                }
            }
            for partition in page {
                if self.is_asked_for(&partition).await {
                    found.push(partition);
                }
            }
            last = Some(end);
        }
        Ok(())
    }

    /// One that lies in another keyspace now has left nothing here but garbage.
    async fn is_asked_for(&self, partition: &PartitionAddress) -> bool {
        if self
            .tenant
            .is_some_and(|tenant| partition.tenant != *tenant)
        {
            return false;
        }
        let at = self.engine.keyspaces.of(partition).await;
        at.is_ok_and(|at| Arc::ptr_eq(&at, self.session))
    }
}

/// A row as it is kept; none: it is no record and no answer, or was torn off from its state.
fn kept((kind, sort, version, expires_at, value): Row) -> Result<Option<KeptRow>, Error> {
    let Some(state) = RowState::read(version, expires_at) else {
        return Ok(None);
    };
    let key = match kind {
        RECORD => RowKey::Record(sort),
        ANSWER => {
            let (command, key) = sort
                .split_once('/')
                .ok_or_else(|| Error::corrupt("answer key", "a part is missing"))?;
            RowKey::Answer {
                command: command.parse()?,
                key: key.to_owned(),
            }
        }
        _ => return Ok(None),
    };
    // An empty value and none are told apart by the state alone.
    let value = state.is_there().then(|| value.unwrap_or_default());
    Ok(Some(KeptRow {
        key,
        version: state.version,
        value,
        expires_at_ms: state.ends_at_ms(),
    }))
}

/// The kind and sort key of a row.
pub(super) fn place(key: &RowKey) -> (i8, String) {
    match key {
        RowKey::Record(sort) => (RECORD, sort.clone()),
        RowKey::Answer { command, key } => (ANSWER, super::decide::answer_sort(command, key)),
    }
}

/// Rows of a partition behind `after`.
pub(super) async fn rows(
    engine: &Engine,
    partition: &PartitionAddress,
    after: Option<&RowKey>,
    limit: usize,
) -> Result<Vec<KeptRow>, Error> {
    let session = engine.keyspaces.of(partition).await?;
    // Behind the row of the partition itself.
    let (kind, sort) = after.map_or_else(|| (-1, String::new()), place);
    let wanted = limit.clamp(1, ROWS_MAX);
    let mut values = key(partition);
    values.extend([
        Bind::Tiny(kind),
        Bind::Text(sort),
        Bind::Int(i32::try_from(wanted).unwrap_or(i32::MAX)),
    ]);
    let rows: Vec<Row> = session.rows(ROWS, values).await?;
    let mut found = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let Some(row) = kept(row)? else { continue };
        bytes += row.value.as_ref().map_or(0, Bytes::len);
        if !found.is_empty() && bytes > PAGE_BYTES_MAX {
            break;
        }
        found.push(row);
    }
    Ok(found)
}

/// The records under some sort keys.
pub(super) async fn some_records(
    engine: &Engine,
    partition: &PartitionAddress,
    sorts: &[String],
) -> Result<Vec<KeptRow>, Error> {
    let session = engine.keyspaces.of(partition).await?;
    let mut found = Vec::new();
    for sorts in sorts.chunks(NAMES_MAX) {
        let mut values = key(partition);
        values.push(Bind::Texts(sorts.to_vec()));
        let rows: Vec<Row> = session.rows(NAMED, values).await?;
        for row in rows {
            found.extend(kept(row)?);
        }
    }
    Ok(found)
}

/// The heads of all logs, those of other cores looked for now.
pub(super) async fn heads(engine: &Engine) -> Result<Position, Error> {
    engine.looks.look().await?;
    Ok(engine.logs.now().heads.clone())
}
