//! Deployments and routes.

use super::app::App;
use super::extract::{JsonBody, Params, PathParts, Publisher, Reader};
use super::reply::{Failure, Removed, Reply, Written};
use axum::{Json, extract::State};
use brink_protocol::{
    control::{Deploy, Deployed, Rollback},
    deployment::{Deployment, Route},
    purge::{normal_host, normal_path},
};
use serde::Deserialize;
use std::sync::Arc;

/// Deploys a version of a module.
#[utoipa::path(post, path = "/v1/deployments", tag = "deployments", request_body = Deploy,
    responses((status = 200, body = Deployed)))]
pub(super) async fn deploy(
    State(app): State<Arc<App>>,
    Publisher(caller): Publisher,
    JsonBody(deploy): JsonBody<Deploy>,
) -> Reply<Written<Deployed>> {
    let deployed = app.deployments.deploy(&caller, deploy).await?;
    Ok(Written::ok(deployed.position.clone(), deployed))
}

/// What is deployed.
#[utoipa::path(get, path = "/v1/deployments", tag = "deployments", responses((status = 200, body = [Deployment])))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
) -> Json<Vec<Deployment>> {
    let table = app.deployments.current();
    let own = table
        .deployments
        .iter()
        .filter(|deployment| deployment.tenant == caller.tenant);
    Json(own.cloned().collect())
}

/// Goes back to an earlier deployment of a module.
#[utoipa::path(post, path = "/v1/deployments/{name}/rollback", tag = "deployments",
    params(("name" = String, Path, description = "The module")), request_body = Rollback,
    responses((status = 200, body = Deployed)))]
pub(super) async fn rollback(
    State(app): State<Arc<App>>,
    Publisher(caller): Publisher,
    PathParts(name): PathParts<String>,
    JsonBody(to): JsonBody<Rollback>,
) -> Reply<Written<Deployed>> {
    let deployed = app
        .deployments
        .rollback(&caller, &name.parse()?, to)
        .await?;
    Ok(Written::ok(deployed.position.clone(), deployed))
}

/// Takes a module out of service, with the routes that lead to it.
#[utoipa::path(delete, path = "/v1/deployments/{name}", tag = "deployments",
    params(("name" = String, Path, description = "The module")), responses((status = 204)))]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Publisher(caller): Publisher,
    PathParts(name): PathParts<String>,
) -> Reply<Removed> {
    Ok(Removed(
        app.deployments.remove(&caller, &name.parse()?).await?,
    ))
}

/// The routes.
#[utoipa::path(get, path = "/v1/routes", tag = "routes", responses((status = 200, body = [Route])))]
pub(super) async fn routes(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
) -> Json<Vec<Route>> {
    let table = app.deployments.current();
    Json(
        table
            .routes
            .iter()
            .filter(|route| route.tenant == caller.tenant)
            .cloned()
            .collect(),
    )
}

/// Sets a route, in the place of one with the same host and path.
#[utoipa::path(put, path = "/v1/routes", tag = "routes", request_body = Route, responses((status = 200, body = Route)))]
pub(super) async fn put_route(
    State(app): State<Arc<App>>,
    Publisher(caller): Publisher,
    JsonBody(route): JsonBody<Route>,
) -> Reply<Written<Route>> {
    let (route, position) = app.deployments.put_route(&caller, route).await?;
    Ok(Written::ok(position, route))
}

/// Which route.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RouteQuery {
    /// The route's host; left out for a route of every host.
    host: Option<String>,
    /// The route's path.
    path: String,
}

/// Removes a route.
#[utoipa::path(delete, path = "/v1/routes", tag = "routes", params(RouteQuery), responses((status = 204)))]
pub(super) async fn remove_route(
    State(app): State<Arc<App>>,
    Publisher(caller): Publisher,
    Params(query): Params<RouteQuery>,
) -> Reply<Removed> {
    let host = query.host.as_deref().map(normal_host).transpose()?;
    let Some(spelled) = normal_path(&query.path) else {
        return Err(Failure::not_found(
            "no route has segments . and .. in its path",
        ));
    };
    let trimmed = spelled.trim_end_matches('/');
    let path = if trimmed.is_empty() { "/" } else { trimmed };
    Ok(Removed(
        app.deployments
            .remove_route(&caller, host.as_deref(), path)
            .await?,
    ))
}
