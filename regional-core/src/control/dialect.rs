//! What purges in other platforms' dialects have in common: who calls, and a purge with proof in the end.

use super::app::App;
use super::extract::{JSON_BYTES_MAX, collect};
use super::idempotency::idempotency_key;
use super::purges::location;
use super::reply::{Failure, with_position};
use crate::{
    clock::now_ms,
    purges::{Asker, Budget, Order, normal},
    refusal::Refusal,
    tokens::{Caller, authenticate},
};
use axum::{
    Json,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use brink_protocol::{
    control::{PurgeStatus, Role},
    problem::Problem,
    purge::Selector,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Carries the purge's id, under which its proof is found at `/v1/purges/{id}`.
const PURGE_HEADER: HeaderName = HeaderName::from_static("brink-purge");
/// `Brink-Purge-Confirm: ?1`: whatever the installation's budget says. The dialects have no word for it.
const CONFIRM_HEADER: &str = "brink-purge-confirm";
const CONFIRM: &str = "Send `Brink-Purge-Confirm: ?1` to purge all the same.";

/// Why a caller is turned away.
#[derive(Debug)]
pub(super) enum Denied {
    /// The token is not known, or has ended.
    Unknown,
    /// Its role is too low.
    Role,
    /// The core failed.
    Failed(Problem),
}

/// Who has this token, if that is an operator.
pub(super) async fn operator(app: &App, token: &str) -> Result<Caller, Denied> {
    match authenticate(&*app.store, token, now_ms()).await {
        Ok(Some(caller)) if caller.role >= Role::Operator => Ok(caller),
        Ok(Some(_)) => Err(Denied::Role),
        Ok(None) => Err(Denied::Unknown),
        Err(error) => Err(Denied::Failed(Refusal::from(error).problem())),
    }
}

/// The whole body, at most 1 MiB.
pub(super) async fn body(request: Request) -> Result<Bytes, Problem> {
    collect(request, JSON_BYTES_MAX)
        .await
        .map_err(|Failure(problem)| problem)
}

/// Takes a purge.
pub(super) async fn order(
    app: &App,
    caller: Caller,
    headers: &HeaderMap,
    selectors: Vec<Selector>,
    soft: bool,
) -> Result<PurgeStatus, Problem> {
    let invalid = |error| Refusal::Invalid(error).problem();
    let confirm = headers.get(CONFIRM_HEADER);
    let order = Order {
        tenant: caller.tenant,
        asker: Asker::Token(caller.id),
        selectors: normal(selectors).map_err(invalid)?,
        soft,
        stagger_ms: None,
        idempotency_key: idempotency_key(headers).map_err(|Failure(problem)| problem)?,
        budget: Budget {
            confirm: confirm.is_some_and(|value| value == "?1"),
            ..Budget::default()
        },
        behind: Default::default(),
    };
    let taken = app.purges.order(order, now_ms()).await;
    Ok(taken
        .map_err(|refusal| refusal.problem_with(CONFIRM))?
        .status())
}

/// A dialect's own answer, with what leads to the proof.
pub(super) fn answer(status: &PurgeStatus, body: serde_json::Value) -> Response {
    let mut response = with_position(Json(body).into_response(), &status.position);
    location(&mut response, &status.id);
    if let Ok(id) = HeaderValue::from_str(&status.id) {
        response.headers_mut().insert(PURGE_HEADER, id);
    }
    response
}

/// A dialect's own error.
pub(super) fn error(status: u16, body: serde_json::Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body)).into_response()
}
