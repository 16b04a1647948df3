//! Tables of verdicts, and a model that remembers everything.
#![allow(clippy::unwrap_used)]
use super::*;
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
