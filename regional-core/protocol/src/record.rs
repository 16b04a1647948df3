//! Records as guests and stores see them: keys, values, versions, bounded scans.

use crate::Error;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Longest collection name, in bytes.
pub const COLLECTION_BYTES_MAX: usize = 64;
/// Longest partition key, in bytes.
pub const PARTITION_BYTES_MAX: usize = 512;
/// Longest sort key, in bytes.
pub const SORT_BYTES_MAX: usize = 512;
/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Most records of one scan.
pub const SCAN_LIMIT_MAX: u32 = 1000;
/// Most records of one `get-many`.
pub const GET_MANY_MAX: usize = 100;
/// Longest lifetime of a record, in milliseconds (ten years).
pub const LIFETIME_MS_MAX: u64 = 10 * 366 * 24 * 3600 * 1000;

/// Collections whose name begins so are the platform's: guests and tokens may read those of their tenant, and write none.
pub const PLATFORM_COLLECTION: char = '_';
/// Sort keys that begin so are the platform's (events and how far they were read): no guest can name one, and a scan that
/// does not begin at one passes over them.
pub const PLATFORM_SORT: char = '\u{1}';
/// Sort keys of the platform that begin so are rows of an index: they are there or not, nobody asks for their versions, and those
/// begin anew. Once they are gone a store keeps nothing of them.
pub const INDEX_SORT: &str = "\u{1}i";
/// Longest sort key of the platform's, in bytes: it may name a module, a partition and a number.
pub const PLATFORM_SORT_BYTES_MAX: usize = 700;

/// Counts the writes of one record; the first is 1, and a deleted record's count goes on when it is written again.
pub type Version = u64;

/// The key of a record within a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// 1 to [`COLLECTION_BYTES_MAX`] of `a-z 0-9 _ -`.
    pub collection: String,
    /// 1 to [`PARTITION_BYTES_MAX`] bytes without control characters.
    pub partition: String,
    /// 0 to [`SORT_BYTES_MAX`] bytes without control characters.
    pub sort: String,
}

impl Key {
    /// Checks every part against its limit; the sort key may be the platform's.
    ///
    /// # Errors
    /// The part that is not allowed, and what would be.
    pub fn check_any(&self) -> Result<(), Error> {
        check_partition(&self.collection, &self.partition)?;
        check_any_sort(&self.sort)
    }

    /// Whether none but the platform writes the record.
    #[must_use]
    pub fn is_platform(&self) -> bool {
        is_platform(&self.collection, &self.sort)
    }

    /// Checks every part against its limit.
    ///
    /// # Errors
    /// The part that is not allowed, and what would be.
    pub fn check(&self) -> Result<(), Error> {
        check_partition(&self.collection, &self.partition)?;
        check_sort(&self.sort)
    }
}

/// Checks a collection name and a partition key.
///
/// # Errors
/// The part that is not allowed, and what would be.
pub fn check_partition(collection: &str, partition: &str) -> Result<(), Error> {
    let name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if !(1..=COLLECTION_BYTES_MAX).contains(&collection.len()) || !collection.bytes().all(name) {
        return Err(Error::name(
            "collection",
            collection,
            "1 to 64 of a-z, 0-9, _ and -",
        ));
    }
    if !(1..=PARTITION_BYTES_MAX).contains(&partition.len())
        || partition.chars().any(char::is_control)
    {
        return Err(Error::name(
            "partition key",
            partition,
            "1 to 512 bytes without control characters",
        ));
    }
    Ok(())
}

/// Checks a sort key.
///
/// # Errors
/// Says what would be allowed.
pub fn check_sort(sort: &str) -> Result<(), Error> {
    if sort.len() > SORT_BYTES_MAX || sort.chars().any(char::is_control) {
        return Err(Error::name(
            "sort key",
            sort,
            "0 to 512 bytes without control characters",
        ));
    }
    Ok(())
}

/// Checks a sort key that may be the platform's: [`PLATFORM_SORT`], then no control character.
///
/// # Errors
/// Says what would be allowed.
pub fn check_any_sort(sort: &str) -> Result<(), Error> {
    let Some(rest) = sort.strip_prefix(PLATFORM_SORT) else {
        return check_sort(sort);
    };
    if sort.len() > PLATFORM_SORT_BYTES_MAX || rest.chars().any(char::is_control) {
        return Err(Error::name(
            "sort key of the platform",
            sort,
            "U+0001 and at most 699 bytes without control characters",
        ));
    }
    Ok(())
}

/// Whether a record is the platform's, by its collection or its sort key: none but the platform writes it.
#[must_use]
pub fn is_platform(collection: &str, sort: &str) -> bool {
    collection.starts_with(PLATFORM_COLLECTION) || sort.starts_with(PLATFORM_SORT)
}

/// Checks a value's size and a lifetime.
///
/// # Errors
/// The one that is over its limit.
pub fn check_value(value: &[u8], lifetime_ms: Option<u64>) -> Result<(), Error> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(Error::Limit {
            what: "bytes in a record's value",
            actual: value.len() as u64,
            limit: VALUE_BYTES_MAX as u64,
        });
    }
    match lifetime_ms {
        Some(actual) if actual > LIFETIME_MS_MAX => Err(Error::Limit {
            what: "a record's lifetime in milliseconds",
            actual,
            limit: LIFETIME_MS_MAX,
        }),
        Some(0) => Err(Error::malformed(
            "lifetime",
            "it is at least 1 ms; to end a record now, delete it",
        )),
        _ => Ok(()),
    }
}

/// One record of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its sort key.
    pub sort: String,
    /// Its value.
    pub value: Bytes,
    /// Its version.
    pub version: Version,
    /// How much of its lifetime was left when it was read, in milliseconds; none: it stays for good. A span and not a
    /// moment, so that no two clocks are compared.
    pub lifetime_ms: Option<u64>,
}

/// One end of a range of sort keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Bound {
    /// No bound at this end.
    Unbounded,
    /// The key itself belongs to the range.
    Inclusive(String),
    /// The key itself does not.
    Exclusive(String),
}

/// A bounded part of one partition, in order of the sort key's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Range {
    /// See [`Key::collection`].
    pub collection: String,
    /// See [`Key::partition`].
    pub partition: String,
    /// The lower end.
    pub lower: Bound,
    /// The upper end.
    pub upper: Bound,
    /// 1 to [`SCAN_LIMIT_MAX`].
    pub limit: u32,
    /// From the last key to the first.
    pub descending: bool,
}

impl Range {
    /// Checks every part against its limit.
    ///
    /// # Errors
    /// The part that is not allowed, and what would be.
    pub fn check(&self) -> Result<(), Error> {
        self.check_with(check_sort)
    }

    /// Checks every part against its limit; the bounds may be the platform's.
    ///
    /// # Errors
    /// The part that is not allowed, and what would be.
    pub fn check_any(&self) -> Result<(), Error> {
        self.check_with(check_any_sort)
    }

    fn check_with(&self, check_sort: fn(&str) -> Result<(), Error>) -> Result<(), Error> {
        check_partition(&self.collection, &self.partition)?;
        for bound in [&self.lower, &self.upper] {
            if let Bound::Inclusive(sort) | Bound::Exclusive(sort) = bound {
                check_sort(sort)?;
            }
        }
        if !(1..=SCAN_LIMIT_MAX).contains(&self.limit) {
            return Err(Error::Limit {
                what: "records of one scan (at least 1)",
                actual: self.limit.into(),
                limit: SCAN_LIMIT_MAX.into(),
            });
        }
        Ok(())
    }

    /// Whether the range begins at a sort key of the platform's. If not, it passes over all of them.
    #[must_use]
    pub fn has_platform(&self) -> bool {
        match &self.lower {
            Bound::Unbounded => false,
            Bound::Inclusive(lower) | Bound::Exclusive(lower) => lower.starts_with(PLATFORM_SORT),
        }
    }

    /// Whether `sort` lies between the bounds, and is not passed over as the platform's.
    #[must_use]
    pub fn contains(&self, sort: &str) -> bool {
        if sort.starts_with(PLATFORM_SORT) && !self.has_platform() {
            return false;
        }
        let above = match &self.lower {
            Bound::Unbounded => true,
            Bound::Inclusive(lower) => sort >= lower.as_str(),
            Bound::Exclusive(lower) => sort > lower.as_str(),
        };
        let below = match &self.upper {
            Bound::Unbounded => true,
            Bound::Inclusive(upper) => sort <= upper.as_str(),
            Bound::Exclusive(upper) => sort < upper.as_str(),
        };
        above && below
    }
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    /// At most `limit` records, in the order asked.
    pub entries: Vec<Entry>,
    /// The range has more: go on with the last sort key as an exclusive bound.
    pub more: bool,
}

/// Why a record operation was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RecordError {
    /// Outside the limits; the text says which.
    #[error("invalid: {0}")]
    Invalid(String),
    /// Not allowed to this caller.
    #[error("denied: {0}")]
    Denied(String),
    /// The version was not the expected one.
    #[error("conflict: the present version is {0:?}")]
    Conflict(Option<Version>),
    /// Not reached in time; a write may or may not have happened.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

impl From<Error> for RecordError {
    fn from(error: Error) -> Self {
        Self::Invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(collection: &str, partition: &str, sort: &str) -> Key {
        Key {
            collection: collection.into(),
            partition: partition.into(),
            sort: sort.into(),
        }
    }

    #[test]
    fn keys() {
        let long = "x".repeat(513);
        for (key, valid) in [
            (key("stock", "ams-1", "sku/1"), true),
            (key("stock", "ams-1", ""), true),
            (key("stock", "Zürich / 1", "é"), true),
            (key("", "p", "s"), false),
            (key("Stock", "p", "s"), false),
            (key("stock", "", "s"), false),
            (key("stock", "a\nb", "s"), false),
            (key("stock", &long, "s"), false),
            (key("stock", "p", &long), false),
            (key("stock", "p", "\0"), false),
        ] {
            assert_eq!(key.check().is_ok(), valid, "{key:?}");
        }
    }

    #[test]
    fn keys_of_the_platform() {
        let long = format!("\u{1}{}", "x".repeat(700));
        for (key, any, is_platform) in [
            (key("stock", "p", "s"), true, false),
            (key("_streams", "p", "s"), true, true),
            (key("stock", "p", "\u{1}e1"), true, true),
            (key("stock", "p", "\u{1}"), true, true),
            (key("stock", "p", "\u{1}\u{1}"), false, true),
            (key("stock", "p", "\u{2}"), false, false),
            (key("stock", "p", &long), false, true),
        ] {
            assert_eq!(
                (key.check_any().is_ok(), key.is_platform()),
                (any, is_platform),
                "{key:?}"
            );
            assert!(
                !key.sort.starts_with(PLATFORM_SORT) || key.check().is_err(),
                "{key:?}"
            );
        }
    }

    #[test]
    fn ranges_pass_over_what_is_the_platforms() {
        let range = |lower: Bound| Range {
            collection: "c".into(),
            partition: "p".into(),
            lower,
            upper: Bound::Unbounded,
            limit: 1,
            descending: false,
        };
        for (lower, inside) in [
            (Bound::Unbounded, ["", "a"].as_slice()),
            (Bound::Inclusive(String::new()), &["", "a"]),
            (Bound::Exclusive(String::new()), &["a"]),
            (
                Bound::Inclusive("\u{1}e1".into()),
                &["\u{1}e1", "\u{1}e2", "a"],
            ),
            (Bound::Exclusive("\u{1}e1".into()), &["\u{1}e2", "a"]),
        ] {
            let range = range(lower);
            for sort in ["", "\u{1}e1", "\u{1}e2", "a"] {
                assert_eq!(
                    range.contains(sort),
                    inside.contains(&sort),
                    "{range:?} {sort:?}"
                );
            }
        }
    }

    #[test]
    fn ranges_contain() {
        let mut range = Range {
            collection: "c".into(),
            partition: "p".into(),
            lower: Bound::Inclusive("b".into()),
            upper: Bound::Exclusive("d".into()),
            limit: 1,
            descending: false,
        };
        for (sort, inside) in [("a", false), ("b", true), ("c", true), ("d", false)] {
            assert_eq!(range.contains(sort), inside, "{sort}");
        }
        assert!(range.check().is_ok());
        range.limit = 0;
        assert!(range.check().is_err());
        range.limit = 1001;
        assert!(range.check().is_err());
    }
}
