//! What happened in a run, seen by one observer: a line of JSON for each event.
//!
//! All times are readings of *one* clock that never goes back, in microseconds since the run began: virtual time in the
//! simulation, one machine's monotonic clock in a run with real processes. Events need no order in the file.
//!
//! Every write writes a value that no other write of the run writes, and no record is deleted: a record is a register
//! that is absent at first. Contents that the platform cannot track (an origin's page) are *objects* with a generation
//! that grows; purges are what makes them new.

use brink_protocol::{OriginId, Position};
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use std::{
    hash::{Hash, Hasher},
    io::{BufRead, Write},
};

/// Longest line of a history, in bytes.
pub const LINE_BYTES_MAX: u64 = 1 << 20;

/// Why a history could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("the history: {0}")]
    Io(#[from] std::io::Error),
    /// A line.
    #[error("line {line} of the history: {source}")]
    Line {
        /// Counts from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// A place in an origin's log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Whose log.
    pub origin: OriginId,
    /// Where in it.
    pub sequence: u64,
}

/// Where an answer came from, as far as its client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The PoP's cache, called fresh.
    Hit,
    /// A core or an origin was asked.
    Forward,
    /// The PoP's cache, marked as stale.
    Stale,
    /// There was no answer, or a refusal. Such a read is held to nothing.
    Error,
}

/// One thing that an answer showed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// A record.
    Record {
        /// Which.
        key: u64,
        /// Its value; none: it was absent.
        value: Option<u64>,
        /// Its version, if the answer told. Versions of a record only grow.
        version: Option<u64>,
    },
    /// An object of an origin.
    Object {
        /// Which.
        object: u64,
        /// Its generation.
        generation: u64,
    },
}

/// A request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Read {
    /// Who asked.
    pub client: u64,
    /// In which session; 0: in none.
    pub session: u64,
    /// Which PoP.
    pub pop: u32,
    /// Before the request was sent.
    pub began_us: u64,
    /// After the whole answer had come.
    pub ended_us: u64,
    /// Where the answer came from.
    pub source: Source,
    /// What the session token vouched for that the request carried; empty: it carried none. A request that carries one
    /// carries everything that its session had acknowledged before `began_us`.
    pub at_least: Position,
    /// What the answer showed: several things if it was derived from several records or a range.
    pub seen: Vec<Seen>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Names of the PoPs, by number. For messages.
    Pops {
        /// The names.
        names: Vec<String>,
    },
    /// A write is about to be sent.
    WriteBegan {
        /// Before it was sent.
        at_us: u64,
        /// Who writes.
        client: u64,
        /// In which session; 0: in none.
        session: u64,
        /// At which PoP.
        pop: u32,
        /// Which record.
        key: u64,
        /// What: the name of this write.
        value: u64,
    },
    /// It was acknowledged.
    WriteAcked {
        /// After the answer had come.
        at_us: u64,
        /// Which write.
        value: u64,
        /// The record's version, if the answer told.
        version: Option<u64>,
        /// The place of the entry that settled it, if the answer told.
        place: Option<Place>,
        /// What the session token of the answer vouches for; empty: there was none.
        token: Position,
    },
    /// It was not acknowledged.
    WriteFailed {
        /// When that was known.
        at_us: u64,
        /// Which write.
        value: u64,
        /// It may have happened, or may yet. If not, nobody may ever see it.
        is_unknown: bool,
    },
    /// A read.
    Read(Read),
    /// An origin serves a new generation of an object from now on. A first event with generation 0 is not needed.
    OriginChanged {
        /// After every answer of the origin is of this generation or a later one.
        at_us: u64,
        /// Which object.
        object: u64,
        /// Greater than the one before.
        generation: u64,
    },
    /// A purge is about to be sent.
    PurgeBegan {
        /// Before it was sent.
        at_us: u64,
        /// A name for it.
        id: u64,
        /// The objects that it matches.
        objects: Vec<u64>,
        /// Entries become stale instead of leaving.
        soft: bool,
    },
    /// It was acknowledged.
    PurgeAcked {
        /// After the answer had come.
        at_us: u64,
        /// Which purge.
        id: u64,
    },
    /// The purge's status said for the first time that a PoP had applied it.
    PurgeReported {
        /// After the answer had come that said so.
        at_us: u64,
        /// Which purge.
        id: u64,
        /// The PoP.
        pop: u32,
    },
    /// A crash, a cut, a healing: for people who read the history.
    Fault {
        /// When.
        at_us: u64,
        /// What.
        text: String,
    },
    /// All faults are over, all writes have ended, and time enough has passed: from now on every PoP answers with the newest.
    Quiesced {
        /// From when.
        at_us: u64,
    },
    /// What the record store holds at the end.
    Final {
        /// Which record.
        key: u64,
        /// Its value; none: it is absent.
        value: Option<u64>,
        /// Its version, if it is known.
        version: Option<u64>,
    },
}

impl Event {
    /// When it happened; a read: when it ended. 0 for what has no time.
    #[must_use]
    pub fn at_us(&self) -> u64 {
        match self {
            Self::Pops { .. } => 0,
            Self::Final { .. } => u64::MAX,
            Self::Read(read) => read.ended_us,
            Self::WriteBegan { at_us, .. }
            | Self::WriteAcked { at_us, .. }
            | Self::WriteFailed { at_us, .. }
            | Self::OriginChanged { at_us, .. }
            | Self::PurgeBegan { at_us, .. }
            | Self::PurgeAcked { at_us, .. }
            | Self::PurgeReported { at_us, .. }
            | Self::Fault { at_us, .. }
            | Self::Quiesced { at_us } => *at_us,
        }
    }
}

/// Writes events, one a line.
///
/// # Errors
/// The writer's.
pub fn write_lines<'a>(
    mut writer: impl Write,
    events: impl IntoIterator<Item = &'a Event>,
) -> Result<(), Error> {
    for event in events {
        serde_json::to_writer(&mut writer, event).map_err(std::io::Error::from)?;
        writer.write_all(b"\n")?;
    }
    Ok(writer.flush()?)
}

/// Reads what [`write_lines`] wrote; empty lines are skipped.
///
/// # Errors
/// The reader's; a line that is no event or is longer than [`LINE_BYTES_MAX`].
pub fn read_lines(mut reader: impl BufRead) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        let mut limited = std::io::Read::take(&mut reader, LINE_BYTES_MAX);
        if limited.read_line(&mut text)? == 0 {
            break;
        }
        if !text.trim().is_empty() {
            events
                .push(serde_json::from_str(&text).map_err(|source| Error::Line { line, source })?);
        }
    }
    Ok(events)
}

/// A number that two runs share if they recorded the same events in the same order.
#[must_use]
pub fn digest(events: &[Event]) -> u64 {
    let mut hasher = FxHasher::default();
    events.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_and_back() {
        let events = vec![
            Event::Pops {
                names: vec!["ams".into()],
            },
            Event::WriteAcked {
                at_us: 5,
                value: 7,
                version: Some(1),
                place: Some(Place {
                    origin: "core-1.1".parse().unwrap(),
                    sequence: 3,
                }),
                token: "core-1.1=3,core-2.1=9".parse().unwrap(),
            },
            Event::Read(Read {
                client: 1,
                session: 2,
                pop: 0,
                began_us: 1,
                ended_us: 2,
                source: Source::Stale,
                at_least: "core-1.1=3".parse().unwrap(),
                seen: vec![
                    Seen::Record {
                        key: 1,
                        value: None,
                        version: Some(0),
                    },
                    Seen::Object {
                        object: 4,
                        generation: 2,
                    },
                ],
            }),
            Event::Quiesced { at_us: 9 },
        ];
        let mut lines = Vec::new();
        write_lines(&mut lines, &events).unwrap();
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 4);
        let found = read_lines(lines.as_slice()).unwrap();
        assert_eq!(found, events);
        assert_eq!(digest(&found), digest(&events));
        assert_ne!(digest(&events), digest(events.get(1..).unwrap()));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error =
            read_lines(&b"{\"event\":\"quiesced\",\"at_us\":1}\n\nnonsense\n"[..]).unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error}");
    }
}
