//! `brink-history`: clients that read and write a real store while it is faulted, and the check of what they saw.
//!
//! `run` starts the engine and the clients, which are processes of this same program, and gives a verdict. `client` is one
//! of them.

mod client;
mod closing;
mod faults;
mod flaw;
mod lan;
mod nodes;
mod processes;
mod run;
mod settings;
mod subject;
mod work;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    #[error(transparent)]
    Store(#[from] brink_core::Error),
    #[error(transparent)]
    Engine(#[from] brink_engines::Error),
    #[error(transparent)]
    History(#[from] brink_history::history::Error),
    #[error("a name: {0}")]
    Name(#[from] brink_protocol::Error),
    #[error("a note: {0}")]
    Note(#[from] serde_json::Error),
    #[error("{0}")]
    Other(String),
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io(what, error)
    }
}

/// Holds a store to linearizability.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs clients and faults, and checks what was seen
    Run(run::Arguments),
    /// Is one of the clients of a run
    #[command(hide = true)]
    Client(settings::Client),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Run(arguments) => run::run(&arguments),
        Task::Client(settings) => client::run(settings).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("brink-history: {error}");
            ExitCode::from(2)
        }
    }
}
