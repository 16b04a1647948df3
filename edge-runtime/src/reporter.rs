//! Sends what waits in [`Reports`] to the core. The answers are what the lease is made of.
//!
//! Two streams of reports run beside each other. The first is small and regular: every half second, or a quarter of the
//! lease if that is less, and at once when something is urgent. Each of its answers is a claim (coherence.md, P2), which
//! counts from the moment before its report was sent. The second carries log lines; however many there are, the first is
//! not held up by them. Reports do not wait for a place among the link's other questions either.

use crate::{
    cache::Cache,
    canary::CanaryReader,
    figures::Sums,
    link::{Link, LinkError},
    modules::Platform,
    progress::Progress,
    reports::{INTERVAL, Reports, State},
};
use brink_protocol::{
    PopName,
    link::{PopFigures, Report, ReportAnswer, path},
};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Shortest time between two reports of the first stream: what is urgent in between goes together.
const GAP: Duration = Duration::from_millis(20);
/// Reports with log lines, while there are any.
const LINES_INTERVAL: Duration = Duration::from_millis(500);
/// A report whose answer does not come is given up after the lease, but not before this.
const ANSWER_WAIT_MIN: Duration = Duration::from_secs(1);

/// Sends reports.
pub struct Reporter {
    /// Who reports.
    pub pop: PopName,
    /// The way to the core.
    pub link: Link,
    /// Its position and figures are reported, and claims go to it.
    pub cache: Cache,
    /// What the feed has brought.
    pub progress: Arc<Progress>,
    /// What waits to be told.
    pub reports: Arc<Reports>,
    /// Sums.
    pub sums: Arc<Sums>,
    /// What the cache says of the canary.
    pub canary: Arc<CanaryReader>,
    /// Knows the record cache.
    pub platform: Arc<Platform>,
    /// Round trip of the last report, in microseconds; 0: none yet.
    pub round_trip_us: AtomicU64,
    /// Held while the cache's journal is synced.
    pub syncing: Mutex<()>,
}

impl Reporter {
    /// Reports until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let reporting = async {
            tokio::join!(self.beat(), self.tell_lines());
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = reporting => {}
        }
    }

    /// Half a second, or a quarter of the lease.
    fn interval(&self) -> Duration {
        INTERVAL.min(self.cache.lease() / 4).max(GAP)
    }

    /// The regular stream.
    async fn beat(&self) -> Infallible {
        let mut is_refused = false;
        let mut last = tokio::time::Instant::now();
        loop {
            let interval = self.interval();
            if is_refused {
                // What is urgent and cannot be sent is not sent more often than the rest.
                tokio::time::sleep(interval).await;
            } else {
                self.reports.due(last + interval).await;
                tokio::time::sleep_until(last + GAP).await;
            }
            self.link.connected().await;
            last = tokio::time::Instant::now();
            let canary = self.canary.read().await;
            let mut report = self.reports.take(self.pop.clone(), self.state());
            report.canary = canary;
            is_refused = !self.send(report, is_refused).await;
        }
    }

    /// The stream of log lines.
    async fn tell_lines(&self) -> Infallible {
        let mut is_refused = false;
        loop {
            self.reports.has_lines().await;
            self.link.connected().await;
            if let Some(report) = self.reports.take_lines(self.pop.clone(), || self.state()) {
                is_refused = !self.send(report, is_refused).await;
            }
            tokio::time::sleep(LINES_INTERVAL).await;
        }
    }

    fn state(&self) -> State {
        let figures = self.cache.figures();
        let (record_hits, record_misses) = self.platform.record_figures();
        State {
            position: self.cache.position(),
            revision: self.progress.revision_active(),
            figures: PopFigures {
                requests: self.sums.requests(),
                hits: self.sums.hits(),
                entries: figures.entries,
                bytes: figures.bytes,
                fence_refusals: figures.fenced,
                lease_expiries: figures.lease_expiries,
                feed_resets: self.progress.feed_resets(),
                round_trip_us: self.round_trip_us.load(Ordering::Relaxed),
                record_hits,
                record_misses,
            },
        }
    }

    async fn send(&self, report: Report, was_refused: bool) -> bool {
        // What it says is applied stays applied, even if the power fails (coherence.md, P1).
        // One after the other: who finds nothing to sync must not go before the other has synced it.
        let syncing = self.syncing.lock().await;
        self.cache.synced().await;
        drop(syncing);
        // Before it is sent: what the core answers was true at this moment or later.
        let sent = Instant::now();
        match self.ask(&report).await {
            Ok(answer) => {
                let age = Duration::from_millis(answer.age_ms);
                self.progress.set_head(answer.head.clone());
                self.cache.claim(sent, answer.head, age);
                let took = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.round_trip_us.store(took.max(1), Ordering::Relaxed);
                true
            }
            Err(error) => {
                if !was_refused {
                    tracing::warn!(%error, "a report did not reach the core, it is sent again");
                }
                self.reports.give_back(report);
                false
            }
        }
    }

    async fn ask(&self, report: &Report) -> Result<ReportAnswer, LinkError> {
        let wait = self.cache.lease().max(ANSWER_WAIT_MIN);
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let asking = self.link.tell(path::REPORTS, report);
        tokio::time::timeout(wait, asking)
            .await
            .unwrap_or(Err(LinkError::Timeout(ms)))
    }
}
