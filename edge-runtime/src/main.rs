//! `brink-edge`: a PoP of Brink, or a single component, or a cache before an origin.

use brink_edge::{
    config::{File, Flags, Settings},
    edge::Assembled,
    error::Error,
    standalone::{Proxy, Serve},
};
use clap::Parser;
use std::{path::PathBuf, process::ExitCode, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a full cache gives back is of all sizes: docs/decisions/0028-memory-within-its-bound.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs WebAssembly components beside a cache, near the clients.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Written when everything answers: JSON with `url`, `h3` and `admin`.
    #[arg(long, global = true)]
    ready_file: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Runs a PoP: follows a core, runs what is deployed there.
    Run {
        /// TOML file; `docs/configuration.md` names its keys.
        #[arg(long)]
        config: Option<PathBuf>,
        #[command(flatten)]
        flags: Flags,
    },
    /// Serves one component, without a core.
    Serve(Serve),
    /// Caches before one HTTP origin, without a core.
    Proxy(Proxy),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = settings(&arguments.command).and_then(|settings| run(arguments, settings));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brink-edge: {error}");
            ExitCode::FAILURE
        }
    }
}

fn settings(command: &Command) -> Result<Settings, Error> {
    match command {
        Command::Run { config, flags } => {
            let file = config.as_deref().map(File::read).transpose()?;
            file.unwrap_or_default().with(flags.clone()).settings()
        }
        Command::Serve(serve) => {
            let mut settings = serve.common.file().standalone()?;
            settings.egress_allow = brink_edge::address::everywhere();
            Ok(settings)
        }
        Command::Proxy(proxy) => proxy.common.file().standalone(),
    }
}

fn run(arguments: Arguments, settings: Settings) -> Result<(), Error> {
    let telemetry =
        brink_telemetry::init(&settings.telemetry).map_err(|e| Error::Telemetry(e.to_string()))?;
    let telemetry = Arc::new(telemetry);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::Telemetry(format!("the runtime did not start: {e}")))?;
    let rendering = Arc::clone(&telemetry);
    let outcome = runtime.block_on(async {
        let sandbox = settings.sandbox.clone();
        let render = Arc::new(move || rendering.render_metrics());
        let assembled = Assembled::new(settings, render).await?;
        match &arguments.command {
            Command::Serve(serve) => serve.deploy(&assembled, sandbox).await?,
            Command::Proxy(proxy) => proxy.deploy(&assembled),
            Command::Run { .. } => {}
        }
        let stop = CancellationToken::new();
        tokio::spawn(stop_at_signal(stop.clone()));
        assembled.run(stop, arguments.ready_file).await
    });
    // A compiler that is still at work is not waited for.
    runtime.shutdown_background();
    telemetry.flush();
    outcome
}

/// SIGTERM and SIGINT end the process in good order; a second one at once.
async fn stop_at_signal(stop: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("signals cannot be caught");
        return;
    };
    for is_first in [true, false] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if is_first {
            tracing::info!("stopping");
            stop.cancel();
        }
    }
    std::process::exit(130);
}
