//! What answers requests at this PoP, put together.

use crate::{
    access::AccessLog,
    admission::Admission,
    cache::Cache,
    figures::{Red, Sums},
    modules::Platform,
    origin::Origins,
    purging::Purging,
    routes::Table,
    session::Sessions,
    shield::Shields,
};
use arc_swap::ArcSwap;
use http::HeaderValue;
use std::sync::Arc;

/// Everything that answers requests at this PoP.
pub struct Edge {
    /// The first stage.
    pub admission: Admission,
    /// Where requests go.
    pub table: Arc<ArcSwap<Table>>,
    /// Stored answers.
    pub cache: Cache,
    /// HTTP origins.
    pub origins: Origins,
    /// Who is asked before an origin; none: nobody.
    pub shields: Option<Shields>,
    /// What this PoP calls itself in `CDN-Loop`.
    pub own_loop: Option<HeaderValue>,
    /// What modules and plugins reach.
    pub platform: Arc<Platform>,
    /// Session tokens.
    pub sessions: Arc<Sessions>,
    /// The way of `PURGE`.
    pub purging: Purging,
    /// Sums for reports.
    pub sums: Arc<Sums>,
    /// RED of requests without a route.
    pub unrouted: Red,
    /// From the first byte of a request that was answered at once to the last of its answer.
    pub hit_seconds: metrics::Histogram,
    /// Which requests are written to the log.
    pub access_log: AccessLog,
    /// Spans go to a collector.
    pub exports_spans: bool,
}
