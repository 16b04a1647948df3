//! The journal of the disk tier: any bytes are a journal up to some record, or none.
//!
//! A random change is nearly always caught by a record's checksum. So the input is also taken for the records themselves, each
//! after two bytes of length, and framed as the journal frames them.

use super::journal;
use crate::Target;
use serde::Serialize;
use std::hash::{DefaultHasher, Hasher as _};

pub(crate) const TARGET: Target = Target {
    name: "disk_journal",
    seeds,
    run,
};

/// Tags that are remembered each for itself.
const TAGS_MAX: usize = 64;

fn seeds() -> Vec<Vec<u8>> {
    // A head of version 2, generation 7, the position `core-1.1=5`, and no changes; then records.
    let mut bytes = Vec::new();
    for record in [
        &[
            2, 7, 1, 8, b'c', b'o', b'r', b'e', b'-', b'1', b'.', b'1', 5, 0, 0, 0, 0, 0,
        ][..],
        &[1, 2, 3, 4, 0, 0],
        &[0, 6, b'c', b'o', b'r', b'e', b'-', b'1', 1, 6, 1, 9, 0, 1],
        &[2, 0],
    ] {
        bytes.extend((record.len() as u16).to_le_bytes());
        bytes.extend(record);
    }
    // The same, at the last index that a number can have.
    let mut last = bytes.clone();
    last.splice(15..16, [0xff; 9].into_iter().chain([1]));
    if let Some(length) = last.first_mut() {
        *length += 9;
    }
    vec![bytes.clone(), framed(&bytes), last]
}

fn framed(mut bytes: &[u8]) -> Vec<u8> {
    let mut journal = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (record, after) = rest.split_at(length);
        let mut hasher = DefaultHasher::new();
        hasher.write(record);
        journal.extend((record.len() as u32).to_le_bytes());
        journal.extend(hasher.finish().to_le_bytes());
        journal.extend(record);
        bytes = after;
    }
    journal
}

fn run(bytes: &[u8]) {
    for journal in [bytes.to_vec(), framed(bytes)] {
        let Some(read) = journal::read(&journal, TAGS_MAX) else {
            continue;
        };
        // What is cut off says less, and never something else.
        let shorter = journal
            .len()
            .checked_sub(1)
            .and_then(|end| journal.get(..end));
        if let Some(before) = shorter.and_then(|shorter| journal::read(shorter, TAGS_MAX)) {
            assert_eq!(before.generation, read.generation);
        }
        assert!(!encoded(&read.changes.snapshot()).is_empty());
    }
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap_or_default()
}
