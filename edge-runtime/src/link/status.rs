//! What is shown of a core.

use super::{core::Core, live::Live};
use brink_policy::cores::{Measured, Standing};
use serde::Serialize;

/// How a core is, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoreStatus {
    /// As configured.
    pub address: String,
    /// The name of its node; none until it has said it.
    pub node: Option<String>,
    /// Its region; none until it has said it.
    pub region: Option<String>,
    /// Its store; none until it has said it.
    pub store: Option<String>,
    /// `usable`, `failing`, `storeless` (its store does not answer it), `silent`, `away`, or `foreign` (it has another store
    /// than the others, and is not used).
    pub standing: &'static str,
    /// From 0, the best.
    pub rank: usize,
    /// Questions, reports and the feed go there.
    pub used: bool,
    /// `quic` or `tcp`; none: it is not connected.
    pub transport: Option<&'static str>,
    /// Smoothed round trip of probes, in microseconds; none: never measured.
    pub round_trip_us: Option<u64>,
    /// Questions that wait for its answer.
    pub requests: usize,
}

impl CoreStatus {
    pub(super) fn new(core: &Core, measured: Measured, used: bool) -> Self {
        let name = core.name();
        Self {
            address: core.address.clone(),
            node: name.as_ref().map(|name| name.node.to_string()),
            store: name.as_ref().map(|name| name.store.to_string()),
            region: name.map(|name| name.region),
            standing: match measured.standing {
                Standing::Usable => "usable",
                Standing::Failing => "failing",
                Standing::Storeless => "storeless",
                Standing::Silent => "silent",
                Standing::Away => "away",
                Standing::Foreign => "foreign",
            },
            rank: measured.rank,
            used,
            transport: core.live.borrow().as_ref().map(Live::transport),
            round_trip_us: measured.round_trip_us,
            requests: core.requests(),
        }
    }
}
