//! The one who writes: a thread that appends what waits, ends segments, and makes room by removing the oldest.

mod room;

use super::{
    extent::Extent,
    files::is_full,
    layout::{Listed, Place, RECORDS_MAX, SEGMENT_HEAD_BYTES, put_record, segment_head, summary},
    log::{Limits, Log, add},
    queue::{Operation, Work},
    recovery::Recovered,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// So many bytes are written at once, if as many wait.
const BATCH_BYTES: usize = 1 << 20;
/// What fails for long, or again and again, is said so often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// A buffer that has grown beyond this, in bytes, is given back.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// The segment that is being written.
#[derive(Debug)]
struct Open {
    id: u32,
    file: Arc<File>,
    /// Where the next record will lie.
    end: u32,
    records: Vec<Listed>,
}

/// Where a record in the buffer comes from.
#[derive(Debug, Clone, Copy)]
enum From {
    Queue { sequence: u64 },
    Segment { id: u32, offset: u32 },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    log: Arc<Log>,
    limits: Limits,
    sealed: BTreeMap<u32, Extent>,
    open: Option<Open>,
    next: u32,
    buffer: Vec<u8>,
    /// What is in the buffer.
    staged: Vec<(Listed, From)>,
    syncing: Option<JoinHandle<()>>,
    is_making_room: bool,
    is_failing: bool,
    /// What all segments together may have, in bytes: less than the capacity after the file system was full.
    ceiling: u64,
    /// When it was last said that something failed, and that the file system is full.
    said_failing: Option<Instant>,
    said_full: Option<Instant>,
}

impl Writer {
    pub(super) fn new(log: Arc<Log>, recovered: Recovered) -> Self {
        for extent in recovered.segments.values() {
            log.shares().add(extent);
            add(&log.counts.bytes, extent.bytes);
        }
        let limits = log.limits;
        let writer = Self {
            limits,
            log,
            sealed: recovered.segments,
            open: None,
            next: recovered.next,
            buffer: Vec::new(),
            staged: Vec::new(),
            syncing: None,
            is_making_room: false,
            is_failing: false,
            ceiling: limits.capacity_bytes,
            said_failing: None,
            said_full: None,
        };
        writer.note_fullness(writer.is_over_limits());
        writer
    }

    /// Writes until it is told to end.
    pub(super) fn run(mut self) {
        while let Some(works) = self.log.queue.take(BATCH_BYTES) {
            for work in works {
                match work {
                    Work::Write {
                        hash,
                        sequence,
                        operation,
                    } => self.write(hash, sequence, &operation),
                    Work::Flush(done) => {
                        self.flush_or_fail();
                        // Who asked may have gone.
                        let _ = done.send(());
                    }
                    Work::Close(done) => {
                        self.flush_or_fail();
                        let sealed = self.seal();
                        self.note(sealed);
                        self.wait_for_sync();
                        let _ = done.send(());
                    }
                }
            }
            self.flush_or_fail();
        }
    }

    fn write(&mut self, hash: u64, sequence: u64, operation: &Operation) {
        let from = From::Queue { sequence };
        let appended = match operation {
            Operation::Entry { key, slot, share } => {
                let key = key.0.as_str().as_bytes();
                self.append(from, (hash, *share), key, &|buffer| slot.encode(buffer))
            }
            Operation::Removal => self.append(from, (hash, 0), &[], &|_| Some(())),
            Operation::Nothing => return,
        };
        match appended {
            Ok(true) => {}
            Ok(false) => self.drop_one(hash, sequence),
            Err(error) => {
                self.fail(&error);
                self.drop_one(hash, sequence);
            }
        }
    }

    /// Puts a record into the buffer; what is in it is written when it is full. Gives whether the record fits the format.
    fn append(
        &mut self,
        from: From,
        of: (u64, u32),
        key: &[u8],
        encode: &dyn Fn(&mut Vec<u8>) -> Option<()>,
    ) -> io::Result<bool> {
        loop {
            if self.open.is_none() {
                self.begin()?;
            }
            let Some(open) = &self.open else {
                return Err(io::Error::other("no segment"));
            };
            let start = self.buffer.len();
            let staged = u32::try_from(start).ok();
            let Some(offset) = staged.and_then(|staged| open.end.checked_add(staged)) else {
                return Ok(false);
            };
            let put = put_record(&mut self.buffer, (open.id, offset), of, key, encode);
            let Some(record) = put else {
                return Ok(false);
            };
            let count = open.records.len() + self.staged.len();
            let end = u64::from(record.offset) + u64::from(record.length);
            if count > 0 && (end > u64::from(self.limits.segment_bytes) || count >= RECORDS_MAX) {
                self.buffer.truncate(start);
                self.flush()?;
                self.seal()?;
                continue;
            }
            self.staged.push((record, from));
            if self.buffer.len() >= BATCH_BYTES {
                self.flush()?;
            }
            return Ok(true);
        }
    }

    /// Writes the buffer; what is in it can be found from here on.
    fn flush(&mut self) -> io::Result<()> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (id, file, at) = (open.id, open.file.clone(), u64::from(open.end));
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.put(&file, &buffer, at);
        self.buffer = buffer;
        written?;
        self.is_failing = false;
        if let Some(open) = &mut self.open {
            open.end += self.buffer.len() as u32;
            open.records
                .extend(self.staged.iter().map(|(record, _)| record));
        }
        self.publish(id);
        add(&self.log.counts.bytes, self.buffer.len() as u64);
        add(&self.log.counts.written, self.buffer.len() as u64);
        self.staged.clear();
        self.buffer.clear();
        if self.buffer.capacity() > BUFFER_BYTES_MAX {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// What was staged has been written to segment `id`.
    fn publish(&self, id: u32) {
        let place = |record: &Listed| Place {
            segment: id,
            offset: record.offset,
            length: record.length,
        };
        let queued = self.staged.iter().filter_map(|(record, from)| match from {
            From::Queue { sequence } => {
                let at = (!record.is_removal).then(|| place(record));
                Some((record.hash, *sequence, at))
            }
            From::Segment { .. } => None,
        });
        self.log.queue.written(&self.log.index, queued);
        for (record, from) in &self.staged {
            if let From::Segment { id, offset } = from {
                let at = (*id, *offset);
                if self.log.index.relocate(record.hash, at, place(record)) {
                    add(&self.log.counts.kept, u64::from(record.length));
                }
            }
        }
    }

    /// Writes bytes; while the disk has no room for them, the oldest segments leave.
    fn put(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        loop {
            let Err(error) = self.log.medium.write(file, bytes, at) else {
                return Ok(());
            };
            if !self.gave_room(&error) {
                return Err(error);
            }
        }
    }

    /// Begins a segment. When there are too many, the oldest leave.
    fn begin(&mut self) -> io::Result<()> {
        let id = self.next;
        let next = id
            .checked_add(1)
            .ok_or_else(|| io::Error::other("no number for another segment"))?;
        let file = Arc::new(self.create(id)?);
        let head = segment_head(id, self.log.generation);
        if let Err(error) = self.put(&file, &head, 0) {
            // The number is given again: a log with a number missing counts for nothing.
            self.log.files.remove(id)?;
            return Err(error);
        }
        self.next = next;
        self.log.files.insert(id, file.clone());
        self.open = Some(Open {
            id,
            file,
            end: SEGMENT_HEAD_BYTES as u32,
            records: Vec::new(),
        });
        add(&self.log.counts.bytes, head.len() as u64);
        self.make_room();
        Ok(())
    }

    fn create(&mut self, id: u32) -> io::Result<File> {
        let path = self.log.files.path(id);
        let mut is_dir_made = false;
        loop {
            let error = match self.log.medium.create(&path) {
                Ok(file) => return Ok(file),
                Err(error) => error,
            };
            if error.kind() == io::ErrorKind::NotFound && !is_dir_made {
                // Somebody removed the directory.
                std::fs::create_dir_all(self.log.files.dir())?;
                is_dir_made = true;
            } else if !self.gave_room(&error) {
                return Err(error);
            }
        }
    }

    /// Ends the segment that is being written. If that fails it is tried again before anything else is written.
    fn seal(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        match self.write_summary(&open) {
            Ok(bytes) => {
                self.retire(open, bytes);
                Ok(())
            }
            Err(error) => {
                self.open = Some(open);
                Err(error)
            }
        }
    }

    fn write_summary(&mut self, open: &Open) -> io::Result<u64> {
        let Some(summary) = summary(open.id, open.end, &open.records) else {
            return Err(io::Error::other("too many records"));
        };
        self.put(&open.file, &summary, u64::from(open.end))?;
        add(&self.log.counts.bytes, summary.len() as u64);
        add(&self.log.counts.written, summary.len() as u64);
        self.wait_for_sync();
        let file = open.file.clone();
        // Not more than one at a time: who writes faster than the disk waits for it here.
        self.syncing = thread::Builder::new()
            .name("brink-disk-sync".to_owned())
            .spawn(move || {
                if let Err(error) = file.sync_data() {
                    tracing::warn!(%error, "a segment of the disk tier was not synced");
                }
            })
            .ok();
        Ok(summary.len() as u64)
    }

    /// Nothing more is written to this segment.
    fn retire(&mut self, open: Open, summary_bytes: u64) {
        let extent = Extent::of(u64::from(open.end) + summary_bytes, &open.records);
        self.log.shares().add(&extent);
        self.sealed.insert(open.id, extent);
    }

    fn wait_for_sync(&mut self) {
        if let Some(syncing) = self.syncing.take() {
            // It does not panic, and there is nothing to be done if it did.
            let _ = syncing.join();
        }
    }

    fn flush_or_fail(&mut self) {
        if let Err(error) = self.flush() {
            self.fail(&error);
        }
    }

    /// Gives up what is in the buffer. What of it has reached the file is cut off, or overwritten by what comes next.
    fn fail(&mut self, error: &io::Error) {
        if is_full(error) && self.is_making_room {
            // That there is less room than there may be was said, and what was to be kept leaves with the rest.
            add(&self.log.counts.errors, 1);
        } else {
            self.note::<()>(Err(io::Error::new(error.kind(), error.to_string())));
        }
        self.buffer.clear();
        if let Some(open) = &self.open {
            let cut = open.file.set_len(u64::from(open.end));
            self.note(cut);
        }
        for (record, from) in std::mem::take(&mut self.staged) {
            if let From::Queue { sequence } = from {
                self.drop_one(record.hash, sequence);
            }
        }
    }

    fn drop_one(&self, hash: u64, sequence: u64) {
        if self.log.queue.failed(hash, sequence) {
            add(&self.log.counts.dropped, 1);
        }
    }

    /// Whether it is to be said that the file system is full.
    fn says_it_is_full(&mut self) -> bool {
        says(&mut self.said_full)
    }

    /// Counts what failed. It is said once, until something succeeds again, and not more often than [`SAY_EVERY`].
    fn note<T>(&mut self, result: io::Result<T>) {
        let Err(error) = result else {
            return;
        };
        add(&self.log.counts.errors, 1);
        let is_new = !std::mem::replace(&mut self.is_failing, true);
        if is_new && says(&mut self.said_failing) {
            tracing::error!(%error, dir = %self.log.files.dir().display(), "the disk tier could not be written; the cache goes on without what is lost");
        }
    }
}

/// Whether something is said again.
fn says(said: &mut Option<Instant>) -> bool {
    let is_due = said.is_none_or(|at| at.elapsed() >= SAY_EVERY);
    if is_due {
        *said = Some(Instant::now());
    }
    is_due
}
