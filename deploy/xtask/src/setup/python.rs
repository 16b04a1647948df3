//! The Python environment of the end-to-end tests: clients that are not ours, for HTTP/3 and for purges. It lies outside
//! `target/`, so that a clean build does not fetch it again.

use super::{digest_name, find, state_folder};
use crate::step::Steps;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What the environment holds, with versions.
const REQUIREMENTS: &str = "deploy/e2e/requirements.txt";
/// What simulates caches, with its version.
const LIBCACHESIM: &str = "libcachesim==0.3.5";
/// Written last: without it the environment is not whole.
const COMPLETE: &str = "complete";

/// The interpreter of the environment; none if it is not there yet.
#[must_use]
pub fn venv_python(root: &Path) -> Option<PathBuf> {
    let folder = folder(root).ok()?;
    folder
        .join(COMPLETE)
        .exists()
        .then(|| folder.join("bin/python"))
}

pub(super) fn lack(root: &Path) -> Option<String> {
    if find("python3").is_none() {
        return Some("`python3` is not on the path".to_owned());
    }
    match venv_python(root) {
        Some(python) if python.exists() => None,
        _ => Some("its environment is not made yet".to_owned()),
    }
}

/// None if Python can make environments already.
pub(super) fn packages() -> &'static [&'static str] {
    let able = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .output();
    match able {
        Ok(output) if output.status.success() => &[],
        _ => &["python3", "python3-venv"],
    }
}

/// Named by what it holds: other requirements make another environment.
fn folder(root: &Path) -> Result<PathBuf> {
    let name = digest_name(&root.join(REQUIREMENTS))?;
    Ok(state_folder()?.join(format!("e2e-{name}")))
}

pub(super) fn make(root: &Path) -> Result<()> {
    let requirements = root.join(REQUIREMENTS);
    environment(&folder(root)?, &["-r", &requirements.to_string_lossy()])
}

/// A Python that has libcachesim, which simulates caches; makes its environment if it is not there.
///
/// # Errors
/// It cannot be made.
pub fn libcachesim(steps: &Steps) -> Result<PathBuf> {
    let folder = state_folder()?.join(LIBCACHESIM.replace("==", "-"));
    if !folder.join(COMPLETE).exists() {
        steps.run("make a Python environment with libcachesim", || {
            environment(&folder, &[LIBCACHESIM])
        })?;
    }
    Ok(folder.join("bin/python"))
}

/// Makes an environment that holds what pip is told.
fn environment(folder: &Path, what: &[&str]) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("{} cannot be removed", folder.display()))?;
    }
    command(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let python = folder.join("bin/python");
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
    ];
    command(Command::new(python).args(install).args(what))?;
    fs::write(folder.join(COMPLETE), "").context("the environment cannot be marked as whole")
}

fn command(command: &mut Command) -> Result<()> {
    let output = command.output().context("python3 did not start")?;
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )
}
