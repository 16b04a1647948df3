//! Purges as they are kept: history, and what PoPs said of them.
//!
//! A purge is in the change log before its row is kept; whoever repeats one does no harm. Each tenant's history is cut
//! now and then: for a while it may be longer than [`PURGES_MAX`] by some. There is no bound over all tenants, for each
//! purge is a partition of its own.

use super::{
    engine::Engine,
    json::{big, decode, encode},
    session::Bind,
};
use crate::{
    Error,
    store::{NewPurge, PURGES_MAX, PurgeRow},
};
use brink_protocol::{
    PopName, Position, TenantName, change::ChangeKind, control::PurgeAtPop, link::AppliedPurge,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::HashSet;

const WHAT: &str = "purge";
const NOTE: &str = "note of a purge";
/// Purges that are read or noted at a time.
const TOGETHER: usize = 16;
/// A purge with such an id cuts the history of its tenant: by chance one in 32 has, whichever cores take them.
const CUT_AFTER: char = '0';
/// Purges that are cut at a time.
const CUT_MAX: u64 = 1000;

const PUT: &str = "INSERT INTO purges (tenant, id, pop, row) VALUES (?, ?, '', ?)";
const READ: &str = "SELECT pop, row, note FROM purges WHERE tenant = ? AND id = ?";
const READ_ROW: &str = "SELECT row FROM purges WHERE tenant = ? AND id = ? LIMIT 1";
const PUT_NOTE: &str = "INSERT INTO purges (tenant, id, pop, note) VALUES (?, ?, ?, ?)";
const READ_NOTE: &str = "SELECT note FROM purges WHERE tenant = ? AND id = ? AND pop = ?";
const LIST: &str = "INSERT INTO purge_ids (tenant, id) VALUES (?, ?)";
const NEWEST: &str = "SELECT id FROM purge_ids WHERE tenant = ? LIMIT ?";
const NEWEST_BEFORE: &str = "SELECT id FROM purge_ids WHERE tenant = ? AND id < ? LIMIT ?";
const CUT: &str = "DELETE FROM purge_ids WHERE tenant = ? AND id = ?";
const CUT_ROW: &str = "DELETE FROM purges WHERE tenant = ? AND id = ?";
const PUT_TENANT: &str = "INSERT INTO purge_tenants (id, tenant, at_ms) VALUES (?, ?, ?)";
const TENANT: &str = "SELECT tenant, at_ms FROM purge_tenants WHERE id = ?";
const CUT_TENANT: &str = "DELETE FROM purge_tenants WHERE id = ?";

fn key(tenant: &TenantName, id: &str) -> Vec<Bind> {
    vec![tenant.as_str().into(), id.into()]
}

/// Appends a purge to the log and keeps it.
pub(super) async fn append(engine: &Engine, new: NewPurge) -> Result<Position, Error> {
    let kind = ChangeKind::Purge(new.purge.clone());
    let sequence = engine.log.append(new.at_ms, kind).await?;
    let row = new.into_row(engine.position(sequence));
    keep(engine, &row).await?;
    if row.purge.id.ends_with(CUT_AFTER) {
        cut(engine, &row.purge.tenant, PURGES_MAX).await?;
    }
    Ok(row.position)
}

/// Keeps a purge that is in the log, or was in that of an earlier life.
pub(super) async fn keep(engine: &Engine, row: &PurgeRow) -> Result<(), Error> {
    let session = &engine.session;
    let (tenant, id) = (&row.purge.tenant, &row.purge.id);
    let mut put = key(tenant, id);
    put.push(encode(WHAT, row)?);
    let to_tenant = vec![id.as_str().into(), tenant.as_str().into(), big(row.at_ms)];
    // What is listed can be read.
    session.write(PUT, put).await?;
    session.write(PUT_TENANT, to_tenant).await?;
    session.write(LIST, key(tenant, id)).await
}

/// Ids are ULIDs: the lowest are the oldest. Goes on until no more than `kept` are left, however many there were.
pub(super) async fn cut(engine: &Engine, tenant: &TenantName, kept: u64) -> Result<(), Error> {
    let session = &engine.session;
    let limit = |count: u64| Bind::Int(i32::try_from(count).unwrap_or(i32::MAX));
    let newest = vec![tenant.as_str().into(), limit(kept)];
    let kept: Vec<(String,)> = session.rows(NEWEST, newest).await?;
    let Some((oldest,)) = kept.last() else {
        return Ok(());
    };
    loop {
        let mut before = key(tenant, oldest);
        before.push(limit(CUT_MAX));
        let ids: Vec<(String,)> = session.rows(NEWEST_BEFORE, before).await?;
        for (id,) in &ids {
            session.write(CUT_ROW, key(tenant, id)).await?;
            session.write(CUT_TENANT, vec![id.as_str().into()]).await?;
            // What is listed is cut again after a crash.
            session.write(CUT, key(tenant, id)).await?;
        }
        if (ids.len() as u64) < CUT_MAX {
            return Ok(());
        }
    }
}

pub(super) async fn purge(
    engine: &Engine,
    tenant: &TenantName,
    id: &str,
) -> Result<Option<PurgeRow>, Error> {
    let rows: Vec<(Option<String>, Option<String>, Option<String>)> =
        engine.session.rows(READ, key(tenant, id)).await?;
    let Some(text) = rows.first().and_then(|(_, row, _)| row.as_deref()) else {
        return Ok(None);
    };
    let mut row: PurgeRow = decode(WHAT, text)?;
    for note in rows.iter().filter_map(|(_, _, note)| note.as_deref()) {
        row.applied.push(decode(NOTE, note)?);
    }
    Ok(Some(row))
}

pub(super) async fn purges(
    engine: &Engine,
    tenant: &TenantName,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<PurgeRow>, Error> {
    let kept = usize::try_from(PURGES_MAX).unwrap_or(usize::MAX);
    let limit = Bind::Int(i32::try_from(limit.min(kept)).unwrap_or(i32::MAX));
    let session = &engine.session;
    let ids: Vec<(String,)> = match before {
        Some(id) => {
            let values = vec![tenant.as_str().into(), id.into(), limit];
            session.rows(NEWEST_BEFORE, values).await?
        }
        None => {
            let values = vec![tenant.as_str().into(), limit];
            session.rows(NEWEST, values).await?
        }
    };
    let rows: Vec<Option<PurgeRow>> = stream::iter(ids)
        .map(|(id,)| async move { purge(engine, tenant, &id).await })
        .buffered(TOGETHER)
        .try_collect()
        .await?;
    Ok(rows.into_iter().flatten().collect())
}

/// Notes that a PoP applied purges; gives how long after its acceptance each that is new was heard of, in milliseconds.
/// A PoP reports to one core at a time: of two that note the same at once, the later one stays.
pub(super) async fn note_applied(
    engine: &Engine,
    pop: &PopName,
    applied: &[AppliedPurge],
    now_ms: u64,
) -> Result<Vec<u64>, Error> {
    // One that is told twice in one report counts once, as first told.
    let mut told = HashSet::new();
    let notes: Vec<_> = applied
        .iter()
        .filter(|note| told.insert(note.id.as_str()))
        .map(|applied| note(engine, pop, applied, now_ms))
        .collect();
    let noted: Vec<Option<u64>> = stream::iter(notes).buffered(TOGETHER).try_collect().await?;
    Ok(noted.into_iter().flatten().collect())
}

async fn note(
    engine: &Engine,
    pop: &PopName,
    applied: &AppliedPurge,
    now_ms: u64,
) -> Result<Option<u64>, Error> {
    let session = &engine.session;
    let rows: Vec<(String, i64)> = session
        .rows(TENANT, vec![applied.id.as_str().into()])
        .await?;
    let Some((tenant, at_ms)) = rows.into_iter().next() else {
        return Ok(None);
    };
    let key: Vec<Bind> = vec![
        tenant.as_str().into(),
        applied.id.as_str().into(),
        pop.as_str().into(),
    ];
    let present: Vec<(Option<String>,)> = session.rows(READ_NOTE, key.clone()).await?;
    if present.iter().any(|(note,)| note.is_some()) {
        return Ok(None);
    }
    // Two cores' clocks are not compared.
    let is_own = is_own(engine, &tenant, &applied.id).await?;
    let propagation_ms = is_own.then(|| now_ms.saturating_sub(u64::try_from(at_ms).unwrap_or(0)));
    let row = PurgeAtPop {
        pop: pop.clone(),
        applied_at_ms: applied.at_ms,
        objects: applied.objects,
        propagation_ms,
    };
    let mut values = key;
    values.push(encode(NOTE, &row)?);
    session.write(PUT_NOTE, values).await?;
    Ok(propagation_ms)
}

/// Whether this core took a purge.
async fn is_own(engine: &Engine, tenant: &str, id: &str) -> Result<bool, Error> {
    let values = vec![tenant.into(), id.into()];
    let rows: Vec<(Option<String>,)> = engine.session.rows(READ_ROW, values).await?;
    let Some((Some(row),)) = rows.first() else {
        return Ok(false);
    };
    let row: PurgeRow = decode(WHAT, row)?;
    let mut origins = row.position.iter().map(|(origin, _)| origin);
    Ok(origins.all(|origin| *origin == engine.claim.origin))
}
