//! The active table: routes with what answers them, ready to run.
//!
//! A table is built whole beside the old one and then takes its place at once; exchanges keep the entry that they began
//! with.

use crate::{figures::Red, origin::OriginTarget};
use brink_policy::{keying::Keying, routes::RouteTable};
use brink_protocol::{
    ModuleName, TenantName,
    deployment::{Deployment, DeploymentTable, Route, StaticAnswer, Target as RouteTarget, World},
    purge::Selector,
};
use brink_sandbox::Component;
use metrics::{Counter, Histogram};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// A module or plugin, loaded and ready.
pub struct Deployed {
    /// What was deployed.
    pub deployment: Deployment,
    /// Its component, compiled.
    pub component: Component,
    /// Its configuration, shared with each run.
    pub config: Arc<BTreeMap<String, String>>,
    /// A newer version is deployed, but could not be loaded: this one answers on, and its answers are not stored.
    pub is_superseded: bool,
    /// Runs.
    pub runs: Counter,
    /// Time of a run, with the answer's body.
    pub seconds: Histogram,
}

impl Deployed {
    /// What was deployed, with its component.
    #[must_use]
    pub fn new(deployment: Deployment, component: Component, is_superseded: bool) -> Self {
        let module = deployment.name.as_str().to_owned();
        Self {
            runs: metrics::counter!("brink_module_runs_total", "module" => module.clone()),
            seconds: metrics::histogram!("brink_module_run_seconds", "module" => module),
            config: Arc::new(deployment.config.clone()),
            deployment,
            component,
            is_superseded,
        }
    }
}

/// Deployed modules and plugins by tenant and name.
pub type DeployedMap = HashMap<(TenantName, ModuleName), Arc<Deployed>>;

/// Who answers a route's requests.
pub enum Target {
    /// A module.
    Module(Arc<Deployed>),
    /// A module that is not deployed, not loaded or not a module: the text says which.
    Missing(String),
    /// HTTP origins.
    Origin(OriginTarget),
    /// A fixed answer.
    Static(StaticAnswer),
}

/// One route, ready to answer.
pub struct Entry {
    /// The route.
    pub route: Route,
    /// Who answers.
    pub target: Target,
    /// In the order in which they see requests. An error names the one that is not there.
    pub plugins: Result<Vec<Arc<Deployed>>, String>,
    /// What of a request is part of its cache key.
    pub keying: Keying,
    /// The revision of the table that it is in.
    pub revision: u64,
    /// What is counted for it.
    pub red: Red,
}

impl Entry {
    fn new(route: Route, revision: u64, deployed: &DeployedMap) -> Self {
        let find = |name: &ModuleName, world: World| {
            deployed
                .get(&(route.tenant.clone(), name.clone()))
                .filter(|found| found.deployment.world == world)
                .map(Arc::clone)
                .ok_or_else(|| {
                    let world = format!("{world:?}").to_lowercase();
                    format!("{world} {name} is not deployed at this PoP, or could not be loaded")
                })
        };
        let target = match &route.target {
            RouteTarget::Module(name) => match find(name, World::Module) {
                Ok(module) => Target::Module(module),
                Err(reason) => Target::Missing(reason),
            },
            RouteTarget::Origin(url) => Target::Origin(OriginTarget::one(&route.tenant, url)),
            RouteTarget::Origins(group) => {
                Target::Origin(OriginTarget::new(&route.tenant, group.clone()))
            }
            RouteTarget::Static(answer) => Target::Static(answer.clone()),
        };
        let plugins = route
            .plugins
            .iter()
            .map(|name| find(name, World::Plugin))
            .collect();
        let label = format!("{}{}", route.host.as_deref().unwrap_or("*"), route.path);
        Self {
            red: Red::register(&label),
            keying: Keying::new(&route.cache.key),
            route,
            target,
            plugins,
            revision,
        }
    }
}

/// Everything that answers requests now.
pub struct Table {
    source: DeploymentTable,
    routes: RouteTable,
    entries: Vec<Arc<Entry>>,
    deployed: DeployedMap,
}

impl Default for Table {
    fn default() -> Self {
        Self::new(DeploymentTable::default(), DeployedMap::new())
    }
}

impl Table {
    /// The routes of `source`, led to what was `deployed`. Routes that are not in normal form are left out.
    #[must_use]
    pub fn new(mut source: DeploymentTable, deployed: DeployedMap) -> Self {
        source.routes = source
            .routes
            .into_iter()
            .filter_map(|route| route.normal().ok())
            .collect();
        let entry = |route: &Route| Arc::new(Entry::new(route.clone(), source.revision, &deployed));
        Self {
            entries: source.routes.iter().map(entry).collect(),
            routes: RouteTable::new(source.routes.clone()),
            source,
            deployed,
        }
    }

    /// The entry of `path` at `host`; see [`RouteTable::find`].
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Entry>> {
        self.entries.get(self.routes.find_index(host, path)?)
    }

    /// What it was made of.
    #[must_use]
    pub fn source(&self) -> &DeploymentTable {
        &self.source
    }

    /// What is loaded.
    #[must_use]
    pub fn deployed(&self) -> &DeployedMap {
        &self.deployed
    }

    /// All entries, in the order of the routes.
    #[must_use]
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// Whose stored answers are to leave the cache when this table takes the place of `old`: those of modules that
    /// changed, and those below routes that came, went or lead elsewhere.
    #[must_use]
    pub fn outdates(&self, old: &Self) -> Vec<(TenantName, Selector)> {
        let mut outdated = Vec::new();
        for ((tenant, name), now) in &self.deployed {
            let before = old.deployed.get(&(tenant.clone(), name.clone()));
            if before.is_some_and(|before| !Arc::ptr_eq(before, now)) {
                outdated.push((tenant.clone(), Selector::Module(name.clone())));
            }
        }
        let (before, now) = (&old.source.routes, &self.source.routes);
        for route in now.iter().filter(|route| !before.contains(route)) {
            outdated.push(below(route));
        }
        for route in before.iter().filter(|route| !now.contains(route)) {
            outdated.push(below(route));
        }
        outdated
    }
}

/// Everything below a route; a route of every host has no prefix that names it, so it is everything of its tenant.
fn below(route: &Route) -> (TenantName, Selector) {
    let selector = match &route.host {
        Some(host) => Selector::Prefix(format!("{host}{}", route.path)),
        None => Selector::Everything,
    };
    (route.tenant.clone(), selector)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use brink_protocol::deployment::{WhenDisconnected, default_tenant};

    fn route(host: Option<&str>, path: &str, module: &str) -> Route {
        Route {
            tenant: default_tenant(),
            host: host.map(Into::into),
            path: path.into(),
            target: RouteTarget::Module(module.parse().unwrap()),
            plugins: Vec::new(),
            when_disconnected: WhenDisconnected::ServeStale,
            show_coherence: false,
            session_cookie: false,
            cache: Default::default(),
        }
    }

    fn table(routes: Vec<Route>) -> Table {
        let source = DeploymentTable {
            revision: 1,
            deployments: Vec::new(),
            routes,
        };
        Table::new(source, DeployedMap::new())
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let table = table(vec![route(None, "/a/", "shop")]);
        let entry = table.find("h", "/a/b").unwrap();
        let Target::Missing(reason) = &entry.target else {
            panic!("it is there");
        };
        assert_eq!(
            reason,
            "module shop is not deployed at this PoP, or could not be loaded"
        );
        assert!(table.find("h", "/b").is_none());
    }

    #[test]
    fn changed_routes_outdate_what_is_below_them() {
        let same = route(None, "/same", "a");
        let old = table(vec![same.clone(), route(Some("h"), "/x", "a")]);
        let new = table(vec![same.clone(), route(Some("h"), "/x", "b")]);
        let prefix = (default_tenant(), Selector::Prefix("h/x".into()));
        assert_eq!(new.outdates(&old), [prefix.clone(), prefix]);
        let none = table(vec![same]);
        assert_eq!(none.outdates(&none), []);
        let new = table(vec![route(None, "/same", "b")]);
        assert!(
            new.outdates(&none)
                .contains(&(default_tenant(), Selector::Everything))
        );
    }
}
