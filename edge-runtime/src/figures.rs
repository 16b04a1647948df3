//! What the edge counts of itself: RED by route, and the sums that its reports carry.

use http::StatusCode;
use metrics::{Counter, Histogram};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Says what each metric of the edge means (those of the cache are its own to describe). Once, at start.
pub fn describe() {
    for (name, meaning) in [
        (
            "brink_requests_total",
            "Requests answered, by route and class of status",
        ),
        ("brink_module_runs_total", "Runs of modules and plugins"),
        (
            "brink_module_errors_total",
            "Runs that failed, by module and reason",
        ),
        (
            "brink_deployment_failures_total",
            "Deployments whose component could not be loaded",
        ),
        (
            "brink_link_requests_total",
            "Questions to the core, by path",
        ),
        (
            "brink_link_errors_total",
            "Questions to the core without an answer, by path and reason",
        ),
        ("brink_link_connects_total", "Connections made to the core"),
        ("brink_feed_starts_total", "Feeds begun"),
        ("brink_feed_changes_total", "Changes applied"),
        (
            "brink_feed_repeats_total",
            "Changes that came again and were ignored",
        ),
        (
            "brink_feed_gaps_total",
            "Feeds broken off because a change was missing",
        ),
        (
            "brink_feed_resets_total",
            "Feeds that could not go on where the cache was, which was emptied",
        ),
        (
            "brink_feed_uncounted_total",
            "Dry runs of purges that were not counted because too many came",
        ),
        (
            "brink_origin_requests_total",
            "Requests to origins, by origin and outcome; refused: there was no place",
        ),
        (
            "brink_origin_repeats_total",
            "Requests sent again after they failed at this origin",
        ),
        (
            "brink_origin_opened_total",
            "Times that an origin was left alone because it failed",
        ),
        (
            "brink_lease_expiries_total",
            "Times that the lease ran out, and nothing was called fresh",
        ),
        (
            "brink_fence_refusals_total",
            "Answers not stored because a change touched them while they were made",
        ),
        (
            "brink_sessions_unsigned_total",
            "Answers to writes without a session token: no key was known, or it would have been too long",
        ),
    ] {
        metrics::describe_counter!(name, meaning);
    }
    for (name, meaning) in [
        (
            "brink_request_seconds",
            "From a request's head to the head of its answer, by route",
        ),
        (
            "brink_hit_seconds",
            "From the first byte of a plain request over HTTP/1.1 to the last of its answer from memory, with the kernel",
        ),
        (
            "brink_module_run_seconds",
            "Runs of modules and plugins, with the answer's body",
        ),
        (
            "brink_origin_seconds",
            "From a request to an origin to the head of its answer",
        ),
        (
            "brink_link_request_seconds",
            "Questions to the core, by path",
        ),
        (
            "brink_feed_delay_seconds",
            "From a change's entry in a core's log to its application here, as far as the clocks of both agree",
        ),
    ] {
        metrics::describe_histogram!(name, metrics::Unit::Seconds, meaning);
    }
    for (name, meaning) in [
        (
            "brink_requests_in_flight",
            "Requests between their head and the head of their answer",
        ),
        (
            "brink_link_connected",
            "1 while there is a connection to the core",
        ),
        ("brink_feed_live", "1 while the feed runs"),
        (
            "brink_feed_lag_changes",
            "Changes that the core has and this PoP has not applied",
        ),
        (
            "brink_staleness_bound_seconds",
            "How old this PoP's knowledge of the cores' logs is at most; infinite while nothing vouches for any",
        ),
        (
            "brink_origin_in_flight",
            "Requests in flight to an origin, with the body of the answer",
        ),
        (
            "brink_origin_well",
            "1: the origin gets requests; 0: it failed of late, or is down by its health checks",
        ),
        (
            "brink_deployments_revision",
            "Revision of the deployment table that is active as a whole",
        ),
    ] {
        metrics::describe_gauge!(name, meaning);
    }
}

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
