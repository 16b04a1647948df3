//! The files of the repository: what git tracks or would track.

use super::lexer::{mask, test_modules};
use anyhow::{Context, Result};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Larger files are not read as text, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Never part of the repository, should there be no git to ask.
const SKIPPED: [&str; 5] = ["target", "data", "node_modules", ".git", ".venv"];

/// The files of a repository.
#[derive(Debug)]
pub struct Tree {
    /// Its root.
    pub root: PathBuf,
    /// Relative to the root, sorted.
    pub files: Vec<PathBuf>,
    /// Files and folders (without `.rs`) of modules that are declared under `#[cfg(test)]`.
    tests: BTreeSet<PathBuf>,
}

impl Tree {
    /// Lists the files at `root`: those that git tracks or would track; without git, those that are there.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        let mut files = match tracked(root) {
            Some(files) => files,
            None => {
                let mut files = Vec::new();
                walk(root, Path::new(""), &mut files)?;
                files
            }
        };
        files.sort();
        let mut tree = Self {
            root: root.to_owned(),
            files,
            tests: BTreeSet::new(),
        };
        tree.tests = tree
            .rust()
            .flat_map(|path| tree.declared_tests(path))
            .collect();
        Ok(tree)
    }

    fn declared_tests(&self, path: &Path) -> Vec<PathBuf> {
        let text = self.text(path).unwrap_or_default();
        let folder = match path.file_stem() {
            Some(stem) if stem == "lib" || stem == "main" || stem == "mod" => {
                path.with_file_name("")
            }
            _ => path.with_extension(""),
        };
        test_modules(&mask(&text))
            .iter()
            .map(|name| folder.join(name))
            .collect()
    }

    /// Whether the whole file is test code: `tests.rs`, anything below a folder `tests`, and modules that are declared
    /// under `#[cfg(test)]`.
    #[must_use]
    pub fn is_test(&self, path: &Path) -> bool {
        path.file_name().is_some_and(|name| name == "tests.rs")
            || path.components().any(|part| part.as_os_str() == "tests")
            || path
                .with_extension("")
                .ancestors()
                .any(|place| self.tests.contains(place))
    }

    /// The text of a file; none if it is not text, or over 1 MiB.
    #[must_use]
    pub fn text(&self, path: &Path) -> Option<String> {
        let path = self.root.join(path);
        if fs::metadata(&path).ok()?.len() > TEXT_BYTES_MAX {
            return None;
        }
        fs::read_to_string(path).ok()
    }

    /// Files of Rust source.
    pub fn rust(&self) -> impl Iterator<Item = &Path> {
        self.files
            .iter()
            .map(PathBuf::as_path)
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
    }

    /// Whether there is such a file.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.files
            .binary_search_by(|file| file.as_path().cmp(path))
            .is_ok()
    }
}

fn tracked(root: &Path) -> Option<Vec<PathBuf>> {
    if !root.join(".git").exists() {
        return None;
    }
    let output = Command::new("git")
        .current_dir(root)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    let files = text.split_terminator('\0').map(PathBuf::from);
    Some(files.filter(|file| root.join(file).is_file()).collect())
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let here = root.join(folder);
    for entry in
        fs::read_dir(&here).with_context(|| format!("{} cannot be read", here.display()))?
    {
        let entry = entry?;
        let name = entry.file_name();
        let path = folder.join(&name);
        if entry.file_type()?.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                walk(root, &path, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}
