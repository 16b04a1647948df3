//! Where a backup lies: a directory for each generation, in it the parts of a snapshot, a manifest, and increments.
//!
//! A generation without a manifest was cut off and is nothing. The manifest is one line of JSON and one with its SHA-256.

use super::{frames::open_private, piece::Mark};
use crate::{Error, core::make_private_directory};
use brink_protocol::{Digest, NodeName, Position};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

/// The version of the format that this program writes. It reads earlier ones, too.
pub(super) const FORMAT: u32 = 2;
const MANIFEST: &str = "manifest.json";
const INCREMENTS: &str = "increments-";
/// Held by the process that takes backups into a directory.
const LOCK: &str = "lock";
/// Largest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its file.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
    /// Where its chain ends, in hexadecimal digits.
    pub end: String,
}

/// What a generation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Its name.
    pub generation: String,
    /// The core node that took it.
    pub node: NodeName,
    /// The program's version.
    pub version: String,
    /// When it was begun, in milliseconds since 1970.
    pub begun_ms: u64,
    /// The heads of the logs before the first row was read.
    pub position: Position,
    /// The parts of the snapshot, in order.
    pub parts: Vec<Part>,
    /// Partitions in it.
    pub partitions: u64,
    /// Rows in it.
    pub rows: u64,
    /// The first moment that can be restored; its frame is in the increments.
    pub first: Mark,
}

/// A generation's directory.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Its path.
    pub path: PathBuf,
    /// Its name: a ULID, so names are in the order in which generations were begun.
    pub name: String,
}

impl Generation {
    /// Makes a new one in `root`, for its owner alone.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub(super) fn create(root: &Path) -> Result<Self, Error> {
        let name = ulid::Ulid::new().to_string();
        let path = root.join(&name);
        make_private_directory(&path)?;
        sync_directory(root)?;
        Ok(Self { path, name })
    }

    /// All in `root`, oldest first, whole or not.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn all(root: &Path) -> Result<Vec<Self>, Error> {
        let failed = |error| Error::file("read", root, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() && name.parse::<ulid::Ulid>().is_ok() {
                let path = entry.path();
                found.push(Self { path, name });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The file of the `number`th part of the snapshot, from 1.
    #[must_use]
    pub(super) fn part(&self, number: usize) -> String {
        format!("snapshot-{number:06}")
    }

    /// The path of the `number`th file of increments, from 1.
    #[must_use]
    pub(super) fn increments(&self, number: usize) -> PathBuf {
        self.path.join(format!("{INCREMENTS}{number:06}"))
    }

    /// The files of increments behind the `number`th, the last first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn increments_after(&self, number: usize) -> Result<Vec<PathBuf>, Error> {
        let failed = |error| Error::file("read", &self.path, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let of = name.strip_prefix(INCREMENTS).map(str::parse::<usize>);
            if let Some(Ok(of)) = of
                && of > number
            {
                found.push((of, entry.path()));
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }

    /// What the chains of its files begin with.
    #[must_use]
    pub(super) fn seed(&self, of: &str) -> String {
        format!("{}/{of}", self.name)
    }

    /// Its manifest; none: it is not whole.
    ///
    /// # Errors
    /// The manifest was changed, is of another format, or cannot be read.
    pub fn manifest(&self) -> Result<Option<Manifest>, Error> {
        let path = self.path.join(MANIFEST);
        match fs::metadata(&path) {
            Ok(found) if found.len() > MANIFEST_BYTES_MAX => {
                return Err(Error::Backup(format!(
                    "{}: it is too large",
                    path.display()
                )));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", &path, error)),
        }
        let bytes = fs::read(&path).map_err(|error| Error::file("read", &path, error))?;
        let changed = || {
            Error::Backup(format!(
                "{} was changed since it was written",
                path.display()
            ))
        };
        let text = String::from_utf8(bytes).map_err(|_| changed())?;
        let (json, _) = text.split_once('\n').ok_or_else(changed)?;
        if text != sealed(json) {
            return Err(changed());
        }
        let manifest: Manifest =
            serde_json::from_str(json).map_err(|error| Error::corrupt("manifest", error))?;
        if !(1..=FORMAT).contains(&manifest.format) {
            return Err(Error::Backup(format!(
                "{}: it has format {}, and this program reads formats 1 to {FORMAT}",
                path.display(),
                manifest.format
            )));
        }
        Ok(Some(manifest))
    }

    /// Writes its manifest: from here on it is whole.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn seal(&self, manifest: &Manifest) -> Result<(), Error> {
        let json =
            serde_json::to_string(manifest).map_err(|error| Error::corrupt("manifest", error))?;
        let (path, partial) = (self.path.join(MANIFEST), self.path.join("manifest.partial"));
        let failed = |error| Error::file("written", &partial, error);
        let mut file = open_private(&partial, true)?;
        file.write_all(sealed(&json).as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(failed)?;
        sync_directory(&self.path)
    }

    /// Removes it. First the manifest: what is cut off in between is nothing.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn remove(&self) -> Result<(), Error> {
        let manifest = self.path.join(MANIFEST);
        match fs::remove_file(&manifest) {
            Ok(()) => sync_directory(&self.path)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("removed", &manifest, error)),
        }
        fs::remove_dir_all(&self.path).map_err(|error| Error::file("removed", &self.path, error))
    }
}

fn sealed(json: &str) -> String {
    format!("{json}\n{}\n", Digest::of(json.as_bytes()))
}

/// Takes a directory of backups for this process, until what is given is dropped: what was cut off in it may be removed.
///
/// # Errors
/// Another process has it, or the disk.
pub(super) fn lock(root: &Path) -> Result<fs::File, Error> {
    let path = root.join(LOCK);
    let file = super::frames::open_or_make_private(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Backup(format!(
            "another process takes backups into {}",
            root.display()
        ))),
        Err(fs::TryLockError::Error(error)) => Err(Error::file("locked", &path, error)),
    }
}

/// Removes what was begun and never became whole. Only for who holds the [`lock`].
///
/// # Errors
/// The disk.
pub(super) fn remove_cut_off(root: &Path) -> Result<(), Error> {
    for generation in Generation::all(root)? {
        if matches!(generation.manifest(), Ok(None)) {
            generation.remove()?;
            tracing::info!(generation = %generation.name, "a snapshot that was cut off was removed");
        }
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), Error> {
    let synced = fs::File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::file("synced", path, error))
}
