//! Purges with proof.

use super::app::App;
use super::extract::{JsonBody, Operator, Params, PathParts, Reader};
use super::reply::{Failure, Reply, Written};
use crate::{
    clock::now_ms,
    purges::{Asker, WAIT_MS_MAX, selectors},
};
use axum::{Json, extract::State};
use brink_protocol::control::{NewPurge, PurgeStatus};
use http::StatusCode;
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

/// How long a caller who asks to wait does so, in milliseconds, if it does not say.
const WAIT_MS: u64 = 10_000;
/// Purges of one listing.
const LIST_MAX: usize = 100;

/// Purges. The answer says which PoPs have to apply it; ask for its status to see when they have.
#[utoipa::path(post, path = "/v1/purges", tag = "purges", request_body = NewPurge,
    responses((status = 202, body = PurgeStatus)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    JsonBody(new): JsonBody<NewPurge>,
) -> Reply<Written<PurgeStatus>> {
    let selectors = selectors(&new)?;
    let status = app
        .purges
        .create(
            caller.tenant,
            &Asker::Token(caller.id),
            selectors,
            new.soft,
            now_ms(),
        )
        .await?;
    Ok(Written {
        status: StatusCode::ACCEPTED,
        position: status.position.clone(),
        body: status,
    })
}

/// The newest purges, newest first.
#[utoipa::path(get, path = "/v1/purges", tag = "purges", responses((status = 200, body = [PurgeStatus])))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
) -> Reply<Json<Vec<PurgeStatus>>> {
    Ok(Json(app.purges.list(&caller.tenant, LIST_MAX).await?))
}

/// What to wait for.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitQuery {
    /// `all`: until every PoP has applied it.
    wait: Option<String>,
    /// At most so many milliseconds, up to 60,000; 10,000 if it is left out.
    timeout: Option<u64>,
}

/// How far a purge is: which PoPs have applied it, when, how many entries it ended, and which have not answered.
#[utoipa::path(get, path = "/v1/purges/{id}", tag = "purges",
    params(("id" = String, Path, description = "The purge"), WaitQuery),
    responses((status = 200, body = PurgeStatus)))]
pub(super) async fn status(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
    PathParts(id): PathParts<String>,
    Params(query): Params<WaitQuery>,
) -> Reply<Json<PurgeStatus>> {
    let wait_ms = match query.wait.as_deref() {
        None => 0,
        Some("all") => query.timeout.unwrap_or(WAIT_MS).min(WAIT_MS_MAX),
        Some(_) => {
            return Err(Failure::new(
                400,
                "query",
                "The query is not valid",
                "`wait` is `all`",
            ));
        }
    };
    let status = app
        .purges
        .wait(&caller.tenant, &id, Duration::from_millis(wait_ms))
        .await?;
    Ok(Json(status.ok_or_else(|| {
        Failure::not_found("there is no such purge")
    })?))
}
