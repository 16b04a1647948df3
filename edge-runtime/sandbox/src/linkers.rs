//! What each world may import: the one truth, from which inspections are answered too.

use crate::{World, bindings::platform, host::Host, watch};
use wasmtime::{
    Engine, Result,
    component::{HasSelf, Linker},
};
use wasmtime_wasi::{
    WasiView,
    cli::{WasiCli, WasiCliView},
    filesystem::{WasiFilesystem, WasiFilesystemView},
    p2::bindings::{cli, filesystem, random},
    random::WasiRandom,
};

/// One linker for each world.
pub(crate) struct Linkers {
    module: Linker<Host>,
    command: Linker<Host>,
    plugin: Linker<Host>,
    projection: Linker<Host>,
    workflow: Linker<Host>,
}

impl Linkers {
    /// Prepares all linkers.
    pub(crate) fn new(engine: &Engine) -> Result<Self> {
        Ok(Self {
            module: module(engine)?,
            command: command(engine)?,
            plugin: plugin(engine)?,
            projection: projection(engine)?,
            workflow: workflow(engine)?,
        })
    }

    /// The linker of a world.
    pub(crate) fn of(&self, world: World) -> &Linker<Host> {
        match world {
            World::Module => &self.module,
            World::Command => &self.command,
            World::Plugin => &self.plugin,
            World::Projection => &self.projection,
            World::Workflow => &self.workflow,
        }
    }
}

/// All of WASI 0.2 (with no directories and no network behind it), `wasi:http`, and all of `brink:platform`.
fn module(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    watch::watch(&mut linker)?;
    own(&mut linker)?;
    events(&mut linker)?;
    platform::commands::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    platform::workflows::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    platform::cache::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    Ok(linker)
}

/// `brink:platform` without commands, workflows and cache, and no outbound HTTP: a command may run more than once, so it
/// has no other effects than its writes and events.
fn command(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    basics(&mut linker)?;
    own(&mut linker)?;
    events(&mut linker)?;
    platform::event_append::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    Ok(linker)
}

/// No events, and the types of heads.
fn plugin(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    basics(&mut linker)?;
    own(&mut linker)?;
    platform::plugin_types::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    Ok(linker)
}

/// Records and the transaction's moment: what is made of events must not depend on anything else.
fn projection(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    basics(&mut linker)?;
    spoken(&mut linker)?;
    platform::records::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    platform::clock::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    platform::event_types::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    Ok(linker)
}

/// Values and log lines alone: decided again with the same arguments, it is the same. (`basics` has clocks and random
/// numbers, which languages with a large runtime import and read when they start: a workflow's clock stands still, and
/// `wasi:random` gives the same bytes in every run.)
fn workflow(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    basics(&mut linker)?;
    spoken(&mut linker)?;
    platform::workflow_types::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)?;
    Ok(linker)
}

/// Streams of events.
fn events(linker: &mut Linker<Host>) -> Result<()> {
    platform::event_types::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    platform::events::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)
}

/// What every world of `brink:platform` imports.
fn spoken(linker: &mut Linker<Host>) -> Result<()> {
    platform::config::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    platform::log::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)
}

/// What modules, commands and plugins import.
fn own(linker: &mut Linker<Host>) -> Result<()> {
    spoken(linker)?;
    platform::records::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    platform::identity::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    platform::clock::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    platform::random::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    Ok(())
}

/// The part of WASI that standard libraries import even in programs that touch nothing: streams, clocks, random
/// numbers, environment, standard streams, and a file system in which there is no directory. No sockets.
fn basics(linker: &mut Linker<Host>) -> Result<()> {
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    random::insecure::add_to_linker::<Host, WasiRandom>(linker, |h| h.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<Host, WasiRandom>(linker, |h| h.ctx().ctx.random())?;
    cli::exit::add_to_linker::<Host, WasiCli>(linker, Host::cli)?;
    cli::environment::add_to_linker::<Host, WasiCli>(linker, Host::cli)?;
    cli::terminal_input::add_to_linker::<Host, WasiCli>(linker, Host::cli)?;
    cli::terminal_output::add_to_linker::<Host, WasiCli>(linker, Host::cli)?;
    cli::terminal_stdin::add_to_linker::<Host, WasiCli>(linker, Host::cli)?;
    cli::terminal_stdout::add_to_linker::<Host, WasiCli>(linker, Host::cli)?;
    cli::terminal_stderr::add_to_linker::<Host, WasiCli>(linker, Host::cli)?;
    filesystem::types::add_to_linker::<Host, WasiFilesystem>(linker, Host::filesystem)?;
    filesystem::preopens::add_to_linker::<Host, WasiFilesystem>(linker, Host::filesystem)?;
    Ok(())
}
