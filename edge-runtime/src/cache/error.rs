//! Why a cache could not be opened.

use std::{io, path::PathBuf};

/// Why a cache could not be opened or closed. While it is open, failures of the disk are misses, logged and counted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value of the configuration is not usable.
    #[error("cache: {key} = {value}: {rule}")]
    Config {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        rule: &'static str,
    },
    /// A file or directory could not be used.
    #[error("cache: {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another program has the directory open.
    #[error("cache: {} is in use by another program", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}
