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
    if path.exists() {
        return Ok(());
    }
    write_durably(&path, component)
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
    fs::create_dir_all(directory).map_err(failed)?;
    let partial = path.with_extension(format!("{}.partial", ulid::Ulid::new()));
    let written = fs::File::create(&partial)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&partial, path))
        .and_then(|()| fs::File::open(directory)?.sync_all());
    if written.is_err() {
        // The reason is the first failure, not this one.
        let _ = fs::remove_file(&partial);
    }
    written.map_err(failed)
}
