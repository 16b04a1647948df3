//! `brink-core`: config -> build -> run -> drain.

mod archived;
mod restore;

use brink_core::{
    Error,
    config::{Config, Flags, write_ready_file},
    core::Core,
    identity::{issue_core, issue_pop},
};
use brink_protocol::{NodeName, PopName};
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode, sync::Arc};

/// The regional core: records, commands, registry, deployments, purges, control API.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a core (the same as no command)
    Run(Flags),
    /// Put a backup back into an empty store; no core of it may run
    Restore {
        #[command(flatten)]
        flags: Flags,
        /// Directory of the backups
        #[arg(long)]
        from: PathBuf,
        /// The state of which moment: 2026-11-21T08:30:00Z, or milliseconds since 1970; the last one if it is left out
        #[arg(long)]
        to_time: Option<String>,
    },
    /// Read the backups of a directory through, and say what can be restored
    CheckBackup {
        /// Directory of the backups
        #[arg(long)]
        from: PathBuf,
    },
    /// List, check and read what ended and was archived
    Archive {
        #[command(subcommand)]
        command: archived::ArchiveCommand,
    },
    /// Issue the certificates of a PoP into a directory; the core may run meanwhile
    IssuePop {
        /// Data directory of the core
        #[arg(long)]
        data: PathBuf,
        /// The PoP's name
        #[arg(long)]
        name: PopName,
        /// Directory for pop.pem, pop.key, ca.pem, server.pem, server.key
        #[arg(long)]
        out: PathBuf,
        /// Further host name or address in server.pem; may be repeated
        #[arg(long)]
        host: Vec<String>,
    },
    /// Issue the certificates of another core of the same installation; this core may run meanwhile
    IssueCore {
        /// Data directory of the core that has the authority
        #[arg(long)]
        data: PathBuf,
        /// The other core's node name
        #[arg(long)]
        name: NodeName,
        /// Directory for what goes into the other core's data directory
        #[arg(long)]
        out: PathBuf,
        /// Further host name or address of the other core; may be repeated
        #[arg(long)]
        host: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => run(&arguments.flags),
        Some(Command::Run(flags)) => run(&flags),
        Some(Command::Restore {
            flags,
            from,
            to_time,
        }) => restore::run(&flags, &from, to_time.as_deref()),
        Some(Command::CheckBackup { from }) => restore::check(&from),
        Some(Command::Archive { command }) => archived::run(command),
        Some(Command::IssuePop {
            data,
            name,
            out,
            host,
        }) => issue_pop(&data, &name, &host, &out),
        Some(Command::IssueCore {
            data,
            name,
            out,
            host,
        }) => issue_core(&data, &name, &host, &out),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brink-core: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<(), Error> {
    let config = Config::load(flags)?;
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| Error::Runtime(error.to_string()))?;
    let done = runtime.block_on(serve(config));
    // Nothing that blocks is waited for beyond the drain.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}

async fn serve(config: Config) -> Result<(), Error> {
    let telemetry = brink_telemetry::init(&config.telemetry)
        .map_err(|error| Error::Telemetry(error.to_string()))?;
    let ready_file = config.ready_file.clone();
    let core = Core::build(config, Some(Arc::new(telemetry))).await?;
    let addresses = core.addresses();
    let stop = core.stop();
    let signals = brink_core::signals::stop_on_signal(stop)?;
    if let Some(path) = ready_file {
        let json = format!(
            "{{\"control\":\"{}\",\"link\":\"{}\",\"admin\":\"{}\"}}\n",
            addresses.control, addresses.link, addresses.admin
        );
        let serving = tokio::spawn(core.serve());
        write_ready_file(&path, &json)?;
        tracing::info!(?addresses, "the core answers");
        serving
            .await
            .map_err(|error| Error::Runtime(error.to_string()))??;
    } else {
        tracing::info!(?addresses, "the core answers");
        core.serve().await?;
    }
    signals.abort();
    tracing::info!("the core has stopped");
    Ok(())
}
