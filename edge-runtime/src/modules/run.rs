//! One run of a module or plugin: what it is given, and what the host notes down while it runs.

use super::outbound::Guarded;
use crate::{
    cache::Cache,
    exchange::{Caller, Exchange},
    link::Link,
    progress::Progress,
    reports::Reports,
    routes::Deployed,
};
use brink_protocol::{ModuleName, PopName, Position, TenantName, tag::Tag};
use brink_sandbox::{Context, denied};
use brink_telemetry::TraceContext;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What all runs at this PoP share.
pub struct Platform {
    /// The PoP's name.
    pub pop: PopName,
    /// The core; none where there is no core: records, commands and purges are denied then.
    pub link: Option<Link>,
    /// The cache: what is read must not be older than what it has applied, or its fence would not see what it missed.
    pub cache: Cache,
    /// What the feed has brought.
    pub progress: Arc<Progress>,
    /// Where log lines go.
    pub reports: Arc<Reports>,
    /// Outbound HTTP.
    pub egress: Guarded,
}

/// What the host noted down during a run.
#[derive(Debug, Default)]
pub struct Collected {
    /// Records and ranges that were read, and names that the module gave.
    pub tags: Vec<Tag>,
    /// `cache.set-lifetime`; of several the last.
    pub lifetime: Option<Duration>,
    /// `cache.no-store`.
    pub no_store: bool,
    /// The caller's identity was asked for.
    pub private: bool,
    /// Something was read that no tag names.
    pub unnamed: bool,
    /// The earliest position at which records were read; none if none were.
    pub read: Option<Position>,
    /// Where its writes are in the log.
    pub written: Position,
    /// The core could not be reached for something.
    pub core_away: bool,
}

/// The host's side of one run.
pub struct Run {
    pub(super) platform: Arc<Platform>,
    pub(super) tenant: TenantName,
    pub(super) module: ModuleName,
    pub(super) trace: TraceContext,
    pub(super) caller: Option<Arc<Caller>>,
    /// The core must have seen this much before it answers: what the cache has applied, the client's session, and what
    /// was written before on the exchange's behalf.
    floor: Position,
    collected: Mutex<Collected>,
}

impl Run {
    /// A run of `deployed` for `exchange`.
    #[must_use]
    pub fn new(platform: &Arc<Platform>, deployed: &Deployed, exchange: &Exchange) -> Arc<Self> {
        let mut floor = platform.cache.position();
        floor.merge(&exchange.written);
        if let Some(session) = &exchange.session {
            floor.merge(session);
        }
        Arc::new(Self {
            platform: Arc::clone(platform),
            tenant: deployed.deployment.tenant.clone(),
            module: deployed.deployment.name.clone(),
            trace: exchange.trace.clone(),
            caller: exchange.caller.clone(),
            floor,
            collected: Mutex::default(),
        })
    }

    /// What the sandbox is given for a module.
    #[must_use]
    pub fn context(self: &Arc<Self>, deployed: &Deployed) -> Context {
        Context {
            records: Arc::clone(self) as _,
            commands: Arc::clone(self) as _,
            cache: Arc::clone(self) as _,
            identity: Arc::clone(self) as _,
            log: Arc::clone(self) as _,
            egress: Arc::clone(self) as _,
            config: Arc::clone(&deployed.config),
            grants: deployed.deployment.grants,
            now: None,
        }
    }

    /// What the sandbox is given for a plugin: it has no answer of its own in the cache, calls no commands and sends
    /// nothing out.
    #[must_use]
    pub fn plugin_context(self: &Arc<Self>, deployed: &Deployed) -> Context {
        Context {
            commands: Arc::new(denied::NoCommands),
            cache: Arc::new(denied::NoCache),
            egress: Arc::new(denied::NoEgress),
            ..self.context(deployed)
        }
    }

    pub(super) fn note(&self) -> MutexGuard<'_, Collected> {
        self.collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What was noted down; nothing is left behind.
    #[must_use]
    pub fn take(&self) -> Collected {
        std::mem::take(&mut *self.note())
    }

    /// The least position that the core's next answer may have: the run sees what it wrote itself.
    pub(super) fn at_least(&self) -> Position {
        let mut position = self.floor.clone();
        position.merge(&self.note().written);
        position
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
