//! The audit trail of records: beside each change of a record, in its transaction, a row of the platform's that says who
//! changed it, when, and from which version to which. Values are not copied.
//!
//! The row's sort key is [`sort_of`] the record's, the version and whether it was deleted: the rows of one record lie in the
//! order of its changes, and two changes never have one key.

use crate::{
    Digest, Error, codec,
    record::{Bound, Key, Range, SCAN_LIMIT_MAX, Version, check_any_sort},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// What sort keys of the trail begin with.
const TRAIL_SORT: &str = "\u{1}t";
/// Hexadecimal digits that stand for a record's sort key.
const RECORD_DIGITS: usize = 32;
/// Digits of a version: the largest has as many.
const VERSION_DIGITS: usize = 20;
/// Behind the version where the record was deleted.
const DELETED: char = 'x';
/// Behind all that follows the name of a record.
const LAST: char = '~';
/// Longest text of an author, in bytes; more is cut off.
pub const TEXT_BYTES_MAX: usize = 256;
/// Most entries of one page.
pub const PAGE_MAX: u32 = SCAN_LIMIT_MAX;
/// How values are laid out now; another way of doing it gets another number.
const LAYOUT: u8 = 1;

/// What kind of author changed a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AuthorKind {
    /// The core itself.
    #[default]
    Core,
    /// Somebody with a token, by the control API.
    Token,
    /// A module at a PoP.
    Module,
    /// A command.
    Command,
    /// A command, as a step of a workflow.
    Workflow,
    /// A projection.
    Projection,
    /// An erasure. It leaves no trail.
    Erasure,
}

/// Who changed a record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Author {
    /// What it is.
    pub kind: AuthorKind,
    /// The token's id, or the name of the module, command or projection; empty for the core itself.
    pub name: String,
    /// Which version of it, where the core knows that.
    pub version: Option<u64>,
    /// The module that called the command.
    pub caller: Option<String>,
    /// The authenticated subject on whose behalf, as far as the command was told.
    pub subject: Option<String>,
}

/// At most [`TEXT_BYTES_MAX`] bytes of a text.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

impl Author {
    /// Of a kind, by its name.
    #[must_use]
    pub fn new(kind: AuthorKind, name: &str) -> Self {
        Self {
            kind,
            name: cut(name),
            ..Self::default()
        }
    }

    /// In a version.
    #[must_use]
    pub fn version(self, version: u64) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    /// Called by a module, on behalf of a subject.
    #[must_use]
    pub fn on_behalf(self, caller: &str, subject: Option<&str>) -> Self {
        Self {
            caller: Some(cut(caller)),
            subject: subject.map(cut),
            ..self
        }
    }
}

/// One change of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrailEntry {
    /// When the change began, in milliseconds since 1970, by the clock of the core that did it.
    pub at_ms: u64,
    /// Who changed it.
    pub by: Author,
    /// The version before; none: it was not there.
    pub from: Option<Version>,
    /// The version after; none: it was deleted.
    pub to: Option<Version>,
    /// The idempotency key of the write or command.
    pub key: Option<String>,
    /// Length of the value after, in bytes; none: it was deleted.
    pub bytes: Option<u64>,
    /// SHA-256 of the value after; none: it was deleted.
    pub sha256: Option<Digest>,
    /// The moment at which the record ends by its lifetime, in milliseconds since 1970; none: it stays.
    pub expires_at_ms: Option<u64>,
}

/// A part of a record's trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrailPage {
    /// Newest first.
    pub entries: Vec<TrailEntry>,
    /// There are older ones: go on with this as `before`.
    pub next: Option<String>,
}

impl TrailEntry {
    /// As the value of its row.
    ///
    /// # Errors
    /// It is too large.
    pub fn encode(&self) -> Result<bytes::Bytes, Error> {
        codec::encode(&(LAYOUT, self))
    }

    /// What a row holds.
    ///
    /// # Errors
    /// It is not laid out as rows of a trail are.
    pub fn decode(value: &[u8]) -> Result<Self, Error> {
        match value.first() {
            Some(&LAYOUT) => codec::decode::<(u8, Self)>(value).map(|(_, entry)| entry),
            _ => Err(Error::malformed("audit trail", "its layout is not known")),
        }
    }
}

/// What the sort keys of a record's trail begin with.
#[must_use]
pub fn prefix_of(sort: &str) -> String {
    let mut prefix = String::from(TRAIL_SORT);
    for byte in Sha256::digest(sort.as_bytes())
        .iter()
        .take(RECORD_DIGITS / 2)
    {
        // Writing to a text does not fail.
        let _ = write!(prefix, "{byte:02x}");
    }
    prefix.push('/');
    prefix
}

/// The sort key of the row about a change: the version that was written, or the one that was deleted.
#[must_use]
pub fn sort_of(record: &str, version: Version, is_deleted: bool) -> String {
    let mut sort = prefix_of(record);
    // Writing to a text does not fail.
    let _ = write!(sort, "{version:0VERSION_DIGITS$}");
    if is_deleted {
        sort.push(DELETED);
    }
    sort
}

/// Whether a sort key is that of a trail's row.
#[must_use]
pub fn is_of_trail(sort: &str) -> bool {
    sort.starts_with(TRAIL_SORT)
}

/// The newest changes of a record before `before` (see [`TrailPage::next`]), newest first.
///
/// # Errors
/// A part that is not allowed.
pub fn range(record: &Key, before: Option<&str>, limit: u32) -> Result<Range, Error> {
    record.check()?;
    let prefix = prefix_of(&record.sort);
    let upper = match before {
        Some(before) => {
            let is_of_place = |b: u8| b.is_ascii_digit() || b == b'x';
            if before.len() > VERSION_DIGITS + 1 || !before.bytes().all(is_of_place) {
                return Err(Error::malformed("place in a trail", "no page ends there"));
            }
            format!("{prefix}{before}")
        }
        None => format!("{prefix}{LAST}"),
    };
    check_any_sort(&upper)?;
    let range = Range {
        collection: record.collection.clone(),
        partition: record.partition.clone(),
        lower: Bound::Exclusive(prefix),
        upper: Bound::Exclusive(upper),
        limit,
        descending: true,
    };
    range.check_any()?;
    Ok(range)
}

/// What of a row's sort key [`range`] takes as `before`.
#[must_use]
pub fn place_of(record: &str, row: &str) -> Option<String> {
    row.strip_prefix(&prefix_of(record)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn rows_lie_in_the_order_of_the_changes() {
        let order = [
            (1, false),
            (1, true),
            (2, false),
            (10, false),
            (10, true),
            (u64::MAX, false),
        ];
        let sorts: Vec<String> = order
            .iter()
            .map(|(v, gone)| sort_of("a", *v, *gone))
            .collect();
        assert!(sorts.is_sorted(), "{sorts:?}");
        let key = Key {
            collection: "c".into(),
            partition: "p".into(),
            sort: "a".into(),
        };
        let all = range(&key, None, 10).unwrap();
        assert!(
            sorts
                .iter()
                .all(|sort| all.contains(sort) && is_of_trail(sort))
        );
        assert!(!all.contains(&sort_of("b", 1, false)));
        let place = place_of("a", &sorts[2]).unwrap();
        let older = range(&key, Some(&place), 10).unwrap();
        let found: Vec<bool> = sorts.iter().map(|sort| older.contains(sort)).collect();
        assert_eq!(found, [true, true, false, false, false, false]);
        for wrong in ["~", "\u{1}", "-1", "000000000000000000000000"] {
            assert!(range(&key, Some(wrong), 10).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_is_what_is_read() {
        let entry = TrailEntry {
            at_ms: 7,
            by: Author::new(AuthorKind::Command, "place-order")
                .version(3)
                .on_behalf("shop", Some(&"é".repeat(200))),
            from: Some(1),
            to: None,
            key: Some("k".into()),
            bytes: None,
            sha256: None,
            expires_at_ms: None,
        };
        let subject = entry.by.subject.as_ref().unwrap();
        assert_eq!((subject.len(), subject.chars().count()), (256, 128));
        let value = entry.encode().unwrap();
        assert_eq!(TrailEntry::decode(&value).unwrap(), entry);
        for wrong in [&b""[..], &[0], &value[..value.len() - 1]] {
            assert!(TrailEntry::decode(wrong).is_err());
        }
    }
}
