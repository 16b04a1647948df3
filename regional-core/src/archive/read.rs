//! Reading archives: what files there are, whether they are what was written, and the records in them.

use super::{ArchivedLine, ENDING, beginning};
use crate::{
    Error,
    backup::frames::{Next, Reader},
};
use std::path::{Path, PathBuf};

/// Bytes of lines in one frame: records of 5 MiB, each byte of which may take six as JSON.
const LINES_BYTES_MAX: usize = 64 << 20;

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Whose.
    pub tenant: String,
    /// The collection.
    pub collection: String,
    /// The day on which it was archived, in UTC: `2026-11-21`.
    pub day: String,
    /// Its name.
    pub file: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Which records are wanted; none: all.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Of this collection.
    pub collection: Option<String>,
    /// Of this partition.
    pub partition: Option<String>,
    /// That ended at or after this moment, in milliseconds since 1970.
    pub from_ms: u64,
    /// That ended before this moment, in milliseconds since 1970; none: whenever.
    pub to_ms: Option<u64>,
}

impl Wanted {
    fn has_file(&self, found: &Found) -> bool {
        let is = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        is(&self.tenant, &found.tenant) && is(&self.collection, &found.collection)
    }

    fn has(&self, line: &ArchivedLine) -> bool {
        self.partition
            .as_ref()
            .is_none_or(|wanted| *wanted == line.partition)
            && line.ended_at_ms >= self.from_ms
            && self.to_ms.is_none_or(|to| line.ended_at_ms < to)
    }
}

/// Names in a directory, in order.
fn names(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let failed = |error| Error::file("read", directory, error);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            all.push((name, entry.path()));
        }
    }
    all.sort();
    Ok(all)
}

fn directories(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let all = names(directory)?;
    Ok(all.into_iter().filter(|(_, path)| path.is_dir()).collect())
}

/// The files of an archive, by tenant, collection, day and name.
///
/// # Errors
/// The directory cannot be read.
pub fn files(directory: &Path) -> Result<Vec<Found>, Error> {
    let mut all = Vec::new();
    for (tenant, path) in directories(directory)? {
        for (collection, path) in directories(&path)? {
            for (day, path) in directories(&path)? {
                for (file, path) in names(&path)? {
                    if path.extension().is_some_and(|ending| ending == ENDING) {
                        let (tenant, collection, day) =
                            (tenant.clone(), collection.clone(), day.clone());
                        all.push(Found {
                            tenant,
                            collection,
                            day,
                            file,
                            path,
                        });
                    }
                }
            }
        }
    }
    Ok(all)
}

/// The records of a file. True: it is whole, or cut off in what was never removed from the store.
fn lines_of(
    found: &Found,
    each: &mut dyn FnMut(ArchivedLine) -> Result<(), Error>,
) -> Result<bool, Error> {
    let chain = beginning(&found.tenant, &found.collection, &found.day, &found.file);
    let mut reader = Reader::open(&found.path, chain)?;
    loop {
        match reader.next()? {
            Next::Frame(frame) => {
                let failed = |error| Error::file("read", &found.path, error);
                let lines = zstd::bulk::decompress(&frame, LINES_BYTES_MAX).map_err(failed)?;
                for line in lines.split(|byte| *byte == b'\n') {
                    if !line.is_empty() {
                        let line = serde_json::from_slice(line);
                        each(line.map_err(|error| Error::corrupt("archived record", error))?)?;
                    }
                }
            }
            // A crash cut it off. What it was about is still in the store, or in a later file.
            Next::End | Next::Torn => return Ok(true),
            Next::Changed => return Ok(false),
        }
    }
}

/// Gives every record that is wanted, file by file. A record may come twice: it is the same if partition, sort key and
/// version are.
///
/// # Errors
/// A file cannot be read or was changed; what came before is what was written.
pub fn read(
    directory: &Path,
    wanted: &Wanted,
    mut each: impl FnMut(&ArchivedLine) -> Result<(), Error>,
) -> Result<(), Error> {
    for found in files(directory)?
        .iter()
        .filter(|found| wanted.has_file(found))
    {
        let is_good = lines_of(found, &mut |line| {
            if wanted.has(&line) {
                each(&line)
            } else {
                Ok(())
            }
        })?;
        if !is_good {
            let text = format!("{} was changed or damaged", found.path.display());
            return Err(Error::Backup(text));
        }
    }
    Ok(())
}

/// Reads a file through: how many records it has, and whether it is what was written.
///
/// # Errors
/// It cannot be read.
pub fn verify(found: &Found) -> Result<(u64, bool), Error> {
    let mut count = 0;
    let is_good = lines_of(found, &mut |_| {
        count += 1;
        Ok(())
    })?;
    Ok((count, is_good))
}
