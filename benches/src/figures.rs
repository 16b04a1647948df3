//! Figures of one load run against one server.

use crate::{cpu, load, server::Server};
use anyhow::{Context as _, Result};
use std::future::Future;

/// One run's figures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Server CPU time of a request, in microseconds.
    pub(crate) cpu_us: f64,
    /// Requests a second.
    pub(crate) rate: f64,
}

/// Runs a load against a server.
///
/// # Errors
/// The run failed, or nothing was answered.
pub(crate) async fn measured(
    server: &Server,
    run: impl Future<Output = Result<load::Seen>>,
) -> Result<Figures> {
    let before = cpu::spent(server.pid())?;
    let seen = run.await?;
    let spent = cpu::spent(server.pid())? - before;
    anyhow::ensure!(seen.requests > 0, "no request was answered");
    #[allow(clippy::cast_precision_loss)]
    let requests = seen.requests as f64;
    Ok(Figures {
        cpu_us: spent.as_secs_f64() * 1e6 / requests,
        rate: requests / seen.time.as_secs_f64(),
    })
}

/// The run in the middle by CPU time.
pub(crate) fn median(mut runs: Vec<Figures>) -> Figures {
    runs.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
    runs.get(runs.len() / 2).copied().unwrap_or(Figures {
        cpu_us: f64::NAN,
        rate: f64::NAN,
    })
}

/// A URL of a ready file.
///
/// # Errors
/// It is not there.
pub(crate) fn url(ready: &serde_json::Value, key: &str) -> Result<String> {
    let text = ready.get(key).and_then(serde_json::Value::as_str);
    Ok(text
        .with_context(|| format!("the ready file has no {key}: {ready}"))?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_by_cpu_time() {
        let runs = [3.0, 1.0, 2.0].map(|cpu_us| Figures {
            cpu_us,
            rate: 10.0 * cpu_us,
        });
        assert!((median(runs.to_vec()).rate - 20.0).abs() < f64::EPSILON);
    }
}
