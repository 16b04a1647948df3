//! Records: authoritative values, addressed by collection, partition key and sort key.
//!
//! Whatever a module reads while it answers becomes a tag of the answer: after a committed write to it no PoP serves the
//! answer again. There is nothing to purge by hand.
//!
//! ```
//! use brink_sdk::{records::{self, Key, Range}, testing::Platform};
//! # let platform = Platform::new();
//! # for sku in ["AB-1", "AB-2", "C-1"] { platform.record("catalog", "items", sku, &sku); }
//! let key = Key::new("catalog", "items", "AB-1");
//! let item = records::get_json::<String>(&key)?.expect("seeded");
//! assert_eq!((item.value.as_str(), item.version), ("AB-1", 1));
//!
//! let page = Range::of("catalog", "items").prefix("AB-").limit(10).read()?;
//! assert_eq!(page.entries.len(), 2);
//!
//! let version = records::compare_and_set_json(&key, Some(item.version), &"new")?;
//! assert_eq!(version, 2);
//! assert!(matches!(records::compare_and_set_json(&key, Some(1), &"x"), Err(records::Error::Conflict { present: Some(2) })));
//! # Ok::<(), records::Error>(())
//! ```

use crate::bindings::module::brink::platform::records as wit;
use crate::host;
use crate::problem::Problem;
use serde::{Serialize, de::DeserializeOwned};

pub use wit::Key;

/// Counts the writes of one record; the first is 1.
pub type Version = u64;

/// Most records of one [`get_many`].
pub const GET_MANY_MAX: usize = 100;
/// Most records of one scan.
pub const SCAN_LIMIT_MAX: u32 = 1000;

/// Why records could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key, bound, limit or value is outside what the interface allows.
    #[error("a record's key, bound, limit or value is not allowed: {0}")]
    Invalid(String),
    /// The deployment is not allowed to do this.
    #[error("the deployment may not do this: {0}")]
    Denied(String),
    /// The version was not the expected one.
    #[error("the record was changed by someone else")]
    Conflict {
        /// The version that is there; none if there is no record.
        present: Option<Version>,
    },
    /// The core could not be reached in time. Reads may be repeated; a write may or may not have happened.
    #[error("the regional core could not be reached: {0}")]
    Unavailable(String),
    /// The value is not the JSON expected.
    #[error("the value of {collection}/{partition}/{sort} is not the JSON expected: {reason}")]
    NotJson {
        /// Of the record.
        collection: String,
        /// Of the record.
        partition: String,
        /// Of the record.
        sort: String,
        /// What the parser says.
        reason: String,
    },
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Invalid(reason) => Self::Invalid(reason),
            wit::Error::Denied(reason) => Self::Denied(reason),
            wit::Error::Conflict(present) => Self::Conflict { present },
            wit::Error::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Invalid(_) => Problem::bad_request(detail),
            Error::Conflict { .. } => Problem::new(409, "Conflict").detail(detail),
            Error::Unavailable(_) => Problem::new(503, "Service unavailable").detail(detail),
            Error::Denied(_) | Error::NotJson { .. } => {
                Problem::new(500, "Internal error").detail(detail)
            }
        }
    }
}

impl Key {
    /// A record's key: collection (1 to 64 of `a-z 0-9 _ -`), partition key (1 to 512 bytes), sort key (0 to 512 bytes).
    #[must_use]
    pub fn new(
        collection: impl Into<String>,
        partition: impl Into<String>,
        sort: impl Into<String>,
    ) -> Self {
        Self {
            collection: collection.into(),
            partition: partition.into(),
            sort: sort.into(),
        }
    }

    fn not_json(&self, reason: &serde_json::Error) -> Error {
        let Self {
            collection,
            partition,
            sort,
        } = self.clone();
        Error::NotJson {
            collection,
            partition,
            sort,
            reason: reason.to_string(),
        }
    }
}

/// A record that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T = Vec<u8>> {
    /// Its sort key.
    pub sort: String,
    /// Its value.
    pub value: T,
    /// How often it was written.
    pub version: Version,
}

impl Entry {
    fn of(entry: wit::Entry) -> Self {
        Self {
            sort: entry.sort,
            value: entry.value,
            version: entry.version,
        }
    }

    fn json<T: DeserializeOwned>(
        self,
        collection: &str,
        partition: &str,
    ) -> Result<Entry<T>, Error> {
        match serde_json::from_slice(&self.value) {
            Ok(value) => Ok(Entry {
                sort: self.sort,
                value,
                version: self.version,
            }),
            Err(error) => Err(Key::new(collection, partition, self.sort).not_json(&error)),
        }
    }
}

/// Reads a record; none if there is none.
///
/// # Errors
/// The key is not allowed, or the core could not be reached.
pub fn get(key: &Key) -> Result<Option<Entry>, Error> {
    Ok(host::records::get(key)?.map(Entry::of))
}

/// Reads a record whose value is JSON.
///
/// # Errors
/// As [`get`], and if the value is not the JSON expected.
pub fn get_json<T: DeserializeOwned>(key: &Key) -> Result<Option<Entry<T>>, Error> {
    get(key)?
        .map(|entry| entry.json(&key.collection, &key.partition))
        .transpose()
}

/// Reads up to [`GET_MANY_MAX`] records in one round trip, answered in the order asked.
///
/// # Errors
/// As [`get`], and if there are too many keys.
pub fn get_many(keys: &[Key]) -> Result<Vec<Option<Entry>>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    Ok(host::records::get_many(keys)?
        .into_iter()
        .map(|entry| entry.map(Entry::of))
        .collect())
}

/// Reads up to [`GET_MANY_MAX`] records whose values are JSON.
///
/// # Errors
/// As [`get_many`], and if one of the values is not the JSON expected.
pub fn get_many_json<T: DeserializeOwned>(keys: &[Key]) -> Result<Vec<Option<Entry<T>>>, Error> {
    let parsed = |(entry, key): (Option<Entry>, &Key)| {
        entry
            .map(|entry| entry.json(&key.collection, &key.partition))
            .transpose()
    };
    get_many(keys)?.into_iter().zip(keys).map(parsed).collect()
}

/// Writes a record, whatever is there.
///
/// # Errors
/// The key or value is not allowed, or the core could not be reached: then the write may or may not have happened.
pub fn put(key: &Key, value: &[u8]) -> Result<Version, Error> {
    Ok(host::records::put(key, value, None)?)
}

/// Writes a record that is gone after this many milliseconds.
///
/// # Errors
/// As [`put`].
pub fn put_for(key: &Key, value: &[u8], lifetime_ms: u64) -> Result<Version, Error> {
    Ok(host::records::put(key, value, Some(lifetime_ms))?)
}

/// Writes a record as JSON.
///
/// # Errors
/// As [`put`], and if the value has no JSON form.
pub fn put_json<T: Serialize + ?Sized>(key: &Key, value: &T) -> Result<Version, Error> {
    put(
        key,
        &serde_json::to_vec(value).map_err(|error| key.not_json(&error))?,
    )
}

/// Deletes a record, if it is there.
///
/// # Errors
/// As [`put`].
pub fn delete(key: &Key) -> Result<(), Error> {
    Ok(host::records::delete(key)?)
}

/// Writes a record only if its version is `expected` (none: only if there is no record).
///
/// # Errors
/// [`Error::Conflict`] if it is not; otherwise as [`put`].
pub fn compare_and_set(
    key: &Key,
    expected: Option<Version>,
    value: &[u8],
) -> Result<Version, Error> {
    Ok(host::records::compare_and_set(key, expected, value, None)?)
}

/// The same as JSON.
///
/// # Errors
/// As [`compare_and_set`], and if the value has no JSON form.
pub fn compare_and_set_json<T: Serialize + ?Sized>(
    key: &Key,
    expected: Option<Version>,
    value: &T,
) -> Result<Version, Error> {
    compare_and_set(
        key,
        expected,
        &serde_json::to_vec(value).map_err(|error| key.not_json(&error))?,
    )
}

/// Records of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T = Vec<u8>> {
    /// In the order asked for.
    pub entries: Vec<Entry<T>>,
    /// There are more: go on with [`Range::after`] the last sort key.
    pub more: bool,
}

/// A bounded part of one partition, in order of the sort key. Without bounds it is the whole partition.
#[derive(Debug, Clone)]
#[must_use = "a range is not read before `read`"]
pub struct Range {
    wit: wit::Range,
}

impl Range {
    /// All records of a partition, at most 100.
    pub fn of(collection: impl Into<String>, partition: impl Into<String>) -> Self {
        let (lower, upper) = (wit::Bound::Unbounded, wit::Bound::Unbounded);
        Self {
            wit: wit::Range {
                collection: collection.into(),
                partition: partition.into(),
                lower,
                upper,
                limit: 100,
                descending: false,
            },
        }
    }

    /// Only sort keys that begin so.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.wit.lower = wit::Bound::Inclusive(prefix.to_owned());
        self.wit.upper = successor(prefix).map_or(wit::Bound::Unbounded, wit::Bound::Exclusive);
        self
    }

    /// Only sort keys from this one on.
    pub fn from(mut self, sort: impl Into<String>) -> Self {
        self.wit.lower = wit::Bound::Inclusive(sort.into());
        self
    }

    /// Only sort keys before this one.
    pub fn until(mut self, sort: impl Into<String>) -> Self {
        self.wit.upper = wit::Bound::Exclusive(sort.into());
        self
    }

    /// Goes on behind the last sort key of an earlier page, in the direction of the scan. Call it after [`Range::prefix`] and
    /// [`Range::descending`].
    pub fn after(mut self, sort: impl Into<String>) -> Self {
        let bound = wit::Bound::Exclusive(sort.into());
        match self.wit.descending {
            true => self.wit.upper = bound,
            false => self.wit.lower = bound,
        }
        self
    }

    /// At most this many records, 1 to [`SCAN_LIMIT_MAX`]; brought into these bounds.
    pub fn limit(mut self, limit: u32) -> Self {
        self.wit.limit = limit.clamp(1, SCAN_LIMIT_MAX);
        self
    }

    /// From the last sort key to the first.
    pub fn descending(mut self) -> Self {
        self.wit.descending = true;
        self
    }

    /// Reads it.
    ///
    /// # Errors
    /// The range is not allowed, or the core could not be reached.
    pub fn read(self) -> Result<Page, Error> {
        let page = host::records::scan(&self.wit)?;
        Ok(Page {
            entries: page.entries.into_iter().map(Entry::of).collect(),
            more: page.more,
        })
    }

    /// Reads it, every value as JSON.
    ///
    /// # Errors
    /// As [`Range::read`], and if one of the values is not the JSON expected.
    pub fn read_json<T: DeserializeOwned>(self) -> Result<Page<T>, Error> {
        let (collection, partition) = (self.wit.collection.clone(), self.wit.partition.clone());
        let page = self.read()?;
        let entries = page
            .entries
            .into_iter()
            .map(|entry| entry.json(&collection, &partition))
            .collect::<Result<_, _>>()?;
        Ok(Page {
            entries,
            more: page.more,
        })
    }
}

/// The least text above every text that begins with `prefix`; none if there is none.
fn successor(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // Scalar values end at U+10FFFF and leave out the surrogates, which a range of `char` knows.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::Platform;

    #[test]
    fn successors_bound_prefixes() {
        for (prefix, next) in [
            ("a", Some("b")),
            ("ab-", Some("ab.")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
            ("", None),
        ] {
            assert_eq!(successor(prefix).as_deref(), next, "{prefix:?}");
        }
    }

    #[test]
    fn pages_go_on_in_both_directions() {
        let platform = Platform::new();
        for sort in ["a/1", "a/2", "a/3", "b/1"] {
            platform.record("c", "p", sort, &sort);
        }
        let sorts = |page: Page| {
            page.entries
                .into_iter()
                .map(|entry| entry.sort)
                .collect::<Vec<_>>()
        };
        let range = || Range::of("c", "p").prefix("a/").limit(2);
        let first = range().read().unwrap();
        assert!(first.more);
        assert_eq!(sorts(first), ["a/1", "a/2"]);
        assert_eq!(sorts(range().after("a/2").read().unwrap()), ["a/3"]);
        let back = range().descending();
        assert_eq!(sorts(back.clone().read().unwrap()), ["a/3", "a/2"]);
        assert_eq!(sorts(back.after("a/2").read().unwrap()), ["a/1"]);
    }

    #[test]
    fn what_is_not_json_is_named() {
        let platform = Platform::new();
        platform.bytes("c", "p", "s", b"{");
        let error = get_json::<u8>(&Key::new("c", "p", "s")).unwrap_err();
        assert!(error.to_string().contains("c/p/s"), "{error}");
        assert_eq!(Problem::from(error).status(), 500);
    }

    #[test]
    fn many_keep_their_order() {
        let platform = Platform::new();
        platform.record("c", "p", "2", &2);
        let keys = ["1", "2"].map(|sort| Key::new("c", "p", sort));
        let values: Vec<_> = get_many_json::<u8>(&keys)
            .unwrap()
            .into_iter()
            .map(|entry| entry.map(|entry| entry.value))
            .collect();
        assert_eq!(values, [None, Some(2)]);
        assert_eq!(get_many(&[]).unwrap(), []);
    }

    #[test]
    fn a_write_that_lost_the_race_conflicts() {
        let _platform = Platform::new();
        let key = Key::new("c", "p", "s");
        assert_eq!(compare_and_set(&key, None, b"1").unwrap(), 1);
        assert_eq!(
            compare_and_set(&key, None, b"2").unwrap_err(),
            Error::Conflict { present: Some(1) }
        );
        delete(&key).unwrap();
        assert_eq!(
            compare_and_set(&key, None, b"3").unwrap(),
            2,
            "versions are never used again"
        );
        assert_eq!(put(&key, b"4").unwrap(), 3);
    }
}
