//! Versions of modules.

use super::app::App;
use super::extract::{PathParts, Publisher, Reader, large_body};
use super::reply::{Failure, Reply, Written};
use crate::registry;
use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use brink_protocol::{
    Digest, ModuleName,
    control::{COMPONENT_BYTES_MAX, Version},
};
use http::{StatusCode, header::CONTENT_TYPE};
use std::{collections::BTreeMap, sync::Arc};

/// Publishes a component as the next version of a module.
///
/// The component is inspected and compiled first: one that exports no world of Brink's, or imports what Brink does not
/// have, is refused with 422 and the reason.
#[utoipa::path(post, path = "/v1/modules/{name}/versions", tag = "modules",
    params(("name" = String, Path, description = "The module")),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, body = Version), (status = 200, description = "The module has this component already", body = Version),
        (status = 422, description = "It does not run here", body = brink_protocol::problem::Problem)))]
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    Publisher(caller): Publisher,
    PathParts(name): PathParts<String>,
    request: Request,
) -> Reply<Written<Version>> {
    let module: ModuleName = name.parse()?;
    let expected = ["application/wasm"];
    let (turn, component) =
        large_body(&app, &caller, request, &expected, COMPONENT_BYTES_MAX).await?;
    let published = registry::publish(&app.store, &app.sandbox, &caller, module, component).await?;
    drop(turn);
    let status = if published.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(Written {
        status,
        position: published.position,
        body: published.version,
    })
}

/// The newest version of each module.
#[utoipa::path(get, path = "/v1/modules", tag = "modules", responses((status = 200, body = [Version])))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
) -> Reply<Json<Vec<Version>>> {
    let versions = app.store.versions(&caller.tenant, None).await?;
    let newest: BTreeMap<_, _> = versions
        .into_iter()
        .map(|version| (version.module.clone(), version))
        .collect();
    Ok(Json(newest.into_values().collect()))
}

/// Every version of a module, oldest first.
#[utoipa::path(get, path = "/v1/modules/{name}/versions", tag = "modules",
    params(("name" = String, Path, description = "The module")), responses((status = 200, body = [Version])))]
pub(super) async fn versions(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
    PathParts(name): PathParts<String>,
) -> Reply<Json<Vec<Version>>> {
    let module: ModuleName = name.parse()?;
    let versions = app.store.versions(&caller.tenant, Some(&module)).await?;
    if versions.is_empty() {
        return Err(Failure::not_found(format!(
            "no version of {module} was published"
        )));
    }
    Ok(Json(versions))
}

/// A component of the caller's tenant.
#[utoipa::path(get, path = "/v1/components/{digest}", tag = "modules",
    params(("digest" = String, Path, description = "sha256:HEX")),
    responses((status = 200, content_type = "application/wasm", body = Vec<u8>)))]
pub(super) async fn component(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
    PathParts(digest): PathParts<String>,
) -> Reply<Response> {
    let digest: Digest = digest.parse()?;
    let missing = || Failure::not_found(format!("there is no component {digest}"));
    let versions = app.store.versions(&caller.tenant, None).await?;
    if !versions.iter().any(|version| version.digest == digest) {
        return Err(missing());
    }
    let bytes = app.store.component(&digest).await?.ok_or_else(missing)?;
    Ok(([(CONTENT_TYPE, "application/wasm")], bytes).into_response())
}
