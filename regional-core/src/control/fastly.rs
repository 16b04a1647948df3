//! Purges as Fastly's API takes them (<https://www.fastly.com/documentation/reference/api/purging/>), so that its clients
//! work here: a service is the token's tenant, `Fastly-Key` is the token, and each answer leads to a purge with proof.
//!
//! What differs: all keys of one request are one purge, and have one id; `purge_all` is never soft, as there.

use super::app::App;
use super::dialect::{self, Denied, answer, error, operator, order};
use crate::tokens::Caller;
use axum::{
    Router,
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::post,
};
use brink_protocol::{
    control::PurgeStatus,
    problem::Problem,
    purge::{SELECTORS_MAX, Selector, TagName},
};
use http::{HeaderMap, Uri, header::AUTHORIZATION};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const KEY_HEADER: &str = "fastly-key";
const SOFT_HEADER: &str = "fastly-soft-purge";
const ENVIRONMENT_HEADER: &str = "fastly-purge-environment";
const SURROGATE_HEADER: &str = "surrogate-key";
/// Where URLs are purged; the URL follows.
pub(super) const URL_PATH: &str = "/purge/";

/// The paths of the dialect.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/service/{id}/purge", post(keys))
        .route("/service/{id}/purge/{*key}", post(key))
        .route("/service/{id}/purge_all", post(all))
        .route("/purge/{*url}", post(url))
}

/// An error in their words.
pub(super) struct Refused {
    status: u16,
    message: String,
    detail: String,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        error(
            self.status,
            json!({ "msg": self.message, "detail": self.detail }),
        )
    }
}

fn refused(status: u16, message: &str, detail: impl Into<String>) -> Refused {
    Refused {
        status,
        message: message.to_owned(),
        detail: detail.into(),
    }
}

fn problem(problem: Problem) -> Refused {
    let detail = problem.detail.unwrap_or_default();
    // What Fastly calls a bad request is 400, whatever is wrong with it.
    let status = if problem.status == 422 {
        400
    } else {
        problem.status
    };
    refused(status, &problem.title, detail)
}

fn is_soft(headers: &HeaderMap) -> bool {
    headers
        .get(SOFT_HEADER)
        .is_some_and(|value| value != "0" && value != "false")
}

/// The token: `Fastly-Key`, or a bearer's for those who send `PURGE`.
fn token(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get(KEY_HEADER) {
        return key.to_str().ok();
    }
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, Refused> {
    let unknown = || {
        let detail = "Send a token of the control API in `Fastly-Key`.";
        refused(401, "Provided credentials are missing or invalid", detail)
    };
    let token = token(headers).ok_or_else(unknown)?;
    operator(app, token).await.map_err(|denied| match denied {
        Denied::Unknown => unknown(),
        Denied::Role => refused(
            403,
            "You are not authorized to perform this action",
            "This needs a token with the role operator.",
        ),
        Denied::Failed(failure) => problem(failure),
    })
}

/// Who calls, and may purge the service.
async fn of_service(app: &App, headers: &HeaderMap, service: &str) -> Result<Caller, Refused> {
    let caller = caller(app, headers).await?;
    if caller.tenant.as_str() != service {
        let detail = "The service is the name of the token's tenant.";
        return Err(refused(404, "Record not found", detail));
    }
    if headers.contains_key(ENVIRONMENT_HEADER) {
        let detail = "There are no environments here: leave `Fastly-Purge-Environment` out.";
        return Err(refused(400, "Bad request", detail));
    }
    Ok(caller)
}

fn ok(status: &PurgeStatus) -> Response {
    answer(status, json!({ "status": "ok", "id": status.id }))
}

fn selector(key: &str) -> Result<Selector, Refused> {
    let key: Result<TagName, _> = key.parse();
    key.map(Selector::Key)
        .map_err(|error| refused(400, "Bad request", error.to_string()))
}

fn part<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Refused> {
    path.map(|Path(part)| part)
        .map_err(|error| refused(400, "Bad request", error.body_text()))
}

/// Purges one surrogate key.
#[utoipa::path(post, path = "/service/{id}/purge/{key}", tag = "fastly", security(("fastly" = [])),
    params(("id" = String, Path, description = "The token's tenant"), ("key" = String, Path, description = "The surrogate key"),
        ("Fastly-Soft-Purge" = Option<String>, Header, description = "`1`: make stale")),
    responses((status = 200, description = "`{\"status\": \"ok\", \"id\": ID}`")))]
pub(super) async fn key(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let (service, key) = part(path)?;
    let caller = of_service(&app, &headers, &service).await?;
    let selectors = vec![selector(&key)?];
    let status = order(&app, caller, &headers, selectors, is_soft(&headers)).await;
    Ok(ok(&status.map_err(problem)?))
}

/// The body of a purge of several keys.
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct SurrogateKeys {
    /// 1 to 256.
    surrogate_keys: Vec<String>,
}

/// Purges up to 256 surrogate keys: of the field `Surrogate-Key` with spaces between, or of the body.
#[utoipa::path(post, path = "/service/{id}/purge", tag = "fastly", security(("fastly" = [])), request_body = SurrogateKeys,
    params(("id" = String, Path, description = "The token's tenant"),
        ("Surrogate-Key" = Option<String>, Header, description = "The keys, with spaces between"),
        ("Fastly-Soft-Purge" = Option<String>, Header, description = "`1`: make stale")),
    responses((status = 200, description = "Each key with the purge's id: `{KEY: ID}`")))]
pub(super) async fn keys(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    let service = part(path)?;
    let caller = of_service(&app, &headers, &service).await?;
    let keys: Vec<String> = if headers.contains_key(SURROGATE_HEADER) {
        let fields = headers.get_all(SURROGATE_HEADER).iter();
        let text = fields.map(|field| field.to_str().unwrap_or("\u{7f}"));
        text.flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect()
    } else {
        let body = dialect::body(request).await.map_err(problem)?;
        let parsed: SurrogateKeys = serde_json::from_slice(&body)
            .map_err(|error| refused(400, "Bad request", error.to_string()))?;
        parsed.surrogate_keys
    };
    if keys.is_empty() || keys.len() > SELECTORS_MAX {
        let detail = format!("{} keys; one request has 1 to {SELECTORS_MAX}.", keys.len());
        return Err(refused(400, "Bad request", detail));
    }
    let selectors = keys
        .iter()
        .map(|key| selector(key))
        .collect::<Result<_, _>>()?;
    let status = order(&app, caller, &headers, selectors, is_soft(&headers)).await;
    let status = status.map_err(problem)?;
    let ids: Map<String, Value> = keys
        .into_iter()
        .map(|key| (key, json!(status.id)))
        .collect();
    Ok(answer(&status, Value::Object(ids)))
}

/// Purges everything of the tenant. Never soft.
#[utoipa::path(post, path = "/service/{id}/purge_all", tag = "fastly", security(("fastly" = [])),
    params(("id" = String, Path, description = "The token's tenant")),
    responses((status = 200, description = "`{\"status\": \"ok\", \"id\": ID}`")))]
pub(super) async fn all(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let service = part(path)?;
    let caller = of_service(&app, &headers, &service).await?;
    let status = order(&app, caller, &headers, vec![Selector::Everything], false).await;
    Ok(ok(&status.map_err(problem)?))
}

/// Purges one URL. The same is done for the method `PURGE` and a URL, as in `curl -X PURGE --proxy`, or a `Host` of its own.
#[utoipa::path(post, path = "/purge/{url}", tag = "fastly", security(("fastly" = [])),
    params(("url" = String, Path, description = "HOST/PATH[?QUERY], with or without scheme"),
        ("Fastly-Soft-Purge" = Option<String>, Header, description = "`1`: make stale")),
    responses((status = 200, description = "`{\"status\": \"ok\", \"id\": ID}`")))]
pub(super) async fn url(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let caller = caller(&app, &headers).await?;
    // As it was sent: what is percent-encoded in it stays so.
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let url = target.strip_prefix(URL_PATH).unwrap_or_default();
    let selectors = vec![Selector::Url(url.to_owned())];
    let status = order(&app, caller, &headers, selectors, is_soft(&headers)).await;
    Ok(ok(&status.map_err(problem)?))
}
