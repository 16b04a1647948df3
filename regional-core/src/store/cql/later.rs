//! Hard purges that wait for their time.
//!
//! Any core appends one that is due. It claims it first, for a while: another core does it after that, should the first
//! have died. The purge is appended before its row goes, so it is never lost and twice appended at worst.

use super::{
    audit,
    engine::Engine,
    json::{big, decode, encode},
    purges,
    session::{Applied, Bind},
};
use crate::{
    Error,
    store::{LATER_PURGES_MAX, LaterPurge, NewPurge},
};
use std::collections::BTreeSet;

const WHAT: &str = "later purge";
const DAY_MS: u64 = 24 * 3600 * 1000;
/// How long a claim holds, in milliseconds.
const CLAIM_MS: u64 = 30_000;

const DAYS: &str = "SELECT DISTINCT day FROM later_purges";
const WAITING: &str = "SELECT tenant FROM later_purges WHERE day = ?";
const DUE: &str = "SELECT due_ms, tenant, id, row, claimed_until FROM later_purges \
    WHERE day = ? AND due_ms <= ? LIMIT ?";
const ADD: &str =
    "INSERT INTO later_purges (day, due_ms, tenant, id, row) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS";
const CLAIM: &str = "UPDATE later_purges SET claimed_until = ? \
    WHERE day = ? AND due_ms = ? AND tenant = ? AND id = ? IF row = ? AND claimed_until = ?";
const DONE: &str =
    "DELETE FROM later_purges WHERE day = ? AND due_ms = ? AND tenant = ? AND id = ? IF EXISTS";

/// Keeps the hard half of a purge, if it has one; false: the tenant has too many already, and nothing was written.
pub(super) async fn keep(engine: &Engine, new: &NewPurge) -> Result<bool, Error> {
    let Some(hard) = new.hard_half() else {
        return Ok(true);
    };
    let session = &engine.session;
    let tenant = &hard.purge.tenant;
    let mut waiting = 0;
    for day in days(engine).await? {
        let rows: Vec<(String,)> = session.rows(WAITING, vec![Bind::Big(day)]).await?;
        let of_tenant = rows.iter().filter(|(name,)| name == tenant.as_str());
        waiting += of_tenant.count();
    }
    if waiting >= LATER_PURGES_MAX {
        return Ok(false);
    }
    let mut values = key(&hard);
    values.push(encode(WHAT, &hard)?);
    session.global(vec![(ADD, values)]).await?;
    Ok(true)
}

fn key(hard: &LaterPurge) -> Vec<Bind> {
    vec![
        big(hard.due_ms / DAY_MS),
        big(hard.due_ms),
        hard.purge.tenant.as_str().into(),
        hard.purge.id.as_str().into(),
    ]
}

/// Days on which something is due, oldest first. A day whose purges have all been appended is empty and soon forgotten.
async fn days(engine: &Engine) -> Result<BTreeSet<i64>, Error> {
    let rows: Vec<(i64,)> = engine.session.rows(DAYS, vec![]).await?;
    Ok(rows.into_iter().map(|(day,)| day).collect())
}

/// Appends hard purges whose time has come; gives how many.
pub(super) async fn release(engine: &Engine, now_ms: u64, limit: usize) -> Result<usize, Error> {
    let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let today = i64::try_from(now_ms / DAY_MS).unwrap_or(i64::MAX);
    let mut released = 0;
    for day in days(engine).await? {
        if day > today || released >= limit {
            break;
        }
        let most = i32::try_from(limit - released).unwrap_or(i32::MAX);
        let values = vec![Bind::Big(day), Bind::Big(now), Bind::Int(most)];
        let rows: Vec<(i64, String, String, String, Option<i64>)> =
            engine.session.rows(DUE, values).await?;
        for (_, _, _, row, claimed_until) in rows {
            if claimed_until.is_none_or(|until| until <= now) {
                released += usize::from(append(engine, row, claimed_until, now_ms).await?);
            }
        }
    }
    Ok(released)
}

/// Appends one; false: another core does.
async fn append(
    engine: &Engine,
    row: String,
    claimed_until: Option<i64>,
    now_ms: u64,
) -> Result<bool, Error> {
    let session = &engine.session;
    let hard: LaterPurge = decode(WHAT, &row)?;
    let mut claim = vec![big(now_ms.saturating_add(CLAIM_MS))];
    claim.extend(key(&hard));
    claim.extend([Bind::Text(row), claimed_until.into()]);
    if session.global(vec![(CLAIM, claim)]).await? == Applied::No {
        return Ok(false);
    }
    let done = key(&hard);
    let (new, entry) = hard.into_new(now_ms);
    purges::append(engine, new).await?;
    audit::add_audit(engine, entry).await?;
    session.global(vec![(DONE, done)]).await?;
    Ok(true)
}
