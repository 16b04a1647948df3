//! Dry runs of purges: how much a purge would end at this PoP. Off the way of requests, one after the other.

use crate::{cache::Cache, reports::Reports};
use brink_protocol::link::{CountRequest, Counted};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Dry runs that wait; a core that sends more at a time gets no count for them.
pub const WAITING_MAX: usize = 32;

/// Counts what is asked for, and leaves the counts with the reports.
pub struct Counting {
    /// What is counted.
    pub cache: Cache,
    /// Where counts wait to be told.
    pub reports: Arc<Reports>,
}

impl Counting {
    /// Counts until `stop`.
    pub async fn run(&self, mut requests: mpsc::Receiver<CountRequest>, stop: CancellationToken) {
        loop {
            let request = tokio::select! {
                () = stop.cancelled() => return,
                request = requests.recv() => request,
            };
            let Some(CountRequest {
                id,
                tenant,
                selectors,
            }) = request
            else {
                return;
            };
            let cache = self.cache.clone();
            // A walk over everything that is stored takes its time.
            let counting = tokio::task::spawn_blocking(move || cache.count(&tenant, &selectors));
            match counting.await {
                Ok((objects, bytes)) => self.reports.counted(Counted { id, objects, bytes }),
                Err(error) => tracing::error!(%error, "a dry run of a purge failed"),
            }
        }
    }
}
