//! What the control API needs of the core.

use super::large::LargeBodies;
use crate::{
    deployments::Deployments, exchange::Peers, home::Home, logs::Logs, operate::Operate,
    pops::Pops, projections::Oversight, purges::Purges, session_keys::SessionSigner, store::Store,
    workflows::Workflows,
};
use brink_sandbox::Sandbox;
use std::sync::Arc;

/// The core, as the control API sees it.
pub struct App {
    /// Backups.
    pub operate: Arc<Operate>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// For looking at what is published.
    pub sandbox: Sandbox,
    /// Deployments and routes.
    pub deployments: Deployments,
    /// Workflows.
    pub workflows: Arc<Workflows>,
    /// Projections.
    pub projections: Oversight,
    /// Where partitions belong.
    pub home: Arc<Home>,
    /// Purges.
    pub purges: Purges,
    /// Signs session tokens.
    pub sessions: Arc<SessionSigner>,
    /// PoPs.
    pub pops: Arc<Pops>,
    /// The other cores.
    pub peers: Arc<Peers>,
    /// Log lines of modules.
    pub logs: Arc<Logs>,
    /// The core node's name.
    pub node: String,
    /// Its region.
    pub region: String,
    /// Bodies of components and imports.
    pub large_bodies: LargeBodies,
    /// Exports of tenants.
    pub exports: LargeBodies,
}
