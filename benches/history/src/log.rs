//! Holds the change logs against what was acknowledged, or seen: log before write.

use crate::{
    check::{values_told, values_written},
    history::{Call, Commit, Operation, Outcome, sort},
};
use brink_protocol::{
    OriginId,
    change::{Change, ChangeKind, Phase, RecordChange},
    link::Condition,
    log::Log,
    record::Version,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most faults that one check reports.
pub const FAULTS_MAX: usize = 100;

/// What the logs lack. `logs` are those of all stores at the end, whole, oldest entry first.
///
/// - A log has no gap, and each of its intents has an end.
/// - An acknowledged write is named, with its versions, by the entry that the acknowledgement gave.
/// - A write that somebody saw is named by an entry of its store, though its own outcome is not known.
#[must_use]
pub fn check(logs: &BTreeMap<OriginId, Vec<Change>>, operations: &[Operation]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut named = BTreeSet::new();
    for (origin, log) in logs {
        match Log::recover(origin.clone(), log) {
            Ok(found) => {
                let open: Vec<u64> = found.open().map(|(intent, _)| intent).collect();
                if !open.is_empty() {
                    faults.push(format!("the log of {origin} leaves {open:?} open"));
                }
            }
            Err(error) => faults.push(format!("the log of {origin}: {error}")),
        }
        for change in log {
            if let ChangeKind::Records {
                partition, records, ..
            } = &change.kind
            {
                let partition = partition.partition.as_str();
                let of = records.iter().map(|record| record.sort.as_str());
                named.extend(of.map(|sort| (origin, partition, sort)));
            }
        }
    }
    let seen: BTreeSet<(&str, u64)> = operations
        .iter()
        .flat_map(|operation| {
            let told = values_told(operation).into_iter();
            told.map(|value| (operation.partition.as_str(), value))
        })
        .collect();
    for operation in operations {
        let Call::Commit(commit) = &operation.call else {
            continue;
        };
        match &operation.outcome {
            Outcome::Done { sequence, versions } => {
                let log = logs.get(&operation.origin);
                let fault = log.map_or_else(
                    || Some("its log is not there".to_owned()),
                    |log| unnamed(log, operation, commit, *sequence, versions),
                );
                faults.extend(fault.map(|fault| format!("{operation}: {fault}")));
            }
            Outcome::Unknown => {
                let partition = operation.partition.as_str();
                // Counted values are not one write's alone.
                let own = |value: u64| value >= COUNTED_MAX && seen.contains(&(partition, value));
                let is_named = |record: usize| {
                    let sort = sort(record);
                    named.contains(&(&operation.origin, partition, sort.as_str()))
                };
                // A deletion may have found nothing.
                let mut puts = commit.writes.iter().filter(|write| write.value.is_some());
                if values_written(operation).any(own) && !puts.all(|put| is_named(put.record)) {
                    faults.push(format!("{operation}: it was seen, and no entry names it"));
                }
            }
            _ => {}
        }
        if faults.len() >= FAULTS_MAX {
            break;
        }
    }
    faults
}

/// Values below are counted; others are one write's alone.
pub const COUNTED_MAX: u64 = 1 << 20;

fn unnamed(
    log: &[Change],
    operation: &Operation,
    commit: &Commit,
    sequence: u64,
    versions: &[Option<Version>],
) -> Option<String> {
    let changed: Vec<RecordChange> = commit
        .writes
        .iter()
        .zip(versions)
        // Only a deletion of a version has certainly found something.
        .filter(|(write, version)| {
            version.is_some() || matches!(write.condition, Condition::Version(_))
        })
        .map(|(write, version)| RecordChange {
            sort: sort(write.record),
            version: *version,
        })
        .collect();
    if changed.is_empty() {
        return None;
    }
    let first = log.first().map_or(0, |first| first.sequence);
    let at = sequence.checked_sub(first).map(usize::try_from);
    let entry = match at {
        Some(Ok(at)) => log.get(at),
        _ => None,
    };
    let Some(entry) = entry else {
        return Some(format!("there is no entry {sequence}"));
    };
    match &entry.kind {
        ChangeKind::Records {
            partition,
            records,
            phase: Phase::Settled { .. } | Phase::Written,
        } if partition.partition == operation.partition
            && changed.iter().all(|record| records.contains(record)) =>
        {
            None
        }
        other => Some(format!("entry {sequence} is {other:?}")),
    }
}
