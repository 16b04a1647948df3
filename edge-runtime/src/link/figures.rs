//! What is counted of the link.

use super::LinkError;
use brink_protocol::link::path;
use metrics::{Counter, Gauge, Histogram};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Of the link as a whole, registered once.
pub(super) struct Figures {
    by_path: HashMap<&'static str, (Counter, Histogram)>,
    /// Whether any core is connected.
    pub(super) connected: Gauge,
    /// Another core is used than before.
    pub(super) moves: Counter,
    /// Questions that were asked a second core, and those that it answered first.
    pub(super) hedges: Counter,
    pub(super) hedges_won: Counter,
}

impl Figures {
    pub(super) fn register() -> Self {
        let paths = [
            path::RECORDS,
            path::COMMANDS,
            path::WORKFLOWS,
            path::PURGES,
            path::FORWARDED_PURGES,
            path::COMPONENTS,
            path::DEPLOYMENTS,
            path::FEED,
            path::REPORTS,
        ];
        let register = |path: &'static str| {
            (
                metrics::counter!("brink_link_requests_total", "path" => path),
                metrics::histogram!("brink_link_request_seconds", "path" => path),
            )
        };
        Self {
            by_path: paths.iter().map(|path| (*path, register(path))).collect(),
            connected: metrics::gauge!("brink_link_connected"),
            moves: metrics::counter!("brink_link_moves_total"),
            hedges: metrics::counter!("brink_link_hedges_total"),
            hedges_won: metrics::counter!("brink_link_hedges_won_total"),
        }
    }

    pub(super) fn answered(&self, path: &'static str, began: Instant, failure: Option<&LinkError>) {
        if let Some((requests, seconds)) = self.by_path.get(path) {
            requests.increment(1);
            seconds.record(began.elapsed().as_secs_f64());
        }
        if let Some(error) = failure {
            metrics::counter!("brink_link_errors_total", "path" => path, "reason" => error.outcome())
                .increment(1);
        }
    }

    pub(super) fn repeated(path: &'static str) {
        metrics::counter!("brink_link_repeats_total", "path" => path).increment(1);
    }
}

/// Of one core; `core` is its address in the configuration.
pub(super) struct CoreFigures {
    pub(super) connected: Gauge,
    pub(super) connects: Counter,
    pub(super) used: Gauge,
    pub(super) silences: Counter,
    failures: Counter,
    round_trip: Gauge,
}

impl CoreFigures {
    pub(super) fn register(address: &str) -> Self {
        let core = address.to_owned();
        Self {
            connected: metrics::gauge!("brink_link_core_connected", "core" => core.clone()),
            connects: metrics::counter!("brink_link_connects_total", "core" => core.clone()),
            used: metrics::gauge!("brink_link_core_used", "core" => core.clone()),
            silences: metrics::counter!("brink_link_core_silences_total", "core" => core.clone()),
            failures: metrics::counter!("brink_link_core_failures_total", "core" => core.clone()),
            round_trip: metrics::gauge!("brink_link_core_round_trip_seconds", "core" => core),
        }
    }

    pub(super) fn probed(&self, took: Duration) {
        self.round_trip.set(took.as_secs_f64());
    }

    pub(super) fn failed(&self) {
        self.failures.increment(1);
    }
}
