//! Sets a process's telemetry up.

use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

use crate::config::Config;
use crate::error::Error;
use crate::otlp::Otlp;
use crate::{logs, prometheus};

/// A process's telemetry. Keep it until the end of `main`: dropping it sends the last spans.
#[must_use = "dropping it ends the export of spans"]
pub struct Telemetry {
    metrics: prometheus::Metrics,
    otlp: Option<Otlp>,
}

/// Starts logging to standard error, metrics, and the export of spans if there is an endpoint.
///
/// A process has one subscriber for logs and spans: it is the one of the first call. A later call (in
/// tests) checks its configuration and shares the metrics, and leaves logs and spans as they are.
///
/// # Errors
/// A filter, an endpoint or a ratio that is not valid; another metrics recorder in the process.
pub fn init(config: &Config) -> Result<Telemetry, Error> {
    if !(0.0..=1.0).contains(&config.sample_ratio) {
        return Err(Error::SampleRatio(config.sample_ratio));
    }
    let logs = logs::layer(config, std::io::stderr)?;
    let otlp = match &config.otlp_endpoint {
        Some(endpoint) => Some(Otlp::start(config, endpoint)?),
        None => None,
    };
    let metrics = prometheus::install()?;
    let spans = otlp.as_ref().map(Otlp::layer);
    let subscriber = Registry::default().with(spans).with(logs);
    let first = tracing::subscriber::set_global_default(subscriber).is_ok();
    Ok(Telemetry {
        metrics,
        otlp: otlp.filter(|_| first),
    })
}

impl Telemetry {
    /// All metrics in Prometheus' text format (`text/plain; version=0.0.4`).
    pub fn render_metrics(&self) -> String {
        prometheus::render(&self.metrics)
    }

    /// Sends the spans that are waiting. Blocks the thread, for some seconds at most.
    pub fn flush(&self) {
        if let Some(otlp) = &self.otlp {
            otlp.flush();
        }
    }

    /// Sends the last spans and ends their export; the same as dropping it, by name.
    pub fn shutdown(self) {
        drop(self);
    }
}
