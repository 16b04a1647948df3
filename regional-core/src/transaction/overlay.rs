//! What a transaction has read and written so far. Pure.

use crate::store::{Action, BATCH_BYTES_MAX, Seen, Write};
use brink_protocol::{
    change::RECORDS_PER_CHANGE_MAX,
    link::Condition,
    record::{Bound, Entry, Page, Range, RecordError, SCAN_LIMIT_MAX, Version},
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Records that one transaction may read, those of ranges among them.
pub(super) const READS_MAX: usize = 10_000;

/// A record as it was found in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    /// Its version; none: there was none.
    pub(super) present: Option<Version>,
    /// The last version that its key ever had.
    pub(super) last: Version,
}

/// A write that waits for the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Own {
    Put {
        value: Bytes,
        expires_at_ms: Option<u64>,
        version: Version,
    },
    Delete,
}

/// Reads and writes of one run.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    bases: BTreeMap<String, Base>,
    seen: BTreeMap<String, Option<Version>>,
    ranges: Vec<Seen>,
    range_entries: usize,
    writes: BTreeMap<String, Own>,
    bytes: usize,
}

fn invalid(text: &str) -> RecordError {
    RecordError::Invalid(text.to_owned())
}

impl Overlay {
    /// The record as this run has written it: `None` if it has not, `Some(None)` if it deleted it.
    pub(super) fn own(&self, sort: &str) -> Option<Option<Entry>> {
        self.writes.get(sort).map(|own| match own {
            Own::Delete => None,
            Own::Put { value, version, .. } => Some(Entry {
                sort: sort.to_owned(),
                value: value.clone(),
                version: *version,
                // Of use to those who keep what they read: a run keeps nothing.
                lifetime_ms: None,
            }),
        })
    }

    /// What is known of the record in the store.
    pub(super) fn base(&self, sort: &str) -> Option<Base> {
        self.bases.get(sort).copied()
    }

    /// Notes what the store said of a record.
    pub(super) fn note_version(
        &mut self,
        sort: &str,
        present: Option<Version>,
    ) -> Result<(), RecordError> {
        if self.seen.len() + self.range_entries >= READS_MAX {
            return Err(invalid("a run reads at most 10,000 records"));
        }
        // The first reading counts: if a later one differs, the commit finds that out.
        self.seen.entry(sort.to_owned()).or_insert(present);
        Ok(())
    }

    /// Notes what a write will build on.
    pub(super) fn note_base(&mut self, sort: &str, base: Base) -> Result<(), RecordError> {
        self.note_version(sort, base.present)?;
        self.bases.entry(sort.to_owned()).or_insert(base);
        Ok(())
    }

    /// Puts a record whose base is known; gives the version that it will have.
    pub(super) fn put(
        &mut self,
        sort: &str,
        base: Base,
        value: Bytes,
        expires_at_ms: Option<u64>,
    ) -> Result<Version, RecordError> {
        let version = base.last + 1;
        self.write(
            sort,
            Own::Put {
                value,
                expires_at_ms,
                version,
            },
        )?;
        Ok(version)
    }

    /// Forgets what was written to a record that had not been written before.
    pub(super) fn take_back(&mut self, sort: &str) {
        if let Some(Own::Put { value, .. }) = self.writes.remove(sort) {
            self.bytes -= value.len();
        }
    }

    /// Deletes a record.
    pub(super) fn delete(&mut self, sort: &str) -> Result<(), RecordError> {
        self.write(sort, Own::Delete)
    }

    fn write(&mut self, sort: &str, own: Own) -> Result<(), RecordError> {
        let size = |own: &Own| match own {
            Own::Put { value, .. } => value.len(),
            Own::Delete => 0,
        };
        let before = self.writes.get(sort).map_or(0, size);
        let bytes = self.bytes - before + size(&own);
        if bytes > BATCH_BYTES_MAX / 2 {
            return Err(invalid("a run writes at most 4 MiB"));
        }
        if self.writes.len() >= RECORDS_PER_CHANGE_MAX && !self.writes.contains_key(sort) {
            return Err(invalid("a run writes at most 1,000 records"));
        }
        self.bytes = bytes;
        self.writes.insert(sort.to_owned(), own);
        Ok(())
    }

    /// The range to ask the store for, so that a page is full although some of its records are deleted here.
    pub(super) fn wider(&self, range: &Range) -> Range {
        let deleted = self
            .within(range)
            .filter(|(_, own)| matches!(own, Own::Delete))
            .count();
        let deleted = u32::try_from(deleted).unwrap_or(SCAN_LIMIT_MAX);
        Range {
            limit: range.limit.saturating_add(deleted).min(SCAN_LIMIT_MAX),
            ..range.clone()
        }
    }

    fn within<'a>(&'a self, range: &'a Range) -> impl Iterator<Item = (&'a String, &'a Own)> {
        self.writes.iter().filter(|(sort, _)| range.contains(sort))
    }

    /// Notes what the store found in a range, and gives the page as this run sees it: its own writes among it.
    pub(super) fn merge(
        &mut self,
        asked: Range,
        limit: u32,
        page: Page,
    ) -> Result<Page, RecordError> {
        // An empty range is a reading as well: the commit looks at it again.
        self.range_entries += page.entries.len().max(1);
        if self.seen.len() + self.range_entries > READS_MAX {
            return Err(invalid("a run reads at most 10,000 records"));
        }
        // Behind the last record of a page that has more, nothing is known yet.
        let mut known = asked.clone();
        if let (true, Some(last)) = (page.more, page.entries.last()) {
            let end = Bound::Inclusive(last.sort.clone());
            if asked.descending {
                known.lower = end
            } else {
                known.upper = end
            }
        }
        let seen = page
            .entries
            .iter()
            .map(|entry| (entry.sort.clone(), entry.version))
            .collect();
        let mut merged: BTreeMap<String, Entry> = page
            .entries
            .into_iter()
            .map(|entry| (entry.sort.clone(), entry))
            .collect();
        for (sort, _) in self.within(&known) {
            match self.own(sort).flatten() {
                Some(entry) => merged.insert(sort.clone(), entry),
                None => merged.remove(sort),
            };
        }
        self.ranges.push(Seen::Range {
            range: asked.clone(),
            entries: seen,
            more: page.more,
        });
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = page.more || merged.len() > limit;
        let entries = if asked.descending {
            merged.into_values().rev().take(limit).collect()
        } else {
            merged.into_values().take(limit).collect()
        };
        Ok(Page { entries, more })
    }

    /// What must still be so at the commit, and what is then written.
    pub(super) fn into_parts(self) -> (Vec<Seen>, Vec<Write>) {
        let mut seen = self.ranges;
        seen.extend(
            self.seen
                .into_iter()
                .map(|(sort, version)| Seen::Record { sort, version }),
        );
        let writes = self.writes.into_iter().map(|(sort, own)| {
            let action = match own {
                Own::Put {
                    value,
                    expires_at_ms,
                    ..
                } => Action::Put {
                    value,
                    expires_at_ms,
                },
                Own::Delete => Action::Delete,
            };
            // What was read is in `seen`; the write itself asks for nothing more.
            Write {
                sort,
                action,
                condition: Condition::Always,
            }
        });
        (seen, writes.collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn range(limit: u32, descending: bool) -> Range {
        Range {
            collection: "c".into(),
            partition: "p".into(),
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            limit,
            descending,
        }
    }

    fn page(sorts: &[&str], more: bool) -> Page {
        let entries = sorts.iter().map(|sort| Entry {
            sort: (*sort).into(),
            value: Bytes::new(),
            version: 1,
            lifetime_ms: None,
        });
        Page {
            entries: entries.collect(),
            more,
        }
    }

    fn base(present: Option<u64>) -> Base {
        Base {
            present,
            last: present.unwrap_or(0),
        }
    }

    #[test]
    fn own_writes_are_seen_by_scans() {
        type Case<'a> = (
            &'a [&'a str],
            &'a [&'a str],
            Range,
            Page,
            &'a [&'a str],
            bool,
        );
        let cases: [Case<'_>; 7] = [
            (
                &["b"],
                &[],
                range(9, false),
                page(&["a", "c"], false),
                &["a", "b", "c"],
                false,
            ),
            (
                &[],
                &["a"],
                range(9, false),
                page(&["a", "c"], false),
                &["c"],
                false,
            ),
            (
                &["b"],
                &[],
                range(2, false),
                page(&["a", "c"], false),
                &["a", "b"],
                true,
            ),
            (
                &["b"],
                &[],
                range(9, true),
                page(&["c", "a"], false),
                &["c", "b", "a"],
                false,
            ),
            // Behind what the page covers nothing is known: `z` comes with a later page.
            (
                &["z"],
                &[],
                range(2, false),
                page(&["a", "c"], true),
                &["a", "c"],
                true,
            ),
            (
                &["0"],
                &[],
                range(2, true),
                page(&["c", "a"], true),
                &["c", "a"],
                true,
            ),
            (
                &["z"],
                &[],
                range(9, false),
                page(&[], false),
                &["z"],
                false,
            ),
        ];
        for (puts, deletes, range, page, expected, more) in cases {
            let mut overlay = Overlay::default();
            for sort in puts {
                overlay.put(sort, base(None), Bytes::new(), None).unwrap();
            }
            for sort in deletes {
                overlay.delete(sort).unwrap();
            }
            let limit = range.limit;
            let merged = overlay.merge(overlay.wider(&range), limit, page).unwrap();
            let sorts: Vec<_> = merged
                .entries
                .iter()
                .map(|entry| entry.sort.as_str())
                .collect();
            assert_eq!(
                (sorts.as_slice(), merged.more),
                (expected, more),
                "{puts:?} {deletes:?} {range:?}"
            );
        }
    }

    #[test]
    fn one_write_a_record_and_its_version() {
        let mut overlay = Overlay::default();
        let found = Base {
            present: None,
            last: 4,
        };
        overlay.note_base("a", found).unwrap();
        for _ in 0..2 {
            assert_eq!(
                overlay
                    .put("a", found, Bytes::from_static(b"x"), None)
                    .unwrap(),
                5
            );
        }
        assert_eq!(overlay.own("a").unwrap().unwrap().version, 5);
        overlay.delete("b").unwrap();
        assert_eq!(overlay.own("b"), Some(None));
        let (seen, writes) = overlay.into_parts();
        assert_eq!(
            seen,
            [Seen::Record {
                sort: "a".into(),
                version: None
            }]
        );
        assert_eq!(writes.len(), 2);
    }

    #[test]
    fn limits() {
        let mut overlay = Overlay::default();
        for n in 0..RECORDS_PER_CHANGE_MAX {
            overlay.delete(&n.to_string()).unwrap();
        }
        assert!(overlay.delete("one more").is_err());
        let mut overlay = Overlay::default();
        let large = Bytes::from(vec![0; BATCH_BYTES_MAX / 2]);
        overlay.put("a", base(None), large.clone(), None).unwrap();
        overlay.put("a", base(None), large, None).unwrap();
        assert!(
            overlay
                .put("b", base(None), Bytes::from_static(b"x"), None)
                .is_err()
        );
    }
}
