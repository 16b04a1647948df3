//! What a transaction does to a partition as it was read. Pure.

use super::partition::{ANSWER, Anchor, RECORD, RowState, RowWrite};
use crate::{
    Error,
    store::{Action, Answer, Commit, NewAnswer, Seen, Transaction, checks},
};
use brink_protocol::{
    ModuleName, Position,
    change::RecordChange,
    link::Condition,
    record::{Page, Version},
};
use std::collections::BTreeMap;

/// A partition as it was read, as far as a transaction needs it.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Read before everything else.
    pub(super) anchor: Anchor,
    /// Records by sort key; those that never were are not there.
    pub(super) rows: BTreeMap<String, RowState>,
    /// The row under the transaction's idempotency key.
    pub(super) answer: Option<(RowState, Answer)>,
    /// For each range that was seen, in their order, what it holds now.
    pub(super) ranges: Vec<Page>,
}

/// Which writes happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// All.
    Write,
    /// Deletions of records whose lifetime has ended; one with a version, of that version alone.
    Sweep,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Decision {
    /// Nothing: the transaction ends here.
    End(Commit),
    /// Nothing is to be changed.
    Nothing {
        /// The versions of the records that were named.
        versions: Vec<Option<Version>>,
        /// Those that were to be deleted and are gone, by a write that may not be settled yet.
        gone: Vec<RecordChange>,
    },
    /// These rows are to be written.
    Write(Plan),
}

/// Writes of a partition.
#[derive(Debug)]
pub(super) struct Plan {
    /// The rows of records.
    pub(super) rows: Vec<RowWrite>,
    /// For each write of the transaction the record's version after it.
    pub(super) versions: Vec<Option<Version>>,
    /// For the log.
    pub(super) changes: Vec<RecordChange>,
    /// The row that the answer takes the place of.
    pub(super) answer_before: Option<RowState>,
}

/// Whether rows that the transaction does not write must be from one moment. What it writes is named in the conditions
/// of the commit, row by row, and may be read from a quorum.
pub(super) fn needs_serial(transaction: &Transaction) -> bool {
    let is_written = |sort: &str| {
        let of = |write: &crate::store::Write| {
            write.sort == sort && matches!(write.action, Action::Put { .. })
        };
        transaction.writes.iter().any(of)
    };
    let is_deletion = |write: &crate::store::Write| matches!(write.action, Action::Delete);
    transaction.writes.iter().any(is_deletion)
        || transaction.seen.iter().any(|seen| match seen {
            Seen::Record { sort, .. } => !is_written(sort),
            Seen::Range { .. } => true,
        })
}

/// Decides.
pub(super) fn decide(transaction: &Transaction, mode: Mode, view: &View) -> Decision {
    let now_ms = transaction.now_ms;
    if let Some((state, answer)) = &view.answer
        && state.is_alive(now_ms)
    {
        return Decision::End(Commit::Answered(answer.clone()));
    }
    let present = |sort: &str| {
        let row = view.rows.get(sort).filter(|row| row.is_alive(now_ms));
        row.map(|row| row.version)
    };
    let mut ranges = view.ranges.iter();
    for seen in &transaction.seen {
        let conflict = match seen {
            Seen::Record { sort, version } => {
                let present = present(sort);
                (present != *version).then_some(present)
            }
            Seen::Range { entries, more, .. } => {
                let is_same = ranges.next().is_some_and(|page| {
                    let found = page
                        .entries
                        .iter()
                        .map(|entry| (&entry.sort, entry.version));
                    page.more == *more && found.eq(entries.iter().map(|(sort, v)| (sort, *v)))
                });
                (!is_same).then_some(None)
            }
        };
        if let Some(present) = conflict {
            return Decision::End(Commit::Conflict { present });
        }
    }
    // A sweep is about records that are not there any more: it looks at the rows themselves.
    let writes = transaction.writes.iter();
    for write in writes.filter(|_| mode == Mode::Write) {
        let present = present(&write.sort);
        if !checks::holds(write.condition, present) {
            return Decision::End(Commit::Conflict { present });
        }
    }
    plan(transaction, mode, view)
}

fn plan(transaction: &Transaction, mode: Mode, view: &View) -> Decision {
    let mut plan = Plan {
        rows: Vec::new(),
        versions: Vec::with_capacity(transaction.writes.len()),
        changes: Vec::new(),
        answer_before: view.answer.as_ref().map(|(state, _)| *state),
    };
    let mut gone = Vec::new();
    for write in &transaction.writes {
        let before = view.rows.get(&write.sort).copied();
        let last = before.map_or(0, |row| row.version);
        let (after, value) = match &write.action {
            Action::Put {
                value,
                expires_at_ms,
            } => {
                let after = RowState::new(last.saturating_add(1), *expires_at_ms);
                (after, Some(value.clone()))
            }
            Action::Delete => (RowState::deleted(last), None),
        };
        let version = value.is_some().then_some(after.version);
        let is_due = before.is_some_and(|row| row.is_there() && !row.is_alive(transaction.now_ms));
        let is_change = match mode {
            Mode::Write => version.is_some() || before.is_some_and(|row| row.is_there()),
            Mode::Sweep => match write.condition {
                Condition::Version(version) => is_due && last == version,
                Condition::Always | Condition::Absent => is_due,
            },
        };
        plan.versions.push(version);
        if !is_change {
            if mode == Mode::Write && before.is_some() {
                gone.push(RecordChange {
                    sort: write.sort.clone(),
                    version: None,
                });
            }
            continue;
        }
        plan.changes.push(RecordChange {
            sort: write.sort.clone(),
            version,
        });
        plan.rows.push(RowWrite {
            kind: RECORD,
            sort: write.sort.clone(),
            before,
            after,
            value,
        });
    }
    if plan.rows.is_empty() && transaction.answer.is_none() {
        let versions = plan.versions;
        return Decision::Nothing { versions, gone };
    }
    Decision::Write(plan)
}

/// Under which sort key an answer is kept. No module has a name with a slash.
pub(super) fn answer_sort(command: &ModuleName, key: &str) -> String {
    format!("{command}/{key}")
}

/// The row of the answer that is kept beside what a plan writes.
pub(super) fn answer_row(
    new: &NewAnswer,
    plan: &Plan,
    position: Position,
    now_ms: u64,
) -> Result<RowWrite, Error> {
    let before = plan.answer_before;
    let answer = new.kept(position, &plan.versions, now_ms)?;
    let bytes = postcard::to_stdvec(&answer).map_err(|error| Error::corrupt("answer", error))?;
    let version = before.map_or(0, |row| row.version).saturating_add(1);
    Ok(RowWrite {
        kind: ANSWER,
        sort: answer_sort(&new.command, &new.key),
        before,
        after: RowState::new(version, Some(answer.expires_at_ms)),
        value: Some(bytes.into()),
    })
}
