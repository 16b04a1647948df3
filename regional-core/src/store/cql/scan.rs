//! Bounded parts of one partition. Pages are asked for by where the last one ended, and are as large as the values that
//! came so far let expect, so that no answer of the engine is much larger than a page may be.

use super::{
    partition::{RowState, key},
    records::{EntryRow, entry},
    session::{Bind, Cql},
};
use crate::{
    Error,
    store::{PAGE_BYTES_MAX, checks::AFTER_PLATFORM},
};
use brink_protocol::{
    TenantName,
    address::PartitionAddress,
    record::{Bound, PLATFORM_SORT, Page, Range},
};

/// Rows of the first request: 16 of the largest records are 16 MiB.
const ROWS_FIRST: usize = 16;
/// Rows of a request at most, however small those before were: 64 MiB if the next are the largest.
const ROWS_MAX: usize = 64;

macro_rules! scan {
    ($($bounds:literal)?) => {
        concat!(
            "SELECT sort, version, expires_at, value FROM records \
             WHERE tenant = ? AND collection = ? AND partition = ? AND kind = 0 ",
            $($bounds)?
        )
    };
}

/// One statement for each way in which a range may be bounded: lower inclusive or not, upper open, inclusive or not. A
/// range without lower bound begins with the empty text.
fn statement(range: &Step<'_>) -> &'static str {
    use Bound::{Exclusive, Inclusive, Unbounded};
    match (range.descending, range.lower, range.upper) {
        (false, Exclusive(_), Unbounded) => scan!("AND sort > ? LIMIT ?"),
        (false, Exclusive(_), Inclusive(_)) => scan!("AND sort > ? AND sort <= ? LIMIT ?"),
        (false, Exclusive(_), Exclusive(_)) => scan!("AND sort > ? AND sort < ? LIMIT ?"),
        (false, _, Unbounded) => scan!("AND sort >= ? LIMIT ?"),
        (false, _, Inclusive(_)) => scan!("AND sort >= ? AND sort <= ? LIMIT ?"),
        (false, _, Exclusive(_)) => scan!("AND sort >= ? AND sort < ? LIMIT ?"),
        (true, Exclusive(_), Unbounded) => {
            scan!("AND sort > ? ORDER BY kind DESC, sort DESC LIMIT ?")
        }
        (true, Exclusive(_), Inclusive(_)) => {
            scan!("AND sort > ? AND sort <= ? ORDER BY kind DESC, sort DESC LIMIT ?")
        }
        (true, Exclusive(_), Exclusive(_)) => {
            scan!("AND sort > ? AND sort < ? ORDER BY kind DESC, sort DESC LIMIT ?")
        }
        (true, _, Unbounded) => scan!("AND sort >= ? ORDER BY kind DESC, sort DESC LIMIT ?"),
        (true, _, Inclusive(_)) => {
            scan!("AND sort >= ? AND sort <= ? ORDER BY kind DESC, sort DESC LIMIT ?")
        }
        (true, _, Exclusive(_)) => {
            scan!("AND sort >= ? AND sort < ? ORDER BY kind DESC, sort DESC LIMIT ?")
        }
    }
}

/// What is left of a range.
struct Step<'a> {
    lower: &'a Bound,
    upper: &'a Bound,
    descending: bool,
}

impl Step<'_> {
    fn is_empty(&self) -> bool {
        let (Bound::Inclusive(lower) | Bound::Exclusive(lower)) = self.lower else {
            return false;
        };
        let (Bound::Inclusive(upper) | Bound::Exclusive(upper)) = self.upper else {
            return false;
        };
        let are_both_in = matches!(
            (self.lower, self.upper),
            (Bound::Inclusive(_), Bound::Inclusive(_))
        );
        lower > upper || (lower == upper && !are_both_in)
    }

    fn values(&self, partition: &PartitionAddress, rows: usize) -> Vec<Bind> {
        let mut values = key(partition);
        match self.lower {
            Bound::Unbounded => values.push("".into()),
            Bound::Inclusive(sort) | Bound::Exclusive(sort) => values.push(sort.as_str().into()),
        }
        if let Bound::Inclusive(sort) | Bound::Exclusive(sort) = self.upper {
            values.push(sort.as_str().into());
        }
        values.push(Bind::Int(i32::try_from(rows).unwrap_or(i32::MAX)));
        values
    }
}

/// The partition of a range.
pub(super) fn address(tenant: &TenantName, range: &Range) -> PartitionAddress {
    PartitionAddress {
        tenant: tenant.clone(),
        collection: range.collection.clone(),
        partition: range.partition.clone(),
    }
}

/// A page of a partition.
pub(super) async fn page(
    session: &Cql,
    tenant: &TenantName,
    range: &Range,
    now_ms: u64,
) -> Result<Page, Error> {
    range.check_any()?;
    let partition = address(tenant, range);
    let (mut lower, mut upper) = (range.lower.clone(), range.upper.clone());
    let limit = range.limit as usize;
    let (mut page, mut bytes, mut seen) = (Page::default(), 0, 0);
    loop {
        let step = Step {
            lower: &lower,
            upper: &upper,
            descending: range.descending,
        };
        if step.is_empty() {
            return Ok(page);
        }
        let rows = next_rows(limit - page.entries.len() + 1, bytes, seen);
        let values = step.values(&partition, rows);
        let found: Vec<EntryRow> = session.rows(statement(&step), values).await?;
        let is_last = found.len() < rows;
        seen += found.len();
        let (mut end, mut passes_over) = (None, false);
        for (sort, version, expires_at, value) in found {
            passes_over = sort.starts_with(PLATFORM_SORT) && !range.has_platform();
            if passes_over {
                break;
            }
            end = Some(sort.clone());
            let Some(entry) = entry(sort, RowState::read(version, expires_at), value, now_ms)
            else {
                continue;
            };
            let size = entry.value.len();
            let is_full = !page.entries.is_empty() && bytes + size > PAGE_BYTES_MAX;
            if page.entries.len() == limit || is_full {
                page.more = true;
                return Ok(page);
            }
            bytes += size;
            page.entries.push(entry);
        }
        if passes_over && range.descending {
            upper = Bound::Inclusive(String::new());
            continue;
        }
        if passes_over {
            lower = Bound::Inclusive(AFTER_PLATFORM.to_owned());
            continue;
        }
        let Some(end) = end.filter(|_| !is_last) else {
            return Ok(page);
        };
        if range.descending {
            upper = Bound::Exclusive(end);
        } else {
            lower = Bound::Exclusive(end);
        }
    }
}

/// How many rows to ask for: what is wanted, and not more than a page holds if they are as large as those before.
fn next_rows(wanted: usize, bytes: usize, seen: usize) -> usize {
    let fitting = match (bytes, seen) {
        (_, 0) => ROWS_FIRST,
        (0, _) => ROWS_MAX,
        (bytes, seen) => PAGE_BYTES_MAX / (bytes / seen).max(1),
    };
    wanted.min(fitting.clamp(ROWS_FIRST, ROWS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_grow_with_what_is_small() {
        for (wanted, bytes, seen, expected) in [
            (5, 0, 0, 5),
            (1001, 0, 0, ROWS_FIRST),
            (900, 16 << 20, 16, ROWS_FIRST),
            (900, 16 * 100, 16, ROWS_MAX),
            (900, 16 << 17, 16, 32),
            (40, 0, 16, 40),
            (900, 0, 16, ROWS_MAX),
        ] {
            assert_eq!(
                next_rows(wanted, bytes, seen),
                expected,
                "{wanted} {bytes} {seen}"
            );
        }
    }
}
