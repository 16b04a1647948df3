//! The sample modules, built by `brink build` as anybody would.

use crate::{binaries, launch, step::Steps, tidy::Tree};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Tells tests where the built modules are: a folder with `NAME.wasm` of each.
pub const VARIABLE: &str = "BRINK_GUESTS";

/// What the components are made of.
const SOURCES: [&str; 4] = ["modules", "sdk/rust", "sdk/cli/src/build", "wit"];
/// Holds the digest of the sources that the components were made of.
const STAMP: &str = "sources.sha256";

/// Builds all of `modules/`, unless that was done before from the same sources; answers where they are.
///
/// # Errors
/// They do not compile, or somebody asked to stop.
pub fn build(root: &Path, steps: &Steps, brink: &Path) -> Result<PathBuf> {
    let out = folder(root);
    let stamp = out.join(STAMP);
    let sources = digest(root)?;
    if fs::read_to_string(&stamp).is_ok_and(|before| before == sources) {
        return Ok(out);
    }
    fs::create_dir_all(&out).with_context(|| format!("{} cannot be made", out.display()))?;
    let mut command = Command::new(brink);
    command
        .current_dir(root)
        .arg("build")
        .arg("--manifest-path")
        .arg(root.join("modules/Cargo.toml"));
    command.arg("--out").arg(&out);
    steps.run("build the sample modules (brink build)", || {
        launch::run(&launch::launcher(), "brink build", &command, None)
    })?;
    fs::write(&stamp, sources).with_context(|| format!("{} cannot be written", stamp.display()))?;
    Ok(out)
}

/// Where the components are once they are built.
#[must_use]
pub fn folder(root: &Path) -> PathBuf {
    binaries::target_folder(root).join("guests")
}

/// The component `name` in `folder`.
///
/// # Errors
/// It is not there.
pub fn component(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.wasm"));
    if !path.is_file() {
        bail!(
            "{} is not there: `brink build` did not make it",
            path.display()
        );
    }
    Ok(path)
}

fn digest(root: &Path) -> Result<String> {
    let tree = Tree::read(root)?;
    let mut hasher = Sha256::new();
    for file in tree
        .files
        .iter()
        .filter(|file| SOURCES.iter().any(|source| file.starts_with(source)))
    {
        let bytes = fs::read(root.join(file))
            .with_context(|| format!("{} cannot be read", file.display()))?;
        hasher.update(file.to_string_lossy().as_bytes());
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(&bytes);
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
