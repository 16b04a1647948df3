//! What can be wrong with a telemetry configuration.

/// Errors of [`crate::init`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `log_filter` does not parse.
    #[error("telemetry: log_filter {filter:?}: {reason}")]
    LogFilter {
        /// The configured filter.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `otlp_endpoint` is no URL that can be reached.
    #[error("telemetry: otlp_endpoint {endpoint:?}: {reason}")]
    Endpoint {
        /// The configured endpoint.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `sample_ratio` is not between 0 and 1.
    #[error("telemetry: sample_ratio {0} is not between 0 and 1")]
    SampleRatio(f64),
    /// Another recorder of metrics is installed in this process.
    #[error("telemetry: metrics could not be set up: {0}")]
    Metrics(String),
    /// The thread that exports could not be started.
    #[error("telemetry: the exporter could not be started")]
    Start(#[source] std::io::Error),
}
