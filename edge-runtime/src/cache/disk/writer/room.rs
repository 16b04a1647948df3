//! Room for what is new: the oldest segment leaves, and what is wanted of it is written again.

use super::{
    super::{
        extent::Extent,
        files::{is_full, listed, read},
        layout::{Listed, Place, read_record},
        log::add,
    },
    From, Writer,
};
use brink_policy::disk::{Leaving, Record as Candidate};
use std::{fs::File, io, sync::atomic::Ordering};

/// After the file system was full, the log grows again by one part of a segment in so many for each segment.
const CEILING_STEP_PART: u64 = 8;

impl Writer {
    /// Whether the disk was full, and the oldest segment has left.
    pub(super) fn gave_room(&mut self, error: &io::Error) -> bool {
        if !is_full(error) || self.is_making_room {
            return false;
        }
        let Some((id, extent)) = self.sealed.pop_first() else {
            return false;
        };
        add(&self.log.counts.errors, 1);
        if self.says_it_is_full() {
            tracing::warn!(%error, dir = %self.log.files.dir().display(), "the disk tier has less room than it is allowed; its oldest entries leave earlier");
        }
        self.forget(id, &extent);
        // From here on the oldest leave before the disk is full, so that there is room for what is wanted of them.
        self.ceiling = self.sealed_bytes();
        self.note_fullness(true);
        true
    }

    /// Whether the log may have grown too large, if a segment is begun now.
    pub(super) fn is_over_limits(&self) -> bool {
        let (entries, _) = self.log.index.extent();
        self.sealed_bytes() + self.reserved_bytes() > self.ceiling
            || entries > self.limits.entries_max
    }

    /// Notes whether what is written from here on throws something out.
    pub(super) fn note_fullness(&self, is_full: bool) {
        self.log.is_full.store(is_full, Ordering::Relaxed);
    }

    /// The disk may have more room than when it was full: it is tried, a little at a time.
    fn raise_ceiling(&mut self) {
        let more = u64::from(self.limits.segment_bytes) / CEILING_STEP_PART;
        self.ceiling = self
            .ceiling
            .saturating_add(more)
            .min(self.limits.capacity_bytes);
    }

    pub(super) fn make_room(&mut self) {
        if self.is_making_room {
            return;
        }
        self.is_making_room = true;
        self.raise_ceiling();
        let mut turn = 0;
        // What is kept may fill further segments, each of them by not more than what leaves; after some turns by less.
        while self.is_over_limits() {
            let Some((id, extent)) = self.sealed.pop_first() else {
                break;
            };
            if let Err(error) = self.keep_wanted(id, &extent, turn) {
                // Nothing else is in the buffer yet.
                self.fail(&error);
            }
            self.forget(id, &extent);
            turn += 1;
        }
        self.note_fullness(turn > 0 || self.ceiling < self.limits.capacity_bytes);
        self.is_making_room = false;
    }

    fn sealed_bytes(&self) -> u64 {
        self.sealed.values().map(|extent| extent.bytes).sum()
    }

    /// For the segment that is being written, and what is kept of one that leaves.
    fn reserved_bytes(&self) -> u64 {
        2 * u64::from(self.limits.segment_bytes)
    }

    /// Writes again what is wanted of a segment that leaves.
    fn keep_wanted(&mut self, id: u32, extent: &Extent, turn: u32) -> io::Result<()> {
        let log = self.log.clone();
        let Some(file) = log.files.get(id) else {
            return Ok(());
        };
        let mut leaving = Leaving::new(extent.bytes, turn);
        for record in listed(&file, id).unwrap_or_default() {
            let there = log.index.peek(record.hash);
            let Some((place, is_used)) =
                there.filter(|(place, _)| (place.segment, place.offset) == (id, record.offset))
            else {
                continue;
            };
            let is_used = is_used || (log.is_in_memory)(record.hash);
            let candidate = Candidate {
                bytes: u64::from(record.length),
                is_used,
                holdings: log.holdings(record.share),
            };
            if leaving.keeps(&candidate) {
                self.write_again(&file, place, record)?;
            }
        }
        self.flush()
    }

    /// What cannot be read, or is not whole, is not kept.
    fn write_again(&mut self, file: &File, place: Place, listed: Listed) -> io::Result<()> {
        let Ok(bytes) = read(file, place) else {
            return Ok(());
        };
        let Some(record) = read_record(&bytes, place) else {
            add(&self.log.counts.damaged, 1);
            return Ok(());
        };
        let value = bytes.get(record.value_start..).unwrap_or_default();
        let from = From::Segment {
            id: place.segment,
            offset: place.offset,
        };
        self.append(from, (listed.hash, listed.share), record.key, &|buffer| {
            buffer.extend_from_slice(value);
            Some(())
        })?;
        Ok(())
    }

    /// Removes a segment, and what the index has of it.
    pub(super) fn forget(&mut self, id: u32, extent: &Extent) {
        let records = self.log.files.get(id).and_then(|file| listed(&file, id));
        match records {
            Some(records) => {
                for record in records {
                    self.log.index.remove_at(record.hash, id, record.offset);
                }
            }
            None => self.log.index.sweep(id),
        }
        self.log.index.trim();
        self.log.shares().subtract(extent);
        let bytes = &self.log.counts.bytes;
        bytes.fetch_sub(extent.bytes, Ordering::Relaxed);
        let removed = self.log.files.remove(id);
        self.note(removed);
    }
}
