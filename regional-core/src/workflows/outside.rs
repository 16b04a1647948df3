//! What a workflow asks of the rest of the core: its module, commands, and who else is there.

use super::machine::Undecided;
use crate::{
    clock::now_ms,
    commands::{Commands, Settled},
    components::Components,
    logs::Logs,
    members::Members,
};
use async_trait::async_trait;
use brink_protocol::{
    ModuleName, TenantName,
    address::PartitionAddress,
    link::{CommandError, CommandRequest, LogLine},
    workflow::{Decision, Deployed, Outcome},
};
use brink_sandbox::{Context, Level, LogSink, RunError};
use bytes::Bytes;
use std::sync::Arc;

/// Calls commands as steps.
#[async_trait]
pub trait Calls: Send + Sync + 'static {
    /// See [`Commands::step`].
    async fn step(&self, request: &CommandRequest) -> Result<Bytes, CommandError>;
    /// See [`Commands::give_up`].
    async fn give_up(&self, request: &CommandRequest) -> Result<Settled, CommandError>;
    /// See [`Commands::misplaced`].
    fn misplaced(&self, partition: &PartitionAddress) -> Option<String>;
}

#[async_trait]
impl Calls for Commands {
    async fn step(&self, request: &CommandRequest) -> Result<Bytes, CommandError> {
        Self::step(self, request).await
    }

    async fn give_up(&self, request: &CommandRequest) -> Result<Settled, CommandError> {
        Self::give_up(self, request).await
    }

    fn misplaced(&self, partition: &PartitionAddress) -> Option<String> {
        Self::misplaced(self, partition)
    }
}

/// Asks a workflow's module what comes next.
#[async_trait]
pub trait Decides: Send + Sync + 'static {
    /// The decision after these outcomes.
    async fn decide(
        &self,
        tenant: &TenantName,
        name: &ModuleName,
        deployed: &Deployed,
        input: Bytes,
        outcomes: &[Outcome],
    ) -> Result<Decision, Undecided>;
}

/// Who does which part of the work of a store that several cores share. What is right does not depend on it.
pub trait Division: Send + Sync + 'static {
    /// Whether work of this name is this core's.
    fn is_mine(&self, work: &str) -> bool;
    /// Whether a core of this name may be at work.
    fn may_be_there(&self, node: &str) -> bool;
}

/// One core does everything, and knows nothing of others.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Division for Alone {
    fn is_mine(&self, _: &str) -> bool {
        true
    }

    fn may_be_there(&self, _: &str) -> bool {
        true
    }
}

impl Division for Members {
    fn is_mine(&self, work: &str) -> bool {
        self.mine(work)
    }

    fn may_be_there(&self, node: &str) -> bool {
        self.may_live(node)
    }
}

/// Modules of world `workflow`, in the sandbox.
pub struct SandboxedModules {
    /// Their components.
    pub components: Arc<Components>,
    /// Where their lines go.
    pub logs: Arc<Logs>,
    /// This core's name.
    pub node: String,
}

/// Puts a workflow's lines among those of all modules.
struct WorkflowLog {
    logs: Arc<Logs>,
    tenant: TenantName,
    name: ModuleName,
    node: String,
}

impl LogSink for WorkflowLog {
    fn emit(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        self.logs.add([LogLine {
            at_ms: now_ms(),
            tenant: self.tenant.clone(),
            module: self.name.clone(),
            place: self.node.clone(),
            level: level.as_str().to_owned(),
            message,
            fields,
            trace_id: None,
        }]);
    }
}

fn undecided(error: &RunError) -> Undecided {
    Undecided {
        reason: error.to_string(),
        is_passing: matches!(
            error,
            RunError::Overloaded { .. } | RunError::Instantiate { .. }
        ),
    }
}

#[async_trait]
impl Decides for SandboxedModules {
    async fn decide(
        &self,
        tenant: &TenantName,
        name: &ModuleName,
        deployed: &Deployed,
        input: Bytes,
        outcomes: &[Outcome],
    ) -> Result<Decision, Undecided> {
        let component = self.components.load(&deployed.digest).await;
        let component = component.map_err(|error| {
            tracing::error!(%error, workflow = %name, "a workflow's module was not loaded");
            Undecided {
                reason: "the module could not be loaded".into(),
                is_passing: true,
            }
        })?;
        let context = Context {
            config: Arc::new(deployed.config.clone()),
            log: Arc::new(WorkflowLog {
                logs: Arc::clone(&self.logs),
                tenant: tenant.clone(),
                name: name.clone(),
                node: self.node.clone(),
            }),
            ..Context::denied()
        };
        component
            .decide(input.to_vec(), outcomes, context, &deployed.limits)
            .await
            .map_err(|error| undecided(&error))
    }
}
