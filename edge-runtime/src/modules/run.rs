//! One run of a module or plugin: what it is given, and what the host notes down while it runs.

use super::{collected::Collected, outbound::Guarded, record_cache::RecordCache};
use crate::{
    cache::Cache,
    exchange::{Caller, Exchange},
    link::{Asker, Link},
    progress::Progress,
    reports::Reports,
    routes::{Deployed, Table},
};
use arc_swap::ArcSwap;
use brink_protocol::{ModuleName, PopName, Position, TenantName};
use brink_sandbox::{Context, denied};
use brink_telemetry::{RequestId, TraceContext};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::{Duration, Instant},
};

/// What all runs at this PoP share.
pub struct Platform {
    /// The PoP's name.
    pub pop: PopName,
    /// The core; none where there is no core: records, commands and purges are denied then.
    pub link: Option<Link>,
    /// The cache: what is read must not be older than what it has applied, or its fence would not see what it missed.
    pub cache: Cache,
    /// Records that were read here, for as long as nothing has changed them.
    pub records: RecordCache,
    /// What is deployed: modules call each other.
    pub table: Arc<ArcSwap<Table>>,
    /// What the feed has brought.
    pub progress: Arc<Progress>,
    /// Where log lines go.
    pub reports: Arc<Reports>,
    /// Outbound HTTP.
    pub egress: Guarded,
}

impl Platform {
    /// Record reads since the start: answered here, and by the core.
    #[must_use]
    pub fn record_figures(&self) -> (u64, u64) {
        self.records.figures()
    }
}

/// What a run and the runs of modules that it calls have in common.
#[derive(Default)]
pub(super) struct Family {
    collected: Mutex<Collected>,
    /// Modules called so far.
    pub(super) calls: AtomicUsize,
}

/// The host's side of one run.
pub struct Run {
    pub(super) platform: Arc<Platform>,
    pub(super) tenant: TenantName,
    pub(super) module: ModuleName,
    pub(super) request_id: RequestId,
    pub(super) trace: TraceContext,
    pub(super) caller: Option<Arc<Caller>>,
    /// The core must have seen this much before it answers: what the cache has applied, the client's session, and what
    /// was written before on the exchange's behalf.
    pub(super) floor: Position,
    /// Nothing that is stored here may answer.
    pub(super) is_uncached: bool,
    /// How many modules called each other to come here.
    pub(super) depth: usize,
    /// When the outermost run's time is up.
    pub(super) deadline: Instant,
    /// It has set a lifetime.
    pub(super) has_spoken: AtomicBool,
    pub(super) family: Arc<Family>,
}

impl Run {
    /// A run of `deployed` for `exchange`, which begins now.
    #[must_use]
    pub fn new(platform: &Arc<Platform>, deployed: &Deployed, exchange: &Exchange) -> Arc<Self> {
        let mut floor = platform.cache.position();
        floor.merge(&exchange.written);
        if let Some(session) = &exchange.session {
            floor.merge(session);
        }
        let wall_time = Duration::from_millis(deployed.deployment.limits.wall_time_ms_max);
        Arc::new(Self {
            platform: Arc::clone(platform),
            tenant: deployed.deployment.tenant.clone(),
            module: deployed.deployment.name.clone(),
            request_id: exchange.id,
            trace: exchange.trace.clone(),
            caller: exchange.caller.clone(),
            floor,
            is_uncached: exchange.session_is_unknown,
            depth: 0,
            deadline: Instant::now() + wall_time,
            has_spoken: AtomicBool::new(false),
            family: Arc::default(),
        })
    }

    /// What the sandbox is given for a module.
    #[must_use]
    pub fn context(self: &Arc<Self>, deployed: &Deployed) -> Context {
        Context {
            records: Arc::clone(self) as _,
            events: Arc::clone(self) as _,
            event_log: Arc::new(denied::NoEvents),
            commands: Arc::clone(self) as _,
            workflows: Arc::clone(self) as _,
            cache: Arc::clone(self) as _,
            identity: Arc::clone(self) as _,
            witness: Arc::clone(self) as _,
            log: Arc::clone(self) as _,
            egress: Arc::clone(self) as _,
            config: Arc::clone(&deployed.config),
            grants: deployed.deployment.grants,
            now: None,
        }
    }

    /// What the sandbox is given for a plugin: it has no answer of its own in the cache, reads no events, calls no
    /// commands, starts no workflows and sends nothing out.
    #[must_use]
    pub fn plugin_context(self: &Arc<Self>, deployed: &Deployed) -> Context {
        Context {
            events: Arc::new(denied::NoEvents),
            commands: Arc::new(denied::NoCommands),
            workflows: Arc::new(denied::NoWorkflows),
            cache: Arc::new(denied::NoCache),
            egress: Arc::new(denied::NoEgress),
            ..self.context(deployed)
        }
    }

    pub(super) fn note(&self) -> MutexGuard<'_, Collected> {
        self.family
            .collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What was noted down, of the modules that it called too; nothing is left behind.
    #[must_use]
    pub fn take(&self) -> Collected {
        std::mem::take(&mut *self.note())
    }

    /// The least position that the core's next answer may have: the run sees what it wrote itself, and never less than
    /// what it has seen.
    pub(super) fn at_least(&self) -> Position {
        let mut position = self.floor.clone();
        let collected = self.note();
        position.merge(&collected.written);
        position.merge(&collected.seen);
        position
    }

    /// For whom the core is asked: its time is over with that of the outermost run.
    pub(super) fn asker(&self) -> Asker<'_> {
        Asker {
            trace: Some(&self.trace),
            until: Some(self.deadline),
        }
    }

    /// The core's link.
    ///
    /// # Errors
    /// There is no core.
    pub(super) fn link(&self) -> Result<&Link, String> {
        let none =
            || "this PoP runs without a core: there are no records, commands or purges".into();
        self.platform.link.as_ref().ok_or_else(none)
    }
}
