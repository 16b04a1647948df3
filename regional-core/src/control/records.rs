//! Records: import and browsing.

use super::app::App;
use super::extract::{Operator, Params, PathParts, large_body};
use super::reply::{Failure, Reply, Written};
use crate::{
    Error,
    clock::now_ms,
    records::position,
    store::{Action, BATCH_BYTES_MAX, Commit, NewAudit, Reads, Store, Transaction, Write},
    trail::RECORDS_MAX,
};
use axum::{
    Json,
    extract::{Request, State},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::{
    Position, TenantName,
    address::PartitionAddress,
    control::{COMPONENT_BYTES_MAX, ImportLine, Imported},
    link::Condition,
    record::{Bound, Entry, Range, check_partition, check_sort, check_value, is_platform},
    trail::{Author, AuthorKind},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Transactions of one import that are under way at a time.
const IMPORT_CONCURRENCY: usize = 32;

/// Bytes of values of one transaction: an audit trail needs room beside them.
const BYTES_MAX: usize = BATCH_BYTES_MAX / 2;
/// Arrays and objects in each other; readers of JSON go no deeper.
const DEPTH_MAX: usize = 127;
const TOO_DEEP: &str = "the value has more than 127 arrays and objects in each other";

type Partitions = BTreeMap<(String, String), BTreeMap<String, (Bytes, Option<u64>)>>;

/// Writes records: one a line. Nothing is written if a line is not valid; of two lines with one key, the later counts.
#[utoipa::path(post, path = "/v1/records/import", tag = "records",
    request_body(content = ImportLine, content_type = "application/x-ndjson", description = "One record a line"),
    responses((status = 200, body = Imported)))]
pub(super) async fn import(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    request: Request,
) -> Reply<Written<Imported>> {
    let expected = [
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/json",
    ];
    let (_turn, body) = large_body(&app, &caller, request, &expected, COMPONENT_BYTES_MAX).await?;
    // Not here: 64 MiB of lines would hold up whatever else this thread has to do.
    let partitions = tokio::task::spawn_blocking(move || parse(&body))
        .await
        .map_err(|error| Error::store("reading an import", error))??;
    let imported = partitions.values().map(BTreeMap::len).sum::<usize>() as u64;
    let now = now_ms();
    let by = Author::new(AuthorKind::Token, &caller.id);
    // Before the records: an import that breaks off leaves a trace too.
    let audit = NewAudit {
        by: caller.id,
        tenant: caller.tenant.clone(),
        action: "records.import",
        subject: format!("{imported} records"),
        at_ms: now,
    };
    app.store.add_audit(audit).await?;
    let transactions = transactions(&caller.tenant, partitions, now);
    let commits =
        stream::iter(transactions).map(|transaction| app.store.commit_by(transaction, &by));
    let position = commits
        .buffer_unordered(IMPORT_CONCURRENCY)
        .try_fold(Position::default(), |mut all, commit| {
            if let Commit::Done { position, .. } = commit {
                all.merge(&position);
            }
            future::ready(Ok(all))
        })
        .await?;
    Ok(Written::ok(position, Imported { imported }))
}

/// A line as it may come: an [`ImportLine`], with the `version` that an export wrote and that does not count here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    collection: String,
    partition: String,
    sort: String,
    /// As it is written: a number of many digits stays what it is.
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default)]
    lifetime_ms: Option<u64>,
    #[serde(default, rename = "version")]
    _version: serde::de::IgnoredAny,
}

fn parse(body: &[u8]) -> Result<Partitions, Failure> {
    let mut partitions = Partitions::new();
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |reason: String| {
            Failure::new(
                422,
                "invalid",
                "A line is not valid",
                format!("line {}: {reason}", index + 1),
            )
        };
        let line: Line<'_> =
            serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
        let value = compact(line.value.get()).ok_or_else(|| wrong(TOO_DEEP.into()))?;
        check_partition(&line.collection, &line.partition)
            .and_then(|()| check_sort(&line.sort))
            .and_then(|()| check_value(&value, line.lifetime_ms))
            .map_err(|error| wrong(error.to_string()))?;
        if is_platform(&line.collection, &line.sort) {
            return Err(Failure::new(
                403,
                "forbidden",
                "The collection is the platform's",
                format!(
                    "line {}: nobody but the platform writes to {}",
                    index + 1,
                    line.collection
                ),
            ));
        }
        let partition = partitions
            .entry((line.collection, line.partition))
            .or_default();
        partition.insert(line.sort, (value, line.lifetime_ms));
    }
    Ok(partitions)
}

/// JSON without the white space between its parts; none: it is nested too deeply for those who are to read it.
pub(super) fn compact(json: &str) -> Option<Bytes> {
    let mut out = Vec::with_capacity(json.len());
    let (mut is_text, mut is_escaped, mut depth) = (false, false, 0usize);
    for byte in json.bytes() {
        if is_text {
            is_text = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
        } else {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                b'"' => is_text = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEPTH_MAX {
                return None;
            }
        }
        out.push(byte);
    }
    Some(out.into())
}

/// As few transactions as the limits allow.
fn transactions(tenant: &TenantName, partitions: Partitions, now_ms: u64) -> Vec<Transaction> {
    let mut all = Vec::new();
    for ((collection, partition), records) in partitions {
        let address = PartitionAddress {
            tenant: tenant.clone(),
            collection,
            partition,
        };
        let new = || Transaction {
            partition: address.clone(),
            seen: Vec::new(),
            writes: Vec::new(),
            answer: None,
            now_ms,
        };
        let (mut next, mut bytes) = (new(), 0);
        for (sort, (value, lifetime_ms)) in records {
            if next.writes.len() == RECORDS_MAX || bytes + value.len() > BYTES_MAX {
                all.push(std::mem::replace(&mut next, new()));
                bytes = 0;
            }
            bytes += value.len();
            let expires_at_ms = lifetime_ms.map(|lifetime| now_ms.saturating_add(lifetime));
            let action = Action::Put {
                value,
                expires_at_ms,
            };
            next.writes.push(Write {
                sort,
                action,
                condition: Condition::Always,
            });
        }
        all.push(next);
    }
    all
}

/// Which records.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordsQuery {
    /// 1 to 1000; 100 if it is left out.
    limit: Option<u32>,
    /// Records behind this sort key.
    after: Option<String>,
    /// How stale they may be, in milliseconds: what was acknowledged so long before is there. If it is left out they are
    /// read at the core that is asked, if they lie there.
    max_staleness_ms: Option<u64>,
}

/// A record as it is shown.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ShownRecord {
    /// Its sort key.
    sort: String,
    /// Its version.
    version: u64,
    /// Its value, if that is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<Box<RawValue>>,
    /// Its value in base64, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// Records of a partition.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ShownPage {
    /// In order of their sort keys.
    entries: Vec<ShownRecord>,
    /// There are more: go on behind the last sort key.
    more: bool,
}

pub(super) fn shown(entry: Entry) -> ShownRecord {
    let value = serde_json::from_slice(&entry.value).ok();
    let base64 = value.is_none().then(|| STANDARD.encode(&entry.value));
    ShownRecord {
        sort: entry.sort,
        version: entry.version,
        value,
        base64,
    }
}

/// The store of a read that may be so stale; none: it is made where it arrives.
pub(super) fn reading(store: &dyn Store, max_staleness_ms: Option<u64>) -> Option<Arc<dyn Store>> {
    let max_staleness = Duration::from_millis(max_staleness_ms?);
    store.reading(Reads::Within(max_staleness))
}

/// Shows records of a partition.
#[utoipa::path(get, path = "/v1/records/{collection}/{partition}", tag = "records",
    params(("collection" = String, Path, description = "The collection"),
        ("partition" = String, Path, description = "The partition key"), RecordsQuery),
    responses((status = 200, body = ShownPage)))]
pub(super) async fn browse(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    PathParts((collection, partition)): PathParts<(String, String)>,
    Params(query): Params<RecordsQuery>,
) -> Reply<Json<ShownPage>> {
    let range = Range {
        collection,
        partition,
        lower: query.after.map_or(Bound::Unbounded, Bound::Exclusive),
        upper: Bound::Unbounded,
        limit: query.limit.unwrap_or(100),
        descending: false,
    };
    let own = reading(&*app.store, query.max_staleness_ms);
    let store = own.as_deref().unwrap_or(&*app.store);
    let page = store.scan(&caller.tenant, &range, now_ms()).await?;
    Ok(Json(ShownPage {
        entries: page.entries.into_iter().map(shown).collect(),
        more: page.more,
    }))
}

/// The head of the log, for what wrote nothing there.
pub(super) fn head(store: &dyn Store) -> brink_protocol::Position {
    position(store)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_stay_what_they_are() {
        for (json, expected) in [
            ("12345678901234567890123", "12345678901234567890123"),
            ("0.10000000000000000555", "0.10000000000000000555"),
            (r#"{ "b" : 1 , "a" : [ 1, 2 ] }"#, r#"{"b":1,"a":[1,2]}"#),
            (r#"" a \" b \\" "#, r#"" a \" b \\""#),
        ] {
            assert_eq!(compact(json).unwrap(), expected);
            let line = format!(r#"{{"collection":"c","partition":"p","sort":"s","value":{json}}}"#);
            let parsed = parse(line.as_bytes()).ok().unwrap();
            let (value, _) = parsed.values().next().and_then(|all| all.get("s")).unwrap();
            assert_eq!(value, expected);
        }
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(compact(&deep(DEPTH_MAX)).is_some());
        assert!(serde_json::from_str::<serde_json::Value>(&deep(DEPTH_MAX)).is_ok());
        assert!(compact(&deep(DEPTH_MAX + 1)).is_none());
    }
}
