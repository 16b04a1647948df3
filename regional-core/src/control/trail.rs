//! The audit trail of a record.

use super::app::App;
use super::extract::{Operator, Params};
use super::reply::Reply;
use crate::{clock::now_ms, trail};
use axum::{Json, extract::State};
use brink_protocol::{record::Key, trail::TrailPage};
use serde::Deserialize;
use std::sync::Arc;

/// Which record, and which part of its trail.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TrailQuery {
    /// The collection.
    collection: String,
    /// The partition key.
    partition: String,
    /// The sort key; empty if it is left out.
    #[serde(default)]
    sort: String,
    /// Older than the page that gave this as `next`.
    before: Option<String>,
    /// 1 to 1000; 100 if it is left out.
    limit: Option<u32>,
}

/// Who changed a record, newest first: what its collection keeps with `audit_ms`. Of a record that is gone, too.
#[utoipa::path(get, path = "/v1/records/audit", tag = "records", params(TrailQuery),
    responses((status = 200, body = TrailPage)))]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    Params(query): Params<TrailQuery>,
) -> Reply<Json<TrailPage>> {
    let record = Key {
        collection: query.collection,
        partition: query.partition,
        sort: query.sort,
    };
    let (before, limit) = (query.before.as_deref(), query.limit.unwrap_or(100));
    let store = &*app.store;
    let page = trail::page(store, &caller.tenant, &record, before, limit, now_ms());
    Ok(Json(page.await?))
}
