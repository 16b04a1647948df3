//! What tenants may claim of the one table that they share: hosts, paths of every host, room. Pure.

use crate::{refusal::Refusal, tokens::Caller};
use brink_protocol::{
    TenantName,
    codec::{self, MESSAGE_BYTES_MAX},
    deployment::{Deployment, DeploymentTable, Route, Target, World, default_tenant},
    purge::SELECTORS_MAX,
};

/// Routes that one deployment may bring: each may become a selector of one purge.
pub(super) const DEPLOY_ROUTES_MAX: usize = SELECTORS_MAX;
/// Bytes of one tenant's deployments and routes, as PoPs receive them: 4 MiB.
pub(super) const TENANT_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4;
/// Bytes of the whole table, as PoPs receive it: 15 MiB. A larger one would not fit into a message, and no PoP would
/// ever take up another change.
const TABLE_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (1 << 20);

/// A route for people: `example.com/a`, `*/a`.
pub(super) fn route_text(host: Option<&str>, path: &str) -> String {
    format!("{}{path}", host.unwrap_or("*"))
}

/// `host` without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        // No port: what is behind the last colon is the end of an address in brackets.
        _ => host,
    }
}

/// Whether another tenant than this one has a route on the host, on whatever port.
pub(super) fn belongs_to_other(table: &DeploymentTable, host: &str, tenant: &TenantName) -> bool {
    table.routes.iter().any(|other| {
        let host_of_other = other.host.as_deref();
        other.tenant != *tenant
            && host_of_other.is_some_and(|other| name_of(other) == name_of(host))
    })
}

/// Refuses a route that would take requests from another tenant.
///
/// A host, on all its ports, belongs to the tenant that has a route there; without that, a longer path would take
/// requests, with the cookies in them, out of another's site. Routes of every host are the default tenant's.
pub(super) fn check_host(table: &DeploymentTable, route: &Route) -> Result<(), Refusal> {
    let Some(host) = &route.host else {
        if route.tenant == default_tenant() {
            return Ok(());
        }
        return Err(Refusal::Conflict(format!(
            "a route of every host belongs to the tenant {}: name the host",
            default_tenant()
        )));
    };
    if belongs_to_other(table, host, &route.tenant) {
        return Err(Refusal::Conflict(format!(
            "the host {} belongs to another tenant",
            name_of(host)
        )));
    }
    Ok(())
}

/// Refuses a deployment that no longer is what the routes that name it need.
pub(super) fn check_world(table: &DeploymentTable, next: &Deployment) -> Result<(), Refusal> {
    let target = Target::Module(next.name.clone());
    let own = |route: &&Route| route.tenant == next.tenant;
    let wrong = table.routes.iter().filter(own).find(|route| {
        (route.target == target && next.world != World::Module)
            || (route.plugins.contains(&next.name) && next.world != World::Plugin)
    });
    match wrong {
        None => Ok(()),
        Some(route) => Err(Refusal::Conflict(format!(
            "{}@{} is of another world than route {} needs: change the route first",
            next.name,
            next.version,
            route_text(route.host.as_deref(), &route.path)
        ))),
    }
}

/// Refuses more routes than one deployment may bring.
pub(super) fn check_count(routes: usize) -> Result<(), Refusal> {
    if routes <= DEPLOY_ROUTES_MAX {
        return Ok(());
    }
    let detail = format!("there are {routes}, one deployment brings at most {DEPLOY_ROUTES_MAX}");
    Err(Refusal::unfit(
        "routes",
        "There are too many routes",
        detail,
    ))
}

/// Refuses a change that makes the table larger than PoPs can receive, or a tenant's part larger than its share.
pub(super) fn check_size(
    present: &DeploymentTable,
    next: &DeploymentTable,
    caller: &Caller,
) -> Result<(), Refusal> {
    let size = encoded_bytes(next)?;
    // What shrinks always goes through, or an overfull table could never be mended.
    if size <= TENANT_BYTES_MAX || size <= encoded_bytes(present)? {
        return Ok(());
    }
    let full = |what: &str, limit: usize| {
        let detail = format!("{what} would be over {limit} bytes: remove routes or deployments");
        Err(Refusal::Conflict(detail))
    };
    if size > TABLE_BYTES_MAX {
        return full("all deployments and routes", TABLE_BYTES_MAX);
    }
    let mut own = next.clone();
    own.deployments.retain(|d| d.tenant == caller.tenant);
    own.routes.retain(|route| route.tenant == caller.tenant);
    if encoded_bytes(&own)? > TENANT_BYTES_MAX {
        return full("the tenant's deployments and routes", TENANT_BYTES_MAX);
    }
    Ok(())
}

/// As it goes to PoPs; what does not fit into a message counts as the largest size there is.
fn encoded_bytes(table: &DeploymentTable) -> Result<usize, Refusal> {
    match codec::encode(table) {
        Ok(bytes) => Ok(bytes.len()),
        Err(brink_protocol::Error::Limit { actual, .. }) => {
            Ok(usize::try_from(actual).unwrap_or(usize::MAX))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::{
        Digest,
        control::Role,
        deployment::{Limits, StaticAnswer},
    };

    fn route(tenant: &str, host: Option<&str>, path: &str, body: usize) -> Route {
        Route {
            tenant: tenant.parse().unwrap(),
            host: host.map(Into::into),
            path: path.into(),
            target: Target::Static(StaticAnswer {
                status: 200,
                content_type: "text/plain".into(),
                body: "x".repeat(body),
            }),
            plugins: Vec::new(),
            when_disconnected: Default::default(),
            show_coherence: false,
            session_cookie: false,
            cache: Default::default(),
        }
    }

    #[test]
    fn a_host_has_one_tenant() {
        let table = DeploymentTable {
            routes: vec![
                route("a", Some("shop.test:8443"), "/", 0),
                route("default", None, "/x", 0),
            ],
            ..DeploymentTable::default()
        };
        for (tenant, host, path, fits) in [
            ("a", Some("shop.test"), "/login", true),
            ("b", Some("shop.test"), "/login", false),
            ("b", Some("shop.test:8443"), "/login", false),
            ("b", Some("shop.test:1"), "/", false),
            ("default", Some("shop.test"), "/login", false),
            ("b", Some("other.shop.test"), "/", true),
            ("b", Some("[::1]:8443"), "/", true),
            ("b", None, "/x/y", false),
            ("b", None, "/y", false),
            ("default", None, "/y", true),
        ] {
            let asked = route(tenant, host, path, 0);
            assert_eq!(check_host(&table, &asked).is_ok(), fits, "{asked:?}");
        }
        assert_eq!(name_of("[::1]:80"), "[::1]");
        assert_eq!(name_of("[::1]"), "[::1]");
    }

    #[test]
    fn what_routes_need_stays() {
        let deployment = |world| Deployment {
            tenant: default_tenant(),
            name: "auth".parse().unwrap(),
            version: 2,
            digest: Digest::of(b""),
            world,
            config: Default::default(),
            limits: Limits::default(),
            grants: Default::default(),
        };
        let led = Route {
            target: Target::Module("auth".parse().unwrap()),
            ..route("default", None, "/", 0)
        };
        let guarded = Route {
            plugins: vec!["auth".parse().unwrap()],
            ..route("default", None, "/", 0)
        };
        let others = route("default", None, "/", 0);
        for (routes, fit) in [
            (vec![led], [true, false, false, false, false]),
            (vec![guarded], [false, false, true, false, false]),
            (vec![others], [true; 5]),
        ] {
            let table = DeploymentTable {
                routes,
                ..DeploymentTable::default()
            };
            let worlds = [
                World::Module,
                World::Command,
                World::Plugin,
                World::Projection,
                World::Workflow,
            ];
            let fits = worlds.map(|world| check_world(&table, &deployment(world)).is_ok());
            assert_eq!(fits, fit, "{table:?}");
        }
    }

    #[test]
    fn the_table_fits_into_a_message() {
        let caller = |tenant: &str| Caller {
            id: "t".into(),
            role: Role::Publisher,
            tenant: tenant.parse().unwrap(),
        };
        let table = |parts: &[(&str, usize)]| DeploymentTable {
            routes: parts
                .iter()
                .map(|(tenant, bytes)| route(tenant, None, "/", *bytes))
                .collect(),
            ..DeploymentTable::default()
        };
        let share = TENANT_BYTES_MAX - 1000;
        let full = [("a", share), ("b", share), ("c", share), ("d", share)];
        let fits = |present: &DeploymentTable, next: &DeploymentTable, tenant: &str| {
            check_size(present, next, &caller(tenant)).is_ok()
        };
        let none = table(&[]);
        assert!(fits(&none, &table(&[("a", share)]), "a"));
        assert!(!fits(&none, &table(&[("a", share + 1000)]), "a"));
        let three = table(&full[..3]);
        assert!(fits(&none, &three, "c"));
        assert!(!fits(&three, &table(&full), "d"), "no room for the fourth");
        assert!(
            fits(&table(&full), &three, "d"),
            "what shrinks goes through"
        );
        assert!(codec::encode(&three).is_ok());
        assert!(check_count(DEPLOY_ROUTES_MAX).is_ok());
        assert!(check_count(DEPLOY_ROUTES_MAX + 1).is_err());
    }
}
