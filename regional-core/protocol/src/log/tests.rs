//! Logs of one origin, and readers of several.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;

fn origin(text: &str) -> OriginId {
    text.parse().unwrap()
}

fn records(phase: Phase) -> ChangeKind {
    ChangeKind::Records {
        partition: PartitionAddress {
            tenant: "t".parse().unwrap(),
            collection: "c".into(),
            partition: "p".into(),
        },
        records: vec![RecordChange {
            sort: "s".into(),
            version: None,
        }],
        phase,
    }
}

#[test]
fn an_intent_is_open_until_it_is_settled_or_taken_over() {
    let mut log = Log::new(origin("a.1"));
    let mut entries = Vec::new();
    for _ in 0..3 {
        entries.push(log.append(0, records(Phase::Intended)).unwrap());
    }
    entries.push(log.settle(2, Vec::new(), 0).unwrap());
    assert_eq!(log.settle(2, Vec::new(), 0), None, "only once");
    let mut heir = Log::recover(origin("a.1"), &entries).unwrap();
    assert_eq!(heir.open().map(|(s, _)| s).collect::<Vec<_>>(), [1, 3]);
    let settled = heir.take_over(9);
    let phases: Vec<_> = settled
        .iter()
        .map(|change| match &change.kind {
            ChangeKind::Records { phase, records, .. } => (change.sequence, *phase, records.len()),
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(
        phases,
        [
            (5, Phase::Settled { intent: 1 }, 1),
            (6, Phase::Settled { intent: 3 }, 1)
        ]
    );
    assert_eq!(heir.open().count(), 0);
    entries.extend(settled);
    assert_eq!(
        Log::recover(origin("a.1"), &entries)
            .unwrap()
            .open()
            .count(),
        0
    );
}

#[test]
fn logs_with_holes_are_refused() {
    let mut log = Log::new(origin("a.1"));
    let entries: Vec<_> = (0..3)
        .map(|_| log.append(0, records(Phase::Written)).unwrap())
        .collect();
    assert!(Log::recover(origin("a.1"), [&entries[0], &entries[2]]).is_err());
    assert!(Log::recover(origin("b.1"), &entries).is_err());
    let late = Log::recover(origin("a.1"), &entries[1..]).unwrap();
    assert_eq!(late.kept(), Kept { oldest: 2, head: 3 });
    let tail = Log::recover_tail(origin("a.1"), 1, &entries[1..]).unwrap();
    assert_eq!(tail.kept(), Kept { oldest: 1, head: 3 });
}

#[test]
fn retention_keeps_open_intents() {
    let mut log = Log::new(origin("a.1"));
    for n in 0..10 {
        let phase = if n == 3 {
            Phase::Intended
        } else {
            Phase::Written
        };
        log.append(0, records(phase)).unwrap();
    }
    assert_eq!(log.droppable_before(2), 4, "entry 4 is open");
    log.settle(4, Vec::new(), 0).unwrap();
    assert_eq!(log.droppable_before(2), 10);
    log.dropped_before(10);
    assert_eq!(
        log.kept(),
        Kept {
            oldest: 10,
            head: 11
        }
    );
    assert_eq!(log.droppable_before(100), 10);
}

#[test]
fn intents_are_bounded() {
    let mut log = Log::new(origin("a.1"));
    for _ in 0..INTENTS_MAX {
        log.append(0, records(Phase::Intended)).unwrap();
    }
    assert!(log.append(0, records(Phase::Intended)).is_err());
    assert!(log.append(0, records(Phase::Written)).is_ok());
}

#[test]
fn readers_resume_or_begin_anew() {
    let held: BTreeMap<_, _> = [("a.1", 5, 9), ("b.1", 1, 4)]
        .map(|(name, oldest, head)| (origin(name), Kept { oldest, head }))
        .into();
    let head = "a.1=9,b.1=4";
    for (asked, expected) in [
        (None, Err(head)),
        (Some(""), Err(head)),
        (Some("a.1=3,b.1=4"), Err(head)),
        (Some("a.1=4"), Ok("a.1=4")),
        (Some("a.1=4,b.1=4"), Ok("a.1=4,b.1=4")),
        (Some("a.1=9,b.1=7"), Ok("a.1=9,b.1=7")),
        (Some("a.1=10,b.1=4"), Err(head)),
        (Some("a.1=9,c.1=3"), Ok("a.1=9,c.1=3")),
        (Some("a.1=9,b.2=3"), Ok("a.1=9,b.2=3")),
    ] {
        let asked: Option<Position> = asked.map(|text| text.parse().unwrap());
        let expected = match expected {
            Ok(after) => Resume::After(after.parse().unwrap()),
            Err(head) => Resume::Anew(head.parse().unwrap()),
        };
        assert_eq!(
            resume(&held, &origin("a.1"), asked.as_ref()),
            expected,
            "{asked:?}"
        );
    }
}

#[test]
fn what_a_former_life_said_may_be_missing() {
    let held: BTreeMap<_, _> = [("a.1", 1, 9), ("b.2", 1, 3)]
        .map(|(name, oldest, head)| (origin(name), Kept { oldest, head }))
        .into();
    for (position, expected) in [
        // Purges of b.1 may have passed it by, whether it has heard of b before or not.
        ("", false),
        ("a.1=9", false),
        ("a.1=9,b.1=3", false),
        ("a.1=9,b.2=1", true),
        ("a.1=9,b.1=3,b.2=1", true),
    ] {
        let found = reaches(&held, &position.parse().unwrap());
        assert_eq!(found, expected, "{position}");
    }
}

#[test]
fn reads_wait_for_positions() {
    for (held, at_least, behind) in [
        ("a.1=3", "", None),
        ("a.1=3", "a.1=3", None),
        ("a.1=3", "a.1=4", Some("a.1")),
        ("a.1=3", "b.1=1", Some("b.1")),
        ("a.2=1", "a.1=900", None),
        ("a.1=3", "a.2=1", Some("a.2")),
    ] {
        let found = reach(&held.parse().unwrap(), &at_least.parse().unwrap());
        let found = match found {
            Reach::Reached => None,
            Reach::Behind(origin, _) => Some(origin.to_string()),
        };
        assert_eq!(found.as_deref(), behind, "{held} {at_least}");
    }
}

proptest! {
    /// Whatever happens, what a recovered log holds open is exactly what was intended and not settled.
    #[test]
    fn recovered_as_it_was(steps in proptest::collection::vec(0u8..4, 0..60)) {
        let mut log = Log::new(origin("a.1"));
        let mut entries = Vec::new();
        for step in steps {
            match step {
                0 => entries.push(log.append(0, records(Phase::Intended)).unwrap()),
                1 => entries.push(log.append(0, records(Phase::Written)).unwrap()),
                2 => {
                    let first = log.open().map(|(sequence, _)| sequence).next();
                    entries.extend(first.and_then(|intent| log.settle(intent, Vec::new(), 0)));
                }
                _ => {
                    let last = log.open().map(|(sequence, _)| sequence).last();
                    entries.extend(last.and_then(|intent| log.settle(intent, Vec::new(), 0)));
                }
            }
        }
        let found = Log::recover(origin("a.1"), &entries).unwrap();
        prop_assert_eq!(found.kept().head, entries.len() as u64);
        prop_assert_eq!(found.open().collect::<Vec<_>>(), log.open().collect::<Vec<_>>());
    }
}
