//! Purges as they are kept: history within its bounds, answers to idempotency keys, hard purges that wait for their time.

use super::batch::Batch;
use super::keys;
use super::records::{alive, keep_answer, stored_answer_key};
use super::tables::{LATER_PURGES, OrStore, PURGE_COUNTS, PURGE_TENANTS, PURGES, decode, encode};
use crate::{
    Error,
    store::{
        ALL_PURGES_MAX, ANSWER_LIFETIME_MS, Answer, LATER_PURGES_MAX, LaterPurge, NewAnswer,
        NewAudit, NewPurge, PURGES_MAX, PurgeAdded, PurgeRow,
    },
};
use ::redb::{ReadableTable, ReadableTableMetadata, Table};
use brink_protocol::{
    PopName, Position, TenantName,
    change::{Change, ChangeKind},
    control::PurgeAtPop,
    link::AppliedPurge,
};

const WHAT: &str = "keeping a purge";

fn row_key(tenant: &[u8], id: &[u8]) -> Vec<u8> {
    [tenant, &[0], id].concat()
}

/// Appends a purge to the log and keeps it, unless its idempotency key has an answer.
pub(super) fn add(
    batch: &mut Batch<'_>,
    new: NewPurge,
    audit: Option<NewAudit>,
) -> Result<PurgeAdded, Error> {
    let answer_key = new.answer.as_ref().map(|answer| {
        let tenant = &new.purge.tenant;
        stored_answer_key(&NewPurge::answer_key(tenant, &answer.command, &answer.key))
    });
    if let Some(key) = &answer_key
        && let Some(answer) = answered(batch, key, new.at_ms)?
    {
        return Ok(PurgeAdded::Answered(answer));
    }
    let at_ms = new.at_ms;
    if let Some(hard) = new.hard_half()
        && !keep_later(batch, &hard)?
    {
        return Ok(PurgeAdded::TooManyLater);
    }
    let answer = new.answer.clone();
    let position = append(batch, new)?;
    if let (Some(NewAnswer { input, output, .. }), Some(key)) = (answer, answer_key) {
        let answer = Answer {
            input,
            output,
            position: position.clone(),
            expires_at_ms: at_ms.saturating_add(ANSWER_LIFETIME_MS),
        };
        keep_answer(batch, &key, &answer)?;
    }
    if let Some(audit) = audit {
        batch.audit(audit)?;
    }
    Ok(PurgeAdded::Done(position))
}

fn answered(batch: &Batch<'_>, key: &[u8], now_ms: u64) -> Result<Option<Answer>, Error> {
    let row = batch.tables.answers.get(key).or_store(WHAT)?;
    let answer = row.map(|row| decode("answer", row.value())).transpose()?;
    Ok(alive(answer, now_ms))
}

/// Keeps a hard purge for later; false: the tenant has too many already, and nothing was written.
fn keep_later(batch: &mut Batch<'_>, hard: &LaterPurge) -> Result<bool, Error> {
    let name = hard.purge.tenant.as_str().as_bytes();
    let mut table = batch.txn.open_table(LATER_PURGES).or_store(WHAT)?;
    let mut waiting = 0;
    for row in table.iter().or_store(WHAT)? {
        let (key, _) = row.or_store(WHAT)?;
        let (_, rest) = keys::split_expiry(key.value())?;
        waiting += usize::from(rest.split(|byte| *byte == 0).next() == Some(name));
    }
    if waiting >= LATER_PURGES_MAX {
        return Ok(false);
    }
    let key = keys::expiry(hard.due_ms, &row_key(name, hard.purge.id.as_bytes()));
    let row = encode(hard)?;
    batch.touch();
    table
        .insert(key.as_slice(), row.as_slice())
        .or_store(WHAT)?;
    Ok(true)
}

/// Appends hard purges whose time has come.
pub(super) fn release(batch: &mut Batch<'_>, now_ms: u64, limit: usize) -> Result<usize, Error> {
    let mut due = Vec::new();
    {
        let table = batch.txn.open_table(LATER_PURGES).or_store(WHAT)?;
        for row in table.iter().or_store(WHAT)?.take(limit) {
            let (key, row) = row.or_store(WHAT)?;
            let (due_ms, _) = keys::split_expiry(key.value())?;
            if due_ms > now_ms {
                break;
            }
            due.push((
                key.value().to_vec(),
                decode::<LaterPurge>("later purge", row.value())?,
            ));
        }
    }
    let count = due.len();
    for (key, hard) in due {
        batch.touch();
        let mut table = batch.txn.open_table(LATER_PURGES).or_store(WHAT)?;
        table.remove(key.as_slice()).or_store(WHAT)?;
        drop(table);
        let (new, audit) = hard.into_new(now_ms);
        append(batch, new)?;
        batch.audit(audit)?;
    }
    Ok(count)
}

/// Appends a purge to the log and keeps it.
pub(super) fn append(batch: &mut Batch<'_>, new: NewPurge) -> Result<Position, Error> {
    batch.touch();
    let sequence = batch.append(new.at_ms, ChangeKind::Purge(new.purge.clone()))?;
    let row = new.into_row(batch.position(sequence));
    keep(batch, &row)?;
    Ok(row.position)
}

/// Keeps a purge that another core took: what this core's PoPs say of it is noted here. One that is kept already stays as
/// it is.
pub(super) fn keep_foreign(batch: &mut Batch<'_>, change: &Change) -> Result<(), Error> {
    let ChangeKind::Purge(purge) = &change.kind else {
        return Ok(());
    };
    let key = row_key(purge.tenant.as_str().as_bytes(), purge.id.as_bytes());
    let rows = batch.txn.open_table(PURGES).or_store(WHAT)?;
    let is_kept = rows.get(key.as_slice()).or_store(WHAT)?.is_some();
    drop(rows);
    if is_kept {
        return Ok(());
    }
    let mut position = Position::default();
    position.advance(&change.origin, change.sequence);
    let row = PurgeRow {
        purge: purge.clone(),
        by: format!("core:{}", change.origin.node),
        at_ms: change.at_ms,
        position,
        applied: Vec::new(),
        later: None,
    };
    keep(batch, &row)
}

/// Keeps a purge as it was kept before, unless it is there.
pub(super) fn put_back(batch: &mut Batch<'_>, row: &PurgeRow) -> Result<(), Error> {
    let key = row_key(
        row.purge.tenant.as_str().as_bytes(),
        row.purge.id.as_bytes(),
    );
    let rows = batch.txn.open_table(PURGES).or_store(WHAT)?;
    let is_kept = rows.get(key.as_slice()).or_store(WHAT)?.is_some();
    drop(rows);
    if is_kept { Ok(()) } else { keep(batch, row) }
}

fn keep(batch: &mut Batch<'_>, row: &PurgeRow) -> Result<(), Error> {
    let (tenant, id) = (
        row.purge.tenant.as_str().as_bytes(),
        row.purge.id.as_bytes(),
    );
    let mut history = History {
        rows: batch.txn.open_table(PURGES).or_store(WHAT)?,
        tenants: batch.txn.open_table(PURGE_TENANTS).or_store(WHAT)?,
        counts: batch.txn.open_table(PURGE_COUNTS).or_store(WHAT)?,
    };
    history
        .rows
        .insert(row_key(tenant, id).as_slice(), encode(row)?.as_slice())
        .or_store(WHAT)?;
    history.tenants.insert(id, tenant).or_store(WHAT)?;
    let count = history.count(tenant)? + 1;
    history.counts.insert(tenant, count).or_store(WHAT)?;
    history.trim(&row.purge.tenant, count)
}

type Bytes<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// The tables of kept purges.
struct History<'t> {
    rows: Bytes<'t>,
    tenants: Bytes<'t>,
    counts: Table<'t, &'static [u8], u64>,
}

impl History<'_> {
    fn count(&self, tenant: &[u8]) -> Result<u64, Error> {
        let count = self.counts.get(tenant).or_store(WHAT)?;
        Ok(count.map_or(0, |count| count.value()))
    }

    /// Ids are ULIDs: the first of a tenant is its oldest, and the first of all is the oldest of all.
    fn trim(&mut self, tenant: &TenantName, count: u64) -> Result<(), Error> {
        if count > PURGES_MAX {
            let prefix = keys::tenant(tenant, None);
            let oldest = self
                .rows
                .range::<&[u8]>(prefix.as_slice()..)
                .or_store(WHAT)?
                .next()
                .transpose()
                .or_store(WHAT)?
                .map(|(key, _)| key.value().to_vec());
            if let Some(id) = oldest.as_deref().and_then(|key| key.get(prefix.len()..)) {
                self.forget(tenant.as_str().as_bytes(), id)?;
            }
        }
        if self.tenants.len().or_store(WHAT)? > ALL_PURGES_MAX {
            let first = self.tenants.first().or_store(WHAT)?;
            let oldest = first.map(|(id, tenant)| (tenant.value().to_vec(), id.value().to_vec()));
            if let Some((tenant, id)) = oldest {
                self.forget(&tenant, &id)?;
            }
        }
        Ok(())
    }

    fn forget(&mut self, tenant: &[u8], id: &[u8]) -> Result<(), Error> {
        self.rows
            .remove(row_key(tenant, id).as_slice())
            .or_store(WHAT)?;
        self.tenants.remove(id).or_store(WHAT)?;
        let left = self.count(tenant)?.saturating_sub(1);
        if left == 0 {
            self.counts.remove(tenant).or_store(WHAT)?;
        } else {
            self.counts.insert(tenant, left).or_store(WHAT)?;
        }
        Ok(())
    }
}

/// Notes that a PoP applied purges; gives how long after its acceptance each that is new was heard of, in milliseconds.
pub(super) fn note_applied(
    batch: &mut Batch<'_>,
    pop: &PopName,
    applied: &[AppliedPurge],
    now_ms: u64,
) -> Result<Vec<u64>, Error> {
    const WHAT: &str = "noting an applied purge";
    let mut table = batch.txn.open_table(PURGES).or_store(WHAT)?;
    let tenants = batch.txn.open_table(PURGE_TENANTS).or_store(WHAT)?;
    let mut new = Vec::new();
    for note in applied {
        let Some(tenant) = tenants.get(note.id.as_bytes()).or_store(WHAT)? else {
            continue;
        };
        let key = row_key(tenant.value(), note.id.as_bytes());
        let row = match table.get(key.as_slice()).or_store(WHAT)? {
            Some(row) => decode::<PurgeRow>("purge", row.value())?,
            None => continue,
        };
        if row.applied.iter().any(|present| present.pop == *pop) {
            continue;
        }
        let mut row = row;
        // Of another core's purge nobody knows: two clocks cannot be compared.
        let own = &batch.log.origin().node;
        let is_own = row.position.iter().all(|(origin, _)| origin.node == *own);
        let propagation_ms = is_own.then(|| now_ms.saturating_sub(row.at_ms));
        row.applied.push(PurgeAtPop {
            pop: pop.clone(),
            applied_at_ms: note.at_ms,
            objects: note.objects,
            propagation_ms,
        });
        new.extend(propagation_ms);
        let bytes = encode(&row)?;
        batch.touch();
        table
            .insert(key.as_slice(), bytes.as_slice())
            .or_store(WHAT)?;
    }
    Ok(new)
}
