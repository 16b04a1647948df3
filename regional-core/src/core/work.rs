//! What runs modules at the core: commands, workflows, projections.

use crate::{
    clock::now_ms,
    commands::Commands,
    components::Components,
    config::Config,
    deployments::Tables,
    home::Home,
    logs::Logs,
    members::Members,
    projections::{Oversight, Projections},
    store::Store,
    workflows::{Needs, SandboxedModules, Workflows, look_every},
};
use std::sync::Arc;

/// What all of them are made of.
pub(super) struct Work {
    pub(super) store: Arc<dyn Store>,
    pub(super) components: Arc<Components>,
    pub(super) tables: Arc<Tables>,
    pub(super) logs: Arc<Logs>,
}

impl Work {
    pub(super) fn commands(&self, config: &Config, home: Arc<Home>) -> Arc<Commands> {
        let commands = Commands::new(
            Arc::clone(&self.store),
            Arc::clone(&self.components),
            Arc::clone(&self.tables),
            Arc::clone(&self.logs),
            config.node.to_string(),
            config.region.clone(),
        );
        Arc::new(commands.at_home(home))
    }

    pub(super) fn workflows(
        &self,
        config: &Config,
        commands: Arc<Commands>,
        members: &Arc<Members>,
    ) -> Arc<Workflows> {
        Workflows::new(Needs {
            store: Arc::clone(&self.store),
            tables: Arc::clone(&self.tables),
            calls: commands,
            modules: Arc::new(SandboxedModules {
                components: Arc::clone(&self.components),
                logs: Arc::clone(&self.logs),
                node: config.node.to_string(),
            }),
            division: Arc::<Members>::clone(members),
            node: config.node.to_string(),
            clock: Arc::new(now_ms),
            look_every: look_every(&*self.store),
            retention_ms: config.workflows.retention_ms,
            open_max: config.workflows.open_max,
        })
    }

    /// What operators do with projections.
    pub(super) fn operate(&self, config: &Config) -> Oversight {
        Oversight {
            store: Arc::clone(&self.store),
            components: Arc::clone(&self.components),
            tables: Arc::clone(&self.tables),
            logs: Arc::clone(&self.logs),
            node: config.node.to_string(),
        }
    }

    /// Runs projections; the cores of a region divide the work among them.
    pub(super) fn projections(&self, config: &Config, members: &Arc<Members>) -> Projections {
        let members = Arc::clone(members);
        Projections {
            needs: self.operate(config),
            share: Arc::new(move |key| members.mine(key)),
            settings: config.projections,
        }
    }
}
