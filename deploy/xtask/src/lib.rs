//! The one tool of the repository: `cargo xtask`.
//!
//! `setup` installs what is missing, `up` runs a core and its PoPs, `test` and `ci` check everything, `tidy` holds the
//! rules, `docs` writes what is made from the sources, `bench` measures, `seed` makes the sample data, `sim` simulates
//! a planet of PoPs, `chaos` and `history` hold real processes to what is promised, `fuzz` feeds the parsers.

pub mod bench;
pub mod binaries;
pub mod chaos;
pub mod curl;
pub mod fuzz;
pub mod guests;
pub mod history;
pub mod interrupt;
pub mod launch;
pub mod platform;
pub mod reference;
pub mod samples;
pub mod seed;
pub mod setup;
pub mod sim;
pub mod step;
pub mod test;
pub mod tidy;
pub mod up;

use std::{ffi::OsString, path::PathBuf};

/// The cargo that runs this tool, or the one on the path.
#[must_use]
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The root of the repository that this tool was built from, or of the one it is run in by cargo.
#[must_use]
pub fn repository_root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .ancestors()
        .find(|folder| {
            folder.join("regional-core").is_dir() && folder.join("edge-runtime").is_dir()
        })
        .map_or(manifest.clone(), PathBuf::from)
}
