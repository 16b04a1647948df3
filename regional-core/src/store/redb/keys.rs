//! How rows are laid out: keys whose byte order is the order of the records, and a header before each value.
//!
//! Names, partition keys and sort keys have no control characters, so a zero byte between the parts keeps the order of
//! sort keys within a partition and never mixes two partitions.

use crate::Error;
use brink_protocol::{
    ModuleName, TenantName,
    record::{Bound, Range, Version},
};
use std::ops::Bound as KeyBound;

const SEPARATOR: u8 = 0;
const AFTER_SEPARATOR: u8 = 1;
const HEADER_BYTES: usize = 16;

/// The key of a partition's first possible record, `TENANT 0 COLLECTION 0 PARTITION 0`.
pub(super) fn partition(tenant: &TenantName, collection: &str, partition: &str) -> Vec<u8> {
    parts(&[tenant.as_str(), collection, partition], 64)
}

/// A key of its parts, each followed by a separator.
fn parts(parts: &[&str], room: usize) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len() + 1).sum();
    let mut key = Vec::with_capacity(length + room);
    for part in parts {
        key.extend_from_slice(part.as_bytes());
        key.push(SEPARATOR);
    }
    key
}

/// The key of a record.
pub(super) fn record(
    tenant: &TenantName,
    collection: &str,
    partition_key: &str,
    sort: &str,
) -> Vec<u8> {
    let mut key = partition(tenant, collection, partition_key);
    key.extend_from_slice(sort.as_bytes());
    key
}

/// Tenant, collection, partition key and sort key of a record's key.
pub(super) fn split_record(key: &[u8]) -> Result<(TenantName, String, String, String), Error> {
    let text = std::str::from_utf8(key).map_err(|e| Error::corrupt("record key", e))?;
    let mut parts = text.splitn(4, '\0');
    let mut next = || {
        parts
            .next()
            .ok_or_else(|| Error::corrupt("record key", "a part is missing"))
    };
    let tenant = next()?.parse()?;
    Ok((
        tenant,
        next()?.to_owned(),
        next()?.to_owned(),
        next()?.to_owned(),
    ))
}

/// The keys of a range, or nothing if no key can be in it.
#[expect(
    clippy::type_complexity,
    reason = "a pair of bounds, as `range` takes it"
)]
pub(super) fn range(
    tenant: &TenantName,
    range: &Range,
) -> Option<(KeyBound<Vec<u8>>, KeyBound<Vec<u8>>)> {
    let prefix = partition(tenant, &range.collection, &range.partition);
    let with = |sort: &str| [prefix.as_slice(), sort.as_bytes()].concat();
    let lower = match &range.lower {
        Bound::Unbounded => KeyBound::Included(prefix.clone()),
        Bound::Inclusive(sort) => KeyBound::Included(with(sort)),
        Bound::Exclusive(sort) => KeyBound::Excluded(with(sort)),
    };
    let upper = match &range.upper {
        Bound::Unbounded => KeyBound::Excluded(after_partition(prefix.clone())),
        Bound::Inclusive(sort) => KeyBound::Included(with(sort)),
        Bound::Exclusive(sort) => KeyBound::Excluded(with(sort)),
    };
    let possible = match (&lower, &upper) {
        (KeyBound::Included(low), KeyBound::Included(high)) => low <= high,
        (
            KeyBound::Included(low) | KeyBound::Excluded(low),
            KeyBound::Included(high) | KeyBound::Excluded(high),
        ) => low < high,
        _ => true,
    };
    possible.then_some((lower, upper))
}

/// The first key behind all that begin with `prefix`, which ends with a separator.
pub(super) fn after_partition(mut prefix: Vec<u8>) -> Vec<u8> {
    if let Some(last) = prefix.last_mut() {
        *last = AFTER_SEPARATOR;
    }
    prefix
}

/// `MOMENT (big-endian) KEY`: ordered by the moment.
pub(super) fn expiry(expires_at_ms: u64, key: &[u8]) -> Vec<u8> {
    [expires_at_ms.to_be_bytes().as_slice(), key].concat()
}

/// The moment and the key of an expiry row.
pub(super) fn split_expiry(row: &[u8]) -> Result<(u64, &[u8]), Error> {
    let (moment, key) = row
        .split_first_chunk::<8>()
        .ok_or_else(|| Error::corrupt("expiry row", "it is too short"))?;
    Ok((u64::from_be_bytes(*moment), key))
}

/// The key of an answer.
pub(super) fn answer(
    tenant: &TenantName,
    collection: &str,
    partition_key: &str,
    command: &ModuleName,
    key: &str,
) -> Vec<u8> {
    let mut all = parts(
        &[tenant.as_str(), collection, partition_key, command.as_str()],
        key.len(),
    );
    all.extend_from_slice(key.as_bytes());
    all
}

/// `TENANT 0` and, if there is a name, `NAME 0`: the beginning of keys of a tenant's or a module's rows.
pub(super) fn tenant(tenant: &TenantName, name: Option<&str>) -> Vec<u8> {
    match name {
        Some(name) => parts(&[tenant.as_str(), name], 8),
        None => parts(&[tenant.as_str()], 32),
    }
}

/// A stored record: its version, the end of its lifetime, its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// Its version.
    pub(super) version: Version,
    /// Milliseconds since 1970; 0: it stays.
    pub(super) expires_at_ms: u64,
    /// Its value.
    pub(super) value: &'a [u8],
}

impl<'a> Row<'a> {
    /// Reads what [`Row::encode`] wrote.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let parsed = bytes
            .split_first_chunk::<8>()
            .and_then(|(version, rest)| Some((version, rest.split_first_chunk::<8>()?)));
        let (version, (expires, value)) =
            parsed.ok_or_else(|| Error::corrupt("record", "it is too short"))?;
        Ok(Self {
            version: u64::from_le_bytes(*version),
            expires_at_ms: u64::from_le_bytes(*expires),
            value,
        })
    }

    /// Eight bytes of version, eight of the end of its lifetime (little-endian), the value.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.value.len());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.expires_at_ms.to_le_bytes());
        bytes.extend_from_slice(self.value);
        bytes
    }

    /// Whether its lifetime has not ended at `now_ms`.
    pub(super) fn is_alive(&self, now_ms: u64) -> bool {
        self.expires_at_ms == 0 || now_ms < self.expires_at_ms
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        "[ -~é\u{10000}]{0,6}"
    }

    proptest! {
        #[test]
        fn keys_keep_the_order_of_sort_keys_and_partitions_apart(p in text(), q in text(), a in text(), b in text()) {
            let tenant: TenantName = "t".parse().unwrap();
            let one = record(&tenant, "c", &p, &a);
            let two = record(&tenant, "c", &p, &b);
            prop_assert_eq!(one.cmp(&two), a.as_bytes().cmp(b.as_bytes()));
            let prefix = partition(&tenant, "c", &p);
            let other = record(&tenant, "c", &q, &b);
            let inside = other.starts_with(&prefix);
            prop_assert_eq!(inside, p == q);
            prop_assert_eq!(inside, prefix <= other && other < after_partition(prefix.clone()));
            let (back, collection, partition, sort) = split_record(&other).unwrap();
            prop_assert_eq!((back, collection.as_str(), partition, sort), (tenant, "c", q, b));
        }

        #[test]
        fn rows_and_back(version in any::<u64>(), expires_at_ms in any::<u64>(), value in any::<Vec<u8>>()) {
            let row = Row { version, expires_at_ms, value: &value };
            let bytes = row.encode();
            prop_assert_eq!(Row::decode(&bytes).unwrap(), row);
        }
    }
}
