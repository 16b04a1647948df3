//! Hand-made histories: each breaks one promise, or nearly does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::history::{Place, Seen};

const MS: u64 = 1_000;
const RULES: Rules = Rules {
    bound_us: 2_000 * MS,
};

/// A write of record 1 that is sent at `began` and acknowledged at `acked`, both in milliseconds.
fn write(value: u64, began: u64, acked: u64, version: Option<u64>, session: u64) -> Vec<Event> {
    let place = Place {
        origin: "core-1.1".parse().unwrap(),
        sequence: value * 2,
    };
    let token = format!("core-1.1={}", value * 2).parse().unwrap();
    vec![
        Event::WriteBegan {
            at_us: began * MS,
            client: 1,
            session,
            pop: 0,
            key: 1,
            value,
        },
        Event::WriteAcked {
            at_us: acked * MS,
            value,
            version,
            place: Some(place),
            token,
        },
    ]
}

fn failed(value: u64, began: u64, is_unknown: bool) -> Vec<Event> {
    let mut events = write(value, began, 0, None, 0);
    events[1] = Event::WriteFailed {
        at_us: (began + 10) * MS,
        value,
        is_unknown,
    };
    events
}

fn answer(began: u64, source: Source, session: u64, at_least: &str, seen: Seen) -> Event {
    Event::Read(Read {
        client: 2,
        session,
        pop: 0,
        began_us: began * MS,
        ended_us: (began + 5) * MS,
        source,
        at_least: at_least.parse().unwrap(),
        seen: vec![seen],
    })
}

fn shows(value: u64, version: Option<u64>) -> Seen {
    Seen::Record {
        key: 1,
        value: (value > 0).then_some(value),
        version,
    }
}

fn read(began: u64, source: Source, value: u64, version: Option<u64>) -> Event {
    answer(began, source, 0, "", shows(value, version))
}

fn object(began: u64, source: Source, generation: u64) -> Event {
    let seen = Seen::Object {
        object: 7,
        generation,
    };
    answer(began, source, 0, "", seen)
}

fn last(value: u64, version: Option<u64>) -> Event {
    Event::Final {
        key: 1,
        value: (value > 0).then_some(value),
        version,
    }
}

fn expect(name: &str, history: &[Vec<Event>], expected: &[Promise]) {
    let events: Vec<Event> = history.iter().flatten().cloned().collect();
    let found = check(&events, RULES);
    let mut promises: Vec<Promise> = found.iter().map(|violation| violation.promise).collect();
    promises.dedup();
    let messages: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(promises, expected, "{name}: {messages:#?}");
    for violation in found {
        assert!(violation.events.iter().all(|at| *at < events.len()));
    }
}

/// With versions and without.
fn expect_both(name: &str, history: impl Fn(bool) -> Vec<Vec<Event>>, expected: &[Promise]) {
    for known in [true, false] {
        expect(
            &format!("{name}, versions {known}"),
            &history(known),
            expected,
        );
    }
}

fn v(known: bool, version: u64) -> Option<u64> {
    known.then_some(version)
}

#[test]
fn fresh_answers_are_within_the_bound() {
    use Source::{Error, Forward, Hit, Stale};
    for (name, began, source, value, expected) in [
        ("new", 9_000, Hit, 2, &[][..]),
        ("old within the bound", 2_210, Hit, 1, &[]),
        ("old at the bound", 2_230, Hit, 1, &[]),
        ("old beyond the bound", 2_231, Hit, 1, &[Promise::P2]),
        ("old, forwarded", 2_231, Forward, 1, &[Promise::P2]),
        ("old and marked", 9_000, Stale, 1, &[]),
        ("no answer", 9_000, Error, 1, &[]),
        ("absent after it was there", 9_000, Hit, 0, &[Promise::P2]),
        ("absent within the bound", 2_010, Hit, 0, &[]),
    ] {
        let history = |known: bool| {
            let version = (value > 0)
                .then_some(value)
                .and_then(|value| v(known, value));
            vec![
                write(1, 0, 10, v(known, 1), 0),
                write(2, 200, 230, v(known, 2), 0),
                vec![read(began, source, value, version)],
            ]
        };
        expect_both(name, history, expected);
    }
}

#[test]
fn writes_that_overlap_are_ordered_by_version_alone() {
    let history = |versions: [Option<u64>; 2]| {
        vec![
            write(1, 0, 20, versions[0], 0),
            write(2, 10, 30, versions[1], 0),
            vec![read(9_000, Source::Hit, 1, versions[0])],
        ]
    };
    expect("no versions", &history([None, None]), &[]);
    expect("first", &history([Some(1), Some(2)]), &[Promise::P2]);
    expect("second", &history([Some(2), Some(1)]), &[]);
}

#[test]
fn unknown_outcomes_may_be_seen_and_may_not() {
    let seen = |value, version| vec![read(100, Source::Hit, value, version)];
    for (name, history, expected) in [
        (
            "unknown, seen",
            vec![failed(1, 0, true), seen(1, None)],
            &[][..],
        ),
        (
            "unknown, not seen",
            vec![failed(1, 0, true), seen(0, None)],
            &[],
        ),
        (
            "refused, not seen",
            vec![failed(1, 0, false), seen(0, None)],
            &[],
        ),
        (
            "refused, seen",
            vec![failed(1, 0, false), seen(1, None)],
            &[Promise::P5],
        ),
        ("never written", vec![seen(1, None)], &[Promise::P5]),
        (
            "of the future",
            vec![write(1, 106, 120, None, 0), seen(1, None)],
            &[Promise::P5],
        ),
        (
            "just sent",
            vec![write(1, 104, 120, None, 0), seen(1, None)],
            &[],
        ),
        (
            "two values of one version",
            vec![
                write(1, 0, 10, Some(1), 0),
                failed(2, 20, true),
                seen(2, Some(1)),
            ],
            &[Promise::P5],
        ),
        (
            "two versions of one value",
            vec![write(1, 0, 10, Some(1), 0), seen(1, Some(2))],
            &[Promise::P5],
        ),
        (
            "learned from a read, then older",
            vec![
                write(1, 0, 10, Some(1), 0),
                failed(2, 20, true),
                seen(2, Some(2)),
                write(3, 40, 50, Some(3), 0),
                vec![read(9_000, Source::Hit, 2, None)],
            ],
            &[Promise::P2],
        ),
    ] {
        expect(name, &history, expected);
    }
}

#[test]
fn sessions_see_what_their_tokens_cover() {
    let history = |value, session, token: &'static str| {
        move |known: bool| {
            let version = (value > 0)
                .then_some(value)
                .and_then(|value| v(known, value));
            vec![
                write(1, 0, 10, v(known, 1), 5),
                write(2, 20, 30, v(known, 2), 5),
                write(3, 40, 50, v(known, 3), 6),
                vec![answer(
                    60,
                    Source::Hit,
                    session,
                    token,
                    shows(value, version),
                )],
            ]
        }
    };
    for (name, value, session, token, expected) in [
        ("own", 2, 5, "core-1.1=4", &[][..]),
        ("newer than own", 3, 5, "core-1.1=4", &[]),
        ("older than own", 1, 5, "core-1.1=4", &[Promise::P4]),
        ("absent", 0, 5, "core-1.1=4", &[Promise::P4]),
        ("without the token", 1, 5, "", &[]),
        (
            "a token that covers others",
            2,
            7,
            "core-1.1=6",
            &[Promise::P4],
        ),
        ("a token that does not yet", 2, 7, "core-1.1=5", &[]),
        ("a token of another log", 1, 7, "core-2.1=9", &[]),
        (
            "marked as stale is no excuse",
            1,
            5,
            "core-1.1=4",
            &[Promise::P4],
        ),
    ] {
        expect_both(name, history(value, session, token), expected);
    }
    let mut stale = history(1, 5, "core-1.1=4")(true);
    if let Event::Read(read) = &mut stale[3][0] {
        read.source = Source::Stale;
    }
    expect("stale", &stale, &[Promise::P4]);
}

#[test]
fn acknowledged_writes_are_there_at_the_end() {
    for (name, value, version, expected) in [
        ("the newest", 2, Some(2), &[][..]),
        ("an older one", 1, Some(1), &[Promise::P5]),
        ("none", 0, None, &[Promise::P5]),
        ("another of the same version", 3, Some(2), &[Promise::P5]),
        ("one that was not acknowledged", 3, Some(3), &[]),
    ] {
        let history = [
            write(1, 0, 10, Some(1), 0),
            write(2, 20, 30, Some(2), 0),
            failed(3, 40, true),
            vec![last(value, version)],
        ];
        expect(name, &history, expected);
    }
    let other = Event::Final {
        key: 2,
        value: None,
        version: None,
    };
    let history = [write(1, 0, 10, None, 0), vec![other]];
    expect("a record is not there", &history, &[Promise::P5]);
    let history = [write(1, 0, 10, None, 0)];
    expect("a run without an end", &history, &[]);
    let history = [
        write(1, 0, 10, None, 0),
        write(2, 20, 30, None, 0),
        vec![last(1, None)],
    ];
    expect("by time", &history, &[Promise::P5]);
}

#[test]
fn versions_follow_acknowledgements() {
    let backward = [write(1, 0, 10, Some(5), 0), write(2, 20, 30, Some(4), 0)];
    expect("backward", &backward, &[Promise::P5]);
    let overlapping = [write(1, 0, 25, Some(5), 0), write(2, 20, 30, Some(4), 0)];
    expect("overlapping", &overlapping, &[]);
}

#[test]
fn nothing_stays_old() {
    let history = |began, value| {
        vec![
            write(1, 0, 10, Some(1), 0),
            write(2, 20, 30, Some(2), 0),
            vec![Event::Quiesced { at_us: 1_000 * MS }, last(2, Some(2))],
            vec![read(began, Source::Stale, value, Some(value))],
        ]
    };
    expect("old before", &history(999, 1), &[]);
    expect("old after", &history(1_000, 1), &[Promise::P3]);
    expect("new after", &history(1_000, 2), &[]);
}

#[test]
fn reported_purges_hold_at_their_pop() {
    use Source::{Forward, Hit, Stale};
    let history = |soft, pop, began, source, generation| {
        vec![
            vec![
                Event::OriginChanged {
                    at_us: 50 * MS,
                    object: 7,
                    generation: 1,
                },
                Event::OriginChanged {
                    at_us: 130 * MS,
                    object: 7,
                    generation: 2,
                },
                Event::PurgeBegan {
                    at_us: 100 * MS,
                    id: 1,
                    objects: vec![6, 7],
                    soft,
                },
                Event::PurgeAcked {
                    at_us: 150 * MS,
                    id: 1,
                },
                Event::PurgeReported {
                    at_us: 300 * MS,
                    id: 1,
                    pop,
                },
            ],
            vec![object(began, source, generation)],
        ]
    };
    for (name, soft, pop, began, source, generation, expected) in [
        ("old before the report", false, 0, 300, Hit, 0, &[][..]),
        (
            "old after the report",
            false,
            0,
            301,
            Hit,
            0,
            &[Promise::P1],
        ),
        ("forwarded", false, 0, 301, Forward, 0, &[Promise::P1]),
        ("as old as when it was sent", false, 0, 301, Hit, 1, &[]),
        ("of another PoP", false, 1, 301, Hit, 0, &[]),
        ("hard and marked", false, 0, 301, Stale, 0, &[Promise::P1]),
        ("soft and marked", true, 0, 301, Stale, 0, &[]),
        ("soft and not marked", true, 0, 301, Hit, 0, &[Promise::P1]),
        ("not reported, at the bound", false, 1, 2_150, Hit, 0, &[]),
        (
            "not reported, beyond it",
            false,
            1,
            2_151,
            Hit,
            0,
            &[Promise::P2],
        ),
        ("not reported, marked", false, 1, 9_000, Stale, 0, &[]),
    ] {
        expect(
            name,
            &history(soft, pop, began, source, generation),
            expected,
        );
    }
}

#[test]
fn long_histories_are_checked_in_good_time() {
    let mut history: Vec<Vec<Event>> = Vec::new();
    for n in 1..20_000 {
        history.push(write(n, n * 10, n * 10 + 5, Some(n), 5));
        history.push(vec![read(n * 10 + 6, Source::Hit, n, Some(n))]);
    }
    history.push(vec![read(900_000, Source::Hit, 17, Some(17))]);
    expect("one of 20,000", &history, &[Promise::P2]);
}
