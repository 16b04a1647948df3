//! Kept answers that are in a generation's increments already. The log does not say which answers a change gave, so all of a
//! partition that changed are read; of those only the new ones are written.

use crate::store::{KeptRow, RowKey};
use brink_protocol::address::PartitionAddress;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;

/// Answers that are remembered, 16 bytes each. One more, and all are forgotten: what is written twice does no harm.
const ANSWERS_MAX: usize = 1 << 20;

/// What was written.
#[derive(Default)]
pub(super) struct Written(HashSet<[u8; 16]>);

impl Written {
    /// Whether a row has to be written; from then on it counts as that. Records always have.
    pub(super) fn is_new(&mut self, partition: &PartitionAddress, row: &KeptRow) -> bool {
        let RowKey::Answer { command, key } = &row.key else {
            return true;
        };
        let mut hash = Sha256::new();
        let names = [
            partition.tenant.as_str(),
            &partition.collection,
            &partition.partition,
            command.as_str(),
            key,
        ];
        for name in names {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
        }
        // A key that is used again, after its answer was forgotten, has another end.
        hash.update(row.expires_at_ms.unwrap_or(0).to_le_bytes());
        hash.update(row.value.as_deref().unwrap_or_default());
        let digest: [u8; 32] = hash.finalize().into();
        let Some(name) = digest.first_chunk::<16>() else {
            return true;
        };
        if self.0.len() >= ANSWERS_MAX {
            self.0.clear();
        }
        self.0.insert(*name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn answers_are_written_once_and_records_always() {
        let partition = PartitionAddress {
            tenant: "t".parse().unwrap(),
            collection: "c".into(),
            partition: "p".into(),
        };
        let row = |key: RowKey, end| KeptRow {
            key,
            version: 1,
            value: Some("x".into()),
            expires_at_ms: Some(end),
        };
        let answer = |key: &str| RowKey::Answer {
            command: "pay".parse().unwrap(),
            key: key.into(),
        };
        let mut written = Written::default();
        for (row, is_new) in [
            (row(answer("1"), 5), true),
            (row(answer("1"), 5), false),
            (row(answer("2"), 5), true),
            (row(answer("1"), 6), true),
            (row(RowKey::Record("1".into()), 5), true),
            (row(RowKey::Record("1".into()), 5), true),
        ] {
            assert_eq!(written.is_new(&partition, &row), is_new, "{row:?}");
        }
    }
}
