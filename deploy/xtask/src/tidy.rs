//! The rules of the repository that no compiler holds: who may import whom, what is pure, how long a file may be.
//!
//! `docs/architecture.md` says why each rule is there. A rule that has to change is changed by a decision record in
//! `docs/decisions/` and here, in the same commit.

mod circles;
mod imports;
mod layout;
mod lexer;
mod purity;
mod rules;
mod tree;

#[cfg(test)]
mod tests;

use crate::reference;
use anyhow::{Context, Result, bail};
use std::{fmt, path::Path, path::PathBuf, process::Command};

pub use tree::Tree;

/// A place where a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file or folder, relative to the root of the repository.
    pub path: PathBuf,
    /// Counts from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Finding {
    fn new(path: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Checks what can be seen from the files alone.
#[must_use]
pub fn check_files(tree: &Tree) -> Vec<Finding> {
    let mut findings = layout::check(tree);
    findings.extend(rules::check(tree));
    findings.extend(purity::check_sources(tree));
    findings.extend(circles::check(tree));
    findings
}

/// Checks the import table and the purity list against what `cargo metadata` prints for a workspace.
///
/// # Errors
/// The text is not what `cargo metadata` prints.
pub fn check_metadata(metadata: &str) -> Result<Vec<Finding>> {
    let metadata: serde_json::Value =
        serde_json::from_str(metadata).context("cargo metadata printed no JSON")?;
    let mut findings = imports::check(&metadata)?;
    findings.extend(purity::check_dependencies(&metadata)?);
    Ok(findings)
}

/// Checks the repository at `root` and prints what is wrong.
///
/// # Errors
/// A rule is broken, or the repository could not be read.
pub fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let mut findings = check_files(&tree);
    findings.extend(check_metadata(&metadata(root, "Cargo.toml")?)?);
    if root.join("modules/Cargo.toml").exists() {
        findings.extend(check_metadata(&metadata(root, "modules/Cargo.toml")?)?);
    }
    findings.extend(check_reference(root)?);
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, every rule holds", tree.files.len());
            Ok(())
        }
        count => {
            bail!("tidy: {count} places break a rule (docs/architecture.md says why it is there)")
        }
    }
}

/// The configuration reference is what the types say now.
fn check_reference(root: &Path) -> Result<Option<Finding>> {
    let kept = std::fs::read_to_string(root.join(reference::PATH)).unwrap_or_default();
    let is_current = kept == reference::reference(root)?;
    let message = "is not what the types say now: run `cargo xtask docs`";
    Ok((!is_current).then(|| Finding::new(reference::PATH, 0, message)))
}

fn metadata(root: &Path, manifest: &str) -> Result<String> {
    let output = Command::new(crate::cargo())
        .current_dir(root)
        .args(["metadata", "--format-version", "1", "--locked"])
        .arg("--manifest-path")
        .arg(root.join(manifest))
        .output()
        .context("cargo metadata did not start")?;
    if !output.status.success() {
        bail!(
            "cargo metadata of {manifest}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("cargo metadata is not UTF-8")
}
