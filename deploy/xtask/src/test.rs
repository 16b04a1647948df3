//! `cargo xtask test` and `cargo xtask ci`: everything that must hold, in the order in which it is cheap to find out.

use crate::{
    binaries::{Binaries, Profile},
    cargo, guests, launch, setup,
    step::Steps,
    tidy,
};
use anyhow::{Result, bail};
use std::{ffi::OsString, path::Path, process::Command};

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Without formatting and lints
    #[arg(long)]
    no_lints: bool,
    /// Passed on to `cargo test` of the workspace, for example `-- --skip end_to_end`
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// How many tests had which outcome.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Adds one line of the output of `cargo test`, if it is a summary.
    fn add(&mut self, line: &str) {
        let Some((_, figures)) = line
            .split_once("test result: ")
            .and_then(|(_, rest)| rest.split_once(". "))
        else {
            return;
        };
        for figure in figures.split(';') {
            let mut words = figure.split_whitespace();
            let (Some(count), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let count = count.parse::<u64>().unwrap_or(0);
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

/// Runs all checks and tests.
///
/// # Errors
/// The first that fails; tests all run before they are said to have failed.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let steps = Steps::default();
    setup::ensure(root, &steps, &setup::TEST)?;
    steps.run("tidy", || tidy::run(root))?;
    if !arguments.no_lints {
        lints(root, &steps)?;
    }
    let build = ["build", "--workspace", "--bins", "--tests", "--locked"];
    steps.run("build programs and tests", || plain(root, &build))?;
    let binaries = Binaries::built(root, Profile::Dev)?;
    let guests = guests::build(root, &steps, &binaries.brink)?;

    let mut counts = Counts::default();
    let modules = root.join("modules/Cargo.toml");
    let mut command = test_command(root, &guests);
    command.arg("--manifest-path").arg(&modules);
    let of_modules = steps.run("test the sample modules on the host", || {
        counted(&command, &mut counts)
    });
    let mut command = test_command(root, &guests);
    command.args(&arguments.arguments);
    let of_workspace = steps.run("test the workspace, end to end too", || {
        counted(&command, &mut counts)
    });
    println!(
        "total: {} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.ignored
    );
    of_modules.and(of_workspace)?;
    if counts.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

fn lints(root: &Path, steps: &Steps) -> Result<()> {
    steps.run("formatting", || {
        plain(root, &["fmt", "--all", "--check"])?;
        plain(&root.join("modules"), &["fmt", "--all", "--check"])
    })?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ];
    steps.run("lints", || plain(root, &clippy))
}

fn plain(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(cargo());
    command.current_dir(folder).args(arguments);
    let name = format!("cargo {}", arguments.first().unwrap_or(&""));
    launch::run(&launch::launcher(), &name, &command, None)
}

fn test_command(root: &Path, guests: &Path) -> Command {
    let mut command = Command::new(cargo());
    command
        .current_dir(root)
        .args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    command.env(guests::VARIABLE, guests);
    command
}

fn counted(command: &Command, counts: &mut Counts) -> Result<()> {
    launch::run_heard(&launch::launcher(), "cargo test", command, |line| {
        println!("{line}");
        counts.add(line);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_added_up() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test tidy::tests::circles ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "\u{1b}[0mtest result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            counts.add(line);
        }
        let expected = Counts {
            passed: 15,
            failed: 2,
            ignored: 1,
        };
        assert_eq!(counts, expected);
    }
}
