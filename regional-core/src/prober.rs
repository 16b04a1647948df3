//! The prober: writes a record through the ordinary way of writes, again and again. Every PoP reads it through its cache and
//! says which version it has; so how old what a PoP serves may be is measured all the time, with nothing but the machinery
//! that everything else goes through.

use crate::{pops::Pops, records::Records};
use brink_protocol::{
    TenantName,
    link::{Condition, canary},
    record::Key,
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

/// `[prober]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProberConfig {
    /// How often the canary record is written, in milliseconds, 100 to 3,600,000; 0: never. Default 1,000.
    pub interval_ms: u64,
}

impl Default for ProberConfig {
    fn default() -> Self {
        Self { interval_ms: 1_000 }
    }
}

impl ProberConfig {
    /// Whether the interval is one that may be.
    #[must_use]
    pub fn is_valid(self) -> bool {
        matches!(self.interval_ms, 0 | 100..=3_600_000)
    }
}

/// Writes the canary record until it is dropped. A write that fails is told, and the next is tried in its time.
pub async fn run(records: Records, pops: Arc<Pops>, config: ProberConfig) {
    let tenant = canary::TENANT.parse::<TenantName>();
    let (Ok(tenant), 1..) = (tenant, config.interval_ms) else {
        return std::future::pending().await;
    };
    let key = Key {
        collection: canary::COLLECTION.into(),
        partition: canary::PARTITION.into(),
        sort: canary::SORT.into(),
    };
    let mut beats = tokio::time::interval(Duration::from_millis(config.interval_ms));
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        let value = crate::clock::now_ms().to_string().into();
        let written = records.put(&tenant, key.clone(), value, None, Condition::Always);
        match written.await {
            Ok((version, _)) => pops.canary_written(version),
            Err(error) => tracing::warn!(%error, "the canary record was not written"),
        }
    }
}
