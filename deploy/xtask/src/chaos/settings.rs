//! What a run is made of.

use crate::binaries::Binaries;
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The programs of a run that are not the platform's.
#[derive(Debug, Clone)]
pub struct Tools {
    /// `brink-wan`.
    pub wan: PathBuf,
    /// `brink-load`.
    pub load: PathBuf,
}

impl Tools {
    /// Those in `folder`.
    ///
    /// # Errors
    /// One is missing.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let find = |name: &str| {
            let path = folder.join(name);
            let there = path.is_file();
            there
                .then_some(path.clone())
                .with_context(|| format!("{} is not there", path.display()))
        };
        Ok(Self {
            wan: find("brink-wan")?,
            load: find("brink-load")?,
        })
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The platform's programs.
    pub binaries: Binaries,
    /// Those of the run.
    pub tools: Tools,
    /// This tool's own program.
    pub launcher: PathBuf,
    /// Where the built modules are.
    pub guests: PathBuf,
    /// Where data, logs and the history go.
    pub folder: PathBuf,
    /// Where chance comes from.
    pub seed: u64,
    /// How long clients run.
    pub lasts: Duration,
    /// Percent of packets lost when nothing else is the matter.
    pub loss_percent: u64,
    /// Clients that carry a session.
    pub sessions: u32,
    /// Without faults.
    pub calm: bool,
    /// Relays on loopback.
    pub relays: bool,
    /// Another lease than the platform's own, in milliseconds: to see that a broken promise is found.
    pub lease_ms: Option<u64>,
}
