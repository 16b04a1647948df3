//! The next deployment table. Pure.

use super::claims::{check_host, route_text};
use crate::{refusal::Refusal, tokens::Caller};
use brink_protocol::{
    ModuleName, TenantName,
    control::{Deploy, Version},
    deployment::{
        Deployment, DeploymentTable, Grants, Limits, ROUTES_MAX, Route, StaticAnswer, Target, World,
    },
    event::collections,
    origins::normal_url,
    purge::Selector,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Entries of a deployment's configuration.
const CONFIG_ENTRIES_MAX: usize = 256;
/// Longest name of a configuration value, in bytes.
const CONFIG_NAME_BYTES_MAX: usize = 128;
/// Bytes of all names and values of a deployment's configuration.
const CONFIG_BYTES_MAX: usize = 64 << 10;
/// Largest fixed answer, in bytes.
const STATIC_BYTES_MAX: usize = 64 << 10;

/// The most that a deployment's limits may be set to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceilings {
    /// See [`Limits::memory_bytes_max`]. Default 512 MiB.
    pub memory_bytes_max: u64,
    /// See [`Limits::wall_time_ms_max`]. Default 300,000.
    pub wall_time_ms_max: u64,
    /// See [`Limits::cpu_time_ms_max`]. Default 60,000.
    pub cpu_time_ms_max: u64,
    /// See [`Limits::response_bytes_max`]. Default 1 GiB.
    pub response_bytes_max: u64,
    /// See [`Limits::instance_reuse_max`]. Default 1,000,000.
    pub instance_reuse_max: u32,
    /// See [`Limits::concurrency_max`]. Default 10,000.
    pub concurrency_max: u32,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            memory_bytes_max: 512 << 20,
            wall_time_ms_max: 300_000,
            cpu_time_ms_max: 60_000,
            response_bytes_max: 1 << 30,
            instance_reuse_max: 1_000_000,
            concurrency_max: 10_000,
        }
    }
}

impl Ceilings {
    fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        let pairs = [
            (
                "memory_bytes_max",
                limits.memory_bytes_max,
                self.memory_bytes_max,
            ),
            (
                "wall_time_ms_max",
                limits.wall_time_ms_max,
                self.wall_time_ms_max,
            ),
            (
                "cpu_time_ms_max",
                limits.cpu_time_ms_max,
                self.cpu_time_ms_max,
            ),
            (
                "response_bytes_max",
                limits.response_bytes_max,
                self.response_bytes_max,
            ),
            (
                "instance_reuse_max",
                limits.instance_reuse_max.into(),
                self.instance_reuse_max.into(),
            ),
            (
                "concurrency_max",
                limits.concurrency_max.into(),
                self.concurrency_max.into(),
            ),
        ];
        let wrong = |(name, value, ceiling): &(&str, u64, u64)| {
            (*value == 0 || value > ceiling)
                .then(|| format!("{name} is {value}, it may be 1 to {ceiling}"))
        };
        let wrong: Vec<_> = pairs.iter().filter_map(wrong).collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Refusal::unfit(
                "limits",
                "A limit is beyond what this core allows",
                wrong.join("; "),
            ))
        }
    }
}

/// The present deployment of a module.
pub(super) fn find<'a>(
    table: &'a DeploymentTable,
    tenant: &TenantName,
    name: &ModuleName,
) -> Option<&'a Deployment> {
    table
        .deployments
        .iter()
        .find(|d| d.tenant == *tenant && d.name == *name)
}

/// A projection says what it reads and what it writes.
fn check_settings(next: &Deployment) -> Result<(), Refusal> {
    if next.world != World::Projection {
        return Ok(());
    }
    collections(&next.config).map(|_| ()).map_err(|error| {
        Refusal::unfit(
            "config",
            "The configuration is not what a projection needs",
            error.to_string(),
        )
    })
}

fn check_config(config: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let bytes: usize = config
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let is_name = |name: &String| {
        (1..=CONFIG_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_graphic())
    };
    let detail = if config.len() > CONFIG_ENTRIES_MAX {
        format!(
            "it has {} entries, the most are {CONFIG_ENTRIES_MAX}",
            config.len()
        )
    } else if bytes > CONFIG_BYTES_MAX {
        format!("it is {bytes} bytes, the limit is {CONFIG_BYTES_MAX}")
    } else if !config.keys().all(is_name) {
        "a name is 1 to 128 visible ASCII characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Refusal::unfit(
        "config",
        "The configuration is not valid",
        detail,
    ))
}

fn check_grants(has: Grants, needs: Grants) -> Result<(), Refusal> {
    let missing: Vec<&str> = [
        ("clock", has.clock, needs.clock),
        ("random", has.random, needs.random),
        ("outbound_http", has.outbound_http, needs.outbound_http),
        ("purge", has.purge, needs.purge),
    ]
    .into_iter()
    .filter_map(|(name, has, needs)| (needs && !has).then_some(name))
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "its imports need what it is not granted: {}",
        missing.join(", ")
    );
    Err(Refusal::unfit(
        "grants",
        "The module needs more grants",
        detail,
    ))
}

/// What is to run: what is asked for, and for the rest what runs now.
pub(super) fn deployment(
    caller: &Caller,
    deploy: &Deploy,
    version: &Version,
    present: Option<&Deployment>,
    needed: Grants,
    ceilings: &Ceilings,
) -> Result<Deployment, Refusal> {
    let next = Deployment {
        tenant: caller.tenant.clone(),
        name: deploy.module.clone(),
        version: version.version,
        digest: version.digest,
        world: version.world,
        config: deploy
            .config
            .clone()
            .or_else(|| present.map(|d| d.config.clone()))
            .unwrap_or_default(),
        limits: deploy
            .limits
            .clone()
            .or_else(|| present.map(|d| d.limits.clone()))
            .unwrap_or_default(),
        grants: deploy
            .grants
            .or_else(|| present.map(|d| d.grants))
            .unwrap_or_default(),
    };
    check_config(&next.config)?;
    check_settings(&next)?;
    check_grants(next.grants, needed)?;
    ceilings.check(&next.limits)?;
    Ok(next)
}

/// The routes that a deployment brings: those asked for, or `/NAME` for a module that none leads to.
pub(super) fn routes_of(
    caller: &Caller,
    deploy: &Deploy,
    next: &Deployment,
    table: &DeploymentTable,
) -> Result<Vec<Route>, Refusal> {
    if next.world != World::Module {
        return if deploy.routes.is_empty() {
            Ok(Vec::new())
        } else {
            Err(Refusal::unfit(
                "routes",
                "This is no module",
                "only a module answers requests; it has no routes",
            ))
        };
    }
    let route = |host: Option<String>, path: String| Route {
        tenant: caller.tenant.clone(),
        host,
        path,
        target: Target::Module(next.name.clone()),
        plugins: Vec::new(),
        when_disconnected: Default::default(),
        show_coherence: false,
        session_cookie: false,
        cache: Default::default(),
    };
    if deploy.routes.is_empty() {
        if !routes_to(table, caller, &next.name).is_empty() {
            return Ok(Vec::new());
        }
        let own = route(None, format!("/{}", next.name)).normal()?;
        if table
            .routes
            .iter()
            .any(|r| r.host.is_none() && r.path == own.path)
        {
            let detail = format!(
                "{} leads elsewhere already: name the routes of this module",
                own.path
            );
            return Err(Refusal::Conflict(detail));
        }
        return Ok(vec![own]);
    }
    deploy
        .routes
        .iter()
        .map(|new| {
            let route = Route {
                plugins: new.plugins.clone(),
                when_disconnected: new.when_disconnected,
                show_coherence: new.show_coherence,
                session_cookie: new.session_cookie,
                cache: new.cache.clone(),
                ..route(new.host.clone(), new.path.clone())
            }
            .normal()?;
            check_plugins(table, &route)?;
            Ok(route)
        })
        .collect()
}

/// Routes of a tenant that lead to a module.
pub(super) fn routes_to(table: &DeploymentTable, caller: &Caller, name: &ModuleName) -> Vec<Route> {
    let leads = |route: &&Route| {
        route.tenant == caller.tenant && route.target == Target::Module(name.clone())
    };
    table.routes.iter().filter(leads).cloned().collect()
}

/// Puts a deployment in the place of the module's present one.
pub(super) fn put_deployment(table: &mut DeploymentTable, next: Deployment) {
    table
        .deployments
        .retain(|d| (&d.tenant, &d.name) != (&next.tenant, &next.name));
    table.deployments.push(next);
    table
        .deployments
        .sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
}

/// Removes a deployment and the routes that lead to it.
pub(super) fn remove_deployment(
    table: &mut DeploymentTable,
    caller: &Caller,
    name: &ModuleName,
) -> Result<(), Refusal> {
    let is_plugin_of =
        |route: &&Route| route.tenant == caller.tenant && route.plugins.contains(name);
    if let Some(route) = table.routes.iter().find(is_plugin_of) {
        let text = route_text(route.host.as_deref(), &route.path);
        return Err(Refusal::Conflict(format!(
            "route {text} has it as a plugin: change the route first"
        )));
    }
    table
        .deployments
        .retain(|d| d.tenant != caller.tenant || d.name != *name);
    let target = Target::Module(name.clone());
    table
        .routes
        .retain(|route| route.tenant != caller.tenant || route.target != target);
    Ok(())
}

fn check_plugins(table: &DeploymentTable, route: &Route) -> Result<(), Refusal> {
    for name in &route.plugins {
        if find(table, &route.tenant, name).is_none_or(|d| d.world != World::Plugin) {
            return Err(Refusal::unfit(
                "routes",
                "A plugin is not deployed",
                format!("there is no plugin {name}"),
            ));
        }
    }
    Ok(())
}

/// Checks that those who are to answer are there.
pub(super) fn check_target(table: &DeploymentTable, route: &Route) -> Result<(), Refusal> {
    check_plugins(table, route)?;
    let unfit = |detail: String| {
        Err(Refusal::unfit(
            "routes",
            "The target of the route is not valid",
            detail,
        ))
    };
    match &route.target {
        Target::Module(name) => match find(table, &route.tenant, name) {
            Some(deployment) if deployment.world == World::Module => Ok(()),
            Some(_) => unfit(format!("{name} is deployed, but does not answer requests")),
            None => unfit(format!("{name} is not deployed")),
        },
        Target::Origin(url) => normal_url(url)
            .map(drop)
            .or_else(|error| unfit(error.to_string())),
        Target::Origins(group) => group
            .clone()
            .normal()
            .map(drop)
            .or_else(|error| unfit(error.to_string())),
        Target::Static(StaticAnswer {
            status,
            content_type,
            body,
        }) => {
            if !(200..600).contains(status) {
                unfit(format!("the status is {status}, it may be 200 to 599"))
            } else if http::HeaderValue::from_str(content_type).is_err() {
                unfit("the media type is not a header value".into())
            } else if body.len() > STATIC_BYTES_MAX {
                unfit(format!(
                    "the body is {} bytes, the limit is {STATIC_BYTES_MAX}",
                    body.len()
                ))
            } else {
                Ok(())
            }
        }
    }
}

/// Modules whose answers a route at this place puts out of date.
pub(super) fn modules_at(
    table: &DeploymentTable,
    caller: &Caller,
    route: &Route,
) -> Vec<ModuleName> {
    let is_here =
        |r: &&Route| r.tenant == caller.tenant && r.host == route.host && r.path == route.path;
    table
        .routes
        .iter()
        .filter(is_here)
        .filter_map(|r| match &r.target {
            Target::Module(name) => Some(name.clone()),
            Target::Origin(_) | Target::Origins(_) | Target::Static(_) => None,
        })
        .collect()
}

/// Puts routes in the place of those with the same host and path; gives what has to leave the caches because somebody
/// else answers there now.
pub(super) fn put_routes(
    table: &mut DeploymentTable,
    routes: Vec<Route>,
) -> Result<Vec<Selector>, Refusal> {
    let mut purge = Vec::new();
    for route in routes {
        let is_same = |r: &Route| r.host == route.host && r.path == route.path;
        check_host(table, &route)?;
        if table.routes.contains(&route) {
            continue;
        }
        if table.routes.iter().any(|r| overlap(r, &route)) {
            purge.push(selector(&route));
        }
        table.routes.retain(|r| !is_same(r));
        table.routes.push(route);
    }
    if table.routes.len() > ROUTES_MAX {
        return Err(Refusal::Conflict(format!(
            "there are {ROUTES_MAX} routes already, the most that a table has"
        )));
    }
    table
        .routes
        .sort_by(|a, b| (&a.host, &a.path).cmp(&(&b.host, &b.path)));
    purge.dedup();
    Ok(purge)
}

/// Whether some request may be led by either route.
fn overlap(a: &Route, b: &Route) -> bool {
    let hosts = a.host.is_none() || b.host.is_none() || a.host == b.host;
    let below = |path: &str, prefix: &str| {
        prefix == "/"
            || path
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    hosts && (below(&a.path, &b.path) || below(&b.path, &a.path))
}

/// What a route covers, for a purge.
pub(super) fn selector(route: &Route) -> Selector {
    match &route.host {
        Some(host) => Selector::Prefix(format!("{host}{}", route.path)),
        None => Selector::Everything,
    }
}

/// The history up to the deployment to go back to: the one before the last, or the latest of a version.
pub(super) fn history_until(history: &[Deployment], to: Option<u64>) -> Option<&[Deployment]> {
    let before = history.len().checked_sub(1)?;
    let earlier = history.get(..before)?;
    let at = match to {
        None => earlier.len().checked_sub(1)?,
        Some(version) => earlier.iter().rposition(|d| d.version == version)?,
    };
    history.get(..=at)
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
