//! What the edge counts of itself: RED by route, and the sums that its reports carry.

use http::StatusCode;
use metrics::{Counter, Histogram};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Sums since the start.
#[derive(Debug, Default)]
pub struct Sums {
    requests: AtomicU64,
    hits: AtomicU64,
}

impl Sums {
    /// A request was answered.
    pub fn answered(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Of these, one from the cache.
    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Of these, from the cache.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}

/// Requests, errors and durations of one route. Registered when the route is, so that a request costs no look-up.
pub struct Red {
    by_class: [Counter; 5],
    seconds: Histogram,
}

impl std::fmt::Debug for Red {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Red")
    }
}

impl Red {
    /// Metrics labelled `route`.
    #[must_use]
    pub fn register(route: &str) -> Self {
        let class = |class: &'static str| metrics::counter!("brink_requests_total", "route" => route.to_owned(), "status" => class);
        Self {
            by_class: [
                class("1xx"),
                class("2xx"),
                class("3xx"),
                class("4xx"),
                class("5xx"),
            ],
            seconds: metrics::histogram!("brink_request_seconds", "route" => route.to_owned()),
        }
    }

    /// One request was answered.
    pub fn answered(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.by_class.get(class) {
            counter.increment(1);
        }
        self.seconds.record(took.as_secs_f64());
    }
}
