//! Increments: what changed, read again as it is now, and marks of the moments at which all of it together is a state.
//!
//! The logs say which records changed, not how. A round reads the logs up to their heads, reads what changed, and asks for the
//! heads again: a partition that the logs name once more is thrown away and comes in the next round. So no mark holds half
//! of a transaction.

use super::{
    answers::Written,
    capture::{Taken, capture},
    directory::Generation,
    frames::{Writer, beginning},
    inspect::{Inspection, Standing},
    pending::{Changed, Pending},
    piece::{Mark, Piece},
    snapshot::split,
};
use crate::{
    Error,
    store::{KEPT_ROWS_MAX, KeptRow, RowKey, Store},
};
use brink_protocol::{Position, address::PartitionAddress, record::SORT_BYTES_MAX};
use bytes::Bytes;
use std::collections::BTreeSet;

/// Bytes after which another file of increments is begun.
const FILE_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 64 << 20 };
/// Changes that are read at a time.
const CHANGES_MAX: usize = 10_000;
/// Changes that one round takes.
const ROUND_CHANGES_MAX: usize = 20_000;
/// Rounds until a mark is made without what is written all the time.
const ROUNDS_MAX: u32 = 8;
/// Times that a generation's first mark waits for what would be left out of it.
const PUT_OFF_MAX: u32 = 3;
/// Partitions, and bytes of their rows, that one round holds in memory.
const STAGED_MAX: usize = 4096;
const STAGED_BYTES_MAX: usize = 32 << 20;
/// Records that are read at a time.
const RECORDS_MAX: usize = 64;
/// How old the last mark may be when nothing changes, in milliseconds.
const MARK_MS: u64 = 60_000;

/// Reads what changed into a generation's increments.
pub struct Follower {
    generation: Generation,
    file: usize,
    writer: Writer,
    pending: Pending,
    taken: Taken,
    written: Written,
    /// The end of the last mark, in milliseconds since 1970.
    last_mark_ms: u64,
    /// How long the file was behind it.
    marked_bytes: u64,
    /// Times that the first mark was put off because something would be left out of it, which would be there as the snapshot
    /// has it: perhaps half of it. None: it was made.
    put_off: Option<u32>,
    kept_until_ms: u64,
}

struct Staged {
    partition: PartitionAddress,
    changed: Changed,
    rows: Vec<KeptRow>,
}

impl Follower {
    /// Begins a generation's increments behind `position`, which covers what was acknowledged before `begun_ms`.
    ///
    /// # Errors
    /// The file is there already, or cannot be written.
    pub(super) fn begin(
        generation: Generation,
        position: Position,
        begun_ms: u64,
    ) -> Result<Self, Error> {
        let chain = beginning(&generation.seed("increments"));
        let writer = Writer::create(&generation.increments(1), chain)?;
        Ok(Self {
            generation,
            file: 1,
            marked_bytes: 0,
            writer,
            pending: Pending::new(position, begun_ms),
            taken: Taken::default(),
            written: Written::default(),
            last_mark_ms: 0,
            put_off: Some(0),
            kept_until_ms: begun_ms,
        })
    }

    /// Goes on behind a generation's last mark; what is behind that is removed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn resume(generation: Generation, found: Inspection) -> Result<Self, Error> {
        let Standing {
            file,
            bytes,
            chain,
            mark,
        } = found.last;
        for later in generation.increments_after(file)? {
            std::fs::remove_file(&later).map_err(|error| Error::file("removed", &later, error))?;
        }
        super::directory::sync_directory(&generation.path)?;
        let writer = Writer::resume(&generation.increments(file), bytes, chain)?;
        Ok(Self {
            generation,
            file,
            writer,
            pending: Pending::new(mark.position, mark.from_ms),
            taken: Taken::of(&found.registry, found.components),
            written: Written::default(),
            last_mark_ms: mark.to_ms,
            marked_bytes: bytes,
            put_off: None,
            kept_until_ms: mark.from_ms,
        })
    }

    /// Its generation.
    #[must_use]
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// What was acknowledged before this is kept, in milliseconds since 1970.
    #[must_use]
    pub fn kept_until_ms(&self) -> u64 {
        self.kept_until_ms
    }

    /// Reads what has changed, without a mark: the logs may drop it afterwards.
    ///
    /// # Errors
    /// As [`Follower::mark`].
    pub(super) async fn gather(&mut self, store: &dyn Store) -> Result<(), Error> {
        while self.round(store).await? {}
        Ok(())
    }

    /// Reads all that has changed, and marks the moment; none: nothing has, and the last mark is not old.
    ///
    /// # Errors
    /// The store or the disk; or the logs do not reach back any more to where it was, and another generation is to be begun.
    /// After an error this one can only be resumed.
    pub async fn mark(
        &mut self,
        store: &dyn Store,
        now_ms: impl Fn() -> u64,
    ) -> Result<Option<Mark>, Error> {
        let from_ms = now_ms();
        for _ in 0..ROUNDS_MAX {
            self.gather(store).await?;
            if self.pending.is_empty() {
                break;
            }
        }
        self.registry(store).await?;
        let left_out = self.pending.len();
        #[expect(clippy::cast_precision_loss, reason = "partitions that wait are few")]
        metrics::gauge!("brink_core_backup_left_out").set(left_out as f64);
        let from_ms = self.pending.leave_out(from_ms);
        if let Some(put_off) = &mut self.put_off
            && left_out > 0
        {
            if *put_off < PUT_OFF_MAX {
                *put_off += 1;
                return Ok(None);
            }
            metrics::counter!("brink_core_backup_torn_total").increment(left_out as u64);
        }
        let is_first = self.put_off.take().is_some();
        self.kept_until_ms = from_ms;
        let is_old = now_ms() >= self.last_mark_ms.saturating_add(MARK_MS);
        if self.writer.bytes() == self.marked_bytes && !is_old && !is_first {
            return Ok(None);
        }
        let mark = Mark {
            from_ms,
            // Whoever looks for a moment looks for the last mark before it, whatever the clock did meanwhile.
            to_ms: now_ms().max(self.last_mark_ms),
            position: self.pending.resume_from(),
        };
        self.push(&Piece::Mark(mark.clone()))?;
        self.writer.sync()?;
        self.last_mark_ms = mark.to_ms;
        self.rotate()?;
        self.marked_bytes = self.writer.bytes();
        Ok(Some(mark))
    }

    /// One round; whether the logs have more than it took.
    async fn round(&mut self, store: &dyn Store) -> Result<bool, Error> {
        let is_behind = self.read_logs(store, ROUND_CHANGES_MAX).await?;
        let mut staged = Vec::new();
        let mut bytes = 0;
        for (partition, changed) in self.pending.take_quiet(STAGED_MAX) {
            if bytes > STAGED_BYTES_MAX {
                self.pending.give_back(partition, changed);
                continue;
            }
            let rows = match read(store, &partition, &changed.sorts).await {
                // It lies in another region alone, whose own cores keep it.
                Err(Error::Region { .. }) => continue,
                rows => rows?,
            };
            bytes += rows.iter().map(size).sum::<usize>();
            staged.push(Staged {
                partition,
                changed,
                rows,
            });
        }
        let is_behind = self.read_logs(store, ROUND_CHANGES_MAX).await? || is_behind;
        for part in staged {
            // While the logs have more than was read of them, it may be half of something that they say later: then it
            // comes again before the mark.
            if self.pending.take_back(&part.partition, &part.changed) {
                continue;
            }
            if part.changed.is_overdue() {
                metrics::counter!("brink_core_backup_torn_total").increment(1);
            }
            let Staged {
                partition, rows, ..
            } = part;
            let rows = rows.into_iter();
            let rows = rows.filter(|row| self.written.is_new(&partition, row));
            for rows in split(rows.collect()) {
                self.push(&Piece::Rows(partition.clone(), rows))?;
            }
        }
        Ok(is_behind)
    }

    /// Reads the logs up to their heads, or up to about `most` changes; whether there is more.
    async fn read_logs(&mut self, store: &dyn Store, most: usize) -> Result<bool, Error> {
        let heads = store.heads().await?;
        let mut read = 0;
        for (origin, head) in heads.iter() {
            // What peers hand on to an embedded store is about records that are not in it.
            if !store.is_shared() && origin != store.origin() {
                continue;
            }
            self.pending.forget_earlier(origin);
            loop {
                let after = self.pending.position.get(origin);
                if after >= head {
                    break;
                }
                if read >= most {
                    return Ok(true);
                }
                let changes = store.changes(origin, after, CHANGES_MAX).await?;
                if changes
                    .first()
                    .is_none_or(|first| first.sequence != after + 1)
                {
                    return Err(Error::Backup(format!(
                        "the log of {origin} does not reach back to entry {}; another snapshot is needed",
                        after + 1
                    )));
                }
                read += changes.len();
                for change in &changes {
                    self.pending.note(change);
                }
            }
        }
        Ok(false)
    }

    async fn registry(&mut self, store: &dyn Store) -> Result<(), Error> {
        let captured = capture(store, &mut self.taken).await?;
        for digest in captured.components {
            let bytes: Option<Bytes> = store.component(&digest).await?;
            let bytes = bytes.ok_or_else(|| {
                Error::Backup(format!("the store has no component {digest} any more"))
            })?;
            self.push(&Piece::Component(digest, bytes))?;
        }
        for change in captured.changes {
            self.push(&Piece::Registry(Box::new(change)))?;
        }
        Ok(())
    }

    fn push(&mut self, piece: &Piece) -> Result<(), Error> {
        self.writer.push(&piece.encode()?)
    }

    /// Begins another file behind a mark, if this one is long.
    fn rotate(&mut self) -> Result<(), Error> {
        if self.writer.bytes() < FILE_BYTES {
            return Ok(());
        }
        let path = self.generation.increments(self.file + 1);
        self.writer = Writer::create(&path, self.writer.chain())?;
        self.writer.sync()?;
        super::directory::sync_directory(&self.generation.path)?;
        self.file += 1;
        Ok(())
    }
}

fn size(row: &KeptRow) -> usize {
    row.value.as_ref().map_or(0, Bytes::len)
}

/// The records under some sort keys, and all answers, of a partition. Records of which nothing is known are said to be so.
async fn read(
    store: &dyn Store,
    partition: &PartitionAddress,
    sorts: &BTreeSet<String>,
) -> Result<Vec<KeptRow>, Error> {
    let sorts: Vec<String> = sorts.iter().cloned().collect();
    let mut rows = Vec::new();
    for sorts in sorts.chunks(RECORDS_MAX) {
        let found = store.kept_records(partition, sorts).await?;
        let known: BTreeSet<&RowKey> = found.iter().map(|row| &row.key).collect();
        let unknown: Vec<KeptRow> = sorts
            .iter()
            .map(|sort| RowKey::Record(sort.clone()))
            .filter(|key| !known.contains(key))
            .map(nothing)
            .collect();
        rows.extend(found);
        rows.extend(unknown);
    }
    // Behind every sort key that there can be.
    let mut after = RowKey::Record(char::MAX.to_string().repeat(SORT_BYTES_MAX / 4));
    loop {
        let answers = store.kept(partition, Some(&after), KEPT_ROWS_MAX).await?;
        let Some(last) = answers.last() else {
            return Ok(rows);
        };
        after = last.key.clone();
        rows.extend(answers);
    }
}

fn nothing(key: RowKey) -> KeptRow {
    KeptRow {
        key,
        version: 0,
        value: None,
        expires_at_ms: None,
    }
}
