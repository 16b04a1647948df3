//! One file for each command.

mod build;
mod cache;
mod completion;
mod deploy;
mod events;
mod inspect;
mod login;
mod logs;
mod new;
mod operations;
mod placement;
mod projections;
mod publish;
mod purge;
mod purges;
mod records;
mod routes;
mod status;
mod tenant;
mod token;
mod workflows;

use crate::{
    args::{Cli, Command, Global},
    client::Client,
    dev,
    error::Error,
    output::Output,
    settings,
};
use std::path::Path;

/// Does what the command line says.
///
/// # Errors
/// Whatever the command ran into.
pub(crate) fn run(cli: Cli, output: Output) -> Result<(), Error> {
    match cli.command {
        Command::Build(args) => build::run(&args, output),
        Command::Inspect(args) => inspect::run(&args, output),
        Command::New(args) => new::run(&args, output),
        Command::Completion(args) => completion::run(&args),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| Error::failed("the command could not begin", error))?;
            let outcome = runtime.block_on(speak(command, &cli.global, output));
            // A build that `dev` no longer waits for must not hold the process.
            runtime.shutdown_background();
            outcome
        }
    }
}

/// The commands that speak with the control API, or with local servers.
async fn speak(command: Command, global: &Global, output: Output) -> Result<(), Error> {
    let here = Path::new(".");
    let client = |dir: &Path| {
        Client::new(&settings::settle(
            global,
            &settings::process_variables,
            dir,
        )?)
    };
    match command {
        Command::Build(_) | Command::Inspect(_) | Command::New(_) | Command::Completion(_) => {
            Ok(())
        }
        Command::Dev(args) => dev::run(args, output).await,
        Command::Login(args) => login::run(&args, global, output).await,
        Command::Publish(args) => publish::run(&args, || client(&args.dir), output).await,
        Command::Versions(args) => publish::versions(&args.name, &client(here)?, output).await,
        Command::Deploy(args) => deploy::run(&args, || client(&args.dir), output).await,
        Command::Rollback(args) => deploy::rollback(&args, &client(here)?, output).await,
        Command::Routes(args) => routes::run(args, || client(here), output).await,
        Command::Purge(args) => purge::run(args, || client(here), output).await,
        Command::Cache(args) => cache::run(&args.action, || client(here), output).await,
        Command::Status => status::run(&client(here)?, output).await,
        Command::Purges(args) => purges::run(args, &client(here)?, output).await,
        Command::Collections(args) => placement::collections(args, || client(here), output).await,
        Command::Regions(args) => placement::regions(args, || client(here), output).await,
        Command::Pops(args) => status::pops(&args, &client(here)?, output).await,
        Command::Backups(args) => operations::backups(&args, &client(here)?, output).await,
        Command::Doctor => operations::doctor(&client(here)?, output).await,
        Command::Erase(args) => operations::erase(args.action, || client(here), output).await,
        Command::Tenant(args) => tenant::run(args.action, || client(here), output).await,
        Command::Logs(args) => logs::run(&args, &client(here)?, output).await,
        Command::Records(args) => records::run(args.action, &client(here)?, output).await,
        Command::Events(args) => events::run(args.action, &client(here)?, output).await,
        Command::Projections(args) => projections::run(args.action, &client(here)?, output).await,
        Command::Workflows(args) => workflows::run(args.action, || client(here), output).await,
        Command::Token(args) => token::run(args.action, &client(here)?, output).await,
    }
}
