//! What a projection does with events: its component, behind a trait.

use crate::{clock::now_ms, components::Components, logs::Logs};
use async_trait::async_trait;
use brink_protocol::{ModuleName, TenantName, deployment::Deployment, event::Event, link::LogLine};
use brink_sandbox::{Component, Context, Level, LogSink, Records, RunError};
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// Why a projection did not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It said so, trapped, or passed another limit: counts as a failure of the event.
    Failed(String),
    /// It did not end within its wall time: the event's trouble, or that of a core with too much to do.
    Late(String),
    /// It could not be run: the core's trouble, not the event's.
    Unavailable(String),
}

/// A projection.
#[async_trait]
pub trait Projection: Send + Sync {
    /// See `target` of world `projection`.
    async fn target(&self, stream: &str, event: &Event) -> Result<Option<String>, Fault>;

    /// See `apply` of world `projection`.
    async fn apply(
        &self,
        stream: &str,
        events: &[Event],
        records: Arc<dyn Records>,
        now_ms: u64,
    ) -> Result<(), Fault>;
}

/// A deployed component.
pub(super) struct Module {
    /// Where components come from.
    pub components: Arc<Components>,
    /// What was deployed.
    pub deployment: Deployment,
    /// Where its lines go.
    pub logs: Arc<Logs>,
    /// The core node's name.
    pub node: String,
}

impl Module {
    async fn component(&self) -> Result<Component, Fault> {
        let loaded = self.components.load(&self.deployment.digest).await;
        loaded.map_err(|error| Fault::Unavailable(format!("it could not be loaded: {error}")))
    }

    fn context(&self, now_ms: u64) -> Context {
        Context {
            log: Arc::new(Lines {
                logs: Arc::clone(&self.logs),
                tenant: self.deployment.tenant.clone(),
                module: self.deployment.name.clone(),
                node: self.node.clone(),
                now_ms,
            }),
            config: Arc::new(self.deployment.config.clone()),
            grants: self.deployment.grants,
            now: Some(UNIX_EPOCH + Duration::from_millis(now_ms)),
            ..Context::denied()
        }
    }
}

fn fault(error: RunError) -> Fault {
    match error {
        RunError::Overloaded { reason } => Fault::Unavailable(reason),
        error @ RunError::WallTime { .. } => Fault::Late(error.to_string()),
        // Says nothing of the event.
        error @ RunError::Instantiate { .. } => Fault::Unavailable(error.to_string()),
        other => Fault::Failed(other.to_string()),
    }
}

#[async_trait]
impl Projection for Module {
    async fn target(&self, stream: &str, event: &Event) -> Result<Option<String>, Fault> {
        let context = self.context(now_ms());
        let limits = &self.deployment.limits;
        self.component()
            .await?
            .project_target(stream, event, context, limits)
            .await
            .map_err(fault)
    }

    async fn apply(
        &self,
        stream: &str,
        events: &[Event],
        records: Arc<dyn Records>,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let context = Context {
            records,
            ..self.context(now_ms)
        };
        let limits = &self.deployment.limits;
        let applied = self
            .component()
            .await?
            .project_apply(stream, events, context, limits)
            .await
            .map_err(fault)?;
        applied.map_err(|bytes| Fault::Failed(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Puts a projection's lines among those of all modules.
struct Lines {
    logs: Arc<Logs>,
    tenant: TenantName,
    module: ModuleName,
    node: String,
    now_ms: u64,
}

impl LogSink for Lines {
    fn emit(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        self.logs.add([LogLine {
            at_ms: self.now_ms,
            tenant: self.tenant.clone(),
            module: self.module.clone(),
            place: self.node.clone(),
            level: level.as_str().to_owned(),
            message,
            fields,
            trace_id: None,
        }]);
    }
}
