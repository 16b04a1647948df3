//! Any table of routes and any request: the longest path of the most exact host is found, as a naive search finds it.
#![no_main]

use brink_policy::routes::RouteTable;
use brink_protocol::deployment::Route;
use libfuzzer_sys::fuzz_target;

fn leads(route: &Route, host: &str, path: &str) -> Option<(bool, usize)> {
    let host_fits = route.host.as_deref().is_none_or(|own| own == host);
    let rest = path.strip_prefix(route.path.as_str());
    let path_fits = route.path == "/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    (host_fits && path_fits).then_some((route.host.is_some(), route.path.len()))
}

fuzz_target!(|input: (Vec<(u8, String)>, u8, String)| {
    let host = |n: u8| format!("h{}", n % 4);
    let routes: Vec<Route> = input
        .0
        .into_iter()
        .take(32)
        .filter_map(|(h, path)| {
            let host = (h % 4 != 0).then(|| host(h));
            let json = serde_json::json!({ "host": host, "path": path, "target": { "module": "m" } });
            serde_json::from_value::<Route>(json).ok()?.normal().ok()
        })
        .collect();
    let (host, path) = (host(input.1), format!("/{}", input.2));
    let table = RouteTable::new(routes.clone());
    let found = table.find(&host, &path).and_then(|route| leads(route, &host, &path));
    let best = routes.iter().filter_map(|route| leads(route, &host, &path)).max();
    assert_eq!(found, best, "{host} {path} {routes:?}");
});
