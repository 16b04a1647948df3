//! Tables of verdicts, and a model that remembers everything.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::coherence::{Dependency, SORTS_MAX, WRITES_MAX};
use brink_protocol::{
    address::PartitionAddress,
    change::RecordChange,
    record::{Bound, Range},
    tag::Tag,
};
use proptest::prelude::*;

fn hard(tags: &[TagHash]) -> Touch {
    Touch::hard(tags)
}

fn soft(tags: &[TagHash]) -> Touch {
    Touch::soft(tags)
}

#[test]
fn verdicts() {
    let mut changes = LastChanges::new(100);
    assert_eq!(changes.verdict(&[1], 0), Verdict::Valid);
    assert_eq!(changes.apply(&hard(&[1, 2])), 1);
    assert_eq!(changes.apply(&soft(&[3])), 2);
    for (tags, index, expected) in [
        (&[1][..], 0, Verdict::Ended),
        (&[1], 1, Verdict::Valid),
        (&[3], 1, Verdict::Soft),
        (&[3, 2], 0, Verdict::Ended),
        (&[3], 2, Verdict::Valid),
        (&[4], 0, Verdict::Valid),
        (&[], 0, Verdict::Valid),
        (&[4], 3, Verdict::Unknown),
    ] {
        assert_eq!(changes.verdict(tags, index), expected, "{tags:?} {index}");
    }
    changes.apply(&hard(&[3]));
    assert_eq!(changes.verdict(&[3], 1), Verdict::Ended);
}

#[test]
fn the_floor_rises() {
    let mut changes = LastChanges::new(2);
    for tag in 1..=3 {
        changes.apply(&hard(&[tag]));
    }
    assert_eq!((changes.floor(), changes.len()), (1, 2));
    assert_eq!(changes.verdict(&[9], 0), Verdict::Unknown);
    assert_eq!(changes.verdict(&[1], 1), Verdict::Valid);
    assert_eq!(changes.verdict(&[2], 1), Verdict::Ended);
}

#[test]
fn one_busy_tag_does_not_raise_the_floor() {
    let mut changes = LastChanges::new(4);
    changes.apply(&hard(&[1]));
    for _ in 0..100 {
        changes.apply(&hard(&[2]));
    }
    assert!(changes.log.len() <= 8);
    assert_eq!(changes.verdict(&[3], changes.floor()), Verdict::Valid);
}

#[test]
fn gaps_are_not_vouched_for() {
    let mut changes = LastChanges::new(10);
    changes.apply(&hard(&[1]));
    changes.leave_gap(1000);
    for (index, expected) in [
        (1, Verdict::Valid),
        (2, Verdict::Unknown),
        (1000, Verdict::Unknown),
        (1001, Verdict::Valid),
    ] {
        assert_eq!(changes.verdict(&[7], index), expected, "{index}");
    }
    changes.apply(&hard(&[7]));
    assert_eq!(changes.verdict(&[7], 1), Verdict::Ended);
    assert_eq!(changes.verdict(&[8], 1), Verdict::Valid);
    assert_eq!(changes.verdict(&[8], 500), Verdict::Unknown);
    assert_eq!(changes.verdict(&[8], 1001), Verdict::Valid);
    for _ in 0..GAPS_MAX {
        changes.leave_gap(10);
    }
    assert_eq!(
        changes.verdict(&[8], 1),
        Verdict::Unknown,
        "the oldest gap was dropped, the floor stands at its end"
    );
}

#[test]
fn what_no_table_can_have_written_is_told() {
    let mut changes = LastChanges::new(8);
    for _ in 0..3 {
        changes.apply(&hard(&[1]));
        changes.apply(&soft(&[2]));
        changes.leave_gap(5);
    }
    let snapshot = changes.snapshot();
    assert!(snapshot.is_possible());
    let forgeries: [fn(&mut Snapshot); 6] = [
        |s| s.index = u64::MAX,
        |s| s.index = 1,
        |s| s.floor = s.index + 1,
        |s| s.gaps[0].after = s.index,
        |s| s.gaps[0].until = u64::MAX,
        |s| s.tags[0].2 = s.index + 1,
    ];
    for (n, forge) in forgeries.into_iter().enumerate() {
        let mut forged = snapshot.clone();
        forge(&mut forged);
        assert!(!forged.is_possible(), "{n}");
    }
}

#[test]
fn sequences() {
    let origin: OriginId = "core.1".parse().unwrap();
    let mut position = Position::default();
    position.advance(&origin, 5);
    for (sequence, expected) in [
        (4, Next::Repeated),
        (5, Next::Repeated),
        (6, Next::InOrder),
        (7, Next::Gap),
    ] {
        assert_eq!(next(&position, &origin, sequence), expected);
    }
    assert_eq!(
        next(&position, &"core.2".parse().unwrap(), 1),
        Next::InOrder
    );
}

proptest! {
    /// Against a model that remembers everything: what the model calls gone is never called valid here, whatever was
    /// dropped, written down and read again in between.
    #[test]
    fn never_stale(
        steps in proptest::collection::vec((0u64..12, any::<bool>(), 0u8..20), 1..120),
        tags_max in 1usize..8,
    ) {
        let mut changes = LastChanges::new(tags_max);
        let mut model: Vec<(u64, TagHash, bool)> = Vec::new();
        let mut entries: Vec<(u64, TagHash)> = Vec::new();
        for (tag, soft, step) in steps {
            match step {
                0 => changes.leave_gap(100),
                1 => changes = LastChanges::from_snapshot(changes.snapshot(), tags_max),
                2 => {
                    changes.end_all();
                    entries.clear();
                }
                3..8 => entries.push((changes.index(), tag)),
                _ => {
                    let index = changes.apply(&Touch { soft, ..hard(&[tag]) });
                    model.push((index, tag, soft));
                }
            }
            for (index, tag) in &entries {
                let touched = |soft| model.iter().any(|(i, t, s)| i > index && t == tag && *s == soft);
                let verdict = changes.verdict(&[*tag], *index);
                if touched(false) {
                    prop_assert!(matches!(verdict, Verdict::Ended | Verdict::Unknown));
                } else if touched(true) {
                    prop_assert_ne!(verdict, Verdict::Valid);
                } else {
                    prop_assert!(matches!(verdict, Verdict::Valid | Verdict::Unknown));
                }
            }
            prop_assert!(changes.len() <= tags_max);
        }
    }
}

/// Writes to partition `n`: the records with these keys.
fn write(n: usize, sorts: &[u8]) -> Touch {
    let records: Vec<_> = sorts
        .iter()
        .map(|sort| RecordChange {
            sort: key(*sort),
            version: None,
        })
        .collect();
    Touch::write(&partition(n), &records)
}

fn partition(n: usize) -> PartitionAddress {
    PartitionAddress {
        tenant: "t".parse().unwrap(),
        collection: "c".into(),
        partition: format!("p{n}"),
    }
}

fn key(n: u8) -> String {
    format!("{n:03}")
}

fn range(n: usize, lower: u8, upper: u8) -> (Dependency, Range) {
    let range = Range {
        collection: "c".into(),
        partition: format!("p{n}"),
        lower: Bound::Inclusive(key(lower)),
        upper: Bound::Exclusive(key(upper)),
        limit: 10,
        descending: false,
    };
    let tag = Tag::Range {
        tenant: "t".parse().unwrap(),
        range: range.clone(),
    };
    (Dependency::on(&tag), range)
}

#[test]
fn writes_beside_a_range_leave_it_alone() {
    let mut changes = LastChanges::new(1_000);
    let (on, _) = range(1, 10, 20);
    let whole = [crate::coherence::tags::partition(
        &"t".parse().unwrap(),
        "c",
        "p1",
    )];
    for (sorts, expected) in [
        (&[9][..], Verdict::Valid),
        (&[20, 30], Verdict::Valid),
        (&[10], Verdict::Ended),
        (&[5, 19, 30], Verdict::Ended),
    ] {
        let before = changes.index();
        changes.apply(&write(1, sorts));
        let found = changes.verdict(std::slice::from_ref(&on), before);
        assert_eq!(found, expected, "{sorts:?}");
        assert_eq!(changes.verdict(&whole, before), Verdict::Ended);
        let now = changes.index();
        assert_eq!(
            changes.verdict(std::slice::from_ref(&on), now),
            Verdict::Valid
        );
    }
    let before = changes.index();
    // So many at once that their keys are not looked at.
    let many: Vec<u8> = (100..101 + u8::try_from(SORTS_MAX).unwrap()).collect();
    changes.apply(&write(1, &many));
    assert_eq!(
        changes.verdict(std::slice::from_ref(&on), before),
        Verdict::Ended
    );
    // So many one after the other that the first are no longer told apart.
    let before = changes.index();
    for sort in 100..100 + u8::try_from(WRITES_MAX).unwrap() {
        changes.apply(&write(1, &[sort]));
        assert_eq!(
            changes.verdict(std::slice::from_ref(&on), before),
            Verdict::Valid
        );
        // The same record again and again takes one place.
        changes.apply(&write(1, &[sort]));
    }
    changes.apply(&write(1, &[200]));
    assert_eq!(
        changes.verdict(std::slice::from_ref(&on), before),
        Verdict::Ended
    );
    // What touches the whole tag otherwise ends all ranges, as it must where two tags have one hash.
    let before = changes.index();
    changes.apply(&hard(&whole));
    changes.apply(&write(1, &[200]));
    assert_eq!(changes.verdict(&[on], before), Verdict::Ended);
}

proptest! {
    /// Ranges against a model that remembers every write: a write between the bounds is never missed, whatever was
    /// dropped, forgotten, written down and read again; and where nothing had to be dropped, one outside is never counted.
    #[test]
    fn ranges_like_a_list_of_writes(
        steps in proptest::collection::vec((0usize..3, proptest::collection::vec(0u8..40, 1..5), 0u8..12), 1..100),
        tags_max in prop_oneof![1usize..12, Just(10_000usize)],
    ) {
        let mut changes = LastChanges::new(tags_max);
        let mut model: Vec<(u64, usize, Vec<u8>)> = Vec::new();
        let mut entries: Vec<(u64, usize, Dependency, Range)> = Vec::new();
        for (n, sorts, step) in steps {
            match step {
                0 => {
                    let snapshot = changes.snapshot();
                    changes = LastChanges::from_snapshot(snapshot.clone(), tags_max);
                    let mut again = changes.snapshot();
                    let mut before = snapshot;
                    for writes in [&mut again.writes, &mut before.writes] {
                        writes.sort_by_key(|PartitionWrites(tag, _)| *tag);
                    }
                    prop_assert_eq!(again, before);
                }
                1..5 => {
                    let upper = sorts[0].saturating_add(10);
                    let (on, bounds) = range(n, sorts[0], upper);
                    entries.push((changes.index(), n, on, bounds));
                }
                _ => {
                    let index = changes.apply(&write(n, &sorts));
                    model.push((index, n, sorts));
                }
            }
            for (index, n, on, bounds) in &entries {
                let after = model.iter().filter(|(i, m, _)| i > index && m == n);
                let written: Vec<u8> = after.flat_map(|(_, _, sorts)| sorts.iter().copied()).collect();
                let touched = written.iter().any(|sort| bounds.contains(&key(*sort)));
                let verdict = changes.verdict(std::slice::from_ref(on), *index);
                if touched {
                    prop_assert!(matches!(verdict, Verdict::Ended | Verdict::Unknown));
                } else if tags_max == 10_000 && written.len() <= WRITES_MAX {
                    prop_assert_eq!(verdict, Verdict::Valid);
                }
            }
            prop_assert!(changes.len() <= tags_max);
            let known: usize = changes.table.values().filter_map(|last| last.writes.as_ref()).map(|w| w.len()).sum();
            prop_assert!(known <= WRITES_MAX * changes.len());
        }
    }
}
