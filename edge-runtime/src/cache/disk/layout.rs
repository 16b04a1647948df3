//! The log's bytes. All numbers are little-endian; nothing is aligned.
//!
//! ```text
//! segment  head (32): magic 8, version 4, id 4, generation 8, checksum 8
//!          records, one after the other
//!          summary, when it is full: hash 8, offset 4, length 4 (top bit: removed), share 4 for each record
//!          trailer (28): magic 8, id 4, count 4, where the summary begins 4, checksum of summary and trailer 8
//! record   head (32): hash 8, key length 4, value length 4, share 4, checksum of these 4, checksum of all 8
//!          key, value; neither: what the hash led to before was removed
//! ```
//!
//! Checksums are XXH3, seeded by the place: a record is good in its own place only. Any bytes are a record, or none.

use super::super::{encoding::VALUE_BYTES_MAX, stored::FULL_KEY_BYTES_MAX};
use twox_hash::XxHash3_64;

/// Version of the format.
const VERSION: u32 = 1;
const SEGMENT_MAGIC: [u8; 8] = *b"BRINKLOG";
const TRAILER_MAGIC: [u8; 8] = *b"BRINKSUM";
/// Before the first record of a segment.
pub(super) const SEGMENT_HEAD_BYTES: usize = 32;
/// Before a record's key.
pub(super) const RECORD_HEAD_BYTES: usize = 32;
/// One record in a summary.
pub(super) const SUMMARY_ENTRY_BYTES: usize = 20;
/// After the summary.
pub(super) const TRAILER_BYTES: usize = 28;
/// Bytes of a trailer before its checksum.
const TRAILER_SUMMED_BYTES: usize = 20;
/// Bytes of a record's head that its first checksum is over.
const RECORD_SUMMED_BYTES: usize = 20;
/// Most records in a segment.
pub(super) const RECORDS_MAX: usize = 1 << 20;
/// In a summary: the record says that something was removed.
const REMOVED: u32 = 1 << 31;

/// Longest record, in bytes.
pub(super) const RECORD_BYTES_MAX: usize = RECORD_HEAD_BYTES + FULL_KEY_BYTES_MAX + VALUE_BYTES_MAX;
const _: () = assert!(RECORD_BYTES_MAX < REMOVED as usize);

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// Bytes of the whole record.
    pub(super) length: u32,
}

/// A record as a summary has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) hash: u64,
    pub(super) offset: u32,
    /// Bytes of the whole record.
    pub(super) length: u32,
    /// Whose it is: a hash of the tenant.
    pub(super) share: u32,
    /// It says that what the hash led to was removed.
    pub(super) is_removal: bool,
}

/// Reads numbers from the front.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (number, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*number)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

fn place_seed(segment: u32, offset: u32) -> u64 {
    u64::from(segment) << 32 | u64::from(offset)
}

/// What begins a segment.
pub(super) fn segment_head(id: u32, generation: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(SEGMENT_HEAD_BYTES);
    head.extend(SEGMENT_MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend(id.to_le_bytes());
    head.extend(generation.to_le_bytes());
    head.extend(checksum(0, &head).to_le_bytes());
    head
}

/// Whether this begins that segment of this cache, in this format.
pub(super) fn is_segment_head(bytes: &[u8], id: u32, generation: u64) -> bool {
    bytes == segment_head(id, generation)
}

/// Appends a record that will lie at `offset`. `encode` appends the value; none: it cannot be written, and nothing is
/// appended.
pub(super) fn put_record(
    buffer: &mut Vec<u8>,
    (segment, offset): (u32, u32),
    (hash, share): (u64, u32),
    key: &[u8],
    encode: impl FnOnce(&mut Vec<u8>) -> Option<()>,
) -> Option<Listed> {
    let start = buffer.len();
    buffer.extend([0; RECORD_HEAD_BYTES]);
    buffer.extend_from_slice(key);
    let value_start = buffer.len();
    let listed = encode(buffer).and_then(|()| {
        let value_length = u32::try_from(buffer.len() - value_start).ok()?;
        let key_length = u32::try_from(key.len()).ok()?;
        let length = u32::try_from(buffer.len() - start).ok()?;
        if length as usize > RECORD_BYTES_MAX {
            return None;
        }
        let mut head = Vec::with_capacity(RECORD_HEAD_BYTES);
        head.extend(hash.to_le_bytes());
        head.extend(key_length.to_le_bytes());
        head.extend(value_length.to_le_bytes());
        head.extend(share.to_le_bytes());
        seal_record(buffer.get_mut(start..)?, head, (segment, offset))?;
        Some(Listed {
            hash,
            offset,
            length,
            share,
            is_removal: key.is_empty(),
        })
    });
    if listed.is_none() {
        buffer.truncate(start);
    }
    listed
}

/// Sets the head of a record with its checksums.
fn seal_record(record: &mut [u8], mut head: Vec<u8>, (segment, offset): (u32, u32)) -> Option<()> {
    let (place, rest) = record.split_at_mut_checked(RECORD_HEAD_BYTES)?;
    let head_sum = checksum(place_seed(segment, offset), &head);
    head.extend(low(head_sum).to_le_bytes());
    head.extend(checksum(head_sum, rest).to_le_bytes());
    place.copy_from_slice(&head);
    Some(())
}

fn low(sum: u64) -> u32 {
    (sum & u64::from(u32::MAX)) as u32
}

/// The record whose head this is, if it is one that may lie at `offset`.
pub(super) fn read_head(head: &[u8], segment: u32, offset: u32) -> Option<(Listed, usize)> {
    let summed = head.get(..RECORD_SUMMED_BYTES)?;
    let mut numbers = Numbers(head);
    let hash = numbers.u64()?;
    let (key_length, value_length) = (numbers.u32()? as usize, numbers.u32()? as usize);
    let share = numbers.u32()?;
    if numbers.u32()? != low(checksum(place_seed(segment, offset), summed)) {
        return None;
    }
    if key_length > FULL_KEY_BYTES_MAX || value_length > VALUE_BYTES_MAX {
        return None;
    }
    let length = u32::try_from(RECORD_HEAD_BYTES + key_length + value_length).ok()?;
    let listed = Listed {
        hash,
        offset,
        length,
        share,
        is_removal: key_length == 0,
    };
    Some((listed, key_length))
}

/// A record, whole and unchanged.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) key: &'a [u8],
    /// Where the value begins.
    pub(super) value_start: usize,
}

/// The record that these bytes are, at `place`.
pub(super) fn read_record(bytes: &[u8], place: Place) -> Option<Record<'_>> {
    let (listed, key_length) = read_head(bytes, place.segment, place.offset)?;
    if listed.length != place.length || bytes.len() != place.length as usize {
        return None;
    }
    let (head, rest) = bytes.split_at_checked(RECORD_HEAD_BYTES)?;
    let (summed, _) = head.split_at_checked(RECORD_SUMMED_BYTES)?;
    let head_sum = checksum(place_seed(place.segment, place.offset), summed);
    let (_, sum) = head.split_last_chunk::<8>()?;
    if u64::from_le_bytes(*sum) != checksum(head_sum, rest) {
        return None;
    }
    Some(Record {
        key: rest.get(..key_length)?,
        value_start: RECORD_HEAD_BYTES + key_length,
    })
}

/// The summary and the trailer of a segment whose records end at `start`.
pub(super) fn summary(id: u32, start: u32, records: &[Listed]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(records.len() * SUMMARY_ENTRY_BYTES + TRAILER_BYTES);
    for record in records {
        let removed = if record.is_removal { REMOVED } else { 0 };
        bytes.extend(record.hash.to_le_bytes());
        bytes.extend(record.offset.to_le_bytes());
        bytes.extend((record.length | removed).to_le_bytes());
        bytes.extend(record.share.to_le_bytes());
    }
    bytes.extend(TRAILER_MAGIC);
    bytes.extend(id.to_le_bytes());
    bytes.extend(u32::try_from(records.len()).ok()?.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend(checksum(u64::from(id), &bytes).to_le_bytes());
    Some(bytes)
}

/// Where the summary of a segment begins that has this trailer and is `length` long; none: this is none.
pub(super) fn summary_start(trailer: &[u8], id: u32, length: u64) -> Option<u64> {
    let mut numbers = Numbers(trailer);
    if numbers.take::<8>()? != TRAILER_MAGIC || numbers.u32()? != id {
        return None;
    }
    let (count, start) = (numbers.u32()? as usize, u64::from(numbers.u32()?));
    let bytes = (count * SUMMARY_ENTRY_BYTES + TRAILER_BYTES) as u64;
    (count <= RECORDS_MAX && start >= SEGMENT_HEAD_BYTES as u64 && start + bytes == length)
        .then_some(start)
}

/// The records that a summary (with its trailer) lists, if it is whole and they lie one after the other.
pub(super) fn read_summary(bytes: &[u8], id: u32) -> Option<Vec<Listed>> {
    let (entries, trailer) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER_BYTES)?)?;
    let (summed, sum) = bytes.split_last_chunk::<8>()?;
    if u64::from_le_bytes(*sum) != checksum(u64::from(id), summed) {
        return None;
    }
    let mut numbers = Numbers(trailer.get(..TRAILER_SUMMED_BYTES)?);
    if numbers.take::<8>()? != TRAILER_MAGIC || numbers.u32()? != id {
        return None;
    }
    let (count, start) = (numbers.u32()? as usize, numbers.u32()?);
    if count > RECORDS_MAX || entries.len() != count * SUMMARY_ENTRY_BYTES {
        return None;
    }
    let mut end = u32::try_from(SEGMENT_HEAD_BYTES).ok()?;
    let mut records = Vec::with_capacity(count);
    for entry in entries.chunks_exact(SUMMARY_ENTRY_BYTES) {
        let mut numbers = Numbers(entry);
        let (hash, offset, length) = (numbers.u64()?, numbers.u32()?, numbers.u32()?);
        let listed = Listed {
            hash,
            offset,
            length: length & !REMOVED,
            share: numbers.u32()?,
            is_removal: length & REMOVED != 0,
        };
        let lengths = RECORD_HEAD_BYTES..=RECORD_BYTES_MAX;
        if offset != end || !lengths.contains(&(listed.length as usize)) {
            return None;
        }
        end = end.checked_add(listed.length)?;
        records.push(listed);
    }
    (end == start).then_some(records)
}
