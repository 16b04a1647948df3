//! Each partition's history, and the least of it that cannot be explained.

use crate::{
    history::{Call, Operation, Outcome},
    search::{STEPS_MAX, Verdict, search},
};
use std::{collections::BTreeMap, fmt};

/// Steps of each search while a history is shortened.
const SHORTEN_STEPS_MAX: u64 = 50_000;

/// Operations of one partition that no order explains.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which partition.
    pub partition: String,
    /// Those that contradict each other, in the order in which they began. Writes that are not among them may have
    /// happened at any time after they began.
    pub operations: Vec<Operation>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {}: no order explains", self.partition)?;
        for operation in &self.operations {
            write!(f, "\n    {operation}")?;
        }
        Ok(())
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Partitions that were checked.
    pub partitions: usize,
    /// The longest history of one.
    pub longest: usize,
    /// Partitions that took too long to decide.
    pub undecided: Vec<String>,
    /// Partitions that no order explains.
    pub violations: Vec<Violation>,
}

/// Checks every partition.
#[must_use]
pub fn check(operations: &[Operation]) -> Report {
    let mut partitions: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        let of = partitions.entry(operation.partition.as_str()).or_default();
        of.push(operation);
    }
    let mut report = Report {
        partitions: partitions.len(),
        ..Report::default()
    };
    for (partition, history) in partitions {
        report.longest = report.longest.max(history.len());
        match search(&history, STEPS_MAX) {
            Verdict::Linearizable => {}
            Verdict::Undecided => report.undecided.push(partition.to_owned()),
            Verdict::Impossible => report.violations.push(Violation {
                partition: partition.to_owned(),
                operations: shorten(&history),
            }),
        }
    }
    report
}

fn is_impossible(history: &[Operation]) -> bool {
    let history: Vec<&Operation> = history.iter().collect();
    search(&history, SHORTEN_STEPS_MAX) == Verdict::Impossible
}

/// As it would have looked to somebody who stopped looking then.
fn until(history: &[&Operation], moment_ns: u64) -> Vec<Operation> {
    let begun = history
        .iter()
        .filter(|operation| operation.began_ns <= moment_ns);
    let seen = begun.map(|operation| {
        let mut operation = (*operation).clone();
        if operation.ended_ns.is_none_or(|ended| ended > moment_ns) {
            operation.ended_ns = None;
            operation.outcome = Outcome::Unknown;
        }
        operation
    });
    seen.collect()
}

/// Stops at the first moment that cannot be explained, then forgets one outcome after the other as long as the rest
/// contradicts itself without it.
fn shorten(history: &[&Operation]) -> Vec<Operation> {
    let mut moments: Vec<u64> = history.iter().filter_map(|o| o.ended_ns).collect();
    moments.sort_unstable();
    let fits = moments.partition_point(|moment| !is_impossible(&until(history, *moment)));
    let moment = moments.get(fits).copied().unwrap_or(u64::MAX);
    let mut rest = until(history, moment);
    rest.sort_by_key(|operation| operation.began_ns);
    for number in (0..rest.len()).rev() {
        let mut fewer = rest.clone();
        let Some(operation) = fewer.get_mut(number) else {
            continue;
        };
        if matches!(operation.call, Call::Commit(_)) && !operation.is_open() {
            operation.outcome = Outcome::Unknown;
        } else {
            // Commits that are open already may be what others saw: only reads go altogether.
            if matches!(operation.call, Call::Commit(_)) {
                continue;
            }
            fewer.remove(number);
        }
        if is_impossible(&fewer) {
            rest = fewer;
        }
    }
    shown(rest, history)
}

/// What is left, and the writes of unknown outcome that it shows.
fn shown(rest: Vec<Operation>, history: &[&Operation]) -> Vec<Operation> {
    let told: Vec<u64> = rest.iter().flat_map(values_told).collect();
    let open = |operation: &Operation| {
        let mut written = values_written(operation);
        operation.is_open() && written.any(|value| told.contains(&value))
    };
    let kept = rest.into_iter().filter(|o| !o.is_open() || open(o));
    // As they were noted, not as they were weakened.
    let noted = kept.map(|operation| {
        let noted = history.iter().find(|noted| noted.id == operation.id);
        noted.map_or(operation, |noted| (*noted).clone())
    });
    noted.collect()
}

/// Values that an operation would write.
pub(crate) fn values_written(operation: &Operation) -> impl Iterator<Item = u64> {
    let commit = match &operation.call {
        Call::Commit(commit) => Some(commit),
        _ => None,
    };
    let writes = commit.into_iter().flat_map(|commit| &commit.writes);
    let answer = commit.and_then(|commit| commit.answer);
    writes
        .filter_map(|write| write.value)
        .chain(answer.map(|(_, answer)| answer))
}

/// Values that an operation has shown.
pub(crate) fn values_told(operation: &Operation) -> Vec<u64> {
    match &operation.outcome {
        Outcome::Record(found) => found.iter().map(|held| held.value).collect(),
        Outcome::Records(found) => found.iter().flatten().map(|held| held.value).collect(),
        Outcome::Kept(found) => found.iter().copied().collect(),
        Outcome::Answered(answer) => vec![*answer],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
