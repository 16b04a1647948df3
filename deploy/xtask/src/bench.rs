//! `cargo xtask bench`: the table of the README, measured on this machine.

use crate::{
    binaries::{Binaries, Profile},
    cargo, guests, launch, setup,
    step::Steps,
};
use anyhow::Result;
use std::{path::Path, process::Command};

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Passed on to the load runs
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Builds for release, measures and prints the table.
///
/// # Errors
/// Something is missing, does not build, or a run fails.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let steps = Steps::default();
    setup::ensure(root, &steps, &setup::BENCH)?;
    let binaries = Binaries::build(root, &steps, Profile::Release)?;
    let folder = guests::build(root, &steps, &binaries.brink)?;
    let mut command = Command::new(cargo());
    command.current_dir(root).args([
        "run",
        "--release",
        "--package",
        "brink-bench",
        "--",
        "table",
    ]);
    command
        .args(&arguments.arguments)
        .env(guests::VARIABLE, &folder);
    steps.run("measure", || {
        launch::run(&launch::launcher(), "cargo run", &command, None)
    })
}
