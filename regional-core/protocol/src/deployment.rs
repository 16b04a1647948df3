//! What PoPs run: deployments of modules, and the routes that lead to them.

mod wire;

use crate::{
    Digest, Error, ModuleName, TenantName,
    caching::RouteCache,
    origins::OriginGroup,
    purge::{normal_host, normal_path},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap};

/// Most routes of one table.
pub const ROUTES_MAX: usize = 10_000;
/// Most plugins of one route.
pub const PLUGINS_MAX: usize = 16;

/// Bounds of one module's runs. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Limits {
    /// Linear memory of one instance, in bytes. Default 64 MiB.
    pub memory_bytes_max: u64,
    /// Time from the request's arrival at the module to the end of its answer, in milliseconds. Default 10,000.
    pub wall_time_ms_max: u64,
    /// CPU time of one run, in milliseconds. Default 1,000.
    pub cpu_time_ms_max: u64,
    /// Body of the answer, in bytes. Default 8 MiB.
    pub response_bytes_max: u64,
    /// Requests that one instance may answer, one after the other. 1 (the default): a fresh instance for each request,
    /// so that nothing can leak from one to the next. More is faster, within one tenant and one version only.
    pub instance_reuse_max: u32,
    /// Runs at a time at one PoP; more are refused with 503. Default 128.
    pub concurrency_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            wall_time_ms_max: 10_000,
            cpu_time_ms_max: 1_000,
            response_bytes_max: 8 << 20,
            instance_reuse_max: 1,
            concurrency_max: 128,
        }
    }
}

/// What a deployment may use beyond its records, configuration and log. Nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Grants {
    /// Wall-clock time (`brink:platform/clock`).
    pub clock: bool,
    /// Random bytes (`brink:platform/random`).
    pub random: bool,
    /// Outbound HTTP (`wasi:http/outgoing-handler`).
    pub outbound_http: bool,
    /// Purges within the tenant (`brink:platform/cache.purge`).
    pub purge: bool,
}

/// A component as it is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deployment {
    /// Whose it is.
    pub tenant: TenantName,
    /// Its name.
    pub name: ModuleName,
    /// Which version of it.
    pub version: u64,
    /// The component's content address.
    pub digest: Digest,
    /// What it exports.
    pub world: World,
    /// Values for `brink:platform/config`.
    pub config: BTreeMap<String, String>,
    /// Bounds of its runs.
    pub limits: Limits,
    /// What it may use.
    pub grants: Grants,
}

/// Which world of `brink:platform` a component fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum World {
    /// Exports `wasi:http/incoming-handler`.
    Module,
    /// Exports `execute`.
    Command,
    /// Exports `on-request` and `on-response`.
    Plugin,
    /// Exports `target` and `apply`. Runs at the core, and nowhere else.
    Projection,
    /// Exports `decide`. Runs at the core, and nowhere else.
    Workflow,
}

impl World {
    /// Its name in `wit/platform.wit`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Command => "command",
            Self::Plugin => "plugin",
            Self::Projection => "projection",
            Self::Workflow => "workflow",
        }
    }

    /// Whether PoPs run it: the core alone runs the others.
    #[must_use]
    pub fn is_of_edge(self) -> bool {
        match self {
            Self::Module | Self::Plugin => true,
            Self::Command | Self::Projection | Self::Workflow => false,
        }
    }
}

/// Where requests of a host and path go.
// On the link and in stores it has another form than in JSON: see `wire`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Route {
    /// Whose route; taken from the token that sets it.
    #[serde(default = "default_tenant")]
    pub tenant: TenantName,
    /// `host[:port]` in lower case; none: every host.
    #[serde(default)]
    pub host: Option<String>,
    /// A path prefix beginning with `/`, matched on whole segments: `/a` matches `/a` and `/a/b`, not `/ab`.
    pub path: String,
    /// Who answers.
    pub target: Target,
    /// Plugins in the order in which they see requests.
    #[serde(default)]
    pub plugins: Vec<ModuleName>,
    /// What to do with stored answers while the feed is silent for longer than the lease.
    #[serde(default)]
    pub when_disconnected: WhenDisconnected,
    /// Every answer carries `Brink-Coherence`: its position and the bound of its staleness. Others carry it on request.
    #[serde(default)]
    pub show_coherence: bool,
    /// Answers to writes set the session token as a cookie too, for browsers.
    #[serde(default)]
    pub session_cookie: bool,
    /// What it says of caching.
    #[serde(default)]
    pub cache: RouteCache,
}

/// The tenant of a single-tenant installation.
#[must_use]
pub fn default_tenant() -> TenantName {
    const NAME: &str = "default";
    match NAME.parse() {
        Ok(name) => name,
        Err(_) => unreachable!("`default` is a label"),
    }
}

impl Route {
    /// A route of the default tenant and of every host, with the defaults of all else.
    #[must_use]
    pub fn new(path: &str, target: Target) -> Self {
        Self {
            tenant: default_tenant(),
            host: None,
            path: path.to_owned(),
            target,
            plugins: Vec::new(),
            when_disconnected: WhenDisconnected::default(),
            show_coherence: false,
            session_cookie: false,
            cache: RouteCache::default(),
        }
    }

    /// Checks host, path, plugins and rules of caching, and brings the host to lower case.
    ///
    /// # Errors
    /// The part that is not allowed.
    pub fn normal(mut self) -> Result<Self, Error> {
        if let Some(host) = &self.host {
            self.host = Some(normal_host(host)?);
        }
        let Some(path) = normal_path(&self.path) else {
            return Err(Error::name(
                "path of a route",
                &self.path,
                "a path without segments . and ..",
            ));
        };
        if let Cow::Owned(path) = path {
            self.path = path;
        }
        if !self.path.starts_with('/')
            || self.path.len() > 2048
            || !self
                .path
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#')
        {
            return Err(Error::name(
                "path of a route",
                &self.path,
                "/ and visible ASCII without ? and #, at most 2048 bytes",
            ));
        }
        if self.plugins.len() > PLUGINS_MAX {
            return Err(Error::Limit {
                what: "plugins of a route",
                actual: self.plugins.len() as u64,
                limit: PLUGINS_MAX as u64,
            });
        }
        self.cache = self.cache.normal()?;
        if self.path.len() > 1 {
            let trimmed = self.path.trim_end_matches('/').len();
            self.path.truncate(trimmed.max(1));
        }
        Ok(self)
    }
}

/// Who answers a route's requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Target {
    /// A deployed module.
    Module(ModuleName),
    /// An HTTP origin, `http[s]://host[:port]`.
    Origin(String),
    /// A fixed answer.
    Static(StaticAnswer),
    /// Several HTTP origins, or one with more said of it than its URL.
    Origins(OriginGroup),
}

/// A fixed answer: a health check, a robots.txt, a maintenance page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StaticAnswer {
    /// Status, 200 to 599.
    pub status: u16,
    /// Its media type.
    pub content_type: String,
    /// At most 64 KiB.
    pub body: String,
}

/// What to do with a stored coherent answer once the feed has been silent for longer than the lease (coherence.md, P2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum WhenDisconnected {
    /// Ask the module or origin again; if that fails too, serve the stored answer as stale.
    Revalidate,
    /// Serve it, marked stale in `Cache-Status`.
    #[default]
    ServeStale,
    /// Answer 503.
    Fail,
}

/// Everything that a PoP is to run. Revisions only grow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeploymentTable {
    /// 0: nothing was deployed yet.
    pub revision: u64,
    /// By tenant and name.
    pub deployments: Vec<Deployment>,
    /// At most [`ROUTES_MAX`]; the longest matching path of the most exact host wins.
    pub routes: Vec<Route>,
}
