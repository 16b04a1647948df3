//! A PoP whose modules write records at a steady rate.

use anyhow::{Context as _, Result, bail};
use brink_edge::link::{Asker, Link};
use brink_protocol::{
    Position,
    deployment::default_tenant,
    link::{Condition, RecordOperation, RecordsAnswer, RecordsRequest, path},
    record::Key,
};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The collection that is written.
pub(crate) const COLLECTION: &str = "bench";
/// Partitions that are written, one after the other.
const PARTITIONS: u64 = 1000;
/// Bytes of a value.
const VALUE_BYTES: usize = 256;

/// One write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// Its place in the core's log.
    pub(super) sequence: u64,
    /// When it was sent.
    pub(super) sent: Instant,
    /// When its answer had arrived: it was durable before.
    pub(super) answered: Instant,
}

/// Writes `rate` records a second for `time`; none waits for another.
///
/// # Errors
/// A write failed.
pub(super) async fn write(link: &Link, rate: u32, time: Duration) -> Result<Vec<Written>> {
    let rate = rate.max(1);
    let count = u64::from(rate) * time.as_secs();
    let mut due = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut writes = JoinSet::new();
    for number in 0..count {
        due.tick().await;
        let link = link.clone();
        writes.spawn(async move { put(&link, number).await });
    }
    let mut written = Vec::new();
    while let Some(write) = writes.join_next().await {
        written.push(write??);
    }
    Ok(written)
}

/// Writes one record.
///
/// # Errors
/// The core did not take it.
async fn put(link: &Link, number: u64) -> Result<Written> {
    let request = RecordsRequest {
        tenant: default_tenant(),
        module: "bench".parse()?,
        at_least: Position::default(),
        operation: RecordOperation::Put {
            key: Key {
                collection: COLLECTION.to_owned(),
                partition: format!("partition-{}", number % PARTITIONS),
                sort: "record".to_owned(),
            },
            value: Bytes::from(vec![b'x'; VALUE_BYTES]),
            lifetime_ms: None,
            condition: Condition::Always,
        },
    };
    let sent = Instant::now();
    let answer: RecordsAnswer = link.call(path::RECORDS, &request, Asker::default()).await?;
    let answered = Instant::now();
    if let Err(error) = answer.outcome {
        bail!("a write was refused: {error}");
    }
    let (_, sequence) = answer.position.iter().last().context("a position")?;
    Ok(Written {
        sequence,
        sent,
        answered,
    })
}

/// Writes `rate` records a second until the future is dropped.
///
/// # Errors
/// A write failed.
pub(crate) async fn write_on(link: &Link, rate: u32) -> Result<()> {
    let mut due = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0.. {
        due.tick().await;
        put(link, number).await?;
    }
    Ok(())
}
