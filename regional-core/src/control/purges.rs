//! Purges with proof.

use super::app::App;
use super::extract::{JsonBody, Operator, Params, PathParts, Reader};
use super::idempotency::idempotency_key;
use super::reply::{Failure, Reply, Written};
use crate::{
    clock::now_ms,
    purges::{Asker, Budget, LIST_MAX, Order, Search, Taken, Until, WAIT_MS_MAX, selectors},
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use brink_protocol::{
    Position,
    control::{COUNT_MS, COUNT_MS_MAX, NewPurge, PurgeEstimate, PurgePage, PurgeStatus},
};
use http::{HeaderMap, HeaderValue, StatusCode, header::LOCATION};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

/// How long a caller who asks to wait does so, in milliseconds, if it does not say.
const WAIT_MS: u64 = 10_000;

/// What is answered with 200: for the description of the interface.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "its schema is what it is for")]
enum PurgeAnswer {
    /// It was taken before.
    Status(PurgeStatus),
    /// It was a dry run.
    Estimate(PurgeEstimate),
}

/// Names the place where the state of a purge is found.
pub(super) fn location(response: &mut Response, id: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("/v1/purges/{id}")) {
        response.headers_mut().insert(LOCATION, value);
    }
}

/// Purges. The answer says which PoPs have to apply it; ask for its status to see when they have. A dry run purges nothing, and
/// says how many entries would end at which PoPs. A purge over its budget is refused with 409 (`purge-budget`).
#[utoipa::path(post, path = "/v1/purges", tag = "purges", request_body = NewPurge,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, kept for 24 hours: \
        repeating the request purges nothing anew")),
    responses(
        (status = 202, body = PurgeStatus, description = "On its way to every PoP",
            headers(("location" = String, description = "Where its state is"))),
        (status = 200, body = inline(PurgeAnswer), description = "It was taken before under this idempotency key; or what a \
            dry run counted"),
        (status = 409, body = brink_protocol::problem::Problem, description = "`purge-budget`: it would end too many entries"),
        (status = 422, body = brink_protocol::problem::Problem, description = "A value is not valid; `idempotency-key`: the key \
            was used for another purge"),
        (status = 429, body = brink_protocol::problem::Problem, description = "Too many dry runs at a time")))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    headers: HeaderMap,
    JsonBody(new): JsonBody<NewPurge>,
) -> Reply<Response> {
    let selectors = selectors(&new)?;
    let wait = Duration::from_millis(new.timeout.unwrap_or(COUNT_MS).min(COUNT_MS_MAX));
    if new.dry_run {
        let estimate = app.purges.estimate(&caller.tenant, selectors, wait).await?;
        return Ok(Json::<PurgeEstimate>(estimate).into_response());
    }
    let order = Order {
        tenant: caller.tenant,
        asker: Asker::Token(caller.id),
        selectors,
        soft: new.soft,
        stagger_ms: new.stagger_ms,
        idempotency_key: idempotency_key(&headers)?,
        budget: Budget {
            objects_max: new.objects_max,
            confirm: new.confirm,
            wait,
        },
        behind: Position::default(),
    };
    let taken = app.purges.order(order, now_ms()).await?;
    let status = match &taken {
        Taken::New(_) => StatusCode::ACCEPTED,
        Taken::Before(_) => StatusCode::OK,
    };
    let body = taken.status();
    let id = body.id.clone();
    let mut response = Written {
        status,
        position: body.position.clone(),
        body,
    }
    .into_response();
    location(&mut response, &id);
    Ok(response)
}

/// What to look for in the history; all that is named must fit.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// A kind of selector: `key`, `url`, `prefix`, `host`, `module`, `everything`.
    selector: Option<String>,
    /// Purges that ended what carries this name.
    key: Option<String>,
    /// Purges that ended this URL: itself, below a prefix, on its host, or with everything.
    url: Option<String>,
    /// Purges that ended something of this host.
    host: Option<String>,
    /// Who asked: the id of a token, `module:NAME`.
    by: Option<String>,
    /// Not before, in milliseconds since 1970.
    from: Option<u64>,
    /// Before, in milliseconds since 1970.
    to: Option<u64>,
    /// Where to go on: `next` of the answer before.
    before: Option<String>,
    /// 1 to 100; 100 if it is left out.
    limit: Option<usize>,
}

/// The history of purges, newest first: up to 10,000 of each tenant are kept.
#[utoipa::path(get, path = "/v1/purges", tag = "purges", params(HistoryQuery),
    responses((status = 200, body = PurgePage)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
    Params(query): Params<HistoryQuery>,
) -> Reply<Json<PurgePage>> {
    let search = Search {
        selector: query.selector,
        key: query.key,
        url: query.url,
        host: query.host,
        by: query.by,
        from_ms: query.from,
        to_ms: query.to,
        before: query.before,
        limit: query.limit.unwrap_or(LIST_MAX),
    };
    Ok(Json(app.purges.search(&caller.tenant, search).await?))
}

/// What to wait for.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitQuery {
    /// `all`: until every PoP that is known has applied it; `quorum`: until more than half have; `pop:ams`: until these
    /// have (several with commas).
    wait: Option<String>,
    /// At most so many milliseconds, up to 60,000; 10,000 if it is left out.
    timeout: Option<u64>,
}

/// How far a purge is: which PoPs have applied it, when, how many entries it ended, and which have not answered and since when
/// their lease keeps them from serving what it ended. 429: too many callers wait already.
#[utoipa::path(get, path = "/v1/purges/{id}", tag = "purges",
    params(("id" = String, Path, description = "The purge"), WaitQuery),
    responses((status = 200, body = PurgeStatus)))]
pub(super) async fn status(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
    PathParts(id): PathParts<String>,
    Params(query): Params<WaitQuery>,
) -> Reply<Json<PurgeStatus>> {
    let status = match query.wait.as_deref() {
        None => app.purges.status(&caller.tenant, &id).await?,
        Some(until) => {
            let until: Until = until.parse().map_err(|error: brink_protocol::Error| {
                Failure::new(400, "query", "The query is not valid", error.to_string())
            })?;
            let wait_ms = query.timeout.unwrap_or(WAIT_MS).min(WAIT_MS_MAX);
            let wait = Duration::from_millis(wait_ms);
            app.purges.wait(&caller.tenant, &id, &until, wait).await?
        }
    };
    Ok(Json(status.ok_or_else(|| {
        Failure::not_found("there is no such purge")
    })?))
}
