//! `brink routes`.

use crate::{
    address::{RouteAddress, route_text},
    args::{Disconnected, RouteSet, Routes, RoutesAction, described},
    client::{Client, encoded},
    error::Error,
    output::{Output, table},
};
use brink_protocol::{
    deployment::{Route, StaticAnswer, Target, WhenDisconnected, default_tenant},
    origins::{Choice, HealthCheck, OriginGroup},
};
use http::Method;

/// Lists, sets and deletes routes.
pub(super) async fn run(
    args: Routes,
    client: impl FnOnce() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    match args.action.unwrap_or(RoutesAction::List) {
        RoutesAction::List => {
            let routes: Vec<Route> = client()?.get("/v1/routes").await?;
            output.result(&routes, |routes| list(routes))
        }
        RoutesAction::Set(set) => {
            let route = route(*set)?;
            let route: Route = client()?
                .send_json(Method::PUT, "/v1/routes", &route)
                .await?;
            output.result(&route, |route| list(std::slice::from_ref(route)))
        }
        RoutesAction::Delete { route } => {
            let RouteAddress { host, path } = route.parse()?;
            client()?
                .delete(&delete_path(host.as_deref(), &path))
                .await?;
            let deleted = serde_json::json!({ "host": host, "path": path });
            output.result(&deleted, |_| {
                format!("{} is deleted", route_text(host.as_deref(), &path))
            })
        }
    }
}

fn delete_path(host: Option<&str>, path: &str) -> String {
    let host = host
        .map(|host| format!("host={}&", encoded(host)))
        .unwrap_or_default();
    format!("/v1/routes?{host}path={}", encoded(path))
}

fn route(set: RouteSet) -> Result<Route, Error> {
    let RouteAddress { host, path } = set.route.parse()?;
    let target = match (&set.module, &set.static_body) {
        (Some(module), _) => Target::Module(module.clone()),
        (None, None) => origin_target(&set)?,
        (None, Some(body)) => Target::Static(StaticAnswer {
            status: set.status,
            content_type: set.content_type,
            body: body.clone(),
        }),
    };
    let when_disconnected = match set.when_disconnected {
        Disconnected::Revalidate => WhenDisconnected::Revalidate,
        Disconnected::ServeStale => WhenDisconnected::ServeStale,
        Disconnected::Fail => WhenDisconnected::Fail,
    };
    Ok(Route {
        tenant: default_tenant(),
        host,
        path,
        target,
        plugins: set.plugins,
        when_disconnected,
        show_coherence: set.shown.show_coherence,
        session_cookie: set.shown.session_cookie,
        cache: set.caching.rules().unwrap_or_default(),
    })
}

/// One origin is written as its URL alone, so that PoPs of earlier versions understand it.
fn origin_target(set: &RouteSet) -> Result<Target, Error> {
    let mut group = OriginGroup::of(&set.origin);
    if set.spread {
        group.choice = Choice::Spread;
    }
    for member in &mut group.members {
        member.health = set.health_check.as_deref().map(HealthCheck::of);
    }
    let group = group
        .normal()
        .map_err(|error| Error::Usage(error.to_string()))?;
    Ok(match group.members.as_slice() {
        [one] if group == OriginGroup::of([&*one.url]) => Target::Origin(one.url.clone()),
        _ => Target::Origins(group),
    })
}

fn origins(group: &OriginGroup) -> String {
    let urls: Vec<_> = group.members.iter().map(|origin| &*origin.url).collect();
    let choice = match group.choice {
        Choice::Failover => "origins",
        Choice::Spread => "spread-origins",
    };
    format!("{choice} {}", urls.join(","))
}

/// What answers carry for reading one's own writes.
fn shown(route: &Route) -> String {
    let mut shown = Vec::new();
    if route.show_coherence {
        shown.push("coherence");
    }
    if route.session_cookie {
        shown.push("session-cookie");
    }
    shown.join(",")
}

fn list(routes: &[Route]) -> String {
    let row = |route: &Route| {
        let target = match &route.target {
            Target::Module(name) => format!("module {name}"),
            Target::Origin(url) => format!("origin {url}"),
            Target::Origins(group) => origins(group),
            Target::Static(answer) => format!("static {} {}", answer.status, answer.content_type),
        };
        let plugins: Vec<_> = route.plugins.iter().map(ToString::to_string).collect();
        let disconnected = match route.when_disconnected {
            WhenDisconnected::Revalidate => "revalidate",
            WhenDisconnected::ServeStale => "serve-stale",
            WhenDisconnected::Fail => "fail",
        };
        vec![
            route_text(route.host.as_deref(), &route.path),
            target,
            plugins.join(","),
            disconnected.to_owned(),
            shown(route),
            described(&route.cache),
        ]
    };
    table(
        &[
            "ROUTE",
            "ANSWERS",
            "PLUGINS",
            "DISCONNECTED",
            "SHOWS",
            "CACHING",
        ],
        &routes.iter().map(row).collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser as _;

    fn check(line: &str) -> Result<String, String> {
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Routes(Routes {
            action: Some(RoutesAction::Set(set)),
        }) = cli.command
        else {
            panic!("{line}")
        };
        route(*set)
            .map(|route| {
                list(&[route])
                    .lines()
                    .last()
                    .unwrap()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .map_err(|e| e.to_string())
    }

    #[test]
    fn routes_to_set() {
        for (line, row) in [
            (
                "/shop --module orders --plugin a --plugin b",
                "/shop module orders a,b serve-stale",
            ),
            (
                "Shop.example/ --origin http://127.0.0.1:3000/",
                "shop.example/ origin http://127.0.0.1:3000 serve-stale",
            ),
            (
                "/ --origin http://a --origin https://B:1/",
                "/ origins http://a,https://b:1 serve-stale",
            ),
            (
                "/ --origin http://a --spread --health-check /up",
                "/ spread-origins http://a serve-stale",
            ),
            (
                "/own --module orders --show-coherence --session-cookie",
                "/own module orders serve-stale coherence,session-cookie",
            ),
            (
                "/q --module orders --no-compress --ignore-query utm_* --ignore-query b --sort-query --key-header A --no-cookies --key-device",
                "/q module orders serve-stale no-compress,query-without=utm_*+b,sort-query,headers=A,cookies=,device",
            ),
            (
                "/n --module orders --negative 30 --negative-failures 2 --shield",
                "/n module orders serve-stale negative=30,negative-failures=2,shield",
            ),
            (
                "/up --static ok --status 204 --when-disconnected fail",
                "/up static 204 text/plain; charset=utf-8 fail",
            ),
        ] {
            assert_eq!(
                check(&format!("brink routes set {line}")).as_deref(),
                Ok(row)
            );
        }
        for line in [
            "shop --module orders",
            "/a --origin ftp://a",
            "/a --origin http://a/b",
            "/a --origin a",
            "/a --origin http://a --origin http://a/",
            "/a --origin http://a --health-check up",
        ] {
            assert!(
                check(&format!("brink routes set {line}")).is_err(),
                "{line}"
            );
        }
    }

    #[test]
    fn routes_to_delete() {
        assert_eq!(delete_path(None, "/a b"), "/v1/routes?path=%2Fa%20b");
        assert_eq!(
            delete_path(Some("[::1]:80"), "/"),
            "/v1/routes?host=%5B%3A%3A1%5D%3A80&path=%2F"
        );
    }
}
