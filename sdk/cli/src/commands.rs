//! One file for each command.

mod build;
mod completion;
mod inspect;

use crate::{
    args::{Cli, Command},
    error::Error,
    output::Output,
};

/// Does what the command line says.
///
/// # Errors
/// Whatever the command ran into.
pub(crate) fn run(cli: Cli, output: Output) -> Result<(), Error> {
    match cli.command {
        Command::Build(args) => build::run(&args, output),
        Command::Inspect(args) => inspect::run(&args, output),
        Command::Completion(args) => completion::run(&args),
        _ => Err(Error::Usage("this command is not in this build".into())),
    }
}
