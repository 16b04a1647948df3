//! Sends what waits in [`Reports`] to the core: each second, and at once when something is urgent.

use crate::{
    cache::Cache,
    figures::Sums,
    link::Link,
    progress::Progress,
    reports::{INTERVAL, Reports, State},
};
use brink_protocol::{
    PopName,
    link::{PopFigures, ReportAnswer, path},
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Sends reports.
pub struct Reporter {
    /// Who reports.
    pub pop: PopName,
    /// The way to the core.
    pub link: Link,
    /// Its position and figures are reported.
    pub cache: Cache,
    /// What the feed has brought.
    pub progress: Arc<Progress>,
    /// What waits to be told.
    pub reports: Arc<Reports>,
    /// Sums.
    pub sums: Arc<Sums>,
}

impl Reporter {
    /// Reports until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut is_refused = false;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.reports.due() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.link.connected() => {}
            }
            is_refused = !self.send(is_refused).await;
            if is_refused {
                // An urgent report that cannot be sent is not sent more often than the others.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(INTERVAL) => {}
                }
            }
        }
    }

    async fn send(&self, was_refused: bool) -> bool {
        let figures = self.cache.figures();
        let state = State {
            position: self.cache.position(),
            revision: self.progress.revision_active(),
            figures: PopFigures {
                requests: self.sums.requests(),
                hits: self.sums.hits(),
                entries: figures.entries,
                bytes: figures.bytes,
                ..PopFigures::default()
            },
        };
        let report = self.reports.take(self.pop.clone(), state);
        match self
            .link
            .call::<_, ReportAnswer>(path::REPORTS, &report, None)
            .await
        {
            Ok(answer) => {
                self.progress.set_head(answer.head);
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
}
