//! Export and import of a tenant's data.

use super::app::App;
use super::extract::{Admin, Params, PathParts, large_body};
use super::reply::{Failure, Reply, Written};
use crate::{
    Error,
    clock::now_ms,
    events::register,
    export::Export,
    store::{Action, BATCH_BYTES_MAX, Commit, NewAudit, Store, Transaction, Write},
    tokens::Caller,
    trail::RECORDS_MAX,
};
use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::{
    Digest, Position, TenantName,
    address::PartitionAddress,
    control::COMPONENT_BYTES_MAX,
    event,
    link::Condition,
    record::{
        Entry, GET_MANY_MAX, Key, PLATFORM_COLLECTION, check_any_sort, check_partition,
        check_value, is_platform,
    },
    trail::{self, Author, AuthorKind},
    transfer::{FORM, Line, MEDIA_TYPE, RecordLine, Summary, TenantImported},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, header::CONTENT_TYPE};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// Partitions of one import that are read or written at a time.
const PARTITIONS_AT_ONCE: usize = 8;

type Rows = BTreeMap<String, (Bytes, Option<u64>)>;

/// What is to be written to a partition.
struct Plan {
    partition: PartitionAddress,
    writes: Vec<Write>,
    done: TenantImported,
    /// Sort keys of records that differ and may not be written over.
    differing: Vec<String>,
}

fn check_tenant(caller: &Caller, name: &str) -> Result<(), Failure> {
    if caller.tenant.as_str() == name {
        return Ok(());
    }
    Err(Failure::new(
        403,
        "forbidden",
        "The token may not do this",
        "It is another tenant's: this takes a token of an admin of the tenant itself.",
    ))
}

async fn audit(app: &App, caller: &Caller, action: &'static str) -> Result<(), Error> {
    let audit = NewAudit {
        by: caller.id.clone(),
        tenant: caller.tenant.clone(),
        action,
        subject: caller.tenant.to_string(),
        at_ms: now_ms(),
    };
    app.store.add_audit(audit).await
}

/// All records of a tenant, its events, and what is deployed, one a line; the last line is a summary with the SHA-256 of
/// those before it. Without it the export was cut off.
#[utoipa::path(get, path = "/v1/tenants/{name}/export", tag = "operations",
    params(("name" = String, Path, description = "The tenant")),
    responses((status = 200, content_type = "application/x-ndjson", body = String)))]
pub(super) async fn export(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    PathParts(name): PathParts<String>,
) -> Reply<Response> {
    check_tenant(&caller, &name)?;
    let turn = app.exports.turn(&caller.tenant).await?;
    audit(&app, &caller, "tenant.export").await?;
    let table = app.deployments.current();
    let own = table.deployments.iter();
    let own = own.filter(|deployment| deployment.tenant == caller.tenant);
    let deployments = own.cloned().collect();
    let export = Export::new(Arc::clone(&app.store), caller.tenant, deployments, now_ms());
    let lines = export.lines(turn).inspect_err(|error| {
        tracing::error!(%error, "an export broke off");
    });
    let mut response = Response::new(Body::from_stream(lines));
    let media_type = HeaderValue::from_static(MEDIA_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(response)
}

/// How to import.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ImportQuery {
    /// Write over records that differ. What is the platform's is never written over.
    #[serde(default)]
    overwrite: bool,
}

/// Writes what an export, or a part of one with a summary of its own, holds: at most 64 MiB. Nothing is written if it is cut off
/// or changed, or if a record is there already with another value (409). May be repeated.
#[utoipa::path(post, path = "/v1/tenants/{name}/import", tag = "operations",
    params(("name" = String, Path, description = "The tenant"), ImportQuery),
    request_body(content = String, content_type = "application/x-ndjson", description = "An export"),
    responses((status = 200, body = TenantImported)))]
pub(super) async fn import(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    PathParts(name): PathParts<String>,
    Params(query): Params<ImportQuery>,
    request: Request,
) -> Reply<Written<TenantImported>> {
    check_tenant(&caller, &name)?;
    let (_turn, body) =
        large_body(&app, &caller, request, &[MEDIA_TYPE], COMPONENT_BYTES_MAX).await?;
    let tenant = caller.tenant.clone();
    let (partitions, left_out) = tokio::task::spawn_blocking(move || parse(&body, &tenant))
        .await
        .map_err(|error| Error::store("reading an import", error))??;
    let now = now_ms();
    let plans: Vec<Plan> = stream::iter(partitions)
        .map(|(partition, rows)| plan(&*app.store, partition, rows, query.overwrite, now))
        .buffered(PARTITIONS_AT_ONCE)
        .try_collect()
        .await?;
    refuse_differing(&plans)?;
    audit(&app, &caller, "tenant.import").await?;
    let by = Author::new(AuthorKind::Token, &caller.id);
    let mut all = TenantImported {
        left_out,
        ..TenantImported::default()
    };
    let mut position = Position::default();
    let mut commits = stream::iter(plans)
        .map(|plan| carry_out(&*app.store, plan, &by, now))
        .buffer_unordered(PARTITIONS_AT_ONCE);
    while let Some((done, at)) = commits.try_next().await? {
        all.written += done.written;
        all.overwritten += done.overwritten;
        all.unchanged += done.unchanged;
        position.merge(&at);
    }
    drop(commits);
    Ok(Written::ok(position, all))
}

fn refuse_differing(plans: &[Plan]) -> Result<(), Failure> {
    let count: usize = plans.iter().map(|plan| plan.differing.len()).sum();
    let first = plans
        .iter()
        .find_map(|plan| Some((&plan.partition, plan.differing.first()?)));
    let Some((partition, sort)) = first else {
        return Ok(());
    };
    Err(Failure::new(
        409,
        "differs",
        "Records are there already, and differ",
        format!(
            "{count} records, the first: {:?} of {}/{}. Nothing of this was written. `overwrite=true` writes over records, \
             but not over the platform's.",
            sort, partition.collection, partition.partition
        ),
    ))
}

fn invalid(detail: impl Into<String>) -> Failure {
    Failure::new(422, "invalid", "This is not a whole export", detail)
}

/// The lines before the summary, which fits them.
fn check_whole(body: &[u8]) -> Result<(&[u8], Summary), Failure> {
    let text = body.trim_ascii_end();
    let start = text.iter().rposition(|byte| *byte == b'\n');
    let (lines, last) = text.split_at(start.map_or(0, |at| at + 1));
    let summary = match serde_json::from_slice(last) {
        Ok(Line::Summary(summary)) => summary,
        Ok(_) | Err(_) => return Err(invalid("The last line is no summary: it was cut off.")),
    };
    if summary.form != FORM {
        return Err(invalid(format!(
            "Its form is {}, not {FORM}.",
            summary.form
        )));
    }
    if summary.sha256 != Digest::of(lines) {
        return Err(invalid(
            "The SHA-256 of its lines is not that of its summary.",
        ));
    }
    Ok((lines, summary))
}

/// Rows by partition, and how many lines are left out.
fn parse(
    body: &[u8],
    tenant: &TenantName,
) -> Result<(BTreeMap<PartitionAddress, Rows>, u64), Failure> {
    let (lines, summary) = check_whole(body)?;
    let mut partitions: BTreeMap<PartitionAddress, Rows> = BTreeMap::new();
    let (mut left_out, mut records) = (0, 0);
    let lines = lines.split(|byte| *byte == b'\n').enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let wrong = |reason: String| invalid(format!("line {}: {reason}", index + 1));
        let line = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
        let record = match line {
            Line::Record(record) => record,
            Line::Deployment(_) => {
                left_out += 1;
                continue;
            }
            Line::Summary(_) => return Err(wrong("a summary is the last line".into())),
        };
        records += 1;
        if !is_taken_over(&record) {
            left_out += 1;
            continue;
        }
        let (sort, value) = checked(&record).map_err(wrong)?;
        let address = PartitionAddress {
            tenant: tenant.clone(),
            collection: record.collection,
            partition: record.partition,
        };
        let rows = partitions.entry(address).or_default();
        rows.insert(sort, (value, record.lifetime_ms));
    }
    if records != summary.records {
        return Err(invalid(
            "The count of its records is not that of its summary.",
        ));
    }
    Ok((partitions, left_out))
}

/// Whether a row says something beyond the installation that it was in. Streams are noted anew; where projections had read to is
/// found again by what their targets hold.
fn is_taken_over(record: &RecordLine) -> bool {
    // Versions begin anew, and with them the trail.
    if trail::is_of_trail(&record.sort) {
        return false;
    }
    match record.collection.as_str() {
        "_dead-letters" => true,
        // How often a projection was replayed, and the index of its targets; the others are places.
        "_projections" => {
            let parts: Vec<&str> = record.partition.split('.').collect();
            matches!(parts.as_slice(), [_, _, _] | [_, _, _, "to", _])
        }
        other => !other.starts_with(PLATFORM_COLLECTION),
    }
}

fn checked(record: &RecordLine) -> Result<(String, Bytes), String> {
    let value = match (&record.text, &record.base64) {
        (Some(text), None) => Bytes::from(text.clone()),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|_| "its value is not base64")?
            .into(),
        _ => return Err("it has `text` or `base64`, one of them".into()),
    };
    check_partition(&record.collection, &record.partition)
        .and_then(|()| check_any_sort(&record.sort))
        .and_then(|()| check_value(&value, record.lifetime_ms))
        .map_err(|error| error.to_string())?;
    Ok((record.sort.clone(), value))
}

/// What is there under some sort keys.
async fn present(
    store: &dyn Store,
    partition: &PartitionAddress,
    sorts: &[&String],
    now: u64,
) -> Result<Vec<Option<Entry>>, Error> {
    let key = |sort: &&String| Key {
        collection: partition.collection.clone(),
        partition: partition.partition.clone(),
        sort: (*sort).clone(),
    };
    let keys: Vec<Key> = sorts.iter().map(key).collect();
    match store.get_many(&partition.tenant, &keys, now).await {
        // Together they are too large.
        Err(Error::Limit(_)) => {}
        other => return other,
    }
    let mut found = Vec::with_capacity(keys.len());
    for key in &keys {
        found.push(store.get(&partition.tenant, key, now).await?);
    }
    Ok(found)
}

async fn plan(
    store: &dyn Store,
    partition: PartitionAddress,
    rows: Rows,
    overwrite: bool,
    now: u64,
) -> Result<Plan, Error> {
    let (mut writes, mut differing) = (Vec::new(), Vec::new());
    let mut done = TenantImported::default();
    let sorts: Vec<&String> = rows.keys().collect();
    let mut found = Vec::with_capacity(sorts.len());
    for sorts in sorts.chunks(GET_MANY_MAX) {
        // Of what is there only its version, and whether it is the same, is kept.
        for (sort, entry) in sorts
            .iter()
            .zip(present(store, &partition, sorts, now).await?)
        {
            let is_same = |entry: &Entry| rows.get(*sort).is_some_and(|row| row.0 == entry.value);
            found.push(entry.map(|entry| (entry.version, is_same(&entry))));
        }
    }
    for ((sort, (value, lifetime_ms)), found) in rows.into_iter().zip(found) {
        let condition = match found {
            None => {
                done.written += 1;
                Condition::Absent
            }
            Some((_, true)) => {
                done.unchanged += 1;
                continue;
            }
            Some((version, false)) if overwrite && !is_platform(&partition.collection, &sort) => {
                done.overwritten += 1;
                Condition::Version(version)
            }
            Some(_) => {
                differing.push(sort);
                continue;
            }
        };
        let expires_at_ms = lifetime_ms.map(|lifetime| now.saturating_add(lifetime));
        let action = Action::Put {
            value,
            expires_at_ms,
        };
        writes.push(Write {
            sort,
            action,
            condition,
        });
    }
    Ok(Plan {
        partition,
        writes,
        done,
        differing,
    })
}

/// Writes a partition's rows in the order of their keys: a stream's head comes behind its events.
async fn carry_out(
    store: &dyn Store,
    plan: Plan,
    by: &Author,
    now: u64,
) -> Result<(TenantImported, Position), Failure> {
    let has_events = |write: &Write| event::number_of(&write.sort).is_some();
    if plan.writes.iter().any(has_events) {
        register(store, &plan.partition, now).await?;
    }
    let mut position = Position::default();
    let mut writes = plan.writes.into_iter().peekable();
    while writes.peek().is_some() {
        let (mut next, mut bytes) = (Vec::new(), 0);
        while let Some(write) = writes.next_if(|write| {
            let size = match &write.action {
                Action::Put { value, .. } => value.len(),
                Action::Delete => 0,
            };
            let fits = next.len() < RECORDS_MAX && bytes + size <= BATCH_BYTES_MAX / 2;
            bytes += size;
            fits
        }) {
            next.push(write);
        }
        let transaction = Transaction {
            partition: plan.partition.clone(),
            seen: Vec::new(),
            writes: next,
            answer: None,
            now_ms: now,
        };
        match store.commit_by(transaction, by).await? {
            Commit::Done { position: at, .. } => position.merge(&at),
            Commit::Conflict { .. } | Commit::Answered(_) => {
                return Err(Failure::new(
                    409,
                    "conflict",
                    "Somebody writes meanwhile",
                    "A part was written. Import it again while nobody writes to the tenant.",
                ));
            }
        }
    }
    Ok((plan.done, position))
}
