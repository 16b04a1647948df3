//! Purges as Cloudflare's API takes them (<https://developers.cloudflare.com/api/resources/cache/methods/purge/>), so that its
//! clients work here: a zone is the token's tenant, and each answer leads to a purge with proof.
//!
//! What differs: a URL is purged in all its variants, whatever `headers` are named with it; tags count upper and lower case;
//! only API tokens are taken, not global keys.

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
    problem::Problem,
    purge::{Selector, TagName},
};
use http::{HeaderMap, header::AUTHORIZATION};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// Most files, tags, hosts or prefixes of one request.
/// <https://developers.cloudflare.com/cache/how-to/purge-cache/#availability-and-limits>
const ITEMS_MAX: usize = 100;

/// Their numbers for errors, as far as they are known in public.
mod code {
    pub(super) const TOKEN: u32 = 1000;
    pub(super) const NOTHING: u32 = 1012;
    pub(super) const SHAPE: u32 = 1014;
    pub(super) const ITEM: u32 = 1016;
    pub(super) const LIMIT: u32 = 1134;
    pub(super) const ZONE: u32 = 7003;
    pub(super) const NO_TOKEN: u32 = 9106;
    pub(super) const DENIED: u32 = 10000;
    /// Ours: what they have no error for.
    pub(super) const OTHER: u32 = 10001;
}

/// The paths of the dialect.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/client/v4/zones/{zone}/purge_cache", post(purge))
        .route("/client/v4/zones/{zone}/invalidate_cache", post(invalidate))
}

/// An error in their words.
pub(super) struct Refused {
    status: u16,
    code: u32,
    message: String,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let errors = json!([{ "code": self.code, "message": self.message }]);
        error(
            self.status,
            json!({ "success": false, "errors": errors, "messages": [], "result": null }),
        )
    }
}

fn refused(status: u16, code: u32, message: impl Into<String>) -> Refused {
    Refused {
        status,
        code,
        message: message.into(),
    }
}

fn problem(problem: Problem) -> Refused {
    let message = problem.summary();
    match problem.status {
        422 => refused(400, code::ITEM, message),
        429 => refused(429, code::LIMIT, message),
        status => refused(status, code::OTHER, message),
    }
}

/// A file of a request: its URL, with or without headers that made part of its cache key.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(super) enum File {
    /// A URL.
    Url(String),
    /// A URL with headers. All variants are purged, whatever they say.
    WithHeaders {
        /// The URL.
        url: String,
        /// Not used.
        #[serde(default, rename = "headers")]
        _headers: BTreeMap<String, String>,
    },
}

/// What to purge: one of these.
#[derive(Serialize, Deserialize, Default, utoipa::ToSchema)]
#[serde(default)]
pub(super) struct PurgeCache {
    /// Up to 100 URLs.
    files: Option<Vec<File>>,
    /// Up to 100 tags.
    tags: Option<Vec<String>>,
    /// Up to 100 hosts.
    hosts: Option<Vec<String>>,
    /// Up to 100 prefixes, HOST/PATH.
    prefixes: Option<Vec<String>>,
    /// Everything of the tenant; stands alone.
    purge_everything: Option<bool>,
}

impl PurgeCache {
    fn selectors(self) -> Result<Vec<Selector>, (u32, String)> {
        let lists = [
            self.files.as_ref().map(Vec::len),
            self.tags.as_ref().map(Vec::len),
            self.hosts.as_ref().map(Vec::len),
            self.prefixes.as_ref().map(Vec::len),
        ];
        let named: Vec<usize> = lists.into_iter().flatten().filter(|len| *len > 0).collect();
        if self.purge_everything == Some(true) {
            if named.is_empty() {
                return Ok(vec![Selector::Everything]);
            }
            return Err((
                code::SHAPE,
                "\"purge_everything\" must be the only field".into(),
            ));
        }
        let [count] = named.as_slice() else {
            let fields = "\"purge_everything\", \"files\", \"tags\", \"hosts\" or \"prefixes\"";
            return Err((
                code::NOTHING,
                format!("Request must contain one of {fields}"),
            ));
        };
        if *count > ITEMS_MAX {
            let message = format!("{count} items; you may only purge {ITEMS_MAX} per request");
            return Err((code::SHAPE, message));
        }
        let url = |file| match file {
            File::Url(url) | File::WithHeaders { url, .. } => Selector::Url(url),
        };
        let mut all: Vec<_> = self
            .files
            .unwrap_or_default()
            .into_iter()
            .map(url)
            .collect();
        for tag in self.tags.unwrap_or_default() {
            let tag: TagName = tag
                .parse()
                .map_err(|error: brink_protocol::Error| (code::ITEM, error.to_string()))?;
            all.push(Selector::Key(tag));
        }
        all.extend(
            self.hosts
                .unwrap_or_default()
                .into_iter()
                .map(Selector::Host),
        );
        all.extend(
            self.prefixes
                .unwrap_or_default()
                .into_iter()
                .map(Selector::Prefix),
        );
        Ok(all)
    }
}

async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, Refused> {
    let Some(field) = headers.get(AUTHORIZATION) else {
        let message = if headers.contains_key("x-auth-key") {
            "Global keys (X-Auth-Key) are not taken here: send `Authorization: Bearer TOKEN`"
        } else {
            "Missing header: send `Authorization: Bearer TOKEN`"
        };
        return Err(refused(400, code::NO_TOKEN, message));
    };
    let parts = field.to_str().ok().and_then(|field| field.split_once(' '));
    let token = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let unknown = || refused(401, code::TOKEN, "Invalid API Token");
    let (_, token) = token.ok_or_else(unknown)?;
    operator(app, token.trim())
        .await
        .map_err(|denied| match denied {
            Denied::Unknown => unknown(),
            Denied::Role => refused(
                403,
                code::DENIED,
                "Authentication error: this needs a token with the role operator",
            ),
            Denied::Failed(failure) => problem(failure),
        })
}

async fn take(
    app: &App,
    path: Result<Path<String>, PathRejection>,
    request: Request,
    soft: bool,
) -> Result<Response, Refused> {
    let headers = request.headers().clone();
    let caller = caller(app, &headers).await?;
    let zone = path.map(|Path(zone)| zone).unwrap_or_default();
    if caller.tenant.as_str() != zone {
        let message = "Could not route to the zone: it is the name of the token's tenant, \
            perhaps your object identifier is invalid?";
        return Err(refused(404, code::ZONE, message));
    }
    let body = dialect::body(request).await.map_err(problem)?;
    let asked: PurgeCache = serde_json::from_slice(&body)
        .map_err(|error| refused(400, code::SHAPE, format!("The body does not fit: {error}")))?;
    let selectors = asked
        .selectors()
        .map_err(|(code, message)| refused(400, code, message))?;
    let status = order(app, caller, &headers, selectors, soft).await;
    let status = status.map_err(problem)?;
    let result = json!({ "id": status.id });
    Ok(answer(
        &status,
        json!({ "success": true, "errors": [], "messages": [], "result": result }),
    ))
}

/// Purges files, tags, hosts, prefixes or everything.
#[utoipa::path(post, path = "/client/v4/zones/{zone}/purge_cache", tag = "cloudflare", request_body = PurgeCache,
    params(("zone" = String, Path, description = "The token's tenant")),
    responses((status = 200, description = "`{\"success\": true, \"errors\": [], \"messages\": [], \"result\": {\"id\": ID}}`")))]
pub(super) async fn purge(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refused> {
    take(&app, path, request, false).await
}

/// Makes files, tags, hosts, prefixes or everything stale: a soft purge.
#[utoipa::path(post, path = "/client/v4/zones/{zone}/invalidate_cache", tag = "cloudflare", request_body = PurgeCache,
    params(("zone" = String, Path, description = "The token's tenant")),
    responses((status = 200, description = "`{\"success\": true, \"errors\": [], \"messages\": [], \"result\": {\"id\": ID}}`")))]
pub(super) async fn invalidate(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refused> {
    take(&app, path, request, true).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_at_a_time() {
        let of = |text: &str| {
            let asked: Result<PurgeCache, _> = serde_json::from_str(text);
            match asked.map(PurgeCache::selectors) {
                Ok(Ok(selectors)) => Ok(selectors.len()),
                Ok(Err((code, _))) => Err(code),
                Err(_) => Err(code::SHAPE),
            }
        };
        let many = format!("{{\"tags\": [{}]}}", vec!["\"t\""; 101].join(","));
        for (text, expected) in [
            ("{}", Err(code::NOTHING)),
            ("{\"files\": []}", Err(code::NOTHING)),
            ("{\"purge_everything\": false}", Err(code::NOTHING)),
            ("{\"purge_everything\": true}", Ok(1)),
            (
                "{\"purge_everything\": true, \"tags\": [\"a\"]}",
                Err(code::SHAPE),
            ),
            (
                "{\"tags\": [\"a\"], \"hosts\": [\"b\"]}",
                Err(code::NOTHING),
            ),
            ("{\"tags\": \"a\"}", Err(code::SHAPE)),
            ("{\"tags\": [\"a b\"]}", Err(code::ITEM)),
            (&many, Err(code::SHAPE)),
            (
                "{\"files\": [\"https://a/b\", {\"url\": \"https://a/c\", \"headers\": {\"Origin\": \"x\"}}]}",
                Ok(2),
            ),
            ("{\"hosts\": [\"a\"], \"tags\": []}", Ok(1)),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }
}
