//! What PoPs are to run: deployments and routes, changed one revision at a time.

mod claims;
mod plan;

pub use plan::Ceilings;

use crate::{
    Error,
    clock::now_ms,
    records::position,
    refusal::Refusal,
    store::{Held, NewAudit, NewPurge, Store, TableChange},
    tokens::Caller,
};
use arc_swap::ArcSwap;
use brink_protocol::{
    ModuleName, Position, TenantName,
    control::{Deploy, Deployed, Rollback, Version},
    deployment::{Deployment, DeploymentTable, Grants, Route, Target},
    purge::{Purge, Selector},
};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::watch;

/// How often a change is tried when others change the table at the same time.
const ATTEMPTS_MAX: u32 = 8;
/// Shortest time between two readings of the table because other cores wrote.
const FOLLOWED_EVERY: Duration = Duration::from_millis(200);

/// The present deployment table, in memory.
pub struct Tables {
    store: Arc<dyn Store>,
    current: ArcSwap<DeploymentTable>,
}

impl Tables {
    /// The table that the store has.
    ///
    /// # Errors
    /// The store.
    pub async fn load(store: Arc<dyn Store>) -> Result<Arc<Self>, Error> {
        let held = store.is_shared().then(|| store.held());
        let current = ArcSwap::from_pointee(store.table().await?);
        let tables = Arc::new(Self { store, current });
        if let Some(held) = held {
            tokio::spawn(follow(Arc::downgrade(&tables), held));
        }
        Ok(tables)
    }

    /// The present table.
    #[must_use]
    pub fn current(&self) -> Arc<DeploymentTable> {
        self.current.load_full()
    }

    /// Whether a host, on whatever port, belongs to another tenant than this one.
    #[must_use]
    pub fn belongs_to_other(&self, host: &str, tenant: &TenantName) -> bool {
        claims::belongs_to_other(&self.current(), host, tenant)
    }

    /// Reads the table again.
    async fn refresh(&self) -> Result<Arc<DeploymentTable>, Error> {
        let table = Arc::new(self.store.table().await?);
        // Two may read at a time; an older reading never takes the place of a newer one.
        self.current.rcu(|present| {
            if present.revision < table.revision {
                Arc::clone(&table)
            } else {
                Arc::clone(present)
            }
        });
        Ok(table)
    }
}

/// Reads the table again when other cores have written to the engine that they share with this one; ends with the table.
async fn follow(tables: Weak<Tables>, mut held: watch::Receiver<Arc<Held>>) {
    let mut read_at = Position::default();
    while held.changed().await.is_ok() {
        let heads = held.borrow_and_update().heads.clone();
        let Some(tables) = tables.upgrade() else {
            return;
        };
        let own = tables.store.origin();
        let is_new = |(origin, head)| origin != own && head > read_at.get(origin);
        if heads.iter().any(is_new) {
            match tables.refresh().await {
                Ok(_) => read_at = heads,
                Err(error) => tracing::warn!(%error, "the deployment table was not read again"),
            }
            drop(tables);
            tokio::time::sleep(FOLLOWED_EVERY).await;
        }
    }
}

/// A change of the table, before it is committed.
struct Plan<T> {
    table: DeploymentTable,
    /// Whose answers leave the caches.
    modules: Vec<ModuleName>,
    /// What else does.
    purge: Vec<Selector>,
    history: Option<(ModuleName, Vec<Deployment>)>,
    answer: T,
}

/// Changes deployments and routes.
#[derive(Clone)]
pub struct Deployments {
    store: Arc<dyn Store>,
    tables: Arc<Tables>,
    ceilings: Ceilings,
}

impl Deployments {
    /// Over a store and its table.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, tables: Arc<Tables>, ceilings: Ceilings) -> Self {
        Self {
            store,
            tables,
            ceilings,
        }
    }

    /// The present table.
    #[must_use]
    pub fn current(&self) -> Arc<DeploymentTable> {
        self.tables.current()
    }

    /// Commits what `plan` makes of the present table; again if another change came first.
    async fn change<T>(
        &self,
        caller: &Caller,
        action: &'static str,
        subject: &str,
        module: Option<&ModuleName>,
        mut plan: impl FnMut(&DeploymentTable, Vec<Deployment>) -> Result<Plan<T>, Refusal> + Send,
    ) -> Result<(T, Position), Refusal> {
        for _ in 0..ATTEMPTS_MAX {
            let present = self.tables.refresh().await?;
            // Read after the table: a history that is newer than the table goes with a revision that will not be there.
            let history = match module {
                Some(name) => self.store.history(&caller.tenant, name).await?,
                None => Vec::new(),
            };
            let planned = plan(&present, history)?;
            claims::check_size(&present, &planned.table, caller)?;
            let now = now_ms();
            let purge = (!planned.purge.is_empty()).then(|| NewPurge {
                purge: Purge {
                    id: ulid::Ulid::new().to_string(),
                    tenant: caller.tenant.clone(),
                    selectors: planned.purge,
                    soft: false,
                },
                by: format!("route-change:{}", caller.id),
                at_ms: now,
                answer: None,
                later: None,
                behind: Position::default(),
            });
            let change = TableChange {
                expected_revision: present.revision,
                table: planned.table,
                tenant: caller.tenant.clone(),
                modules: planned.modules,
                history: planned.history,
                purge,
                at_ms: now,
            };
            let audit = NewAudit {
                by: caller.id.clone(),
                tenant: caller.tenant.clone(),
                action,
                subject: subject.to_owned(),
                at_ms: now,
            };
            if let Some(position) = self.store.change_table(change, audit).await? {
                self.tables.refresh().await?;
                return Ok((planned.answer, position));
            }
        }
        Err(Refusal::Conflict(
            "the deployments are being changed by others all the time; try again".into(),
        ))
    }

    /// Deploys a version of a module.
    ///
    /// # Errors
    /// There is no such version, it may not do what it needs, a limit, a route that does not fit, or the store.
    pub async fn deploy(&self, caller: &Caller, deploy: Deploy) -> Result<Deployed, Refusal> {
        claims::check_count(deploy.routes.len())?;
        let version = self.version(caller, &deploy.module, deploy.version).await?;
        let needed = self.grants_needed(&version).await?;
        let subject = format!("{}@{}", version.module, version.version);
        let (answer, position) = self
            .change(
                caller,
                "deploy",
                &subject,
                Some(&deploy.module),
                |table: &DeploymentTable, history: Vec<Deployment>| {
                    let present = plan::find(table, &caller.tenant, &deploy.module);
                    let next = plan::deployment(
                        caller,
                        &deploy,
                        &version,
                        present,
                        needed,
                        &self.ceilings,
                    )?;
                    let previous_version = present.map(|deployment| deployment.version);
                    let mut history = history;
                    if history.last() != Some(&next) {
                        history.push(next.clone());
                    }
                    let mut table = table.clone();
                    let asked = plan::routes_of(caller, &deploy, &next, &table)?;
                    claims::check_world(&table, &next)?;
                    plan::put_deployment(&mut table, next.clone());
                    let purge = plan::put_routes(&mut table, asked)?;
                    let routes = plan::routes_to(&table, caller, &next.name);
                    Ok(Plan {
                        table,
                        modules: vec![next.name.clone()],
                        purge,
                        history: Some((next.name.clone(), history)),
                        answer: (next, previous_version, routes),
                    })
                },
            )
            .await?;
        let (deployment, previous_version, routes) = answer;
        Ok(Deployed {
            deployment,
            previous_version,
            routes,
            position,
        })
    }

    /// Goes back to what was deployed before, or to the last deployment of a version.
    ///
    /// # Errors
    /// There is nothing to go back to, or the store.
    pub async fn rollback(
        &self,
        caller: &Caller,
        name: &ModuleName,
        to: Rollback,
    ) -> Result<Deployed, Refusal> {
        let (answer, position) = self
            .change(
                caller,
                "rollback",
                name.as_str(),
                Some(name),
                |table: &DeploymentTable, history: Vec<Deployment>| {
                    let present = plan::find(table, &caller.tenant, name)
                        .ok_or_else(|| Refusal::NotFound(format!("{name} is not deployed")))?;
                    let kept = plan::history_until(&history, to.to).ok_or_else(|| {
                        Refusal::Conflict(match to.to {
                            Some(version) => format!(
                                "{name}@{version} was not deployed before; deploy it instead"
                            ),
                            None => {
                                format!("nothing was deployed before {name}@{}", present.version)
                            }
                        })
                    })?;
                    let next = kept
                        .last()
                        .cloned()
                        .ok_or_else(|| Refusal::NotFound("no history".into()))?;
                    let previous_version = Some(present.version);
                    claims::check_world(table, &next)?;
                    let mut table = table.clone();
                    plan::put_deployment(&mut table, next.clone());
                    let routes = plan::routes_to(&table, caller, name);
                    Ok(Plan {
                        table,
                        modules: vec![name.clone()],
                        purge: Vec::new(),
                        history: Some((name.clone(), kept.to_vec())),
                        answer: (next, previous_version, routes),
                    })
                },
            )
            .await?;
        let (deployment, previous_version, routes) = answer;
        Ok(Deployed {
            deployment,
            previous_version,
            routes,
            position,
        })
    }

    /// Takes a module out of service, with the routes that lead to it.
    ///
    /// # Errors
    /// It is not deployed, a route has it as a plugin, or the store.
    pub async fn remove(&self, caller: &Caller, name: &ModuleName) -> Result<Position, Refusal> {
        let done = self
            .change(
                caller,
                "undeploy",
                name.as_str(),
                None,
                |table: &DeploymentTable, _| {
                    plan::find(table, &caller.tenant, name)
                        .ok_or_else(|| Refusal::NotFound(format!("{name} is not deployed")))?;
                    let mut table = table.clone();
                    plan::remove_deployment(&mut table, caller, name)?;
                    Ok(Plan {
                        table,
                        modules: vec![name.clone()],
                        purge: Vec::new(),
                        history: Some((name.clone(), Vec::new())),
                        answer: (),
                    })
                },
            )
            .await?;
        Ok(done.1)
    }

    /// Sets a route, in the place of one with the same host and path.
    ///
    /// # Errors
    /// Its parts, a target or plugin that is not deployed, too many routes, another tenant's route, or the store.
    pub async fn put_route(
        &self,
        caller: &Caller,
        route: Route,
    ) -> Result<(Route, Position), Refusal> {
        let route = Route {
            tenant: caller.tenant.clone(),
            ..route
        }
        .normal()?;
        let subject = claims::route_text(route.host.as_deref(), &route.path);
        self.change(
            caller,
            "route.put",
            &subject,
            None,
            |table: &DeploymentTable, _| {
                plan::check_target(table, &route)?;
                let mut table = table.clone();
                let modules = plan::modules_at(&table, caller, &route);
                let purge = plan::put_routes(&mut table, vec![route.clone()])?;
                Ok(Plan {
                    table,
                    modules,
                    purge,
                    history: None,
                    answer: route.clone(),
                })
            },
        )
        .await
    }

    /// Removes a route.
    ///
    /// # Errors
    /// There is none, or the store.
    pub async fn remove_route(
        &self,
        caller: &Caller,
        host: Option<&str>,
        path: &str,
    ) -> Result<Position, Refusal> {
        let subject = claims::route_text(host, path);
        let done = self
            .change(
                caller,
                "route.delete",
                &subject,
                None,
                |table: &DeploymentTable, _| {
                    let mut table = table.clone();
                    let is_it = |route: &Route| {
                        route.tenant == caller.tenant
                            && route.host.as_deref() == host
                            && route.path == path
                    };
                    let at = table.routes.iter().position(is_it);
                    let at = at
                        .ok_or_else(|| Refusal::NotFound(format!("there is no route {subject}")))?;
                    let removed = table.routes.remove(at);
                    let modules = match &removed.target {
                        Target::Module(name) => vec![name.clone()],
                        Target::Origin(_) | Target::Origins(_) | Target::Static(_) => Vec::new(),
                    };
                    let purge = vec![plan::selector(&removed)];
                    Ok(Plan {
                        table,
                        modules,
                        purge,
                        history: None,
                        answer: (),
                    })
                },
            )
            .await?;
        Ok(done.1)
    }

    /// The head of the log.
    #[must_use]
    pub fn position(&self) -> Position {
        position(&*self.store)
    }

    async fn version(
        &self,
        caller: &Caller,
        module: &ModuleName,
        version: Option<u64>,
    ) -> Result<Version, Refusal> {
        let versions = self.store.versions(&caller.tenant, Some(module)).await?;
        let found = match version {
            Some(number) => versions.into_iter().find(|v| v.version == number),
            None => versions.into_iter().last(),
        };
        found.ok_or_else(|| {
            Refusal::NotFound(match version {
                Some(number) => format!("{module}@{number} was not published"),
                None => format!("no version of {module} was published"),
            })
        })
    }

    async fn grants_needed(&self, version: &Version) -> Result<Grants, Refusal> {
        let bytes = self.store.component(&version.digest).await?;
        let bytes =
            bytes.ok_or_else(|| Error::corrupt("component", "the registry has lost its bytes"))?;
        let inspection = tokio::task::spawn_blocking(move || brink_sandbox::inspect(&bytes))
            .await
            .map_err(|error| Error::store("inspecting a component", error))?
            .map_err(Error::Sandbox)?;
        Ok(inspection.grants_needed())
    }
}
