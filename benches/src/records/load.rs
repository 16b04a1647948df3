//! Clients in a closed loop: each does the next operation when the one before is done.

use anyhow::{Context as _, Result, ensure};
use std::{
    future::Future,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Operations after which a client lets others have its thread: one whose operations never wait would keep it.
const TURN: usize = 64;

/// Does one operation after the other.
pub(super) trait Client: Send + 'static {
    /// One operation.
    ///
    /// # Errors
    /// It failed: the run is over.
    fn once(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// What a run showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Operations a second.
    pub(super) rate: f64,
    /// Half of them took no longer, in microseconds.
    pub(super) p50_us: f64,
    /// 99 of 100 took no longer, in microseconds.
    pub(super) p99_us: f64,
    /// How many.
    pub(super) count: usize,
}

/// Lets all clients work at once for `time`; they are kept for the next run.
///
/// # Errors
/// An operation failed, or none was done.
pub(super) async fn run<C: Client>(clients: &mut Vec<C>, time: Duration) -> Result<Sample> {
    let begun = Instant::now();
    let deadline = begun + time;
    let mut tasks = JoinSet::new();
    for client in clients.drain(..) {
        tasks.spawn(one(client, deadline));
    }
    let mut took = Vec::new();
    while let Some(task) = tasks.join_next().await {
        let (client, of_client) = task.context("a client's task")??;
        clients.push(client);
        took.extend(of_client);
    }
    sample(took, begun.elapsed())
}

async fn one<C: Client>(mut client: C, deadline: Instant) -> Result<(C, Vec<u32>)> {
    let mut took = Vec::new();
    let mut begun = Instant::now();
    while begun < deadline {
        client.once().await?;
        let ended = Instant::now();
        took.push(u32::try_from((ended - begun).as_nanos()).unwrap_or(u32::MAX));
        begun = ended;
        if took.len().is_multiple_of(TURN) {
            tokio::task::yield_now().await;
            begun = Instant::now();
        }
    }
    Ok((client, took))
}

fn sample(mut took: Vec<u32>, time: Duration) -> Result<Sample> {
    ensure!(!took.is_empty(), "no operation was done");
    took.sort_unstable();
    let at = |part: usize| -> f64 {
        let index = (took.len() * part / 100).min(took.len() - 1);
        f64::from(took.get(index).copied().unwrap_or_default()) / 1e3
    };
    #[allow(clippy::cast_precision_loss)]
    let rate = took.len() as f64 / time.as_secs_f64();
    Ok(Sample {
        rate,
        p50_us: at(50),
        p99_us: at(99),
        count: took.len(),
    })
}

/// The value in the middle.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Counter(u64);

    impl Client for Counter {
        async fn once(&mut self) -> Result<()> {
            self.0 += 1;
            Ok(())
        }
    }

    #[tokio::test]
    async fn clients_are_counted_and_kept() {
        let mut clients = vec![Counter(0), Counter(0)];
        let sample = run(&mut clients, Duration::from_millis(5)).await.unwrap();
        assert_eq!(clients.len(), 2);
        let counted: u64 = clients.iter().map(|client| client.0).sum();
        assert_eq!(sample.count as u64, counted);
    }

    #[test]
    fn quantiles_and_medians() {
        let sample = sample((1..=1000).rev().collect(), Duration::from_secs(2)).unwrap();
        assert_eq!((sample.p50_us, sample.p99_us), (0.501, 0.991));
        assert_eq!((sample.rate, sample.count), (500.0, 1000));
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
    }
}
