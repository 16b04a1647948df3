//! Reads over several partitions of a collection, gathered in one order. Each partition is of one moment, all together are
//! not. If one cannot be read, nothing is given but the names of those that could not.

use crate::{
    Error,
    store::{PAGE_BYTES_MAX, Store},
};
use brink_protocol::{
    TenantName,
    record::{Bound, Entry, Page, Range, SCAN_LIMIT_MAX},
};
use futures_util::{StreamExt as _, stream};
use std::{cmp::Ordering, collections::BTreeSet};

/// Partitions of one read.
pub const PARTITIONS_MAX: usize = 64;
/// Partitions that are read at a time.
const AT_ONCE: usize = 8;

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scatter {
    /// The collection.
    pub collection: String,
    /// 1 to [`PARTITIONS_MAX`] different partition keys.
    pub partitions: Vec<String>,
    /// The lower end of sort keys.
    pub lower: Bound,
    /// The upper end of sort keys.
    pub upper: Bound,
    /// From the last sort key to the first.
    pub descending: bool,
    /// Only what comes behind this sort key and partition in the order.
    pub after: Option<(String, String)>,
    /// 1 to [`SCAN_LIMIT_MAX`] records of all partitions together.
    pub limit: u32,
}

/// A record and its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The partition key.
    pub partition: String,
    /// The record.
    pub entry: Entry,
}

/// What was found, by sort key and partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gathered {
    /// At most as many as asked for, and not many more bytes of values than [`PAGE_BYTES_MAX`].
    pub found: Vec<Found>,
    /// There are more: go on behind the last.
    pub more: bool,
}

/// Why nothing is given.
#[derive(Debug)]
pub enum Refused {
    /// What is asked for is not allowed.
    Invalid(brink_protocol::Error),
    /// These partitions could not be read, and why.
    Failed(Vec<(String, Error)>),
}

impl Scatter {
    fn check(&self) -> Result<(), brink_protocol::Error> {
        let different: BTreeSet<&String> = self.partitions.iter().collect();
        let count = self.partitions.len();
        if !(1..=PARTITIONS_MAX).contains(&count) || different.len() < count {
            return Err(brink_protocol::Error::Malformed {
                what: "partitions",
                reason: format!("there are 1 to {PARTITIONS_MAX} different ones"),
            });
        }
        if !(1..=SCAN_LIMIT_MAX).contains(&self.limit) {
            return Err(brink_protocol::Error::Limit {
                what: "records of one read (at least 1)",
                actual: self.limit.into(),
                limit: SCAN_LIMIT_MAX.into(),
            });
        }
        self.partitions
            .iter()
            .try_for_each(|partition| self.range(partition).check())
    }

    /// What is read of one partition.
    fn range(&self, partition: &str) -> Range {
        let (mut lower, mut upper) = (self.lower.clone(), self.upper.clone());
        if let Some((sort, last)) = &self.after {
            // Of partitions behind the last in the order the same sort key is still to come.
            let is_behind = self.order(("", partition), ("", last)) == Ordering::Greater;
            let begin = if is_behind {
                Bound::Inclusive(sort.clone())
            } else {
                Bound::Exclusive(sort.clone())
            };
            if self.descending {
                upper = begin;
            } else {
                lower = begin;
            }
        }
        Range {
            collection: self.collection.clone(),
            partition: partition.to_owned(),
            lower,
            upper,
            limit: self.limit,
            descending: self.descending,
        }
    }

    fn order(&self, a: (&str, &str), b: (&str, &str)) -> Ordering {
        if self.descending {
            b.cmp(&a)
        } else {
            a.cmp(&b)
        }
    }
}

/// What was gathered so far.
struct Gathering<'s> {
    scatter: &'s Scatter,
    gathered: Gathered,
    /// How far every partition that was read is known.
    horizon: Option<String>,
    /// Sort key and partition of the first record that was left out for its bytes: nothing from there on may be given.
    end: Option<(String, String)>,
}

impl Gathering<'_> {
    /// Adds what was found in a partition.
    fn add(&mut self, partition: &str, page: Page) {
        if let (true, Some(last)) = (page.more, page.entries.last()) {
            let is_nearer = |horizon: &String| {
                self.scatter.order((&last.sort, ""), (horizon, "")) == Ordering::Less
            };
            if self.horizon.as_ref().is_none_or(is_nearer) {
                self.horizon = Some(last.sort.clone());
            }
        }
        let found = page.entries.into_iter().map(|entry| Found {
            partition: partition.to_owned(),
            entry,
        });
        self.gathered.more |= page.more;
        self.gathered.found.extend(found);
        self.cut();
    }

    /// Keeps what may be given.
    fn cut(&mut self) {
        let scatter = self.scatter;
        let found = &mut self.gathered.found;
        let key = |found: &Found| (found.entry.sort.clone(), found.partition.clone());
        found.sort_by(|a, b| {
            scatter.order((&a.entry.sort, &a.partition), (&b.entry.sort, &b.partition))
        });
        let count = found.len();
        if let Some(horizon) = &self.horizon {
            found.retain(|found| {
                scatter.order((&key(found).0, ""), (horizon, "")) != Ordering::Greater
            });
        }
        if let Some((sort, partition)) = &self.end {
            found.retain(|found| {
                let own = (found.entry.sort.as_str(), found.partition.as_str());
                scatter.order(own, (sort, partition)) == Ordering::Less
            });
        }
        found.truncate(scatter.limit as usize);
        let mut bytes = 0;
        let fitting = found.iter().take_while(|found| {
            let is_first = bytes == 0;
            bytes += found.entry.value.len();
            is_first || bytes <= PAGE_BYTES_MAX
        });
        let fitting = fitting.count();
        if let Some(left_out) = found.get(fitting) {
            self.end = Some(key(left_out));
        }
        found.truncate(fitting);
        self.gathered.more |= found.len() < count;
    }
}

/// Reads several partitions.
///
/// # Errors
/// What is not allowed, or the partitions that could not be read.
pub async fn scatter(
    store: &dyn Store,
    tenant: &TenantName,
    scatter: &Scatter,
    now_ms: u64,
) -> Result<Gathered, Refused> {
    scatter.check().map_err(Refused::Invalid)?;
    let read = scatter.partitions.iter().map(|partition| async move {
        let range = scatter.range(partition);
        (partition, store.scan(tenant, &range, now_ms).await)
    });
    let mut read = stream::iter(read.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
    let mut gathering = Gathering {
        scatter,
        gathered: Gathered::default(),
        horizon: None,
        end: None,
    };
    let mut failed = Vec::new();
    while let Some((partition, page)) = read.next().await {
        match page {
            Ok(page) => gathering.add(partition, page),
            Err(error) => failed.push((partition.clone(), error)),
        }
    }
    if failed.is_empty() {
        return Ok(gathering.gathered);
    }
    Err(Refused::Failed(failed))
}

#[cfg(test)]
mod tests;
