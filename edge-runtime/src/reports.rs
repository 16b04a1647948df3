//! What a PoP tells its core: its position, the purges that it applied, what its modules logged.
//!
//! Everything that waits to be told is bounded; what is over is dropped and counted.

use brink_protocol::{
    PopName,
    link::{AppliedPurge, LogLine, PopFigures, REPORT_LOG_LINES_MAX, Report},
};
use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::sync::Notify;

/// Log lines that wait; beyond them the oldest is dropped and counted.
const LOG_LINES_WAITING_MAX: usize = 4 * REPORT_LOG_LINES_MAX;
/// Bytes of log lines in one report.
const REPORT_LOG_BYTES_MAX: usize = 4 << 20;
/// Applied purges that wait; beyond them the oldest is dropped (its proof is then the PoP's position).
const PURGES_WAITING_MAX: usize = 10_000;
/// How often a report is sent when nothing is urgent.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What waits to be told.
#[derive(Debug, Default)]
pub struct Reports {
    waiting: Mutex<Waiting>,
    urgent: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    log_lines: VecDeque<LogLine>,
    log_lines_dropped: u64,
    purges: VecDeque<AppliedPurge>,
}

impl Reports {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A module logged a line.
    pub fn logged(&self, line: LogLine) {
        let mut waiting = self.waiting();
        if waiting.log_lines.len() == LOG_LINES_WAITING_MAX {
            waiting.log_lines.pop_front();
            waiting.log_lines_dropped += 1;
        }
        waiting.log_lines.push_back(line);
    }

    /// A purge was applied: the next report goes out at once.
    pub fn purged(&self, id: String, objects: u64, now: SystemTime) {
        let at_ms = unix_ms(now);
        let mut waiting = self.waiting();
        if waiting.purges.len() == PURGES_WAITING_MAX {
            waiting.purges.pop_front();
        }
        waiting
            .purges
            .push_back(AppliedPurge { id, at_ms, objects });
        drop(waiting);
        self.urgent.notify_one();
    }

    /// Something else happened that the core should know at once.
    pub fn urge(&self) {
        self.urgent.notify_one();
    }

    /// Waits until the next report is due.
    pub async fn due(&self) {
        let _ = tokio::time::timeout(INTERVAL, self.urgent.notified()).await;
    }

    /// Takes what waits into a report.
    #[must_use]
    pub fn take(&self, pop: PopName, state: State) -> Report {
        let mut waiting = self.waiting();
        let mut bytes = 0;
        let fits = |line: &&LogLine| {
            let fields = line.fields.iter().map(|(n, v)| n.len() + v.len() + 8);
            bytes += line.message.len() + fields.sum::<usize>() + 256;
            bytes <= REPORT_LOG_BYTES_MAX
        };
        let count = waiting
            .log_lines
            .iter()
            .take(REPORT_LOG_LINES_MAX)
            .take_while(fits)
            .count();
        Report {
            pop,
            position: state.position,
            revision: state.revision,
            purges: mem::take(&mut waiting.purges).into(),
            counts: Vec::new(),
            canary: None,
            log_lines: waiting.log_lines.drain(..count).collect(),
            log_lines_dropped: mem::take(&mut waiting.log_lines_dropped),
            figures: state.figures,
        }
    }

    /// The report did not reach the core: its content waits again, before what came meanwhile.
    pub fn give_back(&self, report: Report) {
        let mut waiting = self.waiting();
        for purge in report.purges.into_iter().rev() {
            if waiting.purges.len() < PURGES_WAITING_MAX {
                waiting.purges.push_front(purge);
            }
        }
        waiting.log_lines_dropped += report.log_lines_dropped;
        for line in report.log_lines.into_iter().rev() {
            if waiting.log_lines.len() < LOG_LINES_WAITING_MAX {
                waiting.log_lines.push_front(line);
            } else {
                waiting.log_lines_dropped += 1;
            }
        }
    }
}

/// What a report says of the PoP itself.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// What was applied.
    pub position: brink_protocol::Position,
    /// The active revision of the deployment table.
    pub revision: u64,
    /// Sums.
    pub figures: PopFigures,
}

/// Milliseconds since 1970.
#[must_use]
pub fn unix_ms(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(message: String) -> LogLine {
        LogLine {
            at_ms: 0,
            tenant: "t".parse().unwrap(),
            module: "m".parse().unwrap(),
            place: "ams".into(),
            level: "info".into(),
            message,
            fields: Vec::new(),
            trace_id: None,
        }
    }

    fn take(reports: &Reports) -> Report {
        reports.take("ams".parse().unwrap(), State::default())
    }

    #[test]
    fn lines_over_the_bound_are_dropped_and_counted() {
        let reports = Reports::default();
        for number in 0..LOG_LINES_WAITING_MAX + 3 {
            reports.logged(line(number.to_string()));
        }
        let report = take(&reports);
        assert_eq!(report.log_lines.len(), REPORT_LOG_LINES_MAX);
        assert_eq!(report.log_lines_dropped, 3);
        assert_eq!(report.log_lines.first().unwrap().message, "3");
        assert_eq!(take(&reports).log_lines_dropped, 0);
    }

    #[test]
    fn a_report_of_long_lines_is_short() {
        let reports = Reports::default();
        for _ in 0..REPORT_LOG_LINES_MAX {
            reports.logged(line("x".repeat(16 << 10)));
        }
        let first = take(&reports).log_lines.len();
        assert!((200..REPORT_LOG_LINES_MAX).contains(&first), "{first}");
        assert!(!take(&reports).log_lines.is_empty());
    }

    #[test]
    fn what_did_not_arrive_is_told_again_in_order() {
        let reports = Reports::default();
        let purge = |id: &str| reports.purged(id.into(), 1, SystemTime::UNIX_EPOCH);
        purge("a");
        reports.logged(line("1".into()));
        let lost = take(&reports);
        purge("b");
        reports.logged(line("2".into()));
        reports.give_back(lost);
        let report = take(&reports);
        let ids: Vec<_> = report.purges.iter().map(|p| p.id.as_str()).collect();
        let messages: Vec<_> = report
            .log_lines
            .iter()
            .map(|l| l.message.as_str())
            .collect();
        assert_eq!((ids, messages), (vec!["a", "b"], vec!["1", "2"]));
    }

    #[tokio::test]
    async fn a_purge_makes_a_report_due() {
        let reports = Reports::default();
        reports.purged("a".into(), 0, SystemTime::UNIX_EPOCH);
        let due = tokio::time::timeout(Duration::ZERO, reports.due()).await;
        assert!(due.is_ok());
    }
}
