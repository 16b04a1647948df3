//! Files beside the database: components by digest, and the incarnation that outlives a lost database.

use crate::Error;
use brink_protocol::Digest;
use bytes::Bytes;
use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

/// Name of the file that holds the last incarnation.
const INCARNATION: &str = "incarnation";
/// How the names of files end that are being written.
const PARTIAL: &str = "partial";

fn component_path(directory: &Path, digest: &Digest) -> PathBuf {
    directory
        .join("components")
        .join(format!("{}.wasm", digest.hex()))
}

/// Keeps a component, durably, unless it is there.
pub(super) fn write_component(
    directory: &Path,
    digest: &Digest,
    component: &[u8],
) -> Result<(), Error> {
    let path = component_path(directory, digest);
    // What is there may be damaged, or its name not be on disk yet: then it is written again.
    if let Ok(present) = fs::read(&path)
        && Digest::of(&present) == *digest
        && sync_directory(&path).is_ok()
    {
        return Ok(());
    }
    write_durably(&path, component)
}

/// Removes what writes that broke off have left behind. Nobody else may write meanwhile.
pub(super) fn remove_partial(directory: &Path) -> Result<(), Error> {
    for directory in [directory, &directory.join("components")] {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::file("read", directory, error)),
        };
        for entry in entries {
            let path = entry
                .map_err(|error| Error::file("read", directory, error))?
                .path();
            let is_ours = path.extension().is_some_and(|ending| ending == PARTIAL);
            if is_ours {
                fs::remove_file(&path).map_err(|error| Error::file("removed", &path, error))?;
            }
        }
    }
    Ok(())
}

/// Makes the names in a file's directory durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::File::open(directory)?.sync_all()
}

/// The bytes of a component. A file whose content is not what its name says is refused.
pub(super) fn read_component(directory: &Path, digest: &Digest) -> Result<Option<Bytes>, Error> {
    let path = component_path(directory, digest);
    match fs::read(&path) {
        Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Some(bytes.into())),
        Ok(_) => Err(Error::corrupt(
            "component",
            format!("{digest} does not have this content any more"),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", &path, error)),
    }
}

/// The last incarnation that began in this directory; 0: none.
pub(super) fn read_incarnation(directory: &Path) -> Result<u32, Error> {
    let path = directory.join(INCARNATION);
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|error| Error::corrupt("incarnation", error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::file("read", &path, error)),
    }
}

/// Keeps the incarnation.
pub(super) fn write_incarnation(directory: &Path, incarnation: u32) -> Result<(), Error> {
    write_durably(
        &directory.join(INCARNATION),
        format!("{incarnation}\n").as_bytes(),
    )
}

/// Writes a file whole or not at all: to a temporary one beside it, synced, renamed, its directory synced.
fn write_durably(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |error| Error::file("written", path, error);
    let directory = path
        .parent()
        .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    if !directory.exists() {
        fs::create_dir_all(directory)
            .and_then(|()| sync_directory(directory))
            .map_err(failed)?;
    }
    let partial = path.with_extension(format!("{}.{PARTIAL}", ulid::Ulid::new()));
    let written = fs::File::create(&partial)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&partial, path))
        .and_then(|()| sync_directory(path));
    if written.is_err() {
        // The reason is the first failure, not this one.
        let _ = fs::remove_file(&partial);
    }
    written.map_err(failed)
}

/// Sees to it that there is a database under `path`: `make` makes it under another name first, for one that was cut off
/// while it was made cannot be opened any more. Of two who do so at once one's is taken.
pub(super) fn begin_whole(
    path: &Path,
    make: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    let partial = path.with_extension(format!("{}.{PARTIAL}", ulid::Ulid::new()));
    let made = make(&partial).and_then(|()| match fs::hard_link(&partial, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::file("made", path, error))
        }
        _ => sync_directory(path).map_err(|error| Error::file("made", path, error)),
    });
    // The reason is the first failure, not this one.
    let _ = fs::remove_file(&partial);
    made
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_damaged_component_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let (digest, path) = (Digest::of(b"whole"), directory.path());
        write_component(path, &digest, b"whole").unwrap();
        fs::write(component_path(path, &digest), b"who").unwrap();
        assert!(read_component(path, &digest).is_err());
        write_component(path, &digest, b"whole").unwrap();
        assert_eq!(read_component(path, &digest).unwrap().unwrap(), "whole");
    }

    #[test]
    fn a_database_begins_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let write = |content: &'static str| {
            move |path: &Path| {
                fs::write(path, content).map_err(|error| Error::file("made", path, error))
            }
        };
        // Cut off while it is made.
        let cut = begin_whole(&path, |partial| {
            write("ha")(partial)?;
            Err(Error::Busy)
        });
        assert!(cut.is_err() && !path.exists());
        // Another was quicker: its own is left alone.
        begin_whole(&path, |partial| {
            fs::write(&path, "theirs").unwrap();
            write("ours")(partial)
        })
        .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        begin_whole(&path, write("again")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_broke_off_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        remove_partial(path).unwrap();
        let digest = Digest::of(b"whole");
        write_component(path, &digest, b"whole").unwrap();
        write_incarnation(path, 1).unwrap();
        fs::write(path.join("components/x.01.partial"), b"half").unwrap();
        fs::write(path.join("incarnation.01.partial"), b"").unwrap();
        remove_partial(path).unwrap();
        let left = |path: &Path| fs::read_dir(path).unwrap().count();
        assert_eq!((left(path), left(&path.join("components"))), (2, 1));
        assert_eq!(read_incarnation(path).unwrap(), 1);
    }
}
