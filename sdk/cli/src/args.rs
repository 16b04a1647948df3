//! The command line.

mod cache;
mod caching;
mod operations;
mod placement;
mod platform;
mod purge;
mod records;
mod streams;
mod workflows;

pub(crate) use cache::*;
pub(crate) use caching::*;
pub(crate) use operations::*;
pub(crate) use placement::*;
pub(crate) use platform::*;
pub(crate) use purge::*;
pub(crate) use records::*;
pub(crate) use streams::*;
pub(crate) use workflows::*;

use crate::build::StdChoice;
use brink_protocol::ModuleName;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, builder::styling};
use std::{net::SocketAddr, path::PathBuf};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the operation was tried and failed
  2  the command line, a file of the project or the configuration is wrong
  3  the control API could not be reached
  4  denied: the token is missing, unknown or not allowed to do this
  5  refused by the server as invalid
  6  what was waited for did not happen in time

Configuration, the first that is set counts:
  control URL   --control     BRINK_CONTROL     control in [platform] of ./brink.toml     ~/.config/brink/config.toml
  authority     --ca          BRINK_CA          ca in the same places; none: the system's authorities
  token         --token-file  BRINK_TOKEN_FILE  token_file in the same places

Begin with:
  brink new hello --template rust && cd hello
  brink dev";

/// Write, run and operate modules on Brink: an edge platform that runs WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "brink", version, after_help = EXIT_CODES, styles = styling::Styles::plain(), arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Global {
    /// The control API: https://HOST[:PORT]. http:// only for this machine itself
    #[arg(long, value_name = "URL", global = true, help_heading = "Platform")]
    pub(crate) control: Option<String>,
    /// PEM file of the authority that signed the control API's certificate
    #[arg(long, value_name = "FILE", global = true, help_heading = "Platform")]
    pub(crate) ca: Option<PathBuf>,
    /// File that holds the token. The token itself is never an argument: others can read command lines
    #[arg(long, value_name = "FILE", global = true, help_heading = "Platform")]
    pub(crate) token_file: Option<PathBuf>,
    /// Write JSON instead of tables and sentences; errors too, on standard error
    #[arg(long, global = true, help_heading = "Platform")]
    pub(crate) json: bool,
}

/// What `brink` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Begin a project in a new directory
    New(New),
    /// Build the project's component
    Build(Build),
    /// Run a module, any component, or a caching PoP before an origin, on this machine
    Dev(Dev),
    /// Show a component's world, imports, exports, size, digest and the grants it needs
    Inspect(Inspect),
    /// Publish a component as a new version
    Publish(Publish),
    /// List the published versions of a module
    Versions(Versions),
    /// Run a published version at every PoP
    Deploy(Deploy),
    /// Go back to an earlier version
    Rollback(Rollback),
    /// List, set and delete routes
    Routes(Routes),
    /// Take stored answers out of every PoP's cache
    Purge(Purge),
    /// Show the history of purges
    Purges(Purges),
    /// Say what a PoP's cache would do with a request, and why
    Cache(CacheArgs),
    /// Say how collections are placed
    Collections(Collections),
    /// List regions, set the main one, give the homes of a lost one to another
    Regions(RegionsArgs),
    /// Show the state of the whole: core, PoPs, deployments
    Status,
    /// List PoPs: connected, how far they are, their figures
    Pops(Pops),
    /// Show what is kept as backups, or take a snapshot
    Backups(BackupsArgs),
    /// Look whether the core is as it should be; exit with 1 if something is bad
    Doctor,
    /// Erase everything of a person, with proof
    Erase(Erase),
    /// Export and import all data of a tenant
    Tenant(Tenant),
    /// Show what modules logged
    Logs(Logs),
    /// Show who changed a record
    Records(RecordsArgs),
    /// Read, follow and append events
    Events(Events),
    /// Show projections, handle what they gave up, replay
    Projections(Projections),
    /// Start, show, retry and cancel workflows
    Workflows(Workflows),
    /// Create, list and revoke tokens
    Token(Token),
    /// Keep control URL, authority and token for later commands
    Login(Login),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  brink completion bash > ~/.local/share/bash-completion/completions/brink"
    )]
    Completion(Completion),
}

/// What a new project is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// A module in Rust: answers HTTP requests
    Rust,
    /// A plugin in Rust: sees requests before the cache and responses after it
    RustPlugin,
    /// A projection in Rust: makes records of events
    RustProjection,
    /// A workflow in Rust: decides what commands do in several partitions, step by step
    RustWorkflow,
    /// A module in JavaScript
    Js,
}

/// `brink new`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  brink new shop --template rust\n  brink new greeter --template js --dir ./services/greeter"
)]
pub(crate) struct New {
    /// The module's name: a-z, 0-9 and -, as in a host name
    pub(crate) name: ModuleName,
    /// What to begin with
    #[arg(long, short, value_enum, default_value = "rust")]
    pub(crate) template: Template,
    /// Where; NAME if it is left out. Must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// `brink build`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink build                                              the project here, into target/brink/NAME.wasm
  brink build --manifest-path modules/Cargo.toml --package hello --package orders --out out
                                                           packages of a Cargo workspace, in one run of cargo

Rust is built for wasm32-unknown-unknown. Its standard library is taken from the toolchain, else installed by rustup, else
built from source (Debian: apt-get install rustc-web rust-web-src lld).")]
pub(crate) struct Build {
    /// The project's directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Build with optimisation (the default)
    #[arg(long, conflicts_with = "debug")]
    pub(crate) release: bool,
    /// Build without optimisation, with names and debug information
    #[arg(long)]
    pub(crate) debug: bool,
    /// Keep the names of functions, for backtraces of traps
    #[arg(long)]
    pub(crate) names: bool,
    /// Where Rust's standard library comes from
    #[arg(long = "std", value_enum, value_name = "WAY", default_value = "auto")]
    pub(crate) std_choice: StdChoice,
    /// Build packages of this Cargo workspace instead of a project with a brink.toml
    #[arg(long, value_name = "Cargo.toml", conflicts_with = "dir")]
    pub(crate) manifest_path: Option<PathBuf>,
    /// With --manifest-path: a package to build; may be repeated. None: all that are cdylibs
    #[arg(long, short, value_name = "NAME", requires = "manifest_path")]
    pub(crate) package: Vec<String>,
    /// With --manifest-path: where PACKAGE.wasm files go; target/brink beside the Cargo.toml if it is left out
    #[arg(long, value_name = "DIR", requires = "manifest_path")]
    pub(crate) out: Option<PathBuf>,
}

/// `brink dev`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["file", "origin"]), after_help = "\
Examples:
  brink dev                                               build the project here, run it, rebuild when sources change
  brink dev some.wasm --listen 127.0.0.1:8080             serve any wasi:http component, nothing else set up
  brink dev --origin http://127.0.0.1:3000 --listen 127.0.0.1:8080
                                                          a caching PoP before an HTTP origin

Needs the programs brink-edge and brink-core: beside this program, in BRINK_BIN_DIR, or on PATH.")]
pub(crate) struct Dev {
    /// A component to serve as it is
    pub(crate) file: Option<PathBuf>,
    /// Cache this origin: http[s]://HOST[:PORT]; may be repeated: the first that is well is asked
    #[arg(long, value_name = "URL")]
    pub(crate) origin: Vec<String>,
    /// Where to listen. Default: 127.0.0.1:8080 for a component or an origin, a free port for a project
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// The project's directory
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with = "what")]
    pub(crate) dir: PathBuf,
    /// Keep records and cache in .brink/dev of the project, for the next time
    #[arg(long, conflicts_with = "what")]
    pub(crate) keep_data: bool,
    /// Show the platform's own log, not only the module's lines
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// `brink inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The component
    pub(crate) file: PathBuf,
}

/// `brink completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests;
