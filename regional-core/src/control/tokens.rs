//! Tokens and the audit log.

use super::app::App;
use super::extract::{Admin, JsonBody, Params, PathParts};
use super::records::head;
use super::reply::{Failure, Removed, Reply, Written};
use crate::{
    clock::now_ms,
    store::NewAudit,
    tokens::{self, Caller},
};
use axum::{Json, extract::State};
use brink_protocol::{
    TenantName,
    control::{AuditEntry, NewToken, Token},
};
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;

/// Whose things the caller may see: none: those of everybody.
fn scope(caller: &Caller) -> Option<&TenantName> {
    (!caller.is_installation_admin()).then_some(&caller.tenant)
}

/// Makes a token. Its secret is in this answer only.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = NewToken, responses((status = 201, body = Token)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    JsonBody(new): JsonBody<NewToken>,
) -> Reply<Written<Token>> {
    if scope(&caller).is_some_and(|tenant| *tenant != new.tenant) {
        let detail = "This token makes tokens of its own tenant only.";
        return Err(Failure::new(
            403,
            "forbidden",
            "The token may not do this",
            detail,
        ));
    }
    let token = tokens::create(&*app.store, &caller.id, new).await?;
    Ok(Written {
        status: StatusCode::CREATED,
        position: head(&*app.store),
        body: token,
    })
}

/// Every token, without secrets.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", responses((status = 200, body = [Token])))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
) -> Reply<Json<Vec<Token>>> {
    let rows = app.store.tokens(scope(&caller)).await?;
    Ok(Json(rows.into_iter().map(tokens::shown).collect()))
}

/// Ends a token at once.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens",
    params(("id" = String, Path, description = "The token's id")), responses((status = 204)))]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    PathParts(id): PathParts<String>,
) -> Reply<Removed> {
    let missing = || Failure::not_found("there is no such token");
    let rows = app.store.tokens(scope(&caller)).await?;
    let row = rows
        .into_iter()
        .find(|row| row.id == id)
        .ok_or_else(missing)?;
    let audit = NewAudit {
        by: caller.id.clone(),
        tenant: row.tenant,
        action: "token.delete",
        subject: id.clone(),
        at_ms: now_ms(),
    };
    if app.store.remove_token(&id, audit).await? {
        Ok(Removed(head(&*app.store)))
    } else {
        Err(missing())
    }
}

/// Which entries.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// 1 to 1000; 100 if it is left out.
    limit: Option<usize>,
    /// Entries before the one with this number.
    before: Option<u64>,
}

/// The newest entries of the audit log, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "tokens", params(AuditQuery), responses((status = 200, body = [AuditEntry])))]
pub(super) async fn audit(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Params(query): Params<AuditQuery>,
) -> Reply<Json<Vec<AuditEntry>>> {
    let limit = query.limit.unwrap_or(100).clamp(1, 1000);
    Ok(Json(
        app.store.audit(scope(&caller), query.before, limit).await?,
    ))
}
