//! Files that are replaced whole or not at all.

use crate::error::Error;
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Writes `bytes` to `path` (mode 0600) so that a reader, or a crash, sees the old content or the new.
///
/// # Errors
/// The directory is not there or not writable.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.tmp", std::process::id()));
    let draft = Path::new(&draft);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(draft)
        .map_err(Error::file("could not create", draft))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(Error::file("could not write", draft))?;
    fs::rename(draft, path).map_err(Error::file("could not replace", path))
}

/// Makes a directory (mode 0700) and those above it, if they are not there.
///
/// # Errors
/// It cannot be made.
pub fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::file("could not create directory", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn replaced_whole_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("a/b");
        make_dir(&sub).unwrap();
        make_dir(&sub).unwrap();
        let path = sub.join("f");
        replace(&path, b"1").unwrap();
        replace(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::metadata(&sub).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(fs::read_dir(&sub).unwrap().count(), 1);
        assert!(replace(&dir.path().join("none/f"), b"").is_err());
    }
}
