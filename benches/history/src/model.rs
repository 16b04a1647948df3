//! What a partition does when operations come one after the other.

use crate::history::{Call, Commit, Held, KEYS, Outcome, RECORDS};
use brink_protocol::{link::Condition, record::Version};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Row {
    /// Its versions go on when it is deleted and written again.
    last: Version,
    value: Option<u64>,
}

impl Row {
    fn version(self) -> Option<Version> {
        self.value.map(|_| self.last)
    }

    fn held(self) -> Option<Held> {
        let version = self.last;
        self.value.map(|value| Held { value, version })
    }
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Partition {
    records: [Row; RECORDS],
    answers: [Option<u64>; KEYS],
}

/// What an operation does to a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It could happen here, and changes nothing.
    Same,
    /// It could happen here, with this after it.
    Next(Partition),
    /// With that outcome it cannot happen here.
    Never,
}

impl Partition {
    fn row(&self, record: usize) -> Row {
        self.records.get(record).copied().unwrap_or_default()
    }

    /// What an operation with this outcome does here. One whose outcome is not known either takes effect, or has never
    /// happened: there is no step for it then.
    #[must_use]
    pub fn step(&self, call: &Call, outcome: &Outcome) -> Step {
        let holds = match (call, outcome) {
            (Call::Commit(commit), outcome) => return self.commit(commit, outcome),
            (Call::Get(record), Outcome::Record(found)) => self.row(*record).held() == *found,
            (Call::GetMany | Call::Scan, Outcome::Records(found)) => {
                let held = self.records.iter().map(|row| row.held());
                held.eq(found.iter().copied())
            }
            (Call::LastVersion(record), Outcome::Version(version)) => {
                self.row(*record).last == *version
            }
            (Call::Answer(key), Outcome::Kept(found)) => self.answer(*key) == *found,
            _ => false,
        };
        if holds { Step::Same } else { Step::Never }
    }

    fn answer(&self, key: usize) -> Option<u64> {
        self.answers.get(key).copied().flatten()
    }

    fn commit(&self, commit: &Commit, outcome: &Outcome) -> Step {
        let kept = commit.answer.and_then(|(key, _)| self.answer(key));
        let fails = |present: Option<Version>| self.conflicts(commit).any(|found| found == present);
        let is_free = kept.is_none();
        let could = match outcome {
            Outcome::Answered(found) => {
                let same = kept == Some(*found);
                return if same { Step::Same } else { Step::Never };
            }
            Outcome::Conflict { present } => {
                let same = is_free && fails(*present);
                return if same { Step::Same } else { Step::Never };
            }
            Outcome::Done { .. } | Outcome::Unknown => {
                is_free && self.conflicts(commit).next().is_none()
            }
            _ => false,
        };
        if !could {
            return Step::Never;
        }
        let (next, versions) = self.written(commit);
        match outcome {
            Outcome::Done { versions: told, .. } if *told != versions => Step::Never,
            _ if next != *self => Step::Next(next),
            // Nothing of it would ever be seen.
            Outcome::Unknown => Step::Never,
            _ => Step::Same,
        }
    }

    /// What does not hold of what a commit has seen and asks for: the versions that are there instead.
    fn conflicts(&self, commit: &Commit) -> impl Iterator<Item = Option<Version>> {
        let changed = |(record, version): &(usize, Option<Version>)| {
            let present = self.row(*record).version();
            (present != *version).then_some(present)
        };
        let seen: Vec<_> = commit.seen.iter().filter_map(changed).collect();
        // A range has no version of its own.
        let seen = match (commit.is_range, seen.is_empty()) {
            (true, false) => vec![None],
            _ => seen,
        };
        let conditions = commit.writes.iter().filter_map(|write| {
            let present = self.row(write.record).version();
            let holds = match write.condition {
                Condition::Always => true,
                Condition::Absent => present.is_none(),
                Condition::Version(version) => present == Some(version),
            };
            (!holds).then_some(present)
        });
        seen.into_iter().chain(conditions)
    }

    fn written(&self, commit: &Commit) -> (Self, Vec<Option<Version>>) {
        let mut next = self.clone();
        let mut versions = Vec::with_capacity(commit.writes.len());
        for write in &commit.writes {
            let Some(row) = next.records.get_mut(write.record) else {
                versions.push(None);
                continue;
            };
            row.value = write.value;
            row.last += u64::from(write.value.is_some());
            versions.push(row.version());
        }
        if let Some((key, answer)) = commit.answer
            && let Some(kept) = next.answers.get_mut(key)
        {
            *kept = Some(answer);
        }
        (next, versions)
    }
}
