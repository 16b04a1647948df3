//! The top level of the repository is fixed.

use super::{Finding, Tree};
use std::collections::BTreeSet;

/// The rooms, and what every repository has. Dotfiles are allowed besides.
const ENTRIES: [&str; 13] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "deploy",
    "docs",
    "edge-runtime",
    "modules",
    "regional-core",
    "rust-toolchain.toml",
    "sdk",
    "wit",
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let present: BTreeSet<String> = tree
        .files
        .iter()
        .filter_map(|file| file.components().next())
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    present
        .iter()
        .filter(|entry| !entry.starts_with('.') && !ENTRIES.contains(&entry.as_str()))
        .map(|entry| Finding::new(entry, 0, "is not one of the rooms: the top level is fixed"))
        .collect()
}
