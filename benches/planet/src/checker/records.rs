//! P2 to P5 of records.

use super::{
    Answer, Promise, Rules, Seconds, Violation,
    index::{Acknowledged, Index, Write},
};
use crate::history::{Seen, Source};

/// What an answer showed of a record.
#[derive(Clone, Copy)]
struct Shown<'a> {
    key: u64,
    value: Option<u64>,
    version: Option<u64>,
    write: Option<&'a Write>,
}

impl<'a> Shown<'a> {
    fn new(index: &'a Index<'_>, key: u64, value: Option<u64>, version: Option<u64>) -> Self {
        let write = value.and_then(|value| index.writes.get(&value));
        let learned = write.and_then(|write| write.version);
        Self {
            key,
            value,
            version: version.or(learned),
            write,
        }
    }

    /// The write, acknowledged by that moment, that this is older than.
    fn older_than(&self, acknowledged: &Acknowledged, moment: u64) -> Option<u64> {
        let (sent_us, latest) = acknowledged.sendings.height(moment)?;
        if self.value.is_none() {
            return Some(latest);
        }
        if let (Some(own), Some((version, of))) =
            (self.version, acknowledged.versions.height(moment))
            && own < version
        {
            return Some(of);
        }
        let acked_us = self.write.and_then(|write| write.acked_us);
        acked_us
            .is_some_and(|acked_us| acked_us < sent_us)
            .then_some(latest)
    }
}

/// Whether versions and acknowledgements contradict each other.
pub(super) fn check_order(index: &Index<'_>, violations: &mut Vec<Violation>) {
    for (key, version, value, at) in &index.contradictions {
        violations.push(Violation {
            promise: Promise::P5,
            message: format!(
                "version {version} of record {key} has two values, or {} has two versions",
                text(*value)
            ),
            events: vec![*at],
        });
    }
    let mut writes: Vec<_> = index.writes.iter().collect();
    writes.sort_unstable_by_key(|(_, write)| write.at);
    for (value, write) in writes {
        let (Some(version), Some(sent_us)) = (write.version, write.began_us.checked_sub(1)) else {
            continue;
        };
        let Some(before) = index.by_key.get(&write.key) else {
            continue;
        };
        if let Some((other, of)) = before.versions.height(sent_us)
            && other >= version
        {
            violations.push(Violation {
                promise: Promise::P5,
                message: format!(
                    "record {}: {} got version {version} though it was sent at {}, after {} had been acknowledged with version {other}",
                    write.key,
                    text(Some(*value)),
                    Seconds(write.began_us),
                    described(index, of),
                ),
                events: with(index, write.at, of),
            });
        }
    }
}

/// P2 to P5 of one answer.
pub(super) fn check_read(
    index: &Index<'_>,
    answer: Answer<'_>,
    rules: Rules,
    violations: &mut Vec<Violation>,
) {
    for seen in &answer.read.seen {
        let Seen::Record {
            key,
            value,
            version,
        } = seen
        else {
            continue;
        };
        let shown = Shown::new(index, *key, *value, *version);
        violations.extend(made_up(index, answer, shown));
        violations.extend(too_old(index, answer, shown, rules));
        violations.extend(old_after_rest(index, answer, shown));
        violations.extend(older_than_session(index, answer, shown));
    }
}

fn violation(
    index: &Index<'_>,
    promise: Promise,
    answer: Answer<'_>,
    shown: Shown<'_>,
    because: &str,
    of: Option<u64>,
) -> Violation {
    let read = answer.read;
    let newer = of.map_or_else(String::new, |of| format!(" {}", described(index, of)));
    let mut events = vec![answer.at];
    events.extend(
        of.and_then(|of| index.writes.get(&of))
            .map(|write| write.at),
    );
    Violation {
        promise,
        message: format!(
            "{} answered client {} from {} to {} ({:?}, session {}, at least [{}]) with {} of record {} (version {}){because}{newer}",
            index.pop(read.pop),
            read.client,
            Seconds(read.began_us),
            Seconds(read.ended_us),
            read.source,
            read.session,
            read.at_least,
            text(shown.value),
            shown.key,
            shown
                .version
                .map_or_else(|| "?".to_owned(), |v| v.to_string()),
        ),
        events,
    }
}

/// P5: nobody wrote it.
fn made_up(index: &Index<'_>, answer: Answer<'_>, shown: Shown<'_>) -> Option<Violation> {
    shown.value?;
    let because = match shown.write {
        None => ", which nobody wrote",
        Some(write) if write.key != shown.key => ", which was written to another record",
        Some(write) if write.began_us > answer.read.ended_us => ", which was written later",
        Some(write) if write.is_refused => ", which was refused",
        Some(_) => return None,
    };
    Some(violation(
        index,
        Promise::P5,
        answer,
        shown,
        because,
        shown.value,
    ))
}

/// P2.
fn too_old(
    index: &Index<'_>,
    answer: Answer<'_>,
    shown: Shown<'_>,
    rules: Rules,
) -> Option<Violation> {
    if answer.read.source == Source::Stale {
        return None;
    }
    let by_us = answer.read.began_us.checked_sub(rules.bound_us + 1)?;
    let of = shown.older_than(index.by_key.get(&shown.key)?, by_us)?;
    let because = format!(
        ": called fresh, yet longer than the bound of {} before it there was",
        Seconds(rules.bound_us)
    );
    Some(violation(
        index,
        Promise::P2,
        answer,
        shown,
        &because,
        Some(of),
    ))
}

/// P3.
fn old_after_rest(index: &Index<'_>, answer: Answer<'_>, shown: Shown<'_>) -> Option<Violation> {
    if answer.read.began_us < index.quiesced_us? {
        return None;
    }
    let (value, version, _) = index.last.get(&shown.key)?;
    if *value == shown.value {
        return None;
    }
    let because = format!(
        ": after everything had come to rest, when the store held {} (version {})",
        text(*value),
        version.map_or_else(|| "?".to_owned(), |v| v.to_string()),
    );
    Some(violation(
        index,
        Promise::P3,
        answer,
        shown,
        &because,
        *value,
    ))
}

/// P4.
fn older_than_session(
    index: &Index<'_>,
    answer: Answer<'_>,
    shown: Shown<'_>,
) -> Option<Violation> {
    let read = answer.read;
    if read.at_least.is_empty() {
        return None;
    }
    let own = index.by_session.get(&(read.session, shown.key));
    let own = own.filter(|_| read.session != 0);
    let by_own = own.and_then(|own| shown.older_than(own, read.began_us.checked_sub(1)?));
    if let Some(of) = by_own {
        let because = ": its own session had written";
        return Some(violation(
            index,
            Promise::P4,
            answer,
            shown,
            because,
            Some(of),
        ));
    }
    let logs = index.by_origin.get(&shown.key)?;
    let covered = |(origin, sequence)| shown.older_than(logs.get(origin)?, sequence);
    let of = read.at_least.iter().find_map(covered)?;
    let because = ": its token covers";
    Some(violation(
        index,
        Promise::P4,
        answer,
        shown,
        because,
        Some(of),
    ))
}

/// P5: what was acknowledged is there at the end.
pub(super) fn check_end(index: &Index<'_>, violations: &mut Vec<Violation>) {
    if index.last.is_empty() {
        return;
    }
    let mut keys: Vec<_> = index.by_key.iter().collect();
    keys.sort_unstable_by_key(|(key, _)| **key);
    for (key, acknowledged) in keys {
        let (value, version, at) = match index.last.get(key) {
            Some((value, version, at)) => (*value, *version, Some(*at)),
            None => (None, None, None),
        };
        let shown = Shown::new(index, *key, value, version);
        let Some(of) = shown.older_than(acknowledged, u64::MAX) else {
            continue;
        };
        let lost = index.writes.get(&of).map(|write| write.at);
        violations.push(Violation {
            promise: Promise::P5,
            message: format!(
                "the store ends with {} of record {key} (version {}): it lost {}",
                text(value),
                version.map_or_else(|| "?".to_owned(), |v| v.to_string()),
                described(index, of),
            ),
            events: at.into_iter().chain(lost).collect(),
        });
    }
}

fn text(value: Option<u64>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("value {value}"))
}

fn with(index: &Index<'_>, at: usize, of: u64) -> Vec<usize> {
    let other = index.writes.get(&of).map(|write| write.at);
    std::iter::once(at).chain(other).collect()
}

fn described(index: &Index<'_>, value: u64) -> String {
    let Some(write) = index.writes.get(&value) else {
        return text(Some(value));
    };
    let version = write
        .version
        .map_or_else(String::new, |version| format!("version {version}, "));
    let place = write.place.as_ref().map_or_else(String::new, |place| {
        format!(", {}={}", place.origin, place.sequence)
    });
    let acked = write.acked_us.map_or_else(
        || "not acknowledged".to_owned(),
        |acked| format!("acknowledged at {}", Seconds(acked)),
    );
    format!(
        "{} ({version}sent at {}, {acked}{place})",
        text(Some(value)),
        Seconds(write.began_us)
    )
}
