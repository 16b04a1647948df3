//! Backups and the health of the core, for administrators of the whole installation.

use super::app::App;
use super::extract::Admin;
use super::reply::{Failure, Reply};
use crate::{
    clock::now_ms,
    doctor::{of_projections, of_workflows},
    records::position,
    roster::everywhere,
    store::NewAudit,
    tokens::Caller,
};
use axum::{Json, extract::State};
use brink_protocol::{
    TenantName,
    control::WorkflowPhase,
    operations::{Backups, Diagnosis},
};
use http::StatusCode;
use std::{collections::BTreeSet, sync::Arc};

/// Workflows of one tenant that the doctor names at most.
const STUCK_MAX: usize = 10;

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

/// Looks whether the core is as it should be: store, log, disks, certificates, backups, PoPs, projections, workflows. Each finding says what to do.
#[utoipa::path(get, path = "/v1/doctor", tag = "operations", responses((status = 200, body = Diagnosis)))]
pub(super) async fn doctor(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
) -> Reply<Json<Diagnosis>> {
    check_installation(&caller)?;
    let pops = everywhere(&app.pops, &app.peers, &position(&*app.store)).await;
    let mut diagnosis = app.operate.doctor.examine(&pops, now_ms()).await;
    let table = app.deployments.current();
    let tenants: BTreeSet<&TenantName> = table.deployments.iter().map(|d| &d.tenant).collect();
    let (mut stands, mut stuck) = (Vec::new(), Vec::new());
    for tenant in tenants {
        stands.extend(app.projections.list(tenant).await?);
        let wanted = (None, Some(WorkflowPhase::Stuck));
        let found = app.workflows.list(tenant, wanted, None, STUCK_MAX).await?;
        let found = found.instances.into_iter();
        stuck.extend(found.map(|(name, id, _)| format!("{tenant}/{name}/{id}")));
    }
    diagnosis.findings.push(of_projections(&stands));
    diagnosis.findings.push(of_workflows(&stuck));
    Ok(Json(diagnosis))
}
