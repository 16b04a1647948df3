//! Workflows: work over several partitions, step by step, resumed after a crash by any core, compensated when it fails.
//!
//! | module | what it does |
//! |---|---|
//! | `machine` | what comes next, and what becomes of it: pure |
//! | `rows` | instances, and what is due, as records |
//! | `index` | the index of a tenant's workflows |
//! | `outside` | what a workflow asks: its module, commands, who else is there |
//! | `drive` | takes one instance as far as it goes now |
//! | `runner` | finds those whose time has come |
//! | `settings` | what is configured |
//! | `listing` | shows them |
//! | `open` | how many a tenant has |
//!
//! What is right does not depend on who is at work: each transition is a conditional commit of one record, each call has a
//! key under which it happens once. That one core at a time is at work on an instance only spares doing things twice.

mod drive;
mod index;
mod listing;
mod machine;
mod open;
mod outside;
mod rows;
mod runner;
mod settings;

pub use listing::{Listed, phase};
pub use machine::Undecided;
pub use open::Unstarted;
pub use outside::{Alone, Calls, Decides, Division, SandboxedModules};
pub use runner::look_every;
pub use settings::WorkflowsConfig;

use self::rows::{NewDue, Place, Saved, Stored};
use crate::{
    Error,
    deployments::Tables,
    records::{position, record_error},
    refusal::Refusal,
    store::Store,
};
use brink_protocol::{
    ModuleName, Position, TenantName,
    deployment::{Deployment, World},
    record::RecordError,
    workflow::{Deployed, Instance, StartWorkflow, StartWorkflowAnswer, WorkflowError, check_id},
};
use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Instances on which one core is at work at a time; others wait.
pub const AT_WORK_MAX: usize = 256;
/// For how long a core says that it is at work on an instance, in milliseconds. It says so again before that is over;
/// another core takes the instance up afterwards, or as soon as the core is known to be gone.
pub const AT_WORK_MS: u64 = 60_000;
/// How often a change of one instance is tried that others are quicker than.
const ATTEMPTS_MAX: u32 = 16;

/// The present time, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What workflows need of the core.
pub struct Needs {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Deployments.
    pub tables: Arc<Tables>,
    /// Calls commands.
    pub calls: Arc<dyn Calls>,
    /// Asks modules.
    pub modules: Arc<dyn Decides>,
    /// Which part of the work is this core's.
    pub division: Arc<dyn Division>,
    /// This core's name.
    pub node: String,
    /// The clock.
    pub clock: Clock,
    /// How often is looked for what is due.
    pub look_every: Duration,
    /// How long an instance is kept after its end, in milliseconds.
    pub retention_ms: u64,
    /// How many of one tenant may be open.
    pub open_max: u32,
}

/// Workflows of all tenants.
pub struct Workflows {
    needs: Needs,
    /// Instances on which this core is at work.
    at_work: Mutex<HashSet<Place>>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
    hasher: RandomState,
    chances: AtomicU64,
    open: open::Counts,
    shards: runner::Shards,
    /// All shards were looked at since this core began.
    has_looked: AtomicBool,
}

/// This core is at work on the instance for as long as this lives.
struct AtWork {
    workflows: Arc<Workflows>,
    place: Place,
    _slot: OwnedSemaphorePermit,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.workflows.at_work().remove(&self.place);
    }
}

/// Why an instance is not there to be changed.
fn no_such(place: &Place) -> Refusal {
    Refusal::NotFound(format!("there is no workflow {}/{}", place.name, place.id))
}

fn unavailable(error: &Error) -> WorkflowError {
    match record_error(error) {
        RecordError::Invalid(text) => WorkflowError::Invalid(text),
        RecordError::Denied(text) => WorkflowError::Denied(text),
        RecordError::Conflict(_) => WorkflowError::Unavailable("it changed meanwhile".into()),
        RecordError::Unavailable(text) => WorkflowError::Unavailable(text),
    }
}

/// What is done from outside to an instance that has not ended.
type Change<'a> = &'a (dyn Fn(&mut Instance, u64) + Send + Sync);

impl Workflows {
    /// Over what they need. Nothing is at work before [`Workflows::run`].
    #[must_use]
    pub fn new(needs: Needs) -> Arc<Self> {
        Arc::new(Self {
            needs,
            at_work: Mutex::default(),
            slots: Arc::new(Semaphore::new(AT_WORK_MAX)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            hasher: RandomState::new(),
            chances: AtomicU64::new(0),
            open: Default::default(),
            shards: Default::default(),
            has_looked: AtomicBool::new(false),
        })
    }

    fn store(&self) -> &dyn Store {
        &*self.needs.store
    }

    fn now_ms(&self) -> u64 {
        (self.needs.clock)()
    }

    /// A number that nobody can foresee.
    fn chance(&self) -> u64 {
        let count = self.chances.fetch_add(1, Ordering::Relaxed);
        self.hasher.hash_one((count, self.now_ms()))
    }

    fn at_work(&self) -> MutexGuard<'_, HashSet<Place>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up an instance, unless this core is at work on it or has its hands full.
    fn take_up(self: &Arc<Self>, place: &Place) -> Option<AtWork> {
        if self.stop.is_cancelled() {
            return None;
        }
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        let is_new = self.at_work().insert(place.clone());
        is_new.then(|| AtWork {
            workflows: Arc::clone(self),
            place: place.clone(),
            _slot: slot,
        })
    }

    /// The same for one that was just written, if its home is here: cores elsewhere leave it to those there.
    async fn take_up_here(self: &Arc<Self>, place: &Place) -> Option<AtWork> {
        let home = self.store().check_home(&place.partition()).await;
        home.ok().and_then(|()| self.take_up(place))
    }

    fn deployed(&self, tenant: &TenantName, name: &ModuleName) -> Option<Deployed> {
        let table = self.needs.tables.current();
        let is_it =
            |d: &&Deployment| d.tenant == *tenant && d.name == *name && d.world == World::Workflow;
        let found = table.deployments.iter().find(is_it)?;
        Some(Deployed {
            version: found.version,
            digest: found.digest,
            config: found.config.clone(),
            limits: found.limits.clone(),
            grants: found.grants,
        })
    }

    /// Starts a workflow, for an edge.
    pub async fn answer(self: &Arc<Self>, request: StartWorkflow) -> StartWorkflowAnswer {
        let caller = Some(request.caller.clone());
        match self.start(request, caller).await {
            Ok((is_new, position)) => StartWorkflowAnswer {
                position,
                outcome: Ok(is_new),
            },
            Err(error) => StartWorkflowAnswer {
                position: position(self.store()),
                outcome: Err(error.into()),
            },
        }
    }

    /// Starts a workflow; `false`: it was there. It is durable when this answers, and under way if this core has a hand
    /// free. `caller`: the module that starts it, none: an operator.
    ///
    /// # Errors
    /// No such workflow, too many are open, an id that was used with another input, or the store: then it may or may not have
    /// been started.
    pub async fn start(
        self: &Arc<Self>,
        request: StartWorkflow,
        caller: Option<ModuleName>,
    ) -> Result<(bool, Position), Unstarted> {
        let invalid = |error: brink_protocol::Error| WorkflowError::Invalid(error.to_string());
        request.check().map_err(invalid)?;
        let place = Place {
            tenant: request.tenant.clone(),
            name: request.name.clone(),
            id: request.id.clone(),
        };
        for attempt in 0..ATTEMPTS_MAX {
            let before = position(self.store());
            let now = self.now_ms();
            let found = rows::read(self.store(), &place, now).await;
            let found = found.map_err(|error| unavailable(&error))?;
            if let Some(found) = &found
                && found.instance.deployed.is_some()
            {
                if found.instance.input == request.input {
                    return Ok((false, before));
                }
                let text = format!("{}/{} was started with another input", place.name, place.id);
                return Err(WorkflowError::Invalid(text).into());
            }
            let version = found.map_or(0, |found| found.version);
            let begun = self.begin(&request, caller.clone(), (version, now))?;
            if attempt == 0 {
                self.make_room(&place.tenant).await?;
            }
            if let Some(position) = self.begin_at(&place, begun, now).await? {
                return Ok((true, position));
            }
        }
        let text = "others start it at the same time";
        Err(WorkflowError::Unavailable(text.into()).into())
    }

    /// A new instance.
    fn begin(
        &self,
        request: &StartWorkflow,
        caller: Option<ModuleName>,
        (version, now_ms): (u64, u64),
    ) -> Result<Stored, WorkflowError> {
        let deployed = self.deployed(&request.tenant, &request.name);
        let deployed = deployed.ok_or_else(|| {
            WorkflowError::Denied(format!("there is no workflow {} here", request.name))
        })?;
        let instance = Instance {
            deployed: Some(deployed),
            run: self.chance(),
            caller,
            subject: request.subject.clone(),
            input: request.input.clone(),
            started_at_ms: now_ms,
            ended_at_ms: 0,
            steps: Vec::new(),
            completed: None,
            failure: None,
            stuck: None,
            unreached: 0,
            failed: 0,
            not_before_ms: 0,
            last_error: None,
            due: None,
            at_work: None,
        };
        if !instance.has_room(0) {
            return Err(WorkflowError::Invalid(
                "input, subject and configuration together are more than 960 KiB".into(),
            ));
        }
        Ok(Stored { instance, version })
    }

    /// Keeps a new instance and takes it up. `None`: somebody else has begun it.
    async fn begin_at(
        self: &Arc<Self>,
        place: &Place,
        mut stored: Stored,
        now_ms: u64,
    ) -> Result<Option<Position>, WorkflowError> {
        let failed = |error: Error| unavailable(&error);
        let at_work = self.take_up_here(place).await;
        let due = match &at_work {
            Some(_) => NewDue::At(now_ms + AT_WORK_MS, Some(self.needs.node.clone())),
            None => NewDue::At(now_ms, None),
        };
        let index = index::put_index(self.store(), place, &stored.instance, None, now_ms);
        index.await.map_err(failed)?;
        let saved = rows::save(self.store(), place, &mut stored, due, (None, now_ms)).await;
        let Saved::Yes(position) = saved.map_err(failed)? else {
            self.begun_by_another(place, &stored.instance).await;
            return Ok(None);
        };
        let workflow = place.name.to_string();
        metrics::counter!("brink_core_workflows_started_total", "workflow" => workflow)
            .increment(1);
        if let Some(at_work) = at_work {
            self.tasks.spawn(drive::drive(at_work, Some(stored)));
        }
        Ok(Some(position))
    }

    /// Takes the row of a start that came to nothing out of the index, unless it is that of the other start.
    async fn begun_by_another(&self, place: &Place, lost: &Instance) {
        let now = self.now_ms();
        let dropped = match rows::read(self.store(), place, now).await {
            Ok(Some(found)) if found.instance.started_at_ms == lost.started_at_ms => Ok(()),
            Ok(_) => index::drop_index(self.store(), place, lost, now).await,
            Err(error) => Err(error),
        };
        if let Err(error) = dropped {
            tracing::debug!(%error, "a row of the index of workflows stays; lists pass over it");
        }
    }

    /// An instance.
    ///
    /// # Errors
    /// There is none, or the store.
    pub async fn get(
        &self,
        tenant: &TenantName,
        name: &ModuleName,
        id: &str,
    ) -> Result<Instance, Refusal> {
        let place = self.place(tenant, name, id)?;
        let found = rows::read(self.store(), &place, self.now_ms()).await?;
        let found = found.map(|stored| stored.instance);
        found
            .filter(|instance| instance.deployed.is_some())
            .ok_or_else(|| no_such(&place))
    }

    fn place(&self, tenant: &TenantName, name: &ModuleName, id: &str) -> Result<Place, Refusal> {
        check_id(id)?;
        Ok(Place {
            tenant: tenant.clone(),
            name: name.clone(),
            id: id.to_owned(),
        })
    }

    /// Ends a workflow: it fails now, and what was done is compensated.
    ///
    /// # Errors
    /// There is none, or it has ended.
    pub async fn cancel(
        self: &Arc<Self>,
        tenant: &TenantName,
        name: &ModuleName,
        id: &str,
        reason: &str,
    ) -> Result<Position, Refusal> {
        let place = self.place(tenant, name, id)?;
        let cancel = |instance: &mut Instance, now_ms| machine::cancel(instance, reason, now_ms);
        self.change(&place, &cancel).await
    }

    /// Tries again at once what stands still or waits for another attempt, and sees to it that it is looked at.
    ///
    /// # Errors
    /// There is none, or it has ended.
    pub async fn retry(
        self: &Arc<Self>,
        tenant: &TenantName,
        name: &ModuleName,
        id: &str,
    ) -> Result<Position, Refusal> {
        let place = self.place(tenant, name, id)?;
        self.change(&place, &machine::retry).await
    }

    /// Changes an instance, and has it looked at now: what was to be looked at may have been lost with a region, or left out of
    /// a backup.
    async fn change(
        self: &Arc<Self>,
        place: &Place,
        change: Change<'_>,
    ) -> Result<Position, Refusal> {
        for _ in 0..ATTEMPTS_MAX {
            let now = self.now_ms();
            let found = rows::read(self.store(), place, now).await?;
            let found = found.filter(|stored| stored.instance.deployed.is_some());
            let mut stored = found.ok_or_else(|| no_such(place))?;
            if stored.instance.has_ended() {
                return Err(Refusal::Conflict("it has ended already".into()));
            }
            change(&mut stored.instance, now);
            let due = NewDue::At(now, None);
            let saved = rows::save(self.store(), place, &mut stored, due, (None, now)).await?;
            if let Saved::Yes(position) = saved {
                if let Some(at_work) = self.take_up_here(place).await {
                    self.tasks.spawn(drive::drive(at_work, Some(stored)));
                }
                return Ok(position);
            }
        }
        Err(Refusal::Core(Error::Busy))
    }
}
