//! The newest log lines of modules, in memory.

use brink_protocol::{ModuleName, TenantName, link::LogLine};
use serde::Serialize;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};
use tokio::sync::watch;

/// Lines that are kept; the oldest go first.
pub const LINES_MAX: usize = 10_000;
/// Bytes of messages and fields that are kept; the oldest go first.
pub const BYTES_MAX: usize = 64 << 20;

/// A line and its place in the sequence of all lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NumberedLine {
    /// Counts from 1 since the core's start.
    pub number: u64,
    /// The line.
    #[serde(flatten)]
    pub line: LogLine,
}

/// Which lines.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// Of this tenant.
    pub tenant: TenantName,
    /// Of this module; none: of every module.
    pub module: Option<ModuleName>,
    /// After this number: the oldest of them first. None: the newest lines, in order.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<NumberedLine>,
    bytes: usize,
    last: u64,
}

/// A ring of lines.
pub struct Logs {
    ring: Mutex<Ring>,
    last: watch::Sender<u64>,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            ring: Mutex::default(),
            last: watch::Sender::new(0),
        }
    }
}

fn weight(line: &LogLine) -> usize {
    let fields: usize = line
        .fields
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let place = line.place.len() + line.level.len();
    let trace = line.trace_id.as_ref().map_or(0, String::len);
    line.message.len() + fields + place + trace
}

impl Logs {
    /// Adds lines.
    pub fn add(&self, lines: impl IntoIterator<Item = LogLine>) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines {
            ring.last += 1;
            ring.bytes += weight(&line);
            let number = ring.last;
            ring.lines.push_back(NumberedLine { number, line });
            while ring.lines.len() > LINES_MAX || ring.bytes > BYTES_MAX {
                let Some(oldest) = ring.lines.pop_front() else {
                    break;
                };
                ring.bytes -= weight(&oldest.line);
            }
        }
        self.last.send_replace(ring.last);
    }

    /// Wakes when lines were added; carries the last number.
    #[must_use]
    pub fn added(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// The lines that are asked for, in order.
    #[must_use]
    pub fn read(&self, query: &LogQuery) -> Vec<NumberedLine> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |numbered: &&NumberedLine| {
            numbered.line.tenant == query.tenant
                && query
                    .module
                    .as_ref()
                    .is_none_or(|module| numbered.line.module == *module)
        };
        match query.after {
            Some(after) => {
                let begin = ring
                    .lines
                    .partition_point(|numbered| numbered.number <= after);
                ring.lines
                    .range(begin..)
                    .filter(wanted)
                    .take(query.limit)
                    .cloned()
                    .collect()
            }
            None => {
                let mut newest: Vec<_> = ring
                    .lines
                    .iter()
                    .rev()
                    .filter(wanted)
                    .take(query.limit)
                    .cloned()
                    .collect();
                newest.reverse();
                newest
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(module: &str, message: String) -> LogLine {
        LogLine {
            at_ms: 1,
            tenant: "default".parse().unwrap(),
            module: module.parse().unwrap(),
            place: "ams".into(),
            level: "info".into(),
            message,
            fields: Vec::new(),
            trace_id: None,
        }
    }

    fn query(module: Option<&str>, after: Option<u64>, limit: usize) -> LogQuery {
        LogQuery {
            tenant: "default".parse().unwrap(),
            module: module.map(|name| name.parse().unwrap()),
            after,
            limit,
        }
    }

    #[test]
    fn newest_or_after_and_bounded() {
        let logs = Logs::default();
        logs.add((1..=6).map(|n| line(if n % 2 == 0 { "even" } else { "odd" }, n.to_string())));
        for (query, expected) in [
            (query(None, None, 2), vec![5, 6]),
            (query(Some("odd"), None, 2), vec![3, 5]),
            (query(None, Some(2), 2), vec![3, 4]),
            (query(Some("even"), Some(2), 9), vec![4, 6]),
            (query(Some("other"), None, 9), vec![]),
        ] {
            let numbers: Vec<_> = logs.read(&query).iter().map(|line| line.number).collect();
            assert_eq!(numbers, expected, "{query:?}");
        }
        let mut other = query(None, None, 9);
        other.tenant = "other".parse().unwrap();
        assert_eq!(logs.read(&other), []);
        logs.add((0..LINES_MAX).map(|_| line("odd", String::new())));
        assert_eq!(
            logs.read(&query(None, Some(0), usize::MAX)).len(),
            LINES_MAX
        );
        logs.add((0..3).map(|_| line("odd", "x".repeat(BYTES_MAX / 2))));
        assert!(logs.read(&query(None, None, usize::MAX)).len() <= 2);
    }
}
