//! A group of changes as one value: each with its length before it.

use crate::Error;
use brink_protocol::change::Change;
use bytes::{Buf as _, Bytes};

/// Bytes of one group after which no further change is put into it.
pub(super) const GROUP_BYTES_MAX: usize = 256 << 10;
/// Entries of one bucket of a log. A group never lies in two.
pub(super) const BUCKET_ENTRIES: u64 = 4096;

/// The bucket of an entry.
pub(super) fn bucket_of(sequence: u64) -> u64 {
    sequence.saturating_sub(1) / BUCKET_ENTRIES
}

/// The last entry of a bucket.
pub(super) fn last_of(bucket: u64) -> u64 {
    bucket.saturating_add(1).saturating_mul(BUCKET_ENTRIES)
}

/// Adds a change to a group.
pub(super) fn push(group: &mut Vec<u8>, change: &Change) -> Result<(), Error> {
    let bytes = postcard::to_stdvec(change).map_err(|error| Error::corrupt("change", error))?;
    let length = u32::try_from(bytes.len()).map_err(|error| Error::corrupt("change", error))?;
    group.extend_from_slice(&length.to_le_bytes());
    group.extend_from_slice(&bytes);
    Ok(())
}

/// The changes of a group, each with its bytes.
pub(super) fn split(mut group: Bytes) -> Result<Vec<(Change, usize)>, Error> {
    let mut changes = Vec::new();
    while !group.is_empty() {
        let cut = || Error::corrupt("group of changes", "it ends in the middle of a change");
        let length = group.try_get_u32_le().map_err(|_| cut())? as usize;
        if group.len() < length {
            return Err(cut());
        }
        let bytes = group.split_to(length);
        let change =
            postcard::from_bytes(&bytes).map_err(|error| Error::corrupt("change", error))?;
        changes.push((change, length));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use brink_protocol::change::ChangeKind;
    use proptest::prelude::*;

    fn change(sequence: u64) -> Change {
        Change {
            origin: "core-1.1".parse().unwrap(),
            sequence,
            at_ms: 7,
            kind: ChangeKind::Deployments {
                revision: 1,
                tenant: "t".parse().unwrap(),
                modules: Vec::new(),
            },
        }
    }

    #[test]
    fn there_and_back() {
        let mut group = Vec::new();
        for sequence in 1..=3 {
            push(&mut group, &change(sequence)).unwrap();
        }
        let found: Vec<_> = split(Bytes::from(group.clone()))
            .unwrap()
            .into_iter()
            .map(|(change, _)| change)
            .collect();
        assert_eq!(found, [change(1), change(2), change(3)]);
        assert_eq!(split(Bytes::new()).unwrap(), []);
        for cut in [1, 5, group.len() - 1] {
            assert!(split(Bytes::from(group[..cut].to_vec())).is_err(), "{cut}");
        }
    }

    #[test]
    fn buckets() {
        for (sequence, bucket) in [(0, 0), (1, 0), (4096, 0), (4097, 1), (8192, 1), (8193, 2)] {
            assert_eq!(bucket_of(sequence), bucket, "{sequence}");
        }
        assert_eq!((last_of(0), last_of(1)), (4096, 8192));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
            let _ = split(Bytes::from(bytes));
        }
    }
}
