//! Directories that are their owner's alone.

use crate::Error;

/// Makes a directory that its owner alone may read.
///
/// # Errors
/// It cannot be made.
#[cfg(unix)]
pub fn make_private_directory(path: &std::path::Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| Error::file("made", path, error))
}

/// Makes a directory.
///
/// # Errors
/// It cannot be made.
#[cfg(not(unix))]
pub fn make_private_directory(path: &std::path::Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|error| Error::file("made", path, error))
}
