//! JSON bodies of the control API: operators, developers and the `brink` command.

mod events;
mod placements;
mod projections;
mod workflows;

pub use events::{AppendedEvents, NewEvent, NewEvents, ShownEvent, ShownEvents};
pub use placements::{MainRegion, NewCollection, PromoteRegion, RegionCores, Regions};
pub use projections::{
    DeadLetter, DeadLetters, DropTarget, DroppedTarget, ProjectionStatus, Replay, Replayed,
    RetriedLetter,
};
pub use workflows::{
    CancelWorkflow, NewWorkflow, ShownBytes, ShownStep, ShownWorkflow, StartedWorkflow,
    WorkflowPage, WorkflowPhase, WorkflowRow,
};

use crate::{
    Digest, ModuleName, NodeName, PopName, Position, TenantName,
    deployment::{Grants, Limits, Route, World},
    purge::Selector,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Header that carries the position of a write.
pub const POSITION_HEADER: &str = "brink-position";
/// Largest component, in bytes.
pub const COMPONENT_BYTES_MAX: usize = 64 << 20;

/// What a token may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// Look at modules, deployments, routes, PoPs and logs.
    Reader,
    /// Publish, deploy, roll back, set routes.
    Publisher,
    /// Purge, read and import records.
    Operator,
    /// Tokens and the audit log.
    Admin,
}

/// Makes a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewToken {
    /// What it is for, for people. 1 to 100 characters.
    pub label: String,
    /// What it may do.
    pub role: Role,
    /// Whose modules and records; the default tenant if it is left out.
    #[serde(default = "crate::deployment::default_tenant")]
    pub tenant: TenantName,
    /// When it ends, in seconds from now; never if it is left out.
    #[serde(default)]
    pub lifetime_s: Option<u64>,
}

/// A token as it is listed: without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Token {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// What it may do.
    pub role: Role,
    /// Whose modules and records.
    pub tenant: TenantName,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// Milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// The secret; only in the answer that makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A published version of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Version {
    /// The module.
    pub module: ModuleName,
    /// Counts from 1.
    pub version: u64,
    /// Its content address.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// What it exports.
    pub world: World,
    /// What it imports.
    pub imports: Vec<String>,
    /// Milliseconds since 1970.
    pub published_at_ms: u64,
    /// The id of the token that published it.
    pub published_by: String,
}

/// Deploys a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deploy {
    /// The module.
    pub module: ModuleName,
    /// Which version; the newest if it is left out.
    #[serde(default)]
    pub version: Option<u64>,
    /// Values for `brink:platform/config`; those of the present deployment if it is left out.
    #[serde(default)]
    pub config: Option<BTreeMap<String, String>>,
    /// Bounds; those of the present deployment if it is left out.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// Grants; those of the present deployment if it is left out.
    #[serde(default)]
    pub grants: Option<Grants>,
    /// Routes to set along with it. A module without any route answers at `/NAME` on every host.
    #[serde(default)]
    pub routes: Vec<NewRoute>,
}

/// A route of the deployed module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewRoute {
    /// See [`Route::host`].
    #[serde(default)]
    pub host: Option<String>,
    /// See [`Route::path`].
    pub path: String,
    /// See [`Route::plugins`].
    #[serde(default)]
    pub plugins: Vec<ModuleName>,
    /// See [`Route::when_disconnected`].
    #[serde(default)]
    pub when_disconnected: crate::deployment::WhenDisconnected,
    /// See [`crate::deployment::Route::show_coherence`].
    #[serde(default)]
    pub show_coherence: bool,
    /// See [`crate::deployment::Route::session_cookie`].
    #[serde(default)]
    pub session_cookie: bool,
    /// See [`crate::deployment::Route::cache`].
    #[serde(default)]
    pub cache: crate::caching::RouteCache,
}

/// What is deployed after a deploy or a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deployed {
    /// What runs now.
    #[serde(flatten)]
    pub deployment: crate::deployment::Deployment,
    /// The version that ran before.
    pub previous_version: Option<u64>,
    /// Routes that lead to it.
    pub routes: Vec<Route>,
    /// The position of the change.
    pub position: Position,
}

/// Goes back to an earlier version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rollback {
    /// To which; the one deployed before the present one if it is left out.
    #[serde(default)]
    pub to: Option<u64>,
}

/// Longest delay of the hard half of a staggered purge, in milliseconds: one hour.
pub const STAGGER_MS_MAX: u64 = 3_600_000;
/// Longest time that a dry run waits for PoPs, in milliseconds.
pub const COUNT_MS_MAX: u64 = 10_000;
/// How long a dry run waits for PoPs, in milliseconds, if nothing else is asked for.
pub const COUNT_MS: u64 = 2_000;
/// Header that names a request, so that repeating it does nothing anew (draft-ietf-httpapi-idempotency-key-header): 1 to
/// [`IDEMPOTENCY_KEY_BYTES_MAX`] visible ASCII characters, kept for 24 hours.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// Longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// Asks for a purge. At least one list is not empty, or `everything` is true.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewPurge {
    /// Names given by `cache.tag`, `Surrogate-Key` or `Cache-Tag`.
    pub keys: Vec<String>,
    /// URLs, with or without scheme.
    pub urls: Vec<String>,
    /// `host/path` prefixes.
    pub prefixes: Vec<String>,
    /// Hosts.
    pub hosts: Vec<String>,
    /// All of the tenant.
    pub everything: bool,
    /// See [`crate::purge::Purge::soft`].
    pub soft: bool,
    /// Only say how many entries it would end, at which PoPs: nothing is purged, nothing is written to the log.
    pub dry_run: bool,
    /// How long PoPs have for their counts (dry runs and budgets), in milliseconds, up to [`COUNT_MS_MAX`]; [`COUNT_MS`] if
    /// it is left out.
    pub timeout: Option<u64>,
    /// Budget: refuse the purge if it would end more entries than this, summed over all PoPs that answer. The
    /// installation's own budget if it is left out; that may be none.
    pub objects_max: Option<u64>,
    /// Purge whatever the budget says.
    pub confirm: bool,
    /// Stagger: soft now, so that origins are asked by and by and stale answers can be served meanwhile, and hard after so
    /// many milliseconds, 1 to [`STAGGER_MS_MAX`]. Two purges, each with its own proof. No budget holds it up.
    pub stagger_ms: Option<u64>,
}

/// The hard half of a staggered purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Later {
    /// The id of the hard purge; it is known under it from its time on.
    pub id: String,
    /// When it is appended to the log, in milliseconds since 1970.
    pub at_ms: u64,
}

/// What a purge would end (`dry_run`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PurgeEstimate {
    /// What it would match.
    pub selectors: Vec<Selector>,
    /// Entries of the memory tier, summed over the PoPs that answered.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What each PoP holds of it.
    pub pops: Vec<EstimateAtPop>,
    /// PoPs that did not answer in time, or are not connected.
    pub silent: Vec<PopName>,
    /// Cores that did not answer: what their PoPs hold is not counted.
    #[serde(default)]
    pub unreached: Vec<NodeName>,
}

/// What one PoP holds of what a purge would end. Entries that are on disk alone are not counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EstimateAtPop {
    /// The PoP.
    pub pop: PopName,
    /// Entries of the memory tier.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A part of the history of purges, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PurgePage {
    /// Purges that fit the search.
    pub purges: Vec<PurgeStatus>,
    /// Where to go on (`before`); none: that was all. There may be more even if `purges` is short or empty: one search
    /// looks at a bounded number of purges.
    pub next: Option<String>,
}

/// A PoP that has not said that it applied a purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unanswered {
    /// The PoP.
    pub pop: PopName,
    /// It follows the feed now.
    pub connected: bool,
    /// When it last reported, in milliseconds since 1970.
    pub seen_at_ms: u64,
    /// Since when its lease keeps it from calling anything fresh that was stored before the purge, in milliseconds since
    /// 1970, by the core's clock; none: that is not certain yet.
    pub quarantined_since_ms: Option<u64>,
    /// The core that it last reported to, where that core is not reached: what is said of the PoP is as last known.
    #[serde(default)]
    pub unreached_core: Option<NodeName>,
}

/// A core that was not reached. What its PoPs have applied meanwhile is not known; neither is whether it has more of them
/// than are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnreachedCore {
    /// The core.
    pub core: NodeName,
    /// When it last said which PoPs it has, in milliseconds since 1970, by the clock of the core that was asked; none: not
    /// since that one started.
    pub known_at_ms: Option<u64>,
    /// Since when the lease keeps each PoP of it, known or not, from calling anything fresh that was stored before the
    /// purge, in milliseconds since 1970; none: that is not certain.
    pub quarantined_since_ms: Option<u64>,
}

/// A purge and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PurgeStatus {
    /// Its id.
    pub id: String,
    /// What it matches.
    pub selectors: Vec<Selector>,
    /// See [`crate::purge::Purge::soft`].
    pub soft: bool,
    /// When it was accepted, in milliseconds since 1970.
    pub at_ms: u64,
    /// The id of the token, or `module:NAME`, that asked for it.
    pub by: String,
    /// The position of the change.
    pub position: Position,
    /// PoPs that have applied it.
    pub applied: Vec<PurgeAtPop>,
    /// PoPs that have not answered yet.
    pub waiting: Vec<PopName>,
    /// What is known of those that have not answered; empty in the history.
    #[serde(default)]
    pub unanswered: Vec<Unanswered>,
    /// Cores that were not reached: while there are any, it is not known that all PoPs have applied it. In the history other
    /// cores are not asked, and all are named here.
    #[serde(default)]
    pub unreached: Vec<UnreachedCore>,
    /// The hard purge that follows a staggered one.
    #[serde(default)]
    pub later: Option<Later>,
}

/// A purge at one PoP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PurgeAtPop {
    /// The PoP.
    pub pop: PopName,
    /// When it was applied, by the PoP's clock, in milliseconds since 1970.
    pub applied_at_ms: u64,
    /// Entries of the memory tier that it ended.
    pub objects: u64,
    /// From its acceptance until the core heard that it was applied, by the core's clock alone, in milliseconds: an upper
    /// bound of the propagation. None: the PoP began later, or was away, and held nothing older; or the purge was taken by
    /// another core than the one that the PoP reports to.
    #[serde(default)]
    pub propagation_ms: Option<u64>,
}

/// A PoP as the core sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pop {
    /// Its name.
    pub name: PopName,
    /// The core that it reports to, or did last. None: a core of an earlier version says nothing of it.
    #[serde(default)]
    pub core: Option<NodeName>,
    /// It follows the feed now.
    pub connected: bool,
    /// What it has applied.
    pub position: Position,
    /// Changes that it has not applied yet.
    pub lag_changes: u64,
    /// The revision of the deployment table that it runs.
    pub revision: u64,
    /// When it last reported, in milliseconds since 1970.
    pub seen_at_ms: u64,
    /// Its figures.
    pub figures: crate::link::PopFigures,
    /// How old what it serves is at most, as measured with the canary record, in milliseconds: 0 if it has the newest; none
    /// if it was not measured yet. Of a PoP that has been silent for longer than its lease, it goes on growing.
    #[serde(default)]
    pub staleness_ms: Option<u64>,
    /// Since when its lease keeps it from calling anything fresh, in milliseconds since 1970: it has not reported for longer
    /// than the lease. None: it has.
    #[serde(default)]
    pub quarantined_since_ms: Option<u64>,
}

/// Where a PoP's admin interface is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PopAdmin {
    /// The PoP.
    pub pop: PopName,
    /// `http://ADDRESS:PORT`, as the PoP says.
    pub admin: String,
}

/// The state of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// The core's software version.
    pub version: String,
    /// The core node's name.
    pub node: String,
    /// Its region.
    pub region: String,
    /// The head of the log.
    pub position: Position,
    /// The revision of the deployment table.
    pub revision: u64,
    /// Deployed modules.
    pub deployments: u64,
    /// Routes.
    pub routes: u64,
    /// PoPs that were seen.
    pub pops: Vec<Pop>,
    /// How long a PoP may call coherent entries fresh without word from a core, in milliseconds.
    #[serde(default)]
    pub lease_ms: u64,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Counts from 1.
    pub number: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The id of the token.
    pub by: String,
    /// Whose.
    pub tenant: TenantName,
    /// What was done: `deploy`, `purge`, `token.create`, ...
    pub action: String,
    /// To what.
    pub subject: String,
}

/// One line of an import: a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportLine {
    /// See [`crate::record::Key`].
    pub collection: String,
    /// See [`crate::record::Key`].
    pub partition: String,
    /// See [`crate::record::Key`].
    pub sort: String,
    /// Stored as its JSON text.
    pub value: serde_json::Value,
    /// See [`crate::record::LIFETIME_MS_MAX`]; for good if it is left out.
    #[serde(default)]
    pub lifetime_ms: Option<u64>,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Imported {
    /// Records written.
    pub imported: u64,
}
