//! `cargo xtask history`: clients of a real store that are killed and stopped, as its nodes are, and whether an order of
//! their operations explains what they saw.

use crate::{binaries::target_folder, cargo, launch, step::Steps};
use anyhow::Result;
use std::{path::Path, process::Command};

const PACKAGE: &str = "brink-history";

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many operations
    #[arg(long, default_value_t = 100_000)]
    operations: u64,
    /// Which store: the embedded one in one process, or a CQL engine that several share
    #[arg(long, value_parser = ["embedded", "cql"], default_value = "embedded")]
    store: String,
    /// Where chance comes from; printed in any case
    #[arg(long)]
    seed: Option<u64>,
    /// Nodes of the CQL engine; each holds everything
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    nodes: u8,
    /// How long the nodes are left alone between two faults, at least, in milliseconds
    #[arg(long)]
    calm_ms: Option<u64>,
    /// Nodes and clients run in network namespaces, and are cut off from each other, too; needs root
    #[arg(long)]
    cuts: bool,
    /// Operations of each process at a time
    #[arg(long)]
    tasks: Option<u16>,
    /// Partitions that are written at a time
    #[arg(long)]
    partitions: Option<u16>,
    /// Spoils the store in several ways, one after the other, and expects each to be noticed
    #[arg(long)]
    broken: bool,
    /// Build and run with optimisation
    #[arg(long)]
    release: bool,
}

/// Builds the program, runs clients and faults, and checks.
///
/// # Errors
/// It does not build, something cannot be explained, or a spoiled store was not noticed.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let steps = Steps::default();
    let mut command = Command::new(cargo());
    command.current_dir(root);
    command.args(["build", "--locked", "--package", PACKAGE]);
    if arguments.release {
        command.arg("--release");
    }
    steps.run("build brink-history", || {
        launch::run(&launch::launcher(), "cargo build", &command, None)
    })?;
    let profile = if arguments.release {
        "release"
    } else {
        "debug"
    };
    let mut command = Command::new(target_folder(root).join(profile).join(PACKAGE));
    command.arg("run");
    command.args(["--operations", &arguments.operations.to_string()]);
    command.args(["--store", &arguments.store]);
    command.args(["--nodes", &arguments.nodes.to_string()]);
    let passed = [
        ("--seed", arguments.seed),
        ("--calm-ms", arguments.calm_ms),
        ("--tasks", arguments.tasks.map(u64::from)),
        ("--partitions", arguments.partitions.map(u64::from)),
    ];
    for (name, value) in passed {
        if let Some(value) = value {
            command.args([name, &value.to_string()]);
        }
    }
    for (name, is_set) in [("--broken", arguments.broken), ("--cuts", arguments.cuts)] {
        if is_set {
            command.arg(name);
        }
    }
    steps.run("run, and check what was seen", || {
        launch::run(&launch::launcher(), PACKAGE, &command, None)
    })
}
