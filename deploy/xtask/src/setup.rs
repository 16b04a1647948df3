//! `cargo xtask setup`: checks what is needed on this machine and installs what is missing.

mod cache_tests;
mod need;
mod python;
mod trixie;
mod wasm;

pub use cache_tests::cache_tests;
pub use need::{Need, chromium};
pub use python::{libcachesim, venv_python};
pub use trixie::trixie;

use crate::{interrupt, launch, step::Steps};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What running the platform needs.
pub const UP: [Need; 3] = [Need::Compiler, Need::Curl, Need::Wasm];
/// What running the platform on a CQL engine needs besides.
pub const CQL: [Need; 3] = [Need::Java, Need::Maven, Need::Cassandra];
/// What the tests need.
pub const TEST: [Need; 12] = [
    Need::Compiler,
    Need::Git,
    Need::Curl,
    Need::Wasm,
    Need::Node,
    Need::CacheTests,
    Need::Python,
    Need::Chromium,
    Need::Java,
    Need::Maven,
    Need::Cassandra,
    Need::Kafka,
];
/// What the benches need.
pub const BENCH: [Need; 5] = [
    Need::Compiler,
    Need::Curl,
    Need::Wasm,
    Need::H2load,
    Need::Wrk,
];

/// What measuring beside other servers needs besides.
pub const PEERS: [Need; 1] = [Need::Trixie];

/// Arguments of `setup`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only look: fail when something is missing
    #[arg(long)]
    check: bool,
}

/// Checks everything and installs what is missing.
///
/// # Errors
/// Something is missing and cannot be installed from here; the message says how to.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let steps = Steps::default();
    let mut needs = TEST.to_vec();
    needs.extend([Need::H2load, Need::Wrk]);
    if arguments.check {
        let missing = missing(root, &needs);
        for (need, lack) in &missing {
            println!("{need}: {lack}");
        }
        if missing.iter().any(|(need, _)| !need.optional()) {
            bail!("something is missing; `cargo xtask setup` installs it");
        }
    } else {
        ensure(root, &steps, &needs)?;
    }
    println!("setup: everything is there");
    Ok(())
}

/// Installs which of `needs` are missing.
///
/// # Errors
/// Something is missing and cannot be installed from here; the message says how to.
pub fn ensure(root: &Path, steps: &Steps, needs: &[Need]) -> Result<()> {
    let lacking = missing(root, needs);
    if lacking.is_empty() {
        return Ok(());
    }
    for (need, lack) in &lacking {
        steps.say(&format!("missing: {need} ({lack})"));
    }
    if lacking.iter().any(|(need, _)| *need == Need::Wasm) {
        wasm::add_target(root, steps);
    }
    let packages: Vec<&str> = missing(root, needs)
        .iter()
        .flat_map(|(need, _)| need.packages())
        .copied()
        .collect();
    if !packages.is_empty() {
        install_packages(steps, &packages)?;
    }
    if missing(root, needs)
        .iter()
        .any(|(need, _)| *need == Need::Python)
    {
        steps.run("make the Python environment of the tests", || {
            python::make(root)
        })?;
    }
    fetch(root, steps, &missing(root, needs));
    let mut fatal = Vec::new();
    for (need, lack) in missing(root, needs) {
        if need.optional() {
            steps.say(&format!("going on without {need}: {lack}"));
        } else {
            fatal.push(format!("{need}: {lack}. {}", need.hint()));
        }
    }
    if fatal.is_empty() {
        return Ok(());
    }
    bail!(
        "not everything that is needed is there:\n  {}",
        fatal.join("\n  ")
    )
}

/// Fetches what is missing and comes from no distribution; what fails is said, and stays missing.
fn fetch(root: &Path, steps: &Steps, missing: &[(Need, String)]) {
    for (need, _) in missing {
        let fetched = match need {
            Need::Cassandra => steps.run("fetch Apache Cassandra", || {
                Ok(brink_engines::cassandra().map(drop)?)
            }),
            Need::Kafka => steps.run("fetch Apache Kafka", || {
                Ok(brink_engines::kafka().map(drop)?)
            }),
            Need::CacheTests => steps.run("fetch the tests of HTTP caches", || {
                cache_tests::fetch(root)
            }),
            Need::Trixie => steps.run("fetch the servers of Debian 13", trixie::fetch),
            _ => continue,
        };
        if let Err(error) = fetched {
            steps.say(&format!("{error:#}"));
        }
    }
}

/// A short name made of what is in a file.
fn digest_name(file: &Path) -> Result<String> {
    let text = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let digest = Sha256::digest(&text);
    Ok(digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn missing(root: &Path, needs: &[Need]) -> Vec<(Need, String)> {
    let lacks = needs
        .iter()
        .filter_map(|need| Some((*need, need.lack(root)?)));
    let mut missing: Vec<_> = lacks.collect();
    // Where the engines that are asked for are there, there is nothing to fetch.
    let is_engine = |(need, _): &(Need, String)| matches!(need, Need::Cassandra | Need::Kafka);
    if !missing.iter().any(is_engine) {
        missing.retain(|(need, _)| *need != Need::Maven);
    }
    missing
}

fn install_packages(steps: &Steps, packages: &[&str]) -> Result<()> {
    let line = format!("apt-get install {}", packages.join(" "));
    if find("apt-get").is_none() {
        steps.say(&format!(
            "this is no Debian; its packages would be: {}",
            packages.join(" ")
        ));
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        steps.say(&format!("only root may install packages: sudo {line}"));
        return Ok(());
    }
    let folder = state_folder()?;
    let log = folder.join("apt.log");
    steps.run(&line, || {
        for arguments in [
            &["update"][..],
            &["install", "--yes", "--no-install-recommends"][..],
        ] {
            interrupt::check()?;
            let mut command = Command::new("apt-get");
            command
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive");
            if arguments.len() > 1 {
                command.args(packages);
            }
            let outcome = launch::run(&launch::launcher(), "apt-get", &command, Some(&log));
            // An old list may be good enough; and what is still missing is told afterwards.
            if let Err(error) = outcome {
                steps.say(&format!("{error:#}"));
            }
        }
        Ok(())
    })
}

/// Where a program is on the path.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Where this tool keeps what outlives a build: `$BRINK_CACHE`, or `$XDG_CACHE_HOME/brink`, or `~/.cache/brink`.
///
/// # Errors
/// The folder cannot be made.
pub fn state_folder() -> Result<PathBuf> {
    Ok(brink_engines::cache_folder()?)
}
