//! What clients ask: chance, and what they have read.

use brink_history::history::{Call, Commit, Held, KEYS, Outcome, RECORDS, Write};
use brink_planet::random::Random;
use brink_protocol::link::Condition;

/// The records of a partition as a client has last seen them.
pub(crate) type View = [Option<Held>; RECORDS];

/// What to do next.
pub(crate) enum Next {
    /// One operation.
    Call(Call),
    /// To read, and then to write what depends on it.
    ReadThen(Call, Then),
}

/// What follows a read.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// The counting record is counted on.
    Increment,
    /// Others are written if all is as it was read.
    Several,
    /// As that, and what was read is a range.
    OfRange,
}

/// What is only read.
pub(crate) fn reading(random: &mut Random) -> Call {
    match random.below(10) {
        0..=4 => Call::Get(random.below(RECORDS)),
        5 | 6 => Call::GetMany,
        7 => Call::Scan,
        8 => Call::LastVersion(random.below(RECORDS)),
        _ => Call::Answer(random.below(KEYS)),
    }
}

/// Any operation. `value` is its own.
pub(crate) fn next(random: &mut Random, view: &View, value: u64) -> Next {
    match random.below(100) {
        0..=39 => Next::Call(reading(random)),
        40..=53 => Next::ReadThen(Call::Get(0), Then::Increment),
        54..=61 => Next::ReadThen(Call::GetMany, Then::Several),
        62..=67 => Next::ReadThen(Call::Scan, Then::OfRange),
        68..=77 => {
            let mut commit = single(random, view, Some(value));
            commit.answer = Some((random.below(KEYS), value));
            Next::Call(Call::Commit(commit))
        }
        78..=85 => Next::Call(Call::Commit(single(random, view, None))),
        _ => Next::Call(Call::Commit(single(random, view, Some(value)))),
    }
}

/// One that counts is never among them.
fn other(random: &mut Random) -> usize {
    1 + random.below(RECORDS - 1)
}

fn version(view: &View, record: usize) -> Option<u64> {
    view.get(record).copied().flatten().map(|held| held.version)
}

fn single(random: &mut Random, view: &View, value: Option<u64>) -> Commit {
    let record = other(random);
    let condition = match (random.chance(0.5), version(view, record)) {
        (false, _) => Condition::Always,
        (true, Some(version)) => Condition::Version(version),
        (true, None) => Condition::Absent,
    };
    let writes = vec![Write {
        record,
        value,
        condition,
    }];
    Commit {
        seen: Vec::new(),
        is_range: false,
        writes,
        answer: None,
    }
}

/// What follows a read; none: it was not answered.
pub(crate) fn follow(random: &mut Random, then: Then, read: &Outcome, value: u64) -> Option<Call> {
    let commit = match (then, read) {
        (Then::Increment, Outcome::Record(held)) => {
            let write = Write {
                record: 0,
                value: Some(held.map_or(1, |held| held.value + 1)),
                condition: held.map_or(Condition::Absent, |held| Condition::Version(held.version)),
            };
            Commit {
                seen: Vec::new(),
                is_range: false,
                writes: vec![write],
                answer: None,
            }
        }
        (Then::Several | Then::OfRange, Outcome::Records(found)) => {
            let versions = found.iter().map(|held| held.map(|held| held.version));
            let mut seen: Vec<_> = versions.enumerate().collect();
            let is_range = matches!(then, Then::OfRange);
            if !is_range {
                // Those that were looked at: some are written, others are not.
                seen.retain(|_| random.chance(0.6));
            }
            Commit {
                seen,
                is_range,
                writes: several(random, value),
                answer: None,
            }
        }
        _ => return None,
    };
    Some(Call::Commit(commit))
}

fn several(random: &mut Random, value: u64) -> Vec<Write> {
    let left_out = random.chance(0.5).then(|| other(random));
    let records = (1..RECORDS).filter(|record| Some(*record) != left_out);
    let writes = records.map(|record| Write {
        record,
        value: random.chance(0.85).then_some(value),
        condition: Condition::Always,
    });
    writes.collect()
}

/// Keeps what was read.
pub(crate) fn learn(view: &mut View, call: &Call, outcome: &Outcome) {
    match (call, outcome) {
        (Call::Get(record), Outcome::Record(held)) => {
            if let Some(known) = view.get_mut(*record) {
                *known = *held;
            }
        }
        (_, Outcome::Records(found)) => {
            for (known, held) in view.iter_mut().zip(found) {
                *known = *held;
            }
        }
        (Call::Commit(commit), Outcome::Done { versions, .. }) => {
            for (write, version) in commit.writes.iter().zip(versions) {
                let held = write.value.zip(*version);
                if let Some(known) = view.get_mut(write.record) {
                    *known = held.map(|(value, version)| Held { value, version });
                }
            }
        }
        _ => {}
    }
}
