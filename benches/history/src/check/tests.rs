//! Histories by hand, and many small ones of which another checker says the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::{
    history::{Commit, Held, KEYS, RECORDS, Write},
    model::{Partition, Step},
};
use brink_planet::random::Random;
use brink_protocol::link::Condition;
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};

fn operation(id: u64, began_ns: u64, ended_ns: u64, call: Call, outcome: Outcome) -> Operation {
    Operation {
        id,
        origin: "core.1".parse().unwrap(),
        partition: "p".to_owned(),
        began_ns,
        ended_ns: Some(ended_ns),
        call,
        outcome,
    }
}

fn write(record: usize, value: impl Into<Option<u64>>, condition: Condition) -> Write {
    Write {
        record,
        value: value.into(),
        condition,
    }
}

fn commit(writes: Vec<Write>) -> Call {
    Call::Commit(Commit {
        seen: Vec::new(),
        is_range: false,
        writes,
        answer: None,
    })
}

fn put(record: usize, value: u64) -> Call {
    commit(vec![write(record, value, Condition::Always)])
}

fn done(versions: &[u64]) -> Outcome {
    Outcome::Done {
        sequence: 1,
        versions: versions.iter().map(|v| Some(*v)).collect(),
    }
}

fn found(value: u64, version: u64) -> Outcome {
    Outcome::Record(Some(Held { value, version }))
}

const NOTHING: Outcome = Outcome::Record(None);

#[test]
fn histories_by_hand() {
    use Condition::Version;
    let get = || Call::Get(1);
    let at = operation;
    let keyed = |value: u64| {
        Call::Commit(Commit {
            seen: Vec::new(),
            is_range: false,
            writes: vec![write(1, value, Condition::Always)],
            answer: Some((0, value)),
        })
    };
    let delete = || commit(vec![write(1, None, Condition::Always)]);
    let both = || {
        commit(vec![
            write(1, 5, Condition::Always),
            write(2, 6, Condition::Always),
        ])
    };
    for (name, holds, history) in [
        (
            "a write and a read",
            true,
            vec![
                at(1, 0, 1, put(1, 7), done(&[1])),
                at(2, 2, 3, get(), found(7, 1)),
            ],
        ),
        (
            "an old read after an acknowledged write",
            false,
            vec![
                at(1, 0, 1, put(1, 7), done(&[1])),
                at(2, 2, 3, get(), NOTHING),
            ],
        ),
        (
            "an old read beside a write",
            true,
            vec![
                at(1, 0, 3, put(1, 7), done(&[1])),
                at(2, 2, 3, get(), NOTHING),
            ],
        ),
        (
            "new, then old, beside a write",
            false,
            vec![
                at(1, 0, 9, put(1, 7), done(&[1])),
                at(2, 2, 3, get(), found(7, 1)),
                at(3, 4, 5, get(), NOTHING),
            ],
        ),
        (
            "a write of unknown outcome that happens late",
            true,
            vec![
                at(1, 0, 1, put(1, 7), Outcome::Unknown),
                at(2, 2, 3, get(), NOTHING),
                at(3, 4, 5, get(), found(7, 1)),
            ],
        ),
        (
            "one that happens twice",
            false,
            vec![
                at(1, 0, 1, put(1, 7), Outcome::Unknown),
                at(2, 2, 3, get(), found(7, 1)),
                at(3, 4, 5, put(1, 8), done(&[2])),
                at(4, 6, 7, get(), found(7, 3)),
            ],
        ),
        (
            "one that never happens",
            true,
            vec![
                at(1, 0, 1, put(1, 7), Outcome::Unknown),
                at(2, 2, 3, get(), NOTHING),
            ],
        ),
        (
            "a refused one that happens",
            false,
            vec![
                at(1, 0, 1, put(1, 7), Outcome::Refused),
                at(2, 2, 3, get(), found(7, 1)),
            ],
        ),
        (
            "a condition that two meet",
            false,
            vec![
                at(1, 0, 1, put(1, 7), done(&[1])),
                at(2, 2, 5, commit(vec![write(1, 8, Version(1))]), done(&[2])),
                at(3, 2, 5, commit(vec![write(1, 9, Version(1))]), done(&[2])),
            ],
        ),
        (
            "a conflict without a reason",
            false,
            vec![
                at(1, 0, 1, put(1, 7), done(&[1])),
                at(
                    2,
                    2,
                    5,
                    commit(vec![write(1, 8, Version(1))]),
                    Outcome::Conflict { present: Some(2) },
                ),
            ],
        ),
        (
            "half of a commit",
            false,
            vec![
                at(1, 0, 9, both(), done(&[1, 1])),
                at(
                    2,
                    2,
                    3,
                    Call::GetMany,
                    Outcome::Records(vec![
                        None,
                        Some(Held {
                            value: 5,
                            version: 1,
                        }),
                        None,
                        None,
                    ]),
                ),
            ],
        ),
        (
            "its other half later",
            false,
            vec![
                at(1, 0, 9, both(), done(&[1, 1])),
                at(2, 2, 3, Call::Get(1), found(5, 1)),
                at(3, 4, 5, Call::Get(2), NOTHING),
            ],
        ),
        (
            "a deletion, and versions that go on",
            true,
            vec![
                at(1, 0, 1, put(1, 7), done(&[1])),
                at(
                    2,
                    2,
                    3,
                    commit(vec![write(1, None, Condition::Always)]),
                    Outcome::Done {
                        sequence: 1,
                        versions: vec![None],
                    },
                ),
                at(3, 4, 5, get(), NOTHING),
                at(4, 4, 5, Call::LastVersion(1), Outcome::Version(1)),
                at(5, 6, 7, put(1, 8), done(&[2])),
            ],
        ),
        (
            "a deletion that could have come before the write",
            true,
            vec![
                at(1, 0, 8, put(1, 7), done(&[1])),
                at(
                    2,
                    1,
                    9,
                    delete(),
                    Outcome::Done {
                        sequence: 1,
                        versions: vec![None],
                    },
                ),
                at(3, 10, 11, get(), NOTHING),
            ],
        ),
        (
            "a key that is answered once",
            true,
            vec![
                at(1, 0, 1, keyed(7), Outcome::Unknown),
                at(2, 2, 3, keyed(8), Outcome::Answered(7)),
                at(3, 4, 5, get(), found(7, 1)),
                at(4, 4, 5, Call::Answer(0), Outcome::Kept(Some(7))),
            ],
        ),
        (
            "a key that is taken twice",
            false,
            vec![
                at(1, 0, 1, keyed(7), done(&[1])),
                at(2, 2, 3, keyed(8), done(&[2])),
            ],
        ),
        (
            "a range that was not so any more",
            false,
            vec![
                at(1, 0, 1, put(1, 7), done(&[1])),
                at(
                    2,
                    2,
                    3,
                    Call::Commit(Commit {
                        seen: (0..RECORDS).map(|record| (record, None)).collect(),
                        is_range: true,
                        writes: vec![write(2, 8, Condition::Always)],
                        answer: None,
                    }),
                    done(&[1]),
                ),
            ],
        ),
    ] {
        let report = check(&history);
        assert!(report.undecided.is_empty());
        assert_eq!(
            report.violations.is_empty(),
            holds,
            "{name}: {:?}",
            report.violations
        );
    }
}

#[test]
fn what_is_shown_contradicts_itself() {
    let mut history = Vec::new();
    for n in 0..100u64 {
        let outcome = done(&[n + 1]);
        history.push(operation(2 * n, 10 * n, 10 * n + 1, put(1, n), outcome));
        let outcome = found(n, n + 1);
        history.push(operation(
            2 * n + 1,
            10 * n + 2,
            10 * n + 3,
            Call::Get(1),
            outcome,
        ));
    }
    let old = found(41, 42);
    history.push(operation(900, 505, 506, Call::Get(1), old));
    let report = check(&history);
    let shown: Vec<u64> = report.violations[0]
        .operations
        .iter()
        .map(|o| o.id)
        .collect();
    assert!(shown.len() <= 8 && shown.contains(&900), "{shown:?}");
    let text = report.violations[0].to_string();
    assert!(
        text.contains("#900 core.1 [0.000 .. 0.000 ms] Get(1)"),
        "{text}"
    );
}

#[derive(Clone, Default)]
struct Spec(Partition);

impl SequentialSpec for Spec {
    type Op = Call;
    type Ret = Outcome;

    fn invoke(&mut self, call: &Call) -> Outcome {
        if let Step::Next(next) = self.0.step(call, &Outcome::Unknown) {
            self.0 = next;
        }
        Outcome::Unknown
    }

    fn is_valid_step(&mut self, call: &Call, outcome: &Outcome) -> bool {
        match self.0.step(call, outcome) {
            Step::Never => false,
            Step::Same => true,
            Step::Next(next) => {
                self.0 = next;
                true
            }
        }
    }
}

fn says_the_other(history: &[Operation]) -> bool {
    let mut tester = LinearizabilityTester::new(Spec::default());
    let mut moments = Vec::new();
    for operation in history {
        moments.push((operation.began_ns, false, operation));
        if !operation.is_open() {
            moments.push((operation.ended_ns.unwrap(), true, operation));
        }
    }
    moments.sort_by_key(|(at, is_end, operation)| (*at, *is_end, operation.id));
    for (_, is_end, operation) in moments {
        // Each is a thread of its own.
        let done = match is_end {
            false => tester.on_invoke(operation.id, operation.call.clone()),
            true => tester.on_return(operation.id, operation.outcome.clone()),
        };
        done.unwrap();
    }
    tester.is_consistent()
}

fn any_call(random: &mut Random, id: u64) -> Call {
    let record = random.below(2);
    let condition = match random.below(4) {
        0 => Condition::Absent,
        1 => Condition::Version(random.between(1, 2)),
        _ => Condition::Always,
    };
    let value = random.chance(0.65).then_some(id);
    match random.below(8) {
        0 | 1 => Call::Get(record),
        2 => Call::Scan,
        3 => Call::LastVersion(record),
        4 => Call::Answer(random.below(KEYS)),
        5 => Call::Commit(Commit {
            seen: vec![(record, random.chance(0.3).then_some(1))],
            is_range: false,
            writes: vec![
                write(0, value, Condition::Always),
                write(1, value, condition),
            ],
            answer: None,
        }),
        6 => Call::Commit(Commit {
            seen: Vec::new(),
            is_range: false,
            writes: vec![write(record, value, Condition::Always)],
            answer: Some((0, id)),
        }),
        _ => commit(vec![write(record, value, condition)]),
    }
}

/// Outcomes of a store that is right, tried where it is asked; now and then one is forgotten or wrong.
fn any_history(random: &mut Random) -> Vec<Operation> {
    let mut state = Partition::default();
    let mut history = Vec::new();
    for id in 1..=7u64 {
        let began_ns = id * 10;
        let call = any_call(random, id);
        let held = |value, version| Held { value, version };
        let any_held = |random: &mut Random| {
            let chance = random.chance(0.6);
            chance.then(|| held(random.between(1, id), random.between(1, 3)))
        };
        // Which outcome the model allows: found by trying, as few are possible.
        let mut outcome = Outcome::Unknown;
        for _ in 0..400 {
            let guess = match &call {
                Call::Get(_) => Outcome::Record(any_held(random)),
                Call::Scan | Call::GetMany => {
                    Outcome::Records(vec![any_held(random), any_held(random), None, None])
                }
                Call::LastVersion(_) => Outcome::Version(random.between(0, 4)),
                Call::Answer(_) => Outcome::Kept(random.chance(0.5).then(|| random.between(1, id))),
                Call::Commit(commit) => match random.below(3) {
                    0 => Outcome::Conflict {
                        present: random.chance(0.5).then(|| random.between(1, 3)),
                    },
                    1 => Outcome::Answered(random.between(1, id)),
                    _ => {
                        let versions = commit
                            .writes
                            .iter()
                            .map(|write| write.value.map(|_| random.between(1, 4)));
                        Outcome::Done {
                            sequence: 1,
                            versions: versions.collect(),
                        }
                    }
                },
            };
            let step = state.step(&call, &guess);
            if step != Step::Never {
                outcome = guess;
                if let Step::Next(next) = step {
                    state = next;
                }
                break;
            }
        }
        if random.chance(0.15) {
            outcome = Outcome::Unknown;
        }
        let lasts = random.between(1, 35);
        history.push(operation(id, began_ns, began_ns + lasts, call, outcome));
    }
    for _ in 0..random.below(12) {
        let (a, b) = (random.below(7), random.below(7));
        let other = history[a].outcome.clone();
        if std::mem::discriminant(&other) == std::mem::discriminant(&history[b].outcome) {
            history[b].outcome = other;
        }
    }
    // What is not known of reads says nothing, and the other checker takes it for a thread that hangs.
    history.retain(|operation| !operation.is_open() || matches!(operation.call, Call::Commit(_)));
    history
}

/// `stateright` tries every order; for a few operations that can be waited for.
#[test]
fn another_checker_says_the_same() {
    let mut random = Random::new(7);
    let (mut right, mut wrong) = (0, 0);
    for round in 0..20_000 {
        let history = any_history(&mut random);
        let ours = check(&history);
        assert!(ours.undecided.is_empty());
        let theirs = says_the_other(&history);
        assert_eq!(
            ours.violations.is_empty(),
            theirs,
            "round {round}: {history:#?}"
        );
        if theirs { right += 1 } else { wrong += 1 }
    }
    assert!(right > 5_000 && wrong > 500, "{right} right, {wrong} wrong");
}
