//! What would become of a request at this PoP, and why: what `brink cache explain` asks.
//!
//! It goes the way of a request as far as the cache, by the same functions, but for plugins, which are named and not run.

use crate::{
    cache::CacheRequest,
    exchange::{normal_host, normalise, strip_internal},
    keyed,
    pipeline::Edge,
    routes::{Entry, Target},
};
use brink_policy::keying::described;
use brink_protocol::problem::Problem;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header::COOKIE};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Most fields of a request that is explained.
const FIELDS_MAX: usize = 100;

/// A request that may be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// `http[s]://HOST/PATH`; without a scheme `https`.
    pub url: String,
    /// `GET` if left out.
    #[serde(default)]
    pub method: Option<String>,
    /// Names and values.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// What would become of it.
///
/// # Errors
/// The request is not valid, or its URL is on no route.
pub async fn explain(edge: &Edge, asked: &Asked) -> Result<Value, Box<Problem>> {
    let invalid = |detail: String| {
        Box::new(Problem::new(
            400,
            "request-invalid",
            "The request is not valid",
            detail,
        ))
    };
    let uri = uri_of(&asked.url)
        .ok_or_else(|| invalid(format!("{}: no such URL is asked for", asked.url)))?;
    let host = normal_host(uri.authority().map_or("", |authority| authority.as_str()));
    let host = host.ok_or_else(|| invalid("the host has characters that no host has".into()))?;
    let method = asked.method.as_deref().unwrap_or("GET");
    let method: Method = method
        .parse()
        .map_err(|_| invalid(format!("{method} is no method")))?;
    let mut headers = fields(&asked.headers).map_err(invalid)?;
    strip_internal(&mut headers);
    let table = edge.table.load();
    let Some(entry) = table.find(&host, uri.path()) else {
        let detail = format!(
            "{host}{} is on none of this PoP's routes: nothing answers it but 404",
            uri.path()
        );
        return Err(Box::new(Problem::new(
            404,
            "no-route",
            "There is no such route",
            detail,
        )));
    };
    let sent = headers.clone();
    let keyed = keyed::of(entry, &method, &uri, &mut headers, (&[], false));
    let whole = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = keyed.target.as_deref().unwrap_or(whole);
    let scheme = uri.scheme_str().unwrap_or("https");
    let request = CacheRequest {
        tenant: &entry.route.tenant,
        scheme,
        host: &host,
        path_and_query: target,
        extra: keyed.extra.as_deref(),
        ruled: keyed.ruled,
        method: &method,
        headers: &headers,
        has_content: false,
        set_on_way: &[],
        when_disconnected: entry.route.when_disconnected,
        at_least: None,
        is_uncached: false,
        pop: None,
    };
    let mut told = match &entry.target {
        Target::Static(_) => json!({ "decision": {
            "verdict": "static",
            "reasons": [{ "text": "the route gives a fixed answer, which needs no cache", "source": "caching.md" }],
        } }),
        Target::Module(_) | Target::Missing(_) | Target::Origin(_) => {
            edge.cache.explain_request(&request).await
        }
    };
    if let Some(told) = told.as_object_mut() {
        told.insert("url".into(), json!(format!("{scheme}://{host}{whole}")));
        told.insert("tenant".into(), json!(entry.route.tenant.as_str()));
        told.insert("route".into(), route(edge, entry));
        told.insert(
            "key".into(),
            json!({
                "scheme": scheme,
                "host": host,
                "target": target,
                "by_rule": keyed.extra.as_deref().map(described),
                "left_out": {
                    "parameters": left_parameters(whole, target),
                    "cookies": difference(&cookies(&sent), &cookies(&headers)),
                    "fields": difference(&names(&sent), &names(&headers)),
                },
                "vary_selects": entry.keying.is_plain() || entry.route.cache.key.headers.is_none(),
            }),
        );
    }
    Ok(told)
}

fn uri_of(url: &str) -> Option<Uri> {
    let url = match url.contains("://") {
        true => url.to_owned(),
        false => format!("https://{url}"),
    };
    let mut uri: Uri = url.parse().ok()?;
    uri.authority()?;
    matches!(uri.scheme_str(), Some("http" | "https")).then_some(())?;
    normalise(&mut uri)?;
    Some(uri)
}

fn fields(given: &[(String, String)]) -> Result<HeaderMap, String> {
    if given.len() > FIELDS_MAX {
        return Err(format!("it has more than {FIELDS_MAX} fields"));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let known: HeaderName = name
            .parse()
            .map_err(|_| format!("{name:?} is no name of a field"))?;
        // Its value may be a secret.
        let value = HeaderValue::from_str(value)
            .map_err(|_| format!("the value of {name} is none of a field"))?;
        headers.append(known, value);
    }
    Ok(headers)
}

fn route(edge: &Edge, entry: &Entry) -> Value {
    let (kind, shield) = match &entry.target {
        Target::Module(module) => (format!("module {}", module.deployment.name), false),
        Target::Missing(reason) => (reason.clone(), false),
        Target::Origin(_) => ("origin".to_owned(), edge.shields.is_some()),
        Target::Static(_) => ("static".to_owned(), false),
    };
    json!({
        "host": entry.route.host,
        "path": entry.route.path,
        "answers": kind,
        "asks_shield": shield,
        "plugins_not_run": entry.route.plugins,
        "when_disconnected": entry.route.when_disconnected,
        "cache": entry.route.cache,
    })
}

fn names(headers: &HeaderMap) -> BTreeSet<String> {
    headers
        .keys()
        .map(|name| name.as_str().to_owned())
        .collect()
}

fn cookies(headers: &HeaderMap) -> BTreeSet<String> {
    let lines = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let cookies = lines.flat_map(|line| line.split(';'));
    let names = cookies.map(|cookie| {
        cookie
            .split('=')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// Names of parameters that the key's target does not have.
fn left_parameters(sent: &str, target: &str) -> Vec<String> {
    let names = |target: &str| -> BTreeSet<String> {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let names = query
            .split('&')
            .map(|parameter| parameter.split('=').next().unwrap_or_default().to_owned());
        names.filter(|name| !name.is_empty()).collect()
    };
    difference(&names(sent), &names(target))
}

fn difference(all: &BTreeSet<String>, kept: &BTreeSet<String>) -> Vec<String> {
    all.difference(kept).cloned().collect()
}
