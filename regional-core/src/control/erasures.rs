//! Erasures, with proof.

use super::app::App;
use super::extract::{Admin, JsonBody, PathParts, Reader};
use super::reply::{Failure, Reply};
use axum::{Json, extract::State};
use brink_protocol::operations::{Erasure, NewErasure};
use http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// Erases all rows of partitions, and single records: they are deleted, every PoP has to say that nothing made from them is
/// left, and it is looked whether anything came back. The erasure's certificate says so.
#[utoipa::path(post, path = "/v1/erasures", tag = "operations", request_body = NewErasure,
    responses((status = 202, body = Erasure)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    JsonBody(new): JsonBody<NewErasure>,
) -> Reply<(StatusCode, Json<Erasure>)> {
    let erasures = &app.operate.erasures;
    let erasure = erasures.begin(caller.tenant, &caller.id, new).await?;
    Ok((StatusCode::ACCEPTED, Json(erasure)))
}

/// How far an erasure is; its certificate once it is done.
#[utoipa::path(get, path = "/v1/erasures/{id}", tag = "operations",
    params(("id" = String, Path, description = "The erasure")), responses((status = 200, body = Erasure)))]
pub(super) async fn status(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    PathParts(id): PathParts<String>,
) -> Reply<Json<Erasure>> {
    let found = app.operate.erasures.status(&caller.tenant, &id).await?;
    let missing = || Failure::not_found("there is no such erasure");
    Ok(Json(found.ok_or_else(missing)?))
}

/// The key that a core signs certificates with.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct CertificateKey {
    /// Ed25519 public key, in base64.
    key: String,
}

/// The public key that this core signs certificates with.
#[utoipa::path(get, path = "/v1/certificate-key", tag = "operations", responses((status = 200, body = CertificateKey)))]
pub(super) async fn key(
    State(app): State<Arc<App>>,
    Reader(_caller): Reader,
) -> Json<CertificateKey> {
    let key = app.operate.erasures.key();
    Json(CertificateKey { key })
}
