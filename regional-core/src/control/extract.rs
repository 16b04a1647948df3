//! What a request of the control API says: who calls, which body, which parameters.

use super::app::App;
use super::large::{BODY_TIME, Turn};
use super::reply::Failure;
use crate::{
    clock::now_ms,
    tokens::{Caller, authenticate},
};
use axum::extract::{
    FromRequest, FromRequestParts, Path, Query, Request, rejection::QueryRejection,
};
use brink_listener::{BodyTooLarge, BoxError};
use brink_protocol::control::Role;
use bytes::Bytes;
use http::{
    HeaderMap,
    header::{AUTHORIZATION, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use std::sync::Arc;

/// Largest JSON body, in bytes.
pub(super) const JSON_BYTES_MAX: usize = 1 << 20;
/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 256;

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let is_token = scheme.eq_ignore_ascii_case("bearer") && token.len() <= TOKEN_BYTES_MAX;
    is_token.then(|| token.trim())
}

/// Who calls, if the token allows `role`.
async fn caller(parts: &Parts, app: &App, role: Role) -> Result<Caller, Failure> {
    let unauthorized =
        |detail: &str| Failure::new(401, "unauthorized", "A token is needed", detail);
    let token = bearer(&parts.headers)
        .ok_or_else(|| unauthorized("Send `Authorization: Bearer TOKEN`."))?;
    let caller = authenticate(&*app.store, token, now_ms()).await?;
    let caller =
        caller.ok_or_else(|| unauthorized("The token is not known here, or has ended."))?;
    if caller.role >= role {
        return Ok(caller);
    }
    let name = |role: Role| format!("{role:?}").to_lowercase();
    let detail = format!(
        "This needs the role {}, the token has {}.",
        name(role),
        name(caller.role)
    );
    Err(Failure::new(
        403,
        "forbidden",
        "The token may not do this",
        detail,
    ))
}

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident: $role:expr,)*) => {$(
        $(#[$doc])*
        pub(super) struct $name(pub(super) Caller);

        impl FromRequestParts<Arc<App>> for $name {
            type Rejection = Failure;

            async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
                caller(parts, app, $role).await.map(Self)
            }
        }
    )*};
}

roles! {
    /// Somebody who may look.
    Reader: Role::Reader,
    /// Somebody who may publish and deploy.
    Publisher: Role::Publisher,
    /// Somebody who may purge, and see and import records.
    Operator: Role::Operator,
    /// Somebody who may make tokens.
    Admin: Role::Admin,
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn collect(request: Request, limit: usize) -> Result<Bytes, Failure> {
    let too_large = || {
        Failure::new(
            413,
            "too-large",
            "The body is too large",
            format!("The limit is {limit} bytes."),
        )
    };
    match Limited::new(request.into_body(), limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if is_too_large(&error) => Err(too_large()),
        Err(error) => Err(Failure::new(
            400,
            "body",
            "The body broke off",
            error.to_string(),
        )),
    }
}

fn is_too_large(error: &BoxError) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = next {
        if error.is::<LengthLimitError>() || error.is::<BodyTooLarge>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// The media type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

fn expect_media_type(headers: &HeaderMap, expected: &[&str]) -> Result<(), Failure> {
    if expected.contains(&media_type(headers).as_str()) {
        return Ok(());
    }
    let detail = format!(
        "Send the body with `content-type: {}`.",
        expected.first().unwrap_or(&"")
    );
    Err(Failure::new(
        415,
        "media-type",
        "Another media type is needed",
        detail,
    ))
}

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Failure> {
        expect_media_type(request.headers(), &["application/json"])?;
        let body = collect(request, JSON_BYTES_MAX).await?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| match error.classify() {
                Category::Data => {
                    Failure::new(422, "invalid", "The body does not fit", error.to_string())
                }
                Category::Syntax | Category::Eof | Category::Io => {
                    Failure::new(400, "json", "The body is not JSON", error.to_string())
                }
            })
    }
}

/// A body of another kind, as large as the listener lets in, once there is a turn for it.
pub(super) async fn large_body(
    app: &App,
    caller: &Caller,
    request: Request,
    expected: &[&str],
    limit: usize,
) -> Result<(Turn, Bytes), Failure> {
    expect_media_type(request.headers(), expected)?;
    let turn = app.large_bodies.turn(&caller.tenant).await?;
    let collected = tokio::time::timeout(BODY_TIME, collect(request, limit)).await;
    let body = collected.unwrap_or_else(|_| {
        Err(Failure::new(
            408,
            "too-slow",
            "The body came too slowly",
            format!(
                "All of it must arrive within {} seconds.",
                BODY_TIME.as_secs()
            ),
        ))
    })?;
    Ok((turn, body))
}

/// Parts of the path: one text, or a tuple of them.
pub(super) struct PathParts<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for PathParts<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, app).await {
            Ok(Path(found)) => Ok(Self(found)),
            Err(error) => Err(Failure::new(
                400,
                "path",
                "The path is not valid",
                error.body_text(),
            )),
        }
    }
}

/// The parameters of a query.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Failure> {
        let query: Result<Query<T>, QueryRejection> = Query::try_from_uri(&parts.uri);
        let failed = |error: QueryRejection| {
            Failure::new(400, "query", "The query is not valid", error.body_text())
        };
        query
            .map(|Query(parameters)| Self(parameters))
            .map_err(failed)
    }
}
