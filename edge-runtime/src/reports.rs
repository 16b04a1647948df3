//! What a PoP tells its core: its position, the purges that it applied, what its modules logged.
//!
//! Everything that waits to be told is bounded; what is over is dropped and counted.

use brink_protocol::{
    PopName,
    link::{AppliedPurge, Counted, LogLine, PopFigures, REPORT_LOG_LINES_MAX, Report},
};
use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{sync::Notify, time::Instant};

/// Log lines that wait; beyond them the oldest is dropped and counted.
const LOG_LINES_WAITING_MAX: usize = 4 * REPORT_LOG_LINES_MAX;
/// Bytes of log lines in one report.
const REPORT_LOG_BYTES_MAX: usize = 1 << 20;
/// Applied purges in one report: a few tens of KiB. More go into the next, which follows at once.
const REPORT_PURGES_MAX: usize = 500;
/// Applied purges that wait; beyond them the oldest is dropped (its proof is then the PoP's position).
const PURGES_WAITING_MAX: usize = 10_000;
/// Counts of dry runs that wait; beyond them the oldest is dropped: who asked has long gone.
const COUNTS_WAITING_MAX: usize = 64;
/// How often a report is sent when nothing is urgent.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// What waits to be told.
#[derive(Debug, Default)]
pub struct Reports {
    waiting: Mutex<Waiting>,
    urgent: Notify,
    lines: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    log_lines: VecDeque<LogLine>,
    log_lines_dropped: u64,
    purges: VecDeque<AppliedPurge>,
    counts: VecDeque<Counted>,
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
        drop(waiting);
        self.lines.notify_one();
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

    /// A dry run was counted: the next report goes out at once.
    pub fn counted(&self, counted: Counted) {
        let mut waiting = self.waiting();
        if waiting.counts.len() == COUNTS_WAITING_MAX {
            waiting.counts.pop_front();
        }
        waiting.counts.push_back(counted);
        drop(waiting);
        self.urgent.notify_one();
    }

    /// Something else happened that the core should know at once.
    pub fn urge(&self) {
        self.urgent.notify_one();
    }

    /// Waits until the next report is due: at `regular`, or when something is urgent.
    pub async fn due(&self, regular: Instant) {
        let _ = tokio::time::timeout_at(regular, self.urgent.notified()).await;
    }

    /// Waits until there are log lines to tell, or some were dropped.
    pub async fn has_lines(&self) {
        loop {
            let has_lines = {
                let waiting = self.waiting();
                !waiting.log_lines.is_empty() || waiting.log_lines_dropped > 0
            };
            if has_lines {
                return;
            }
            self.lines.notified().await;
        }
    }

    /// Takes what waits into a report, but for log lines.
    #[must_use]
    pub fn take(&self, pop: PopName, state: State) -> Report {
        let mut waiting = self.waiting();
        let count = waiting.purges.len().min(REPORT_PURGES_MAX);
        let purges = waiting.purges.drain(..count).collect();
        if !waiting.purges.is_empty() {
            self.urgent.notify_one();
        }
        Report {
            purges,
            counts: mem::take(&mut waiting.counts).into(),
            ..state.report(pop)
        }
    }

    /// Takes log lines into a report of their own; none if there are none.
    #[must_use]
    pub fn take_lines(&self, pop: PopName, state: impl FnOnce() -> State) -> Option<Report> {
        let mut waiting = self.waiting();
        if waiting.log_lines.is_empty() && waiting.log_lines_dropped == 0 {
            return None;
        }
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
        let log_lines = waiting.log_lines.drain(..count).collect();
        let log_lines_dropped = mem::take(&mut waiting.log_lines_dropped);
        drop(waiting);
        Some(Report {
            log_lines,
            log_lines_dropped,
            ..state().report(pop)
        })
    }

    /// The report did not reach the core: its content waits again, before what came meanwhile.
    pub fn give_back(&self, report: Report) {
        let mut waiting = self.waiting();
        for purge in report.purges.into_iter().rev() {
            if waiting.purges.len() < PURGES_WAITING_MAX {
                waiting.purges.push_front(purge);
            }
        }
        for counted in report.counts.into_iter().rev() {
            if waiting.counts.len() < COUNTS_WAITING_MAX {
                waiting.counts.push_front(counted);
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

impl State {
    fn report(self, pop: PopName) -> Report {
        Report {
            pop,
            position: self.position,
            revision: self.revision,
            purges: Vec::new(),
            counts: Vec::new(),
            canary: None,
            log_lines: Vec::new(),
            log_lines_dropped: 0,
            figures: self.figures,
        }
    }
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

    fn take_lines(reports: &Reports) -> Option<Report> {
        reports.take_lines("ams".parse().unwrap(), State::default)
    }

    #[test]
    fn lines_over_the_bound_are_dropped_and_counted() {
        let reports = Reports::default();
        for number in 0..LOG_LINES_WAITING_MAX + 3 {
            reports.logged(line(number.to_string()));
        }
        assert!(take(&reports).log_lines.is_empty());
        let report = take_lines(&reports).unwrap();
        assert_eq!(report.log_lines.len(), REPORT_LOG_LINES_MAX);
        assert_eq!(report.log_lines_dropped, 3);
        assert_eq!(report.log_lines.first().unwrap().message, "3");
        assert_eq!(take_lines(&reports).unwrap().log_lines_dropped, 0);
        while take_lines(&reports).is_some() {}
    }

    #[test]
    fn a_report_of_long_lines_is_short() {
        let reports = Reports::default();
        for _ in 0..REPORT_LOG_LINES_MAX {
            reports.logged(line("x".repeat(16 << 10)));
        }
        let first = take_lines(&reports).unwrap().log_lines.len();
        assert!((50..REPORT_LOG_LINES_MAX).contains(&first), "{first}");
        assert!(!take_lines(&reports).unwrap().log_lines.is_empty());
    }

    #[test]
    fn what_did_not_arrive_is_told_again_in_order() {
        let reports = Reports::default();
        let purge = |id: &str| reports.purged(id.into(), 1, SystemTime::UNIX_EPOCH);
        let count = |id: &str| {
            reports.counted(Counted {
                id: id.into(),
                objects: 1,
                bytes: 2,
            });
        };
        purge("a");
        count("a");
        reports.logged(line("1".into()));
        let lost = [take(&reports), take_lines(&reports).unwrap()];
        purge("b");
        count("b");
        reports.logged(line("2".into()));
        for report in lost {
            reports.give_back(report);
        }
        let report = take(&reports);
        let ids: Vec<_> = report.purges.iter().map(|p| p.id.as_str()).collect();
        let counts: Vec<_> = report.counts.iter().map(|c| c.id.as_str()).collect();
        let report = take_lines(&reports).unwrap();
        let messages: Vec<_> = report
            .log_lines
            .iter()
            .map(|l| l.message.as_str())
            .collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(counts, ["a", "b"]);
        assert_eq!(messages, ["1", "2"]);
    }

    #[tokio::test]
    async fn many_purges_go_into_several_reports_in_order() {
        let reports = Reports::default();
        let total = 2 * REPORT_PURGES_MAX + 1;
        for number in 0..total {
            reports.purged(number.to_string(), 1, SystemTime::UNIX_EPOCH);
        }
        let mut told = Vec::new();
        let mut lost = 0;
        while told.len() < total {
            // What is left is due at once.
            let later = Instant::now() + Duration::from_secs(3600);
            let due = tokio::time::timeout(Duration::from_secs(60), reports.due(later)).await;
            assert!(due.is_ok());
            let report = take(&reports);
            assert!(report.purges.len() <= REPORT_PURGES_MAX);
            if told.len() == REPORT_PURGES_MAX && lost == 0 {
                lost += 1;
                reports.give_back(report);
                reports.urge();
            } else {
                told.extend(report.purges.into_iter().map(|purge| purge.id));
            }
        }
        let expected: Vec<_> = (0..total).map(|number| number.to_string()).collect();
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn those_who_tell_lines_wait_for_some() {
        let reports = Reports::default();
        assert!(take_lines(&reports).is_none());
        let waits = tokio::time::timeout(Duration::ZERO, reports.has_lines()).await;
        assert!(waits.is_err());
        reports.logged(line("1".into()));
        reports.has_lines().await;
    }

    #[tokio::test]
    async fn a_purge_makes_a_report_due() {
        let reports = Reports::default();
        reports.purged("a".into(), 0, SystemTime::UNIX_EPOCH);
        let later = Instant::now() + Duration::from_secs(3600);
        let due = tokio::time::timeout(Duration::ZERO, reports.due(later)).await;
        assert!(due.is_ok());
    }
}
