//! The public tests of HTTP caches, from npm. They lie outside `target/`, so that a clean build does not fetch them again.

use super::{digest_name, state_folder};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What is fetched: a package that depends on the tests, and what its versions are.
const PACKAGE: &str = "deploy/e2e/cache-tests";
const FILES: [&str; 2] = ["package.json", "package-lock.json"];
/// Written last: without it the folder is not whole.
const COMPLETE: &str = "complete";

/// The folder of the tests; none if they are not fetched yet.
#[must_use]
pub fn cache_tests(root: &Path) -> Option<PathBuf> {
    let folder = folder(root).ok()?;
    folder
        .join(COMPLETE)
        .exists()
        .then(|| folder.join("node_modules/http-cache-tests"))
}

pub(super) fn lack(root: &Path) -> Option<String> {
    match cache_tests(root) {
        Some(tests) if tests.exists() => None,
        _ => Some("they are not fetched yet".to_owned()),
    }
}

/// Named by the versions of what it holds.
fn folder(root: &Path) -> Result<PathBuf> {
    let name = digest_name(&root.join(PACKAGE).join("package-lock.json"))?;
    Ok(state_folder()?.join(format!("cache-tests-{name}")))
}

/// Fetches them with npm, which holds each package against the digest in the lock file.
pub(super) fn fetch(root: &Path) -> Result<()> {
    let folder = folder(root)?;
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("{} cannot be removed", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for file in FILES {
        let from = root.join(PACKAGE).join(file);
        fs::copy(&from, folder.join(file))
            .with_context(|| format!("{} cannot be copied", from.display()))?;
    }
    let output = Command::new("npm")
        .args([
            "ci",
            "--ignore-scripts",
            "--omit=dev",
            "--no-audit",
            "--no-fund",
        ])
        .current_dir(&folder)
        .output()
        .context("npm did not start")?;
    if !output.status.success() {
        bail!("npm: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    fs::write(folder.join(COMPLETE), "").context("the folder cannot be marked as whole")
}
