//! Who answers a request: the longest path of the most exact host.

use brink_protocol::{
    deployment::Route,
    place::{merged, without_port},
};
use rustc_hash::FxHashMap;

/// Most segments of a path that are looked at; a route cannot have more within its 2,048 bytes and be found by them.
const SEGMENTS_MAX: usize = 1024;

/// Routes by host and path. A lookup costs one hash for each segment of the path, however many routes there are.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    /// Path to index in `routes`, for each host that has routes of its own.
    hosts: FxHashMap<Box<str>, FxHashMap<Box<str>, usize>>,
    /// The same for routes without a host.
    any_host: FxHashMap<Box<str>, usize>,
}

impl RouteTable {
    /// A table of `routes`, which are in normal form (see [`Route::normal`]); of two with the same host and path the
    /// later one counts.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> Self {
        let mut table = Self {
            routes,
            ..Self::default()
        };
        for (index, route) in table.routes.iter().enumerate() {
            let paths = match &route.host {
                Some(host) => table.hosts.entry(host.as_str().into()).or_default(),
                None => &mut table.any_host,
            };
            paths.insert(trimmed(&merged(&route.path)).into(), index);
        }
        table
    }

    /// The route of `path` (without a query) at `host`, which is in the form of
    /// [`brink_protocol::purge::normal_host`]. A host with a port is looked for with it first, then without; a route of
    /// an exact host wins over one of every host, however long the latter's path. Empty segments do not count,
    /// and an encoded slash is one.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&Route> {
        self.routes.get(self.find_index(host, path)?)
    }

    /// As [`RouteTable::find`]: the route's place in [`RouteTable::routes`].
    #[must_use]
    pub fn find_index(&self, host: &str, path: &str) -> Option<usize> {
        let path = &*merged(path);
        let of_host = |host: &str| self.hosts.get(host).and_then(|paths| longest(paths, path));
        of_host(host)
            .or_else(|| of_host(without_port(host)?))
            .or_else(|| longest(&self.any_host, path))
    }

    /// All routes, in the order given.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

fn trimmed(path: &str) -> &str {
    path.trim_end_matches('/')
}

/// Tries `path` and then each of its parents, ending with the root, which is the empty path here.
fn longest(paths: &FxHashMap<Box<str>, usize>, path: &str) -> Option<usize> {
    if paths.is_empty() {
        return None;
    }
    let mut rest = trimmed(path);
    for _ in 0..SEGMENTS_MAX {
        if let Some(index) = paths.get(rest) {
            return Some(*index);
        }
        let Some(parent) = rest.rfind('/').and_then(|at| rest.get(..at)) else {
            break;
        };
        rest = trimmed(parent);
    }
    paths.get("").copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::deployment::{Target, WhenDisconnected, default_tenant};
    use proptest::prelude::*;

    fn route(host: Option<&str>, path: &str) -> Route {
        Route {
            tenant: default_tenant(),
            host: host.map(Into::into),
            path: path.into(),
            target: Target::Module("m".parse().unwrap()),
            plugins: vec![],
            when_disconnected: WhenDisconnected::ServeStale,
            show_coherence: false,
            session_cookie: false,
            cache: Default::default(),
        }
        .normal()
        .unwrap()
    }

    fn named(route: Option<&Route>) -> Option<(Option<&str>, &str)> {
        route.map(|r| (r.host.as_deref(), r.path.as_str()))
    }

    #[test]
    fn found() {
        let table = RouteTable::new(vec![
            route(None, "/"),
            route(None, "/a"),
            route(None, "/a/b/c"),
            route(Some("x.example"), "/a"),
            route(Some("y.example:8443"), "/"),
        ]);
        for (host, path, expected) in [
            ("h", "/", (None, "/")),
            ("h", "/ab", (None, "/")),
            ("h", "/a", (None, "/a")),
            ("h", "/a/", (None, "/a")),
            ("h", "/a/b", (None, "/a")),
            ("h", "//a/b", (None, "/a")),
            ("h", "/a//b///c", (None, "/a/b/c")),
            ("h", "/a/b/c/d", (None, "/a/b/c")),
            ("h", "*", (None, "/")),
            ("x.example", "/a/b/c", (Some("x.example"), "/a")),
            ("x.example:8080", "/a/b/c", (Some("x.example"), "/a")),
            ("x.example", "/b", (None, "/")),
            ("y.example", "/b", (None, "/")),
            ("y.example:8443", "/a", (Some("y.example:8443"), "/")),
            ("[::1]", "/a", (None, "/a")),
        ] {
            assert_eq!(
                named(table.find(host, path)),
                Some(expected),
                "{host} {path}"
            );
        }
        assert!(RouteTable::default().find("h", "/").is_none());
        assert!(
            RouteTable::new(vec![route(None, "/a")])
                .find("h", "/b")
                .is_none()
        );
    }

    #[test]
    fn deep_paths_end() {
        let table = RouteTable::new(vec![route(None, "/"), route(None, "/a/a")]);
        let deep = "/a".repeat(8_000);
        assert!(table.find("h", &deep).is_some());
    }

    proptest! {
        /// The table finds what trying every route would find.
        #[test]
        fn same_as_trying_all(
            paths in proptest::collection::vec("(/[ab]{1,2}){0,3}/?", 1..8),
            path in "(/[ab]{1,2}){0,5}/?",
        ) {
            let routes: Vec<_> = paths.iter().map(|p| route(None, &format!("/{}", p.trim_start_matches('/')))).collect();
            let covers = |r: &&Route| {
                let prefix = r.path.trim_end_matches('/');
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let expected = routes.iter().filter(covers).map(|r| r.path.trim_end_matches('/').len()).max();
            let table = RouteTable::new(routes.clone());
            let found = table.find("h", &path).map(|r| r.path.trim_end_matches('/').len());
            prop_assert_eq!(found, expected);
        }
    }
}
