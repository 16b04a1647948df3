//! The platform's own programs: built by cargo, found beside each other.

use crate::{cargo, launch, step::Steps};
use anyhow::{Context, Result, bail};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// How programs are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    Dev,
    /// Quick to run.
    Release,
}

/// The programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `brink-core`.
    pub core: PathBuf,
    /// `brink-edge`.
    pub edge: PathBuf,
    /// `brink`.
    pub brink: PathBuf,
}

impl Binaries {
    /// Builds them.
    ///
    /// # Errors
    /// They do not compile, or somebody asked to stop.
    pub fn build(root: &Path, steps: &Steps, profile: Profile) -> Result<Self> {
        let mut command = Command::new(cargo());
        command.current_dir(root).args(["build", "--locked"]);
        command.args([
            "--package",
            "brink-core",
            "--package",
            "brink-edge",
            "--package",
            "brink-cli",
            "--bins",
        ]);
        if profile == Profile::Release {
            command.arg("--release");
        }
        steps.run("build brink-core, brink-edge and brink", || {
            launch::run(&launch::launcher(), "cargo build", &command, None)
        })?;
        Self::built(root, profile)
    }

    /// Those that a build of this profile has left.
    ///
    /// # Errors
    /// One is missing.
    pub fn built(root: &Path, profile: Profile) -> Result<Self> {
        Self::in_folder(&folder(root, profile))
    }

    /// Those in `folder`.
    ///
    /// # Errors
    /// One is missing.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let find = |name: &str| {
            let path = folder.join(name);
            if path.is_file() {
                return Ok(path);
            }
            bail!(
                "{} is not there: `cargo xtask test` builds it",
                path.display()
            )
        };
        Ok(Self {
            core: find("brink-core")?,
            edge: find("brink-edge")?,
            brink: find("brink")?,
        })
    }

    /// Those beside this program.
    ///
    /// # Errors
    /// One is missing.
    pub fn beside_us() -> Result<Self> {
        let us = env::current_exe().context("this program does not know where it lies")?;
        let folder = us.parent().context("this program lies nowhere")?;
        Self::in_folder(folder)
    }
}

/// Where cargo puts what it builds.
#[must_use]
pub fn target_folder(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

fn folder(root: &Path, profile: Profile) -> PathBuf {
    target_folder(root).join(match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    })
}
