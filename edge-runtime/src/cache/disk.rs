//! The disk tier: a log of segments, and an index of it in memory.
//!
//! ```text
//! insert, remove -> queue -> writer: appends to the newest segment; the oldest leaves when there are too many
//! find           -> queue, index -> one read of one record
//! open           -> recovery: the summaries of all segments, from the newest to the oldest
//! ```
//!
//! What is found is whole, unchanged and the newest that was stored for its key, or it is not found. The file system may fail
//! in any way: then entries are lost, which is counted, and said once.

mod extent;
mod files;
mod index;
mod layout;
mod log;
mod queue;
mod recovery;
mod writer;

use super::{
    error::Error,
    stored::{Key, Slot},
};
use brink_policy::disk::{Admission, Candidate, memory::Allowance};
use bytes::Bytes;
use files::{Files, Medium, System};
use index::Index;
use layout::{Place, read_record};
use log::{Counts, Limits, Log, add};
use queue::Queue;
use serde::Serialize;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::Semaphore;
use writer::Writer;

/// Bodies on their way stop here, in bytes that wait to be written: the rest of the room is for whole entries.
const PIECES_WAITING_BYTES_MAX: usize = 8 << 20;
/// Bodies on their way wait for the disk for so long.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(5);
/// Segments that a full log has, about: so much of it leaves at once.
const SEGMENTS: u64 = 256;
/// Smallest and largest segment, in bytes.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_MAX: u64 = 256 << 20;
/// A record up to this, in bytes, is read without leaving the thread if the system has it in memory.
const AT_ONCE_BYTES_MAX: u32 = 128 << 10;
/// Reads from the disk that are under way at a time; others wait.
const READS_MAX: usize = 128;
/// So often it is looked again where an entry lies that was moved while it was read.
const TRIES: usize = 3;

/// See the module.
#[derive(Debug)]
pub(super) struct Disk {
    log: Arc<Log>,
    admission: Mutex<Admission>,
    /// Bytes that the keys take which it remembers.
    ghosts_bytes: u64,
    takes_all: bool,
    reads: Semaphore,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What a disk tier is opened with.
pub(super) struct Terms {
    /// Where its files lie; nobody else's do.
    pub(super) dir: PathBuf,
    /// All files together, in bytes.
    pub(super) capacity_bytes: u64,
    /// The bound of memory, in bytes: what the disk tier has there is within it.
    pub(super) memory_bytes_max: u64,
    /// What is stored is written even if the disk is full.
    pub(super) takes_all: bool,
    /// What belongs to another one is dropped.
    pub(super) generation: u64,
    /// Whether memory has an entry of this hash.
    pub(super) is_in_memory: Box<dyn Fn(u64) -> bool + Send + Sync>,
}

/// The disk tier: how much there is, and what happened since the start. Zero without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DiskFigures {
    /// Entries, lists of variants included.
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes of memory that its index takes.
    pub index_bytes: u64,
    /// Bytes of entries that wait to be written.
    pub waiting_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Of those, bytes of entries written again because they were wanted when their segment made room.
    pub kept_bytes: u64,
    /// Entries that were kept in memory alone when they were stored, because the disk is full: they are written when they
    /// are asked for again.
    pub held_back: u64,
    /// Entries that were not written: too much waited, or they could not be.
    pub dropped: u64,
    /// Calls to the system that failed.
    pub errors: u64,
    /// Entries that were torn or changed when they were read; each was a miss.
    pub damaged: u64,
}

/// Removes the oldest segment of the log in a directory that nobody has open: what is left is a log still. Gives whether there
/// was one.
///
/// # Errors
/// The directory could not be read, or the file not be removed.
pub(super) fn give_up_oldest(dir: &Path) -> io::Result<bool> {
    let files = Files::new(dir.to_owned());
    match files.ids() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(ids) => match ids.first() {
            Some(oldest) => files.remove(*oldest).map(|()| true),
            None => Ok(false),
        },
    }
}

impl Disk {
    /// Opens the log in a directory. Blocks while it is read.
    pub(super) fn open(terms: Terms) -> Result<Self, Error> {
        let segment = (terms.capacity_bytes / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let limits = Limits {
            capacity_bytes: terms.capacity_bytes,
            segment_bytes: u32::try_from(segment).unwrap_or(u32::MAX),
            entries_max: Allowance::of(terms.memory_bytes_max).entries,
        };
        Self::open_on(terms, limits, Box::new(System))
    }

    fn open_on(terms: Terms, limits: Limits, medium: Box<dyn Medium>) -> Result<Self, Error> {
        let allowance = Allowance::of(terms.memory_bytes_max);
        let admission = Admission::new(limits.capacity_bytes, allowance.ghosts_bytes);
        let log = Arc::new(Log {
            index: Index::new(),
            queue: Queue::new(usize::try_from(allowance.waiting_bytes).unwrap_or(usize::MAX)),
            files: Files::new(terms.dir),
            counts: Counts::default(),
            generation: terms.generation,
            medium,
            limits,
            is_full: AtomicBool::new(false),
            shares: Mutex::default(),
            is_in_memory: terms.is_in_memory,
        });
        let failed = |action| {
            let path = log.files.dir().to_owned();
            move |source| Error::File {
                action,
                path,
                source,
            }
        };
        let recovered = recovery::recover(&log).map_err(failed("read"))?;
        let writer = Writer::new(log.clone(), recovered);
        let thread = thread::Builder::new()
            .name("brink-disk".to_owned())
            .spawn(move || writer.run())
            .map_err(failed("write"))?;
        Ok(Self {
            log,
            ghosts_bytes: admission.memory_bytes(),
            admission: Mutex::new(admission),
            takes_all: terms.takes_all,
            reads: Semaphore::new(READS_MAX),
            writer: Mutex::new(Some(thread)),
        })
    }

    /// What `key` leads to.
    pub(super) async fn find(&self, hash: u64, key: &Key) -> Option<Slot> {
        for _ in 0..TRIES {
            if let Some(slot) = self.log.queue.get(hash, key) {
                return Some(slot);
            }
            let place = self.log.index.get(hash)?;
            let found = match self.log.files.get(place.segment) {
                Some(file) => self.read(file, place, hash, key).await,
                None => None,
            };
            // What was replaced or removed while it was read is not what the key leads to.
            if self
                .log
                .index
                .peek(hash)
                .is_some_and(|(now, _)| now == place)
            {
                return found;
            }
        }
        None
    }

    async fn read(&self, file: Arc<File>, place: Place, hash: u64, key: &Key) -> Option<Slot> {
        if place.length <= AT_ONCE_BYTES_MAX
            && let Some(bytes) = files::read_at_once(&file, place)
        {
            return self.decode(bytes, place, hash, key);
        }
        let _permit = self.reads.acquire().await.ok()?;
        let reading = tokio::task::spawn_blocking(move || files::read(&file, place));
        match reading.await {
            Ok(Ok(bytes)) => self.decode(bytes, place, hash, key),
            Ok(Err(error)) => {
                // Said once; counted each time.
                if self.log.counts.errors.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(%error, "the disk tier could not be read; what cannot be is a miss");
                }
                None
            }
            Err(_) => None,
        }
    }

    fn decode(&self, bytes: Vec<u8>, place: Place, hash: u64, key: &Key) -> Option<Slot> {
        let value_start = match read_record(&bytes, place) {
            Some(record) if record.key == key.0.as_str().as_bytes() => Some(record.value_start),
            // Another key, with a hash like this.
            Some(_) => return None,
            None => None,
        };
        let slot = value_start.and_then(|start| Slot::decode(&Bytes::from(bytes).slice(start..)));
        if slot.is_none() {
            add(&self.log.counts.damaged, 1);
            self.log.index.remove_at(hash, place.segment, place.offset);
        }
        slot
    }

    /// Has `key` lead to a slot that was stored, if it is to be written now: see [`Admission`]. Otherwise it leads to nothing
    /// here. Gives whether it does.
    pub(super) fn offer(&self, hash: u64, key: &Key, slot: &Slot, share: u64) -> bool {
        let bytes = slot.size() + key.0.as_str().len();
        let admits = self.admits(hash, bytes as u64, share);
        if admits {
            self.insert(hash, key.clone(), slot.clone(), share);
        } else {
            self.remove(hash);
        }
        admits
    }

    /// Whether something of this key would be written now, of so many bytes. Counts as a time that it was asked for.
    pub(super) fn admits(&self, hash: u64, bytes: u64, share: u64) -> bool {
        if self.takes_all {
            return true;
        }
        let candidate = Candidate {
            hash,
            bytes,
            is_there: self.may_contain(hash),
            is_full: self.log.is_full.load(Ordering::Relaxed),
            holdings: self.log.holdings((share >> 32) as u32),
        };
        let admission = self.admission.lock();
        let admits = admission
            .unwrap_or_else(PoisonError::into_inner)
            .admits(&candidate);
        if !admits {
            add(&self.log.counts.held_back, 1);
        }
        admits
    }

    /// Bytes of memory that it has, beside what is in the memory tier.
    pub(super) fn memory_bytes(&self) -> u64 {
        let (_, index_bytes) = self.log.index.extent();
        self.ghosts_bytes + index_bytes + self.log.queue.bytes()
    }

    /// Has `key` lead to a slot, whether or not memory has it. What it led to before is gone even if this is not written.
    /// Gives whether there was room among what waits.
    pub(super) fn insert(&self, hash: u64, key: Key, slot: Slot, share: u64) -> bool {
        let bytes = slot.size() + key.0.as_str().len();
        let share = (share >> 32) as u32;
        let log = &self.log;
        let is_taken = log
            .queue
            .insert(&log.index, hash, (key, slot, share), bytes);
        if !is_taken {
            add(&log.counts.dropped, 1);
        }
        is_taken
    }

    /// Waits until little waits to be written, for as long as a disk may take that works. Gives whether it came to that.
    pub(super) async fn room(&self) -> bool {
        let room = self.log.queue.room(PIECES_WAITING_BYTES_MAX);
        tokio::time::timeout(ROOM_WAIT_MAX, room).await == Ok(true)
    }

    /// Whether it has been written.
    pub(super) fn is_written(&self, hash: u64) -> bool {
        self.log.index.peek(hash).is_some()
    }

    /// Whether it was read since it was written.
    pub(super) fn is_used(&self, hash: u64) -> bool {
        self.log
            .index
            .peek(hash)
            .is_some_and(|(_, is_used)| is_used)
    }

    /// Has `key` lead to nothing.
    pub(super) fn remove(&self, hash: u64) {
        self.log.queue.remove(&self.log.index, hash);
    }

    /// Whether there may be something. Never wrongly no.
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        self.log.queue.contains(hash) || self.log.index.peek(hash).is_some()
    }

    /// Waits until what was inserted is written, or given up.
    pub(super) async fn written(&self) {
        if let Some(written) = self.log.queue.flush() {
            // The writer has ended: nothing is written any more.
            let _ = written.await;
        }
    }

    /// The same; nothing is written afterwards.
    pub(super) async fn close(&self) {
        if let Some(written) = self.log.queue.close() {
            let _ = written.await;
        }
    }

    pub(super) fn figures(&self) -> DiskFigures {
        let (entries, index_bytes) = self.log.index.extent();
        let counts = &self.log.counts;
        let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        DiskFigures {
            entries,
            index_bytes,
            bytes: of(&counts.bytes),
            waiting_bytes: self.log.queue.bytes(),
            written_bytes: of(&counts.written),
            kept_bytes: of(&counts.kept),
            held_back: of(&counts.held_back),
            dropped: of(&counts.dropped),
            errors: of(&counts.errors),
            damaged: of(&counts.damaged),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.log.queue.stop();
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = writer.take() {
            // At most what it is writing now; the directory is free when this returns.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
