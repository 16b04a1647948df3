//! The state of the whole, PoPs, logs.

use super::app::App;
use super::extract::{Operator, Params, PathParts, Reader};
use super::reply::{Failure, Reply};
use crate::{
    logs::{LogQuery, NumberedLine},
    records::position,
    roster::everywhere,
};
use axum::{Json, extract::State};
use brink_protocol::{
    PopName,
    control::{Pop, PopAdmin, Status},
    deployment::default_tenant,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// The longest that a caller may wait for new lines, in milliseconds.
const WAIT_MS_MAX: u64 = 30_000;
/// Most lines of one answer.
const LINES_MAX: usize = 1000;

/// Whether the core is there.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Health {
    /// `ok`.
    status: &'static str,
    /// The core's software version.
    version: &'static str,
}

/// Whether the core is there. Needs no token.
#[utoipa::path(get, path = "/v1/health", tag = "status", security(()), responses((status = 200, body = Health)))]
pub(super) async fn health() -> Json<Health> {
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// The state of the whole.
#[utoipa::path(get, path = "/v1/status", tag = "status", responses((status = 200, body = Status)))]
pub(super) async fn status(State(app): State<Arc<App>>, Reader(caller): Reader) -> Json<Status> {
    let table = app.deployments.current();
    let head = position(&*app.store);
    let deployments = table
        .deployments
        .iter()
        .filter(|d| d.tenant == caller.tenant)
        .count() as u64;
    let routes = table
        .routes
        .iter()
        .filter(|route| route.tenant == caller.tenant)
        .count() as u64;
    Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        node: app.node.clone(),
        region: app.region.clone(),
        pops: everywhere(&app.pops, &app.peers, &head).await,
        lease_ms: u64::try_from(app.pops.lease().as_millis()).unwrap_or(u64::MAX),
        position: head,
        revision: table.revision,
        deployments,
        routes,
    })
}

/// The PoPs of all cores, as each tells of its own; of a core that is not reached, who its PoPs last were.
#[utoipa::path(get, path = "/v1/pops", tag = "status", responses((status = 200, body = [Pop])))]
pub(super) async fn pops(State(app): State<Arc<App>>, Reader(_caller): Reader) -> Json<Vec<Pop>> {
    Json(everywhere(&app.pops, &app.peers, &position(&*app.store)).await)
}

/// Where the admin interface of a PoP is that reports to this core. For operators of the default tenant: it shows what all
/// tenants have stored there.
#[utoipa::path(get, path = "/v1/pops/{pop}/admin", tag = "status", params(("pop" = String, Path, description = "The PoP.")),
    responses((status = 200, body = PopAdmin)))]
pub(super) async fn pop_admin(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    PathParts(pop): PathParts<String>,
) -> Reply<Json<PopAdmin>> {
    if caller.tenant != default_tenant() {
        return Err(Failure::new(
            403,
            "forbidden",
            "The token may not do this",
            "This is about all tenants: it takes a token of an operator of the default tenant.",
        ));
    }
    let pop: PopName = pop.parse().map_err(Failure::from)?;
    if let Some(admin) = app.pops.admin(&pop) {
        let admin = format!("http://{admin}");
        return Ok(Json(PopAdmin { pop, admin }));
    }
    let all = everywhere(&app.pops, &app.peers, &position(&*app.store)).await;
    let known = all.into_iter().find(|known| known.name == pop);
    Err(Failure::not_found(match known.map(|known| known.core) {
        None => format!("There is no PoP {pop}."),
        Some(Some(core)) if core != *app.peers.own() => {
            format!("PoP {pop} reports to core {core}: ask there.")
        }
        Some(_) => format!("PoP {pop} has not said where its admin interface is."),
    }))
}

/// Which lines.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsQuery {
    /// Of this module; of every module if it is left out.
    module: Option<String>,
    /// 1 to 1000; 100 if it is left out.
    limit: Option<usize>,
    /// After the line with this number, oldest first; the newest lines if it is left out.
    after: Option<u64>,
    /// Wait so many milliseconds, up to 30,000, for a line if there is none.
    wait_ms: Option<u64>,
}

/// The newest log lines of modules.
#[utoipa::path(get, path = "/v1/logs", tag = "status", params(LogsQuery), responses((status = 200, body = [NumberedLine])))]
pub(super) async fn logs(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
    Params(query): Params<LogsQuery>,
) -> Reply<Json<Vec<NumberedLine>>> {
    let asked = LogQuery {
        tenant: caller.tenant,
        module: query
            .module
            .map(|name| name.parse())
            .transpose()
            .map_err(Failure::from)?,
        after: query.after,
        limit: query.limit.unwrap_or(100).clamp(1, LINES_MAX),
    };
    let wait = Duration::from_millis(query.wait_ms.unwrap_or(0).min(WAIT_MS_MAX));
    let deadline = tokio::time::Instant::now() + wait;
    let mut added = app.logs.added();
    loop {
        added.mark_unchanged();
        let lines = app.logs.read(&asked);
        if !lines.is_empty()
            || !matches!(
                tokio::time::timeout_at(deadline, added.changed()).await,
                Ok(Ok(()))
            )
        {
            return Ok(Json(lines));
        }
    }
}
