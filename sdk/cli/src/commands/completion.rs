//! `brink completion`.

use crate::{
    args::{Cli, Completion},
    error::Error,
};
use clap::CommandFactory as _;
use std::io::Write as _;

/// Prints the completion script.
pub(super) fn run(args: &Completion) -> Result<(), Error> {
    // Into memory first: clap_complete panics when a pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "brink", &mut script);
    std::io::stdout()
        .write_all(&script)
        .map_err(|error| Error::failed("the script cannot be written", error))
}
