//! Reads over several partitions, and which partitions are hot.

use super::app::App;
use super::extract::{JsonBody, Operator, Params};
use super::records::{ShownRecord, reading, shown};
use super::reply::{Failure, Reply};
use crate::{
    clock::now_ms,
    hot::Heat,
    refusal::Refusal,
    scatter::{PARTITIONS_MAX, Refused, Scatter, scatter},
    tokens::Caller,
};
use axum::{Json, extract::State};
use brink_protocol::record::Bound;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is read of several partitions.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScatterBody {
    /// The collection.
    collection: String,
    /// 1 to 64 different partition keys.
    partitions: Vec<String>,
    /// Sort keys from this one on; the first, if it is left out.
    #[serde(default)]
    from: Option<String>,
    /// Sort keys before this one; to the last, if it is left out.
    #[serde(default)]
    until: Option<String>,
    /// From the last sort key to the first.
    #[serde(default)]
    descending: bool,
    /// Only what comes behind this record, the last of the page before.
    #[serde(default)]
    after: Option<Place>,
    /// 1 to 1000 records of all partitions together; 100 if it is left out.
    #[serde(default)]
    limit: Option<u32>,
    /// How stale they may be, in milliseconds: what was acknowledged so long before is there. If it is left out they are
    /// read at the core that is asked, if they lie there.
    #[serde(default)]
    max_staleness_ms: Option<u64>,
}

/// Where a record stands in the order.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// Its sort key.
    sort: String,
    /// Its partition.
    partition: String,
}

/// A record of one of several partitions.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ScatteredRecord {
    /// Its partition.
    partition: String,
    /// The record.
    #[serde(flatten)]
    record: ShownRecord,
}

/// Records of several partitions.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ScatteredPage {
    /// By sort key and partition.
    entries: Vec<ScatteredRecord>,
    /// There are more: go on behind the last.
    more: bool,
}

/// Reads several partitions of a collection in one order. Each partition is of one moment, all together are not. If one
/// cannot be read, the answer is an error that names those that could not.
#[utoipa::path(post, path = "/v1/records/scatter", tag = "records", request_body = ScatterBody,
    responses((status = 200, body = ScatteredPage)))]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    JsonBody(body): JsonBody<ScatterBody>,
) -> Reply<Json<ScatteredPage>> {
    let asked = Scatter {
        collection: body.collection,
        partitions: body.partitions,
        lower: body.from.map_or(Bound::Unbounded, Bound::Inclusive),
        upper: body.until.map_or(Bound::Unbounded, Bound::Exclusive),
        descending: body.descending,
        after: body.after.map(|place| (place.sort, place.partition)),
        limit: body.limit.unwrap_or(100),
    };
    let own = reading(&*app.store, body.max_staleness_ms);
    let store = own.as_deref().unwrap_or(&*app.store);
    let gathered = scatter(store, &caller.tenant, &asked, now_ms()).await;
    let gathered = gathered.map_err(|refused| match refused {
        Refused::Invalid(error) => Failure::from(error),
        Refused::Failed(failed) => unread(failed),
    })?;
    let entries = gathered.found.into_iter().map(|found| ScatteredRecord {
        partition: found.partition,
        record: shown(found.entry),
    });
    Ok(Json(ScatteredPage {
        entries: entries.collect(),
        more: gathered.more,
    }))
}

fn unread(failed: Vec<(String, crate::Error)>) -> Failure {
    debug_assert!(failed.len() <= PARTITIONS_MAX, "as many as were asked for");
    let mut texts = Vec::new();
    for (partition, error) in failed {
        match error {
            // Every partition of a collection has the same rules.
            error @ crate::Error::Limit(_) => return error.into(),
            error => {
                let problem = Refusal::from(error).problem();
                let why = problem.detail.unwrap_or(problem.title);
                texts.push(format!("{partition:?}: {why}"));
            }
        }
    }
    let detail = format!("Nothing is given. Not read: {}", texts.join("; "));
    Failure::new(
        503,
        "partitions",
        "Some partitions could not be read",
        detail,
    )
}

/// How many.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HotQuery {
    /// 1 to 100 of each kind; 10 if it is left out.
    limit: Option<usize>,
}

/// How much is done with a partition, at this core.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct HotPartition {
    /// Whose.
    tenant: String,
    /// The collection.
    collection: String,
    /// The partition key.
    partition: String,
    /// How often in a second, at most.
    per_second: f64,
    /// How much of that may have been other partitions.
    per_second_error: f64,
}

/// The partitions with which most is done at this core.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct HotPartitions {
    /// Which are read most.
    reads: Vec<HotPartition>,
    /// Which are written most.
    writes: Vec<HotPartition>,
}

fn of_caller(heats: Vec<Heat>, caller: &Caller, limit: usize) -> Vec<HotPartition> {
    let is_seen =
        |heat: &Heat| caller.is_installation_admin() || heat.partition.tenant == caller.tenant;
    let heats = heats.into_iter().filter(is_seen).take(limit);
    heats
        .map(|heat| HotPartition {
            tenant: heat.partition.tenant.to_string(),
            collection: heat.partition.collection,
            partition: heat.partition.partition,
            per_second: heat.per_second,
            per_second_error: heat.per_second_error,
        })
        .collect()
}

/// The partitions with which most is done at this core, over the last 20 s or so.
#[utoipa::path(get, path = "/v1/partitions/hot", tag = "records", params(HotQuery),
    responses((status = 200, body = HotPartitions)))]
pub(super) async fn hot(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    Params(query): Params<HotQuery>,
) -> Json<HotPartitions> {
    let limit = query.limit.unwrap_or(10).clamp(1, 100);
    let hot = app.home.hot();
    Json(HotPartitions {
        reads: of_caller(hot.most_read(), &caller, limit),
        writes: of_caller(hot.most_written(), &caller, limit),
    })
}
