//! The audit log: one order over all cores, numbered without gaps.
//!
//! A number is taken by a conditional write. Where the log ends is kept beside it, as a hint: written with itself as
//! its timestamp, so that the highest stays whoever writes last; behind the hint, numbers are tried one by one.

use super::{
    engine::Engine,
    json::{big, decode, encode},
    session::{Applied, Bind},
};
use crate::{
    Error,
    store::{AUDIT_ENTRIES_MAX, NewAudit},
};
use brink_protocol::{TenantName, control::AuditEntry};

const WHAT: &str = "audit entry";
/// Entries of one partition; the oldest are removed by so many.
const BUCKET: u64 = 1000;
/// Numbers that are tried before a writer gives up, because others take them all.
const TRIES_MAX: u64 = 1000;

const END: &str = "SELECT number FROM audit_ends WHERE every = 0";
const PUT_END: &str = "INSERT INTO audit_ends (every, number) VALUES (0, ?) USING TIMESTAMP ?";
const ADD: &str = "INSERT INTO audit (bucket, number, row) VALUES (?, ?, ?) IF NOT EXISTS";
const LAST: &str = "SELECT number FROM audit WHERE bucket = ? LIMIT 1";
const READ: &str = "SELECT row FROM audit WHERE bucket = ? AND number < ?";
const DROP: &str = "DELETE FROM audit WHERE bucket = ?";

/// An entry that has no number yet.
pub(super) fn unnumbered(audit: NewAudit) -> AuditEntry {
    AuditEntry {
        number: 0,
        at_ms: audit.at_ms,
        by: audit.by,
        tenant: audit.tenant,
        action: audit.action.to_owned(),
        subject: audit.subject,
    }
}

pub(super) async fn add_audit(engine: &Engine, audit: NewAudit) -> Result<(), Error> {
    append(engine, unnumbered(audit)).await
}

/// Appends an entry under the next number.
pub(super) async fn append(engine: &Engine, mut entry: AuditEntry) -> Result<(), Error> {
    let session = &engine.session;
    entry.number = end(engine).await?;
    for _ in 0..TRIES_MAX {
        entry.number += 1;
        let (bucket, number) = (entry.number / BUCKET, big(entry.number));
        let values = vec![big(bucket), number.clone(), encode(WHAT, &entry)?];
        if session.global(vec![(ADD, values)]).await? == Applied::No {
            continue;
        }
        session.write(PUT_END, vec![number.clone(), number]).await?;
        if entry.number.is_multiple_of(BUCKET)
            && let Some(last_kept) = bucket.checked_sub(AUDIT_ENTRIES_MAX / BUCKET)
            && let Some(oldest) = last_kept.checked_sub(1)
        {
            session.write(DROP, vec![big(oldest)]).await?;
        }
        return Ok(());
    }
    Err(Error::Busy)
}

/// Keeps an entry under the number that it had before.
pub(super) async fn put_back(engine: &Engine, entry: &AuditEntry) -> Result<(), Error> {
    let session = &engine.session;
    let number = big(entry.number);
    let values = vec![
        big(entry.number / BUCKET),
        number.clone(),
        encode(WHAT, entry)?,
    ];
    session.global(vec![(ADD, values)]).await?;
    session.write(PUT_END, vec![number.clone(), number]).await
}

/// The last number as far as is known; 0: none.
async fn end(engine: &Engine) -> Result<u64, Error> {
    let ends: Vec<(Option<i64>,)> = engine.session.rows(END, vec![]).await?;
    let end = ends.first().and_then(|(number,)| *number).unwrap_or(0);
    Ok(u64::try_from(end).unwrap_or(0))
}

pub(super) async fn audit(
    engine: &Engine,
    tenant: Option<&TenantName>,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<AuditEntry>, Error> {
    let session = &engine.session;
    let mut last = end(engine).await?;
    // The hint may be behind by what is being written, and by what a core that died had not noted.
    for bucket in [last / BUCKET, last / BUCKET + 1] {
        let rows: Vec<(i64,)> = session.rows(LAST, vec![big(bucket)]).await?;
        let number = rows
            .first()
            .and_then(|(number,)| u64::try_from(*number).ok());
        last = last.max(number.unwrap_or(0));
    }
    let oldest = last.saturating_sub(AUDIT_ENTRIES_MAX) / BUCKET;
    let upper = before.unwrap_or(u64::MAX).min(last + 1);
    let mut found = Vec::new();
    for bucket in (oldest..=upper / BUCKET).rev() {
        let values: Vec<Bind> = vec![big(bucket), big(upper)];
        let rows: Vec<(String,)> = session.rows(READ, values).await?;
        for (row,) in rows {
            if found.len() >= limit {
                return Ok(found);
            }
            let entry: AuditEntry = decode(WHAT, &row)?;
            if tenant.is_none_or(|tenant| entry.tenant == *tenant) {
                found.push(entry);
            }
        }
    }
    Ok(found)
}
