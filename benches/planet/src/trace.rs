//! The part of a history that led to a violation, for people.

use crate::{
    checker::Violation,
    history::{Event, Seen},
};
use std::fmt::Write as _;

/// Most lines of a trace.
const LINES_MAX: usize = 40;

/// What happened to the records and objects of a violation until it was seen: their writes and purges, and all faults.
#[must_use]
pub fn trace(history: &[Event], violation: &Violation) -> String {
    let named: Vec<&Event> = violation
        .events
        .iter()
        .filter_map(|at| history.get(*at))
        .collect();
    let seen = named.iter().flat_map(|event| match event {
        Event::Read(read) => read.seen.as_slice(),
        _ => &[],
    });
    let mut keys = Vec::new();
    let mut objects = Vec::new();
    for seen in seen {
        match seen {
            Seen::Record { key, .. } => keys.push(*key),
            Seen::Object { object, .. } => objects.push(*object),
        }
    }
    let until_us = named
        .iter()
        .map(|event| event.at_us())
        .max()
        .unwrap_or(u64::MAX);
    let mut values = Vec::new();
    let mut purges = Vec::new();
    for event in history {
        match event {
            Event::WriteBegan { key, value, .. } if keys.contains(key) => values.push(*value),
            Event::PurgeBegan {
                id,
                objects: purged,
                ..
            } if purged.iter().any(|object| objects.contains(object)) => purges.push(*id),
            _ => {}
        }
    }
    let concerns = |event: &Event| match event {
        Event::WriteBegan { value, .. }
        | Event::WriteAcked { value, .. }
        | Event::WriteFailed { value, .. } => values.contains(value),
        Event::PurgeBegan { id, .. } | Event::PurgeAcked { id, .. } => purges.contains(id),
        Event::PurgeReported { id, pop, .. } => {
            purges.contains(id)
                && named
                    .iter()
                    .any(|event| matches!(event, Event::Read(read) if read.pop == *pop))
        }
        Event::Fault { .. } => true,
        _ => false,
    };
    let before = |event: &&Event| event.at_us() <= until_us;
    let mut told: Vec<&Event> = history
        .iter()
        .filter(before)
        .filter(|e| concerns(e))
        .collect();
    told.sort_by_key(|event| event.at_us());
    let from = told.len().saturating_sub(LINES_MAX);
    let mut text = String::new();
    for event in told.into_iter().skip(from).chain(named) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "    {event:?}");
    }
    text
}
