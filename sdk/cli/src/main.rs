//! `brink`: write, run and operate modules.
//!
//! | module | what it does |
//! |---|---|
//! | `args` | the command line |
//! | `settings`, `project` | where the control API is; what a directory builds |
//! | `client`, `rollout`, `log_lines`, `address` | speaks with the control API; which PoPs run a deployment; modules' logs; what people write for routes |
//! | `build`, `inspect`, `templates` | from nothing to a component |
//! | `dev` | a PoP and a core on this machine, rebuilt on change |
//! | `commands` | one file for each command |
//! | `output`, `moment`, `error`, `private_file` | tables, JSON, moments, exit codes, files of mode 0600 |

mod address;
mod args;
mod build;
mod client;
mod commands;
mod dev;
mod error;
mod inspect;
mod log_lines;
mod moment;
mod output;
mod private_file;
mod project;
mod rollout;
mod settings;
mod templates;

use clap::Parser as _;
use error::{Error, Exit};
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(Exit::Usage as u8)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let output = Output {
        json: cli.global.json,
    };
    match commands::run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error, output);
            ExitCode::from(error.exit() as u8)
        }
    }
}

fn report(error: &Error, output: Output) {
    if output.json {
        eprintln!("{}", error.to_json());
    } else {
        eprintln!("brink: {error}");
    }
}
