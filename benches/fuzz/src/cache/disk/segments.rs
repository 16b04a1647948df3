//! Segments of the disk tier's log: any bytes are records and a summary, or none.
//!
//! A random change is nearly always caught by a checksum. So the input is also taken for keys and values, each after two bytes
//! of length, and for a summary's entries, and written as the log writes them.

use super::layout::{
    Listed, Place, RECORD_HEAD_BYTES, SEGMENT_HEAD_BYTES, SUMMARY_ENTRY_BYTES, TRAILER_BYTES,
    is_segment_head, put_record, read_head, read_record, read_summary, segment_head, summary,
    summary_start,
};
use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "disk_segments",
    seeds,
    run,
};

/// The segment that the bytes are held for.
const ID: u32 = 3;
const GENERATION: u64 = 7;

fn seeds() -> Vec<Vec<u8>> {
    let pieces = [&b"t\nhttps\nh\n/a"[..], b"value", b"", b"", b"k", b""];
    let mut input = Vec::new();
    for piece in pieces {
        input.extend((piece.len() as u16).to_le_bytes());
        input.extend(piece);
    }
    vec![input.clone(), segment(&input).0]
}

/// A whole segment whose keys and values are the pieces of the input.
fn segment(mut input: &[u8]) -> (Vec<u8>, Vec<Listed>) {
    let (mut bytes, mut records) = (segment_head(ID, GENERATION), Vec::new());
    let mut piece = || {
        let (length, rest) = input.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (piece, after) = rest.split_at(length);
        input = after;
        Some(piece)
    };
    while let (Some(key), Some(value)) = (piece(), piece()) {
        let at = (ID, bytes.len() as u32);
        let of = (records.len() as u64, key.len() as u32);
        let put = put_record(&mut bytes, at, of, key, |buffer| {
            buffer.extend_from_slice(value);
            Some(())
        });
        records.extend(put);
    }
    let start = bytes.len() as u32;
    bytes.extend(summary(ID, start, &records).unwrap_or_default());
    (bytes, records)
}

fn run(bytes: &[u8]) {
    read(bytes);
    let (whole, records) = segment(bytes);
    assert!(is_segment_head(
        &whole[..SEGMENT_HEAD_BYTES],
        ID,
        GENERATION
    ));
    assert_eq!(
        read(&whole).as_ref(),
        Some(&records),
        "what was written can be read"
    );
    for listed in &records {
        let at = listed.offset as usize..(listed.offset + listed.length) as usize;
        let place = Place {
            segment: ID,
            offset: listed.offset,
            length: listed.length,
        };
        let record = read_record(&whole[at.clone()], place);
        assert!(record.is_some_and(|record| record.value_start <= at.len()));
        // Not in another place.
        let moved = Place {
            segment: ID + 1,
            ..place
        };
        assert!(read_record(&whole[at], moved).is_none());
    }
    summarised(bytes);
}

/// Reads a segment as the log does; gives what its summary lists.
fn read(bytes: &[u8]) -> Option<Vec<Listed>> {
    let mut offset = SEGMENT_HEAD_BYTES;
    while let Some(head) = bytes.get(offset..offset + RECORD_HEAD_BYTES)
        && let Some((listed, key_length)) = read_head(head, ID, offset as u32)
    {
        assert!(RECORD_HEAD_BYTES + key_length <= listed.length as usize);
        offset += listed.length as usize;
    }
    let trailer = bytes.get(bytes.len().checked_sub(TRAILER_BYTES)?..)?;
    let start = summary_start(trailer, ID, bytes.len() as u64)?;
    read_summary(&bytes[start as usize..], ID)
}

/// The bytes as entries of a summary whose checksum is right.
fn summarised(bytes: &[u8]) {
    let start = bytes
        .first_chunk::<4>()
        .map_or(0, |start| u32::from_le_bytes(*start));
    let mut records = Vec::new();
    for entry in bytes
        .get(4..)
        .unwrap_or_default()
        .chunks_exact(SUMMARY_ENTRY_BYTES)
    {
        let number = |at: usize| {
            u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
        };
        records.push(Listed {
            hash: u64::from(number(0)),
            offset: number(8),
            length: number(12) >> 1,
            share: number(16),
            is_removal: number(12) & 1 == 1,
        });
    }
    let Some(summary) = summary(ID, start, &records) else {
        return;
    };
    if let Some(read) = read_summary(&summary, ID) {
        let mut end = SEGMENT_HEAD_BYTES as u32;
        for record in read {
            assert_eq!(record.offset, end, "records lie one after the other");
            end += record.length;
        }
        assert_eq!(end, start);
    }
}
