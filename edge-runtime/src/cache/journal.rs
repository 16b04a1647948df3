//! The journal: which changes were applied, on disk, so that the disk tier can be trusted after a restart.
//!
//! One file, `journal`: a snapshot, then one record for each change, each in a frame of length, checksum and postcard.
//! A record is written before the change takes effect, and synced before anybody is told that it was applied
//! ([`Journal::needs_sync`]). The system's cache outlives the program's death (`kill -9`), and what a power failure takes away
//! of what nobody was told is not missed, for this reason:
//!
//! - The *position* is what the records that can still be read amount to. The feed is resumed from there, and sends
//!   again whatever the lost records said.
//! - An entry of the disk tier carries the apply index at which its fill started. If that is beyond the last index of
//!   the readable journal, the entry was made in a time whose changes nobody can tell, and their indexes might be given
//!   to others now. So reading leaves a *gap* of 2³² indexes (no lost tail is longer) in which nothing is vouched for;
//!   the gap is remembered for as long as such entries could exist.
//! - An entry before that is held against all changes that came after it: those up to the last index stand in the
//!   journal, the others come again.
//! - A journal that is missing, or whose snapshot cannot be read, vouches for nothing: it begins anew with another
//!   *generation*, and entries of other generations are refused.
//!
//! - A record that could not be written (a full disk) is followed by none: the file ends before it, as if torn there,
//!   until it can be written anew with a snapshot that holds all. If somebody is to be told meanwhile, it is removed: a
//!   journal that is not there vouches for nothing.
//!
//! The file is written anew, beside itself and then renamed, when it is opened and when its records outgrow their bound.

use super::error::Error;
use brink_policy::coherence::{LastChanges, Snapshot, SortKey, TagHash, Touch, Written};
use brink_protocol::{OriginId, Position};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File, OpenOptions},
    hash::{DefaultHasher, Hasher},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Version of the format.
const VERSION: u32 = 2;
/// Largest record, in bytes; the largest snapshot that a configuration allows is below it.
const RECORD_BYTES_MAX: usize = 256 << 20;
/// When the records after the snapshot are more, in bytes, the file is written anew.
const RECORDS_BYTES_MAX: u64 = 32 << 20;
/// After so many records that were not written it is tried to write the file anew.
const RETRY_RECORDS: u64 = 64;
/// Indexes left out when a journal is read: more than any lost tail had.
pub(super) const GAP: u64 = 1 << 32;
/// Bytes before a record: length and checksum.
const FRAME_BYTES: usize = 12;

/// The first record.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    generation: u64,
    position: Position,
    changes: Snapshot,
}

/// A record after it.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    /// A change of the feed.
    Change {
        origin: OriginId,
        sequence: u64,
        touched: Touched,
    },
    /// An invalidation by this PoP itself.
    Local { touched: Touched },
    /// Everything was dropped.
    EndAll { position: Position },
}

/// A [`Touch`].
#[derive(Debug, Serialize, Deserialize)]
struct Touched {
    tags: Vec<TagHash>,
    written: Option<(TagHash, Option<Vec<SortKey>>)>,
    soft: bool,
}

impl From<&Touch> for Touched {
    fn from(touch: &Touch) -> Self {
        let written = |written: &Written| {
            let sorts = written.sorts.as_deref().map(<[SortKey]>::to_vec);
            (written.partition, sorts)
        };
        Self {
            tags: touch.tags.to_vec(),
            written: touch.written.as_ref().map(written),
            soft: touch.soft,
        }
    }
}

impl From<Touched> for Touch {
    fn from(touched: Touched) -> Self {
        let written = |(partition, sorts): (TagHash, Option<Vec<SortKey>>)| Written {
            partition,
            sorts: sorts.map(|sorts| sorts.into_iter().collect()),
        };
        Self {
            tags: touched.tags.into_iter().collect(),
            written: touched.written.map(written),
            soft: touched.soft,
        }
    }
}

/// What a readable journal amounts to.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Entries of others are refused.
    pub(super) generation: u64,
    /// Where the feed is to be resumed.
    pub(super) position: Position,
    /// The last changes; the next index lies beyond the gap.
    pub(super) changes: LastChanges,
}

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// None: it could not be written yet.
    file: Option<File>,
    generation: u64,
    records_bytes: u64,
    buffer: Vec<u8>,
    /// Records that could not be written, since one could not. None may follow it in the file: the position would claim
    /// what it said. The file stays as it is until it can be written anew.
    unwritten: u64,
    /// Not all that was written is synced.
    is_dirty: bool,
    /// The file has its name, which a power failure may still give back to the one before it.
    is_name_dirty: bool,
    /// [`sync_dir`].
    sync_dir: fn(&Path) -> io::Result<()>,
}

/// Reads the journal in `dir`; none if there is none that can be read from its beginning.
pub(super) fn recover(dir: &Path, tags_max: usize) -> Option<Recovered> {
    let mut bytes = Vec::new();
    let file = File::open(dir.join("journal")).ok()?;
    file.take((RECORD_BYTES_MAX as u64).saturating_add(2 * RECORDS_BYTES_MAX))
        .read_to_end(&mut bytes)
        .ok()?;
    read(&bytes, tags_max)
}

pub(super) fn read(bytes: &[u8], tags_max: usize) -> Option<Recovered> {
    let mut rest = bytes;
    let head: Head = take(&mut rest)?;
    if head.version != VERSION || !head.changes.is_possible() {
        return None;
    }
    let mut changes = LastChanges::from_snapshot(head.changes, tags_max);
    let mut position = head.position;
    while let Some(record) = take(&mut rest) {
        match record {
            Record::Change {
                origin,
                sequence,
                touched,
            } => {
                changes.apply(&touched.into());
                position.advance(&origin, sequence);
            }
            Record::Local { touched } => {
                changes.apply(&touched.into());
            }
            Record::EndAll { position: start } => {
                changes.end_all();
                position = start;
            }
        }
    }
    changes.leave_gap(GAP);
    Some(Recovered {
        generation: head.generation,
        position,
        changes,
    })
}

/// The next record; none at the end, and none from the first on that is torn or changed.
fn take<T: DeserializeOwned>(rest: &mut &[u8]) -> Option<T> {
    let (frame, after) = rest.split_at_checked(FRAME_BYTES)?;
    let (length, sum) = frame.split_at_checked(4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let (record, after) = after.split_at_checked(length)?;
    if checksum(record) != u64::from_le_bytes(sum.try_into().ok()?) {
        return None;
    }
    *rest = after;
    postcard::from_bytes(record).ok()
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Appends `record` as a frame.
fn put<T: Serialize>(buffer: &mut Vec<u8>, record: &T) -> io::Result<()> {
    let start = buffer.len();
    buffer.extend([0; FRAME_BYTES]);
    postcard::to_io(record, &mut *buffer).map_err(io::Error::other)?;
    let Some((frame, body)) = buffer
        .get_mut(start..)
        .and_then(|frame| frame.split_at_mut_checked(FRAME_BYTES))
    else {
        return Err(io::Error::other("a frame without its head"));
    };
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let sum = checksum(body).to_le_bytes();
    for (place, byte) in frame
        .iter_mut()
        .zip(length.to_le_bytes().into_iter().chain(sum))
    {
        *place = byte;
    }
    Ok(())
}

impl Journal {
    /// Begins a journal in `dir` with what is known now, in the place of the one there, and syncs it. While there is no room
    /// for it, `give_room` is asked to make some; when it cannot, there is no file until there is room, and what is stored
    /// meanwhile counts for nothing after a restart.
    pub(super) fn begin(
        dir: &Path,
        generation: u64,
        position: &Position,
        changes: &LastChanges,
        give_room: &mut dyn FnMut() -> io::Result<bool>,
    ) -> Result<Self, Error> {
        let path = dir.join("journal");
        let failed = |source| Error::File {
            action: "write",
            path: path.clone(),
            source,
        };
        let file = loop {
            match write_anew(&path, generation, position, changes.snapshot()) {
                Ok(file) => break Some(file),
                Err(error) if !is_full(&error) => return Err(failed(error)),
                Err(error) => {
                    if !give_room().map_err(failed)? {
                        tracing::error!(%error, "the cache's journal could not be written; a restart will drop newer entries");
                        break None;
                    }
                }
            }
        };
        let journal = Self {
            path: path.clone(),
            unwritten: u64::from(file.is_none()),
            file,
            generation,
            records_bytes: 0,
            buffer: Vec::new(),
            is_dirty: false,
            is_name_dirty: false,
            sync_dir,
        };
        match journal.file {
            Some(_) => sync_dir(&path),
            // What is there vouches for what others stored.
            None => journal.remove(),
        }
        .map_err(failed)?;
        Ok(journal)
    }

    /// Notes a change of the feed.
    pub(super) fn change(
        &mut self,
        origin: &OriginId,
        sequence: u64,
        touch: &Touch,
    ) -> io::Result<()> {
        self.append(&Record::Change {
            origin: origin.clone(),
            sequence,
            touched: touch.into(),
        })
    }

    /// Notes an invalidation of our own.
    pub(super) fn local(&mut self, touch: &Touch) -> io::Result<()> {
        self.append(&Record::Local {
            touched: touch.into(),
        })
    }

    /// Notes that everything was dropped.
    pub(super) fn end_all(&mut self, position: &Position) -> io::Result<()> {
        self.append(&Record::EndAll {
            position: position.clone(),
        })
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        if self.unwritten > 0 {
            self.unwritten += 1;
            return Ok(());
        }
        self.buffer.clear();
        let written = put(&mut self.buffer, record).and_then(|()| match &mut self.file {
            Some(file) => file.write_all(&self.buffer),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        self.records_bytes += self.buffer.len() as u64;
        self.unwritten = u64::from(written.is_err());
        self.is_dirty = true;
        written
    }

    /// Whether the file is to be written anew: its records have outgrown their bound, or one could not be written.
    pub(super) fn is_due(&self) -> bool {
        let retry = self.unwritten > 0 && self.unwritten.is_multiple_of(RETRY_RECORDS);
        self.records_bytes > RECORDS_BYTES_MAX || retry
    }

    /// Writes the file anew.
    pub(super) fn compact(&mut self, position: &Position, changes: Snapshot) -> io::Result<()> {
        // Whatever comes of it, the next try is as far away as after a success.
        self.records_bytes = 0;
        // From here on it is the file of that name, and the one to be appended to, whatever comes of the directory.
        self.file = Some(write_anew(&self.path, self.generation, position, changes)?);
        self.unwritten = 0;
        self.is_dirty = true;
        self.is_name_dirty = true;
        self.sync_name()?;
        self.is_dirty = false;
        Ok(())
    }

    /// Makes the file's name outlive a power failure.
    fn sync_name(&mut self) -> io::Result<()> {
        if self.is_name_dirty {
            (self.sync_dir)(&self.path)?;
            self.is_name_dirty = false;
        }
        Ok(())
    }

    /// What has to be synced (`sync_data`) so that all that was noted until now outlives a power failure; none if nothing
    /// has to be. If a record could not be written, the file is removed instead.
    pub(super) fn take_unsynced(&mut self) -> io::Result<Option<File>> {
        if !std::mem::take(&mut self.is_dirty) {
            return Ok(None);
        }
        if self.unwritten > 0 {
            return self.remove().map(|()| None);
        }
        self.sync_name()?;
        self.file.as_ref().map(File::try_clone).transpose()
    }

    /// Nobody can tell what is in the file. It is removed, and written anew later.
    pub(super) fn distrust(&mut self) -> io::Result<()> {
        self.unwritten = self.unwritten.max(1);
        self.remove()
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => (self.sync_dir)(&self.path),
        }
    }
}

/// Whether there is no room for what was to be written.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Makes the entries of the directory that holds `path` outlive a power failure.
fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes beside `path`, syncs, then renames; gives the file, ready to be appended to. Its name is not synced yet.
fn write_anew(
    path: &Path,
    generation: u64,
    position: &Position,
    changes: Snapshot,
) -> io::Result<File> {
    let beside = path.with_extension("new");
    let mut bytes = Vec::new();
    let position = position.clone();
    put(
        &mut bytes,
        &Head {
            version: VERSION,
            generation,
            position,
            changes,
        },
    )?;
    let written = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(&bytes)?;
            // Of the two files one must be whole, whenever the power fails.
            file.sync_all()?;
            fs::rename(&beside, path)?;
            Ok(file)
        });
    written.inspect_err(|_| {
        // A part of it would take the room that another try needs.
        let _ = fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests;
