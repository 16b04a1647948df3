//! What every store checks before it asks its engine, and decisions that do not depend on the engine.

use super::{Action, BATCH_BYTES_MAX, Transaction};
use crate::Error;
use brink_protocol::{
    address::PartitionAddress,
    change::RECORDS_PER_CHANGE_MAX,
    event,
    link::Condition,
    record::{
        Bound, Entry, GET_MANY_MAX, INDEX_SORT, Key, Range, Version, check_any_sort, check_value,
    },
    trail,
};

fn at_most(what: &'static str, actual: usize, limit: usize) -> Result<(), Error> {
    if actual > limit {
        let (actual, limit) = (actual as u64, limit as u64);
        return Err(brink_protocol::Error::Limit {
            what,
            actual,
            limit,
        }
        .into());
    }
    Ok(())
}

/// Checks a transaction's sizes and keys.
pub(super) fn transaction(transaction: &Transaction) -> Result<(), Error> {
    let PartitionAddress {
        collection,
        partition,
        ..
    } = &transaction.partition;
    brink_protocol::record::check_partition(collection, partition)?;
    at_most(
        "records of one transaction",
        transaction.writes.len(),
        RECORDS_PER_CHANGE_MAX,
    )?;
    let mut bytes = transaction
        .answer
        .as_ref()
        .map_or(0, |answer| answer.output.len());
    for write in &transaction.writes {
        check_any_sort(&write.sort)?;
        if let Action::Put { value, .. } = &write.action {
            check_value(value, None)?;
            bytes += value.len();
        }
    }
    at_most("bytes written by one transaction", bytes, BATCH_BYTES_MAX)
}

/// Checks what `get_many` is asked for.
pub(super) fn keys(keys: &[Key]) -> Result<(), Error> {
    at_most("records of one get", keys.len(), GET_MANY_MAX)?;
    for key in keys {
        key.check_any()?;
    }
    Ok(())
}

/// Adds a found record to the bytes that one `get_many` gives.
pub(super) fn count(bytes: &mut usize, entry: Option<&Entry>) -> Result<(), Error> {
    *bytes += entry.map_or(0, |entry| entry.value.len());
    at_most("bytes of the records of one get", *bytes, BATCH_BYTES_MAX)
}

/// Behind all sort keys of the platform's; but for the empty one, all others lie behind it.
pub(super) const AFTER_PLATFORM: &str = "\u{2}";

/// The parts of a range that hold what [`Range::contains`] says, in order of the sort keys.
pub(super) fn parts(range: &Range) -> Vec<Range> {
    let holds_first = match &range.lower {
        Bound::Unbounded => true,
        Bound::Inclusive(lower) => lower.is_empty(),
        Bound::Exclusive(_) => false,
    };
    let is_before = |lower: &str| lower < AFTER_PLATFORM;
    let needs_parts = match &range.lower {
        Bound::Unbounded => true,
        Bound::Inclusive(lower) | Bound::Exclusive(lower) => is_before(lower),
    };
    if !needs_parts || range.has_platform() {
        return vec![range.clone()];
    }
    let first = Range {
        lower: Bound::Inclusive(String::new()),
        upper: match &range.upper {
            Bound::Exclusive(upper) if upper.is_empty() => range.upper.clone(),
            _ => Bound::Inclusive(String::new()),
        },
        ..range.clone()
    };
    let rest = Range {
        lower: Bound::Inclusive(AFTER_PLATFORM.to_owned()),
        ..range.clone()
    };
    holds_first
        .then_some(first)
        .into_iter()
        .chain([rest])
        .collect()
}

/// Whether a record that goes leaves its last version behind, so that it is not used again. Events and rows of an
/// audit trail leave nothing: their numbers are not used again.
pub(super) fn leaves_version(sort: &str) -> bool {
    event::number_of(sort).is_none() && !trail::is_of_trail(sort) && !sort.starts_with(INDEX_SORT)
}

/// Whether a record's present version meets a condition.
pub(super) fn holds(condition: Condition, present: Option<Version>) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent => present.is_none(),
        Condition::Version(version) => present == Some(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bound() -> impl Strategy<Value = Bound> {
        let sort = || proptest::sample::select(vec!["", "\u{1}", "\u{1}e1", "\u{1}h", "a", "b"]);
        prop_oneof![
            Just(Bound::Unbounded),
            sort().prop_map(|sort| Bound::Inclusive(sort.to_owned())),
            sort().prop_map(|sort| Bound::Exclusive(sort.to_owned())),
        ]
    }

    fn is_between(range: &Range, sort: &str) -> bool {
        let above = match &range.lower {
            Bound::Unbounded => true,
            Bound::Inclusive(lower) => sort >= lower.as_str(),
            Bound::Exclusive(lower) => sort > lower.as_str(),
        };
        above
            && match &range.upper {
                Bound::Unbounded => true,
                Bound::Inclusive(upper) => sort <= upper.as_str(),
                Bound::Exclusive(upper) => sort < upper.as_str(),
            }
    }

    proptest! {
        #[test]
        fn parts_hold_what_the_range_contains(lower in bound(), upper in bound()) {
            let range = Range {
                collection: "c".into(),
                partition: "p".into(),
                lower,
                upper,
                limit: 1,
                descending: false,
            };
            for sort in ["", "\u{1}", "\u{1}a", "\u{1}e1", "\u{1}h", "!", "a", "b", "c"] {
                let held = parts(&range).iter().filter(|part| is_between(part, sort)).count();
                prop_assert_eq!(held, usize::from(range.contains(sort)), "{:?} {:?}", range, sort);
            }
        }
    }
}
