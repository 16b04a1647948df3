//! `cargo xtask`: the one tool of the repository.

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{ffi::OsString, process::ExitCode};
use xtask::{
    bench, chaos, fuzz, history, interrupt, launch, reference, repository_root, seed, setup, sim,
    test, tidy, up,
};

/// The one tool of the repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Checks what is needed and installs what is missing
    Setup(setup::Arguments),
    /// Runs a core and its PoPs with the sample modules on this machine
    Up(up::Arguments),
    /// Checks everything: rules, lints, all tests, end to end
    Test(test::Arguments),
    /// Checks the rules that no compiler holds
    Tidy,
    /// Writes docs/configuration.md from the types that hold the configuration
    Docs,
    /// What continuous integration runs: the same as `test`
    Ci(test::Arguments),
    /// Measures, and prints the table of the README
    Bench(bench::Arguments),
    /// Holds real processes on a bad network to the promises of coherence
    Chaos(chaos::Arguments),
    /// Simulates a planet of PoPs from seeds, and holds what its clients saw against the promises
    Sim(sim::Arguments),
    /// Holds a real store to linearizability while its clients and nodes are killed
    History(history::Arguments),
    /// Feeds every parser random bytes, guided by what they reach, and fails on a crash
    Fuzz(fuzz::Arguments),
    /// The sample data, as lines for the control API's import
    Seed(seed::Arguments),
    /// Runs a program that ends with the process that started it
    #[command(hide = true)]
    Bound {
        /// The process that starts it.
        parent: u32,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    if let Task::Bound { parent, program } = &task {
        return launch::become_bound(*parent, program);
    }
    let root = repository_root();
    match task {
        Task::Tidy => tidy::run(&root),
        Task::Docs => reference::run(&root),
        Task::Seed(arguments) => seed::run(&arguments),
        Task::Setup(arguments) => {
            interrupt::watch()?;
            setup::run(&root, &arguments)
        }
        Task::Up(arguments) => {
            interrupt::watch()?;
            up::run(&root, &arguments)
        }
        Task::Test(arguments) | Task::Ci(arguments) => {
            interrupt::watch()?;
            test::run(&root, &arguments)
        }
        Task::Bench(arguments) => {
            interrupt::watch()?;
            bench::run(&root, &arguments)
        }
        Task::Chaos(arguments) => {
            interrupt::watch()?;
            chaos::run(&root, &arguments)
        }
        Task::History(arguments) => {
            interrupt::watch()?;
            history::run(&root, &arguments)
        }
        Task::Sim(arguments) => {
            interrupt::watch()?;
            sim::run(&arguments)
        }
        Task::Fuzz(arguments) => {
            interrupt::watch()?;
            fuzz::run(&root, &arguments)
        }
        Task::Bound { .. } => Ok(()),
    }
}
