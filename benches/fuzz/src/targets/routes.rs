//! Any table of routes and any request: the longest path of the most exact host is found, as a naive search finds it. Empty
//! segments do not count, and an encoded slash is one.
//!
//! The input's first line is the request, `host path`; the others are routes of the same form, with `*` for any host. A host with a
//! port has more than one form; the tests of routes look at those.

use super::fields::texts;
use crate::Target;
use brink_policy::routes::RouteTable;
use brink_protocol::{deployment::Route, purge::normal_path};

pub(crate) const TARGET: Target = Target {
    name: "routes",
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "a /b/c\n* /\na /b\na /b/c/d\nb /b/c",
        "a /\n* /\n* /a",
        "b /a//b\nb /a/b\n* /a",
    ])
}

/// A path with each slash once and as itself, and none at its end.
fn plain(path: &str) -> String {
    let mut plain = path.replace("%2F", "/").replace("%5C", "/");
    while plain.contains("//") {
        plain = plain.replace("//", "/");
    }
    plain.trim_end_matches('/').to_owned()
}

fn leads(route: &Route, host: &str, path: &str) -> Option<(bool, usize)> {
    let host_fits = route.host.as_deref().is_none_or(|own| own == host);
    let (own, path) = (plain(&route.path), plain(path));
    let rest = path.strip_prefix(own.as_str());
    let path_fits = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    (host_fits && path_fits).then_some((route.host.is_some(), own.len()))
}

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let Some((host, path)) = lines
        .next()
        .filter(|(host, path)| path.starts_with('/') && !host.contains(':'))
    else {
        return;
    };
    // As a request's is before a route is looked for.
    let Some(path) = normal_path(path) else {
        return;
    };
    let path = &*path;
    let routes: Vec<Route> = lines
        .take(32)
        .filter_map(|(host, path)| {
            let host = (host != "*").then_some(host);
            let json =
                serde_json::json!({ "host": host, "path": path, "target": { "module": "m" } });
            serde_json::from_value::<Route>(json).ok()?.normal().ok()
        })
        .collect();
    let table = RouteTable::new(routes.clone());
    let found = table
        .find(host, path)
        .and_then(|route| leads(route, host, path));
    let best = routes
        .iter()
        .filter_map(|route| leads(route, host, path))
        .max();
    assert_eq!(found, best, "{host} {path} {routes:?}");
}
