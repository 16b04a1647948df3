//! Putting rows back as they were kept, and forgetting what is kept of those that are gone. Nothing of it is logged: a store
//! that was put back begins a new life.
//!
//! Rows go back with plain writes whose timestamps count steps from 1, so each may be repeated, a later step wins over an
//! earlier one, and whatever a core writes afterwards wins over all. For that the tables must hold nothing that was deleted
//! before: they are truncated first.

use super::{
    audit, components,
    engine::Engine,
    expiry,
    json::{big, encode},
    kept::{place, rows},
    lives,
    partition::{RECORD, RowState, RowWrite, key},
    purges,
    session::{Applied, Bind, Cql},
};
use crate::{
    Error,
    store::{KEPT_ROWS_MAX, KeptRow, REVISIONS_APART, Registry, RowKey, TokenRow},
};
use brink_protocol::{Digest, Position, address::PartitionAddress, deployment::DeploymentTable};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::BTreeMap;

/// Rows that are written at a time.
const AT_ONCE: usize = 32;
/// Times that the outcome of a conditional write of this table is asked for.
const TRIES_MAX: usize = 10;

const MARK: &str = "INSERT INTO locks (name, holder) VALUES ('restore', ?) IF NOT EXISTS";
const MARKED: &str = "SELECT holder FROM locks WHERE name = 'restore'";
const UNMARK: &str = "DELETE FROM locks WHERE name = 'restore' IF EXISTS";
const RECORDS: &str = "SELECT tenant FROM records LIMIT 1";
const ANY: [&str; 4] = [
    RECORDS,
    "SELECT module FROM modules LIMIT 1",
    "SELECT id FROM token_ids LIMIT 1",
    "SELECT name FROM deployments LIMIT 1",
];
const EMPTIED: [&str; 3] = ["TRUNCATE records", "TRUNCATE ends", "TRUNCATE end_hours"];
const PUT: &str = "UPDATE records USING TIMESTAMP ? SET version = ?, value = ?, expires_at = ? \
                   WHERE tenant = ? AND collection = ? AND partition = ? AND kind = ? AND sort = ?";
const REMOVE: &str = "DELETE FROM records USING TIMESTAMP ? \
                      WHERE tenant = ? AND collection = ? AND partition = ? AND kind = ? AND sort = ?";
const FORGET: &str = "DELETE FROM records \
                      WHERE tenant = ? AND collection = ? AND partition = ? AND kind = ? AND sort = ? \
                      IF version = ? AND expires_at = ?";
const REVISION: &str = "SELECT DISTINCT revision FROM deployments WHERE every = 0";
const PUT_TABLE: &str =
    "UPDATE deployments SET revision = ?, deployed = ? WHERE every = 0 IF revision = ?";
const PUT_HISTORY: &str = "INSERT INTO deployments (every, kind, tenant, name, row) \
                           VALUES (0, 'history', ?, ?, ?) IF NOT EXISTS";
const ADD_MODULE: &str = "INSERT INTO modules (tenant, module) VALUES (?, ?)";
const ADD_VERSION: &str =
    "INSERT INTO versions (tenant, module, version, row) VALUES (?, ?, ?, ?) IF NOT EXISTS";
const ADD_TOKEN: &str = "INSERT INTO tokens (hash, row) VALUES (?, ?) IF NOT EXISTS";
const ADD_TOKEN_ID: &str = "INSERT INTO token_ids (every, id, row) VALUES (0, ?, ?) IF NOT EXISTS";
const NODE: &str = "SELECT incarnation, term FROM origins WHERE every = 0 AND node = ?";
const NEW_NODE: &str = "INSERT INTO origins (every, node, incarnation, term, oldest) \
                        VALUES (0, ?, ?, 1, 1) IF NOT EXISTS";
const NEW_LIFE: &str = "UPDATE origins SET incarnation = ?, oldest = 1 WHERE every = 0 AND node = ? \
                        IF term = ?";

/// From which backup the store is being put back.
pub(super) async fn restoring(session: &Cql) -> Result<Option<String>, Error> {
    let rows: Vec<(String,)> = session.serial_rows(MARKED, vec![]).await?;
    Ok(rows.into_iter().next().map(|(from,)| from))
}

/// Begins, or goes on. That keyspace of the region which holds what lies in it alone is there after this, too: what a backup
/// says of placements is not known yet.
pub(super) async fn begin(engine: &Engine, from: &str) -> Result<(), Error> {
    let session = &engine.session;
    match restoring(session).await? {
        Some(present) if present == from => return Ok(()),
        Some(present) => {
            return Err(Error::Backup(format!(
                "{present} is being put back into this keyspace, not {from}"
            )));
        }
        None => {}
    }
    for text in ANY {
        check_empty(session, text, "keyspace").await?;
    }
    let apart = engine.keyspaces.own_apart().await?;
    if let Some(apart) = &apart {
        check_empty(apart, RECORDS, "region's own keyspace").await?;
    }
    for session in [session].into_iter().chain(&apart) {
        for text in EMPTIED {
            session.define(text).await?;
        }
    }
    match session.conditional(MARK, vec![from.into()]).await? {
        Applied::Yes => Ok(()),
        Applied::No => Err(Error::Backup("somebody else began to put one back".into())),
    }
}

async fn check_empty(session: &Cql, text: &'static str, what: &str) -> Result<(), Error> {
    let rows: Vec<(Option<String>,)> = session.rows(text, vec![]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    Err(Error::Backup(format!(
        "the {what} is not empty; a backup is put back into an empty one"
    )))
}

/// Puts rows of a partition back.
pub(super) async fn put_rows(
    engine: &Engine,
    partition: &PartitionAddress,
    rows: Vec<KeptRow>,
    step: u64,
) -> Result<(), Error> {
    let session = &*engine.keyspaces.of(partition).await?;
    let ending: Vec<RowWrite> = rows.iter().filter_map(ending).collect();
    let ending: Vec<&RowWrite> = ending.iter().collect();
    expiry::note(session, partition, &ending, crate::clock::now_ms()).await?;
    let written: Vec<_> = rows
        .into_iter()
        .map(|row| put_row(session, partition, row, step))
        .collect();
    stream::iter(written)
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| async { Ok(()) })
        .await
}

/// A row with an end, as the index of ends takes it.
fn ending(row: &KeptRow) -> Option<RowWrite> {
    row.value.as_ref()?;
    let end = row.expires_at_ms?;
    let (kind, sort) = place(&row.key);
    Some(RowWrite {
        kind,
        sort,
        before: None,
        after: RowState::new(row.version, Some(end)),
        value: None,
    })
}

async fn put_row(
    session: &Cql,
    partition: &PartitionAddress,
    row: KeptRow,
    step: u64,
) -> Result<(), Error> {
    let (kind, sort) = place(&row.key);
    let at = big(step.max(1));
    let mut names = key(partition);
    names.extend([Bind::Tiny(kind), Bind::Text(sort)]);
    let state = match &row.value {
        Some(_) => RowState::new(row.version, row.expires_at_ms),
        None if row.version > 0 && kind == RECORD => RowState::deleted(row.version),
        None => {
            let mut values = vec![at];
            values.extend(names);
            return session.write(REMOVE, values).await;
        }
    };
    let mut values = vec![
        at,
        Bind::Big(state.version.cast_signed()),
        row.value.into(),
        Bind::Big(state.expires_at),
    ];
    values.extend(names);
    session.write(PUT, values).await
}

/// Removes what is kept of deleted records, and answers; gives how many.
pub(super) async fn forget(engine: &Engine, partition: &PartitionAddress) -> Result<usize, Error> {
    let session = &*engine.keyspaces.of(partition).await?;
    let mut after: Option<RowKey> = None;
    let mut forgotten = 0;
    loop {
        let page = rows(engine, partition, after.as_ref(), KEPT_ROWS_MAX).await?;
        let Some(last) = page.last() else {
            return Ok(forgotten);
        };
        after = Some(last.key.clone());
        for row in page {
            let (kind, sort) = place(&row.key);
            if kind == RECORD && row.value.is_some() {
                continue;
            }
            let state = match row.value {
                Some(_) => RowState::new(row.version, row.expires_at_ms),
                None => RowState::deleted(row.version),
            };
            let mut values = key(partition);
            values.extend([
                Bind::Tiny(kind),
                Bind::Text(sort),
                Bind::Big(state.version.cast_signed()),
                Bind::Big(state.expires_at),
            ]);
            if session.conditional(FORGET, values).await? == Applied::Yes {
                forgotten += 1;
            }
        }
    }
}

/// Puts a component back.
pub(super) async fn component(
    engine: &Engine,
    digest: &Digest,
    bytes: &Bytes,
) -> Result<(), Error> {
    components::write(engine, digest, bytes).await
}

/// Puts back what is no record.
pub(super) async fn registry(engine: &Engine, registry: Registry) -> Result<(), Error> {
    let session = &engine.session;
    let mut placements = registry.placements;
    if placements.revision > 0 {
        placements.revision = placements.revision.saturating_add(REVISIONS_APART);
        super::placements::put_back(engine, &placements).await?;
    }
    if registry.table.revision > 0 {
        put_table(session, registry.table).await?;
    }
    for (tenant, module, history) in registry.histories {
        let values = vec![
            tenant.as_str().into(),
            module.as_str().into(),
            encode("history", &history)?,
        ];
        session.global(vec![(PUT_HISTORY, values)]).await?;
    }
    for (tenant, version) in registry.versions {
        let names: Vec<Bind> = vec![tenant.as_str().into(), version.module.as_str().into()];
        session.write(ADD_MODULE, names.clone()).await?;
        let mut values = names;
        values.extend([big(version.version), encode("version", &version)?]);
        session.global(vec![(ADD_VERSION, values)]).await?;
    }
    for token in registry.tokens {
        put_token(session, &token).await?;
    }
    for entry in registry.audit {
        audit::put_back(engine, &entry).await?;
    }
    for row in &registry.purges {
        purges::keep(engine, row).await?;
    }
    Ok(())
}

async fn put_table(session: &Cql, mut table: DeploymentTable) -> Result<(), Error> {
    table.revision = table.revision.saturating_add(REVISIONS_APART);
    let row = encode("deployment table", &table)?;
    for _ in 0..TRIES_MAX {
        let rows: Vec<(Option<i64>,)> = session.global_rows(REVISION, vec![]).await?;
        let present = rows.first().and_then(|(revision,)| *revision);
        let values = vec![big(table.revision), row.clone(), present.into()];
        if session.global(vec![(PUT_TABLE, values)]).await? == Applied::Yes {
            return Ok(());
        }
    }
    Err(Error::Busy)
}

/// First where it is listed, as when it was made.
async fn put_token(session: &Cql, token: &TokenRow) -> Result<(), Error> {
    let row = encode("token", token)?;
    let listed = vec![token.id.as_str().into(), row.clone()];
    session.global(vec![(ADD_TOKEN_ID, listed)]).await?;
    let hash = Bind::Blob(Bytes::copy_from_slice(&token.hash));
    session.global(vec![(ADD_TOKEN, vec![hash, row])]).await?;
    Ok(())
}

/// Begins a new life of every node that had one, not before `life`, and takes the mark away.
pub(super) async fn end(engine: &Engine, heads: &Position, life: u32) -> Result<(), Error> {
    let mut lives = BTreeMap::new();
    let own = &engine.claim.origin;
    for (origin, _) in heads.iter().chain([(own, 0)]) {
        let last = lives
            .entry(origin.node.clone())
            .or_insert(life.saturating_sub(1));
        *last = origin.incarnation.max(*last);
    }
    let session = &engine.session;
    // First for those that nobody names: they may have begun after the last position that was kept.
    lives::put(session, life).await?;
    for (node, last) in lives {
        let next = Bind::Big(i64::from(last).saturating_add(1));
        new_life(session, node.as_str(), last, next).await?;
    }
    session.conditional(UNMARK, vec![]).await?;
    Ok(())
}

async fn new_life(session: &Cql, node: &str, last: u32, next: Bind) -> Result<(), Error> {
    for _ in 0..TRIES_MAX {
        let rows: Vec<(i64, i64)> = session.serial_rows(NODE, vec![node.into()]).await?;
        let applied = match rows.first() {
            None => {
                let values = vec![node.into(), next.clone()];
                session.conditional(NEW_NODE, values).await?
            }
            Some((incarnation, _)) if *incarnation > i64::from(last) => return Ok(()),
            Some((_, term)) => {
                let values = vec![next.clone(), node.into(), Bind::Big(*term)];
                session.conditional(NEW_LIFE, values).await?
            }
        };
        if applied == Applied::Yes {
            return Ok(());
        }
    }
    Err(Error::Busy)
}
