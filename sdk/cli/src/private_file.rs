//! Files that only their owner may read.

use crate::error::Error;
use std::{
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// Makes `dir` and what leads to it; `dir` itself with mode 0700.
///
/// # Errors
/// It cannot be made.
pub(crate) fn directory(dir: &Path) -> Result<(), Error> {
    let wrong = |error: std::io::Error| {
        Error::failed(format_args!("{} cannot be made", dir.display()), error)
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(wrong)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(wrong)
}

/// Writes `text` to a new file of mode 0600.
///
/// # Errors
/// The file exists, or cannot be written.
pub(crate) fn create(path: &Path, text: &str) -> Result<(), Error> {
    let wrong = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::Usage(format!("{} exists and is not written over", path.display()))
        }
        _ => Error::failed(format_args!("{} cannot be written", path.display()), error),
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(wrong)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(wrong)
}

/// Writes `text` to a file of mode 0600, in the place of one that may be there: wholly or not at all.
///
/// # Errors
/// It cannot be written.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let wrong = |error: std::io::Error| {
        Error::failed(format_args!("{} cannot be written", path.display()), error)
    };
    let dir = path.parent().unwrap_or(Path::new("."));
    // Temporary files have mode 0600 from the start.
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(wrong)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .map_err(wrong)?;
    file.persist(path)
        .map(drop)
        .map_err(|error| wrong(error.error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn modes() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        directory(&dir).unwrap();
        directory(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        let file = dir.join("token");
        create(&file, "one").unwrap();
        assert_eq!(mode(&file), 0o600);
        assert!(matches!(create(&file, "two"), Err(Error::Usage(_))));
        replace(&file, "three").unwrap();
        assert_eq!(
            (
                mode(&file),
                std::fs::read_to_string(&file).unwrap().as_str()
            ),
            (0o600, "three")
        );
    }
}
