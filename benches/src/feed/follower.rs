//! A PoP without a cache: follows the feed and reports.

use super::writer::COLLECTION;
use anyhow::Result;
use brink_edge::link::{Asker, Link};
use brink_protocol::{
    PopName, Position,
    change::{ChangeKind, Phase},
    codec::FrameReader,
    link::{FeedMessage, FeedRequest, PopFigures, Report, ReportAnswer, path},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How often a PoP reports.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// A feed that broke is asked for again after this time.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// One follower.
pub(super) struct Follower {
    pub(super) link: Link,
    pub(super) pop: PopName,
    /// Changes that all followers have.
    pub(super) deliveries: Arc<AtomicU64>,
    pub(super) stop: CancellationToken,
}

/// What one follower saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Sequences of the writes, with when they arrived.
    pub(super) arrivals: Vec<(u64, Instant)>,
    /// Times that its feed ended before the run did.
    pub(super) feeds_broken: usize,
    /// Why the first did; none: the core ended it.
    pub(super) first_broken: Option<String>,
    pub(super) reports: usize,
    pub(super) reports_failed: usize,
}

type Shared = Arc<Mutex<Position>>;

impl Follower {
    /// Follows until it is stopped; `started` is called when the first feed has begun.
    pub(super) async fn run(self, started: impl FnOnce() + Send) -> Result<Seen> {
        let (link, token) = (self.link.clone(), self.stop.clone());
        tokio::spawn(async move { link.maintain(token).await });
        let position = Shared::default();
        let reporting = Reporting {
            link: self.link.clone(),
            pop: self.pop.clone(),
            position: Arc::clone(&position),
        };
        let mut started = Some(started);
        let mut reports = None;
        let mut seen = Seen::default();
        let mut resume = None;
        while !self.stop.is_cancelled() {
            let mut begun = || {
                if let Some(started) = started.take() {
                    started();
                    reports = Some(tokio::spawn(reporting.clone().run(self.stop.clone())));
                }
            };
            let following = self.feed(resume.take(), &position, &mut seen, &mut begun);
            // Biased: the end of the run ends the link, too, and that is no broken feed.
            let broken = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                outcome = following => outcome.err(),
            };
            if seen.feeds_broken == 0 {
                seen.first_broken = broken.map(|error| format!("{}: {error:#}", self.pop));
            }
            seen.feeds_broken += 1;
            resume = started.is_none().then(|| lock(&position).clone());
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        if let Some(reports) = reports {
            (seen.reports, seen.reports_failed) = reports.await?;
        }
        Ok(seen)
    }

    /// Follows one feed to its end.
    async fn feed(
        &self,
        resume: Option<Position>,
        position: &Shared,
        seen: &mut Seen,
        started: &mut (impl FnMut() + Send),
    ) -> Result<()> {
        let request = FeedRequest {
            pop: self.pop.clone(),
            position: resume,
        };
        self.link.connected().await;
        let mut body = self.link.stream(path::FEED, &request).await?;
        let mut frames = FrameReader::default();
        while let Some(piece) = body.body.piece().await? {
            let now = Instant::now();
            frames.push(&piece);
            while let Some(message) = frames.next::<FeedMessage>()? {
                match message {
                    FeedMessage::Start {
                        position: begin, ..
                    } => {
                        *lock(position) = begin;
                        started();
                    }
                    FeedMessage::Change(change) => {
                        lock(position).advance(&change.origin, change.sequence);
                        if is_ours(&change.kind) {
                            seen.arrivals.push((change.sequence, now));
                            self.deliveries.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    FeedMessage::Heartbeat { .. }
                    | FeedMessage::SessionKeys(_)
                    | FeedMessage::Count(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// Whether a change is the outcome of one of the run's writes.
fn is_ours(kind: &ChangeKind) -> bool {
    match kind {
        ChangeKind::Records {
            partition, phase, ..
        } => partition.collection == COLLECTION && *phase != Phase::Intended,
        ChangeKind::Purge(_) | ChangeKind::Deployments { .. } => false,
    }
}

fn lock(position: &Shared) -> std::sync::MutexGuard<'_, Position> {
    position.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Reporting {
    link: Link,
    pop: PopName,
    position: Shared,
}

impl Reporting {
    /// Reports until it is stopped; answers how often it did, and how often in vain.
    async fn run(self, stop: CancellationToken) -> (usize, usize) {
        let (mut sent, mut failed) = (0, 0);
        let mut due = tokio::time::interval(REPORT_EVERY);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return (sent, failed),
                _ = due.tick() => {}
            }
            let report = Report {
                pop: self.pop.clone(),
                position: lock(&self.position).clone(),
                revision: 0,
                purges: Vec::new(),
                counts: Vec::new(),
                canary: None,
                log_lines: Vec::new(),
                log_lines_dropped: 0,
                figures: PopFigures::default(),
            };
            let answer =
                self.link
                    .call::<_, ReportAnswer>(path::REPORTS, &report, Asker::default());
            tokio::select! {
                () = stop.cancelled() => return (sent, failed),
                answer = answer => match answer {
                    Ok(_) => sent += 1,
                    Err(_) => failed += 1,
                }
            }
        }
    }
}
