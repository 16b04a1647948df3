//! The command line of what speaks with the control API.

use super::Caching;
use brink_protocol::{ModuleName, TenantName, control::Role};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `brink publish`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  brink publish                            what `brink build` made of the project here\n  brink publish out/orders.wasm --name orders"
)]
pub(crate) struct Publish {
    /// The component; that of the project in --dir if it is left out
    pub(crate) file: Option<PathBuf>,
    /// The module's name; the project's, else the file's name, if it is left out
    #[arg(long)]
    pub(crate) name: Option<ModuleName>,
    /// The project's directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// `brink versions`.
#[derive(Debug, Args)]
pub(crate) struct Versions {
    /// The module
    pub(crate) name: ModuleName,
}

/// What a deployment may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Grant {
    /// Wall-clock time
    Clock,
    /// Random bytes
    Random,
    /// Outbound HTTP
    OutboundHttp,
    /// Purges within the tenant
    Purge,
    /// None of them: takes those of the present deployment away
    None,
}

/// How long to wait for PoPs.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Waiting {
    /// Wait until every connected PoP runs it; exit with 6 if one does not within --timeout
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) wait: bool,
    /// Do not wait at all
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// With --wait: for how long, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) timeout: u32,
}

/// `brink deploy`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink deploy hello                                      the newest version, at /hello on every host
  brink deploy shop --version 3 --route shop.example/ --route /shop
  brink deploy shop --config CURRENCY=EUR --grant clock --grant random --wait

Without --config, --grant or limits in brink.toml those of the present deployment stay. Without --wait it waits up to 60 s and
says which PoPs run it.")]
pub(crate) struct Deploy {
    /// The module; the project's if it is left out
    pub(crate) name: Option<ModuleName>,
    /// Which version; the newest if it is left out
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u64>,
    /// A route: [HOST]/PATH; may be repeated
    #[arg(long = "route", value_name = "[HOST]/PATH")]
    pub(crate) routes: Vec<String>,
    /// A plugin before the routes, in order; may be repeated
    #[arg(long = "plugin", value_name = "NAME")]
    pub(crate) plugins: Vec<ModuleName>,
    /// What answers of the routes show of coherence.
    #[command(flatten)]
    pub(crate) shown: Shown,
    /// What the routes say of caching.
    #[command(flatten)]
    pub(crate) caching: Caching,
    /// A value for the module; may be repeated. Replaces all that were set before
    #[arg(long = "config", value_name = "NAME=VALUE")]
    pub(crate) config: Vec<String>,
    /// What it may use; may be repeated. Replaces all that were set before
    #[arg(long = "grant", value_enum, value_name = "GRANT")]
    pub(crate) grants: Vec<Grant>,
    /// Wall time of one request, in milliseconds
    #[arg(long, value_name = "MS", help_heading = "Limits")]
    pub(crate) wall_time_ms_max: Option<u64>,
    /// CPU time of one request, in milliseconds
    #[arg(long, value_name = "MS", help_heading = "Limits")]
    pub(crate) cpu_time_ms_max: Option<u64>,
    /// Memory of one instance, in bytes
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    pub(crate) memory_bytes_max: Option<u64>,
    /// Body of an answer, in bytes
    #[arg(long, value_name = "BYTES", help_heading = "Limits")]
    pub(crate) response_bytes_max: Option<u64>,
    /// Requests that one instance may answer, one after the other
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) instance_reuse_max: Option<u32>,
    /// Requests at a time at one PoP
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) concurrency_max: Option<u32>,
    /// How long to wait.
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// The project's directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// `brink rollback`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  brink rollback hello            to the version deployed before the present one\n  brink rollback hello --to 3"
)]
pub(crate) struct Rollback {
    /// The module
    pub(crate) name: ModuleName,
    /// To which version; the one deployed before the present one if it is left out
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<u64>,
    /// How long to wait.
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// `brink routes`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink routes
  brink routes set /shop --module orders --plugin api-key
  brink routes set shop.example/ --origin http://127.0.0.1:3000
  brink routes set shop.example/ --origin https://a.example --origin https://b.example --health-check /up
  brink routes set /healthz --static 'ok'
  brink routes set shop.example/ --origin http://127.0.0.1:3000 --ignore-query 'utm_*' --sort-query --no-cookies
  brink routes delete shop.example/")]
pub(crate) struct Routes {
    /// What to do; `list` if it is left out.
    #[command(subcommand)]
    pub(crate) action: Option<RoutesAction>,
}

/// What to do with routes.
#[derive(Debug, Subcommand)]
pub(crate) enum RoutesAction {
    /// List all routes
    List,
    /// Set a route, or change the one of this host and path
    Set(Box<RouteSet>),
    /// Delete a route
    Delete {
        /// [HOST]/PATH
        #[arg(value_name = "[HOST]/PATH")]
        route: String,
    },
}

/// `brink routes set`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true).args(["module", "origin", "static_body"]))]
pub(crate) struct RouteSet {
    /// [HOST]/PATH: /a matches /a and /a/b on every host
    #[arg(value_name = "[HOST]/PATH")]
    pub(crate) route: String,
    /// A deployed module answers
    #[arg(long, value_name = "NAME")]
    pub(crate) module: Option<ModuleName>,
    /// An HTTP origin answers: http[s]://HOST[:PORT]; may be repeated: the first that is well is asked
    #[arg(long, value_name = "URL")]
    pub(crate) origin: Vec<String>,
    /// With several origins: spread requests over all that are well
    #[arg(long, requires = "origin")]
    pub(crate) spread: bool,
    /// Ask each origin every 5 seconds for this path, and leave it alone while that fails
    #[arg(long, value_name = "PATH", requires = "origin")]
    pub(crate) health_check: Option<String>,
    /// A fixed answer: this text
    #[arg(long = "static", value_name = "BODY")]
    pub(crate) static_body: Option<String>,
    /// With --static: the status
    #[arg(long, value_name = "STATUS", default_value_t = 200, conflicts_with_all = ["module", "origin"], value_parser = clap::value_parser!(u16).range(200..=599))]
    pub(crate) status: u16,
    /// With --static: the media type
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "text/plain; charset=utf-8",
        conflicts_with_all = ["module", "origin"]
    )]
    pub(crate) content_type: String,
    /// A plugin before it, in order; may be repeated
    #[arg(long = "plugin", value_name = "NAME")]
    pub(crate) plugins: Vec<ModuleName>,
    /// What PoPs do with stored answers while they cannot hear the core
    #[arg(long, value_enum, value_name = "WHAT", default_value = "serve-stale")]
    pub(crate) when_disconnected: Disconnected,
    /// What answers show of coherence.
    #[command(flatten)]
    pub(crate) shown: Shown,
    /// What it says of caching.
    #[command(flatten)]
    pub(crate) caching: Caching,
}

/// What answers of a route carry for reading one's own writes.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Shown {
    /// Answers carry the field Brink-Coherence: their position, and how stale they are at most
    #[arg(long)]
    pub(crate) show_coherence: bool,
    /// Answers to writes set a cookie with the session, so that browsers read their own writes at every PoP
    #[arg(long)]
    pub(crate) session_cookie: bool,
}

/// See `brink_protocol::deployment::WhenDisconnected`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Disconnected {
    /// Ask the module or origin again; if that fails too, serve the stored answer as stale
    Revalidate,
    /// Serve the stored answer, marked stale
    ServeStale,
    /// Answer 503
    Fail,
}

/// `brink logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  brink logs hello --follow\n  brink logs --limit 500 --json")]
pub(crate) struct Logs {
    /// The module; all if it is left out
    pub(crate) name: Option<ModuleName>,
    /// Go on with new lines as they come, until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// At most this many of the last lines
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

/// `brink token`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink token create --label ci --role publisher --out ci.token
  brink token list
  brink token revoke 01JABCDEF")]
pub(crate) struct Token {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: TokenAction,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenAction {
    /// Make a token; its secret is written to a file and shown nowhere
    Create {
        /// What it is for
        #[arg(long)]
        label: String,
        /// What it may do; each role may do what those before it may
        #[arg(long, value_enum)]
        role: RoleName,
        /// Whose modules and records
        #[arg(long, env = "BRINK_TENANT", default_value = "default")]
        tenant: TenantName,
        /// When it ends, in seconds from now; never if it is left out
        #[arg(long, value_name = "SECONDS")]
        lifetime: Option<u64>,
        /// The file for the secret, made with mode 0600. Must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// List tokens, without their secrets
    List,
    /// Revoke a token
    Revoke {
        /// Its id, as `token list` shows it
        id: String,
    },
}

/// See [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Look at modules, deployments, routes, PoPs and logs
    Reader,
    /// Publish, deploy, roll back, set routes
    Publisher,
    /// Purge, read and import records
    Operator,
    /// Tokens and the audit log
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Reader => Self::Reader,
            RoleName::Publisher => Self::Publisher,
            RoleName::Operator => Self::Operator,
            RoleName::Admin => Self::Admin,
        }
    }
}

/// `brink login`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink login --control https://127.0.0.1:7400 --ca data/core/ca/ca.pem --token-file data/core/root.token
  pass brink/token | brink login --control https://control.example --token-file -

Writes config.toml and a copy of the token (mode 0600) to $XDG_CONFIG_HOME/brink or ~/.config/brink (mode 0700).")]
pub(crate) struct Login {
    /// Keep them without asking the control API whether they work
    #[arg(long)]
    pub(crate) no_check: bool,
}
