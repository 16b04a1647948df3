//! Backups and the health of the core, for administrators of the whole installation.

use super::app::App;
use super::extract::Admin;
use super::reply::{Failure, Reply};
use crate::{clock::now_ms, records::position, store::NewAudit, tokens::Caller};
use axum::{Json, extract::State};
use brink_protocol::operations::{Backups, Diagnosis};
use http::StatusCode;
use std::sync::Arc;

/// Refuses everybody else.
pub(super) fn check_installation(caller: &Caller) -> Result<(), Failure> {
    if caller.is_installation_admin() {
        return Ok(());
    }
    Err(Failure::new(
        403,
        "forbidden",
        "The token may not do this",
        "This is about all tenants: it takes a token of an admin of the default tenant.",
    ))
}

/// What is kept as backups, and up to when.
#[utoipa::path(get, path = "/v1/backups", tag = "operations", responses((status = 200, body = Backups)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
) -> Reply<Json<Backups>> {
    check_installation(&caller)?;
    let backups = Arc::clone(&app.operate.backups);
    let shown = tokio::task::spawn_blocking(move || backups.shown())
        .await
        .map_err(|error| crate::Error::Runtime(error.to_string()))??;
    Ok(Json(shown))
}

/// Takes a snapshot now. 409: no directory for backups is configured.
#[utoipa::path(post, path = "/v1/backups", tag = "operations", responses((status = 202, body = Backups)))]
pub(super) async fn take(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
) -> Reply<(StatusCode, Json<Backups>)> {
    check_installation(&caller)?;
    if !app.operate.backups.take_now() {
        return Err(Failure::new(
            409,
            "no-backups",
            "This core takes no backups",
            "Set `directory` in `[backup]` of its configuration.",
        ));
    }
    let audit = NewAudit {
        by: caller.id.clone(),
        tenant: caller.tenant.clone(),
        action: "backup",
        subject: app.node.clone(),
        at_ms: now_ms(),
    };
    app.store.add_audit(audit).await?;
    let shown = list(State(app), Admin(caller)).await?;
    Ok((StatusCode::ACCEPTED, shown))
}

/// Looks whether the core is as it should be: store, log, disks, certificates, backups, PoPs. Each finding says what to do.
#[utoipa::path(get, path = "/v1/doctor", tag = "operations", responses((status = 200, body = Diagnosis)))]
pub(super) async fn doctor(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
) -> Reply<Json<Diagnosis>> {
    check_installation(&caller)?;
    let pops = app.pops.list(&position(&*app.store));
    Ok(Json(app.operate.doctor.examine(&pops, now_ms()).await))
}
