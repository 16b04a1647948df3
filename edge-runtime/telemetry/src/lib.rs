//! Logs, metrics and traces of both edge and core.
//!
//! [`init`] sets a process up: one line a log event on standard error, a Prometheus registry behind the
//! `metrics` macros, and, when an endpoint is configured, spans to an OpenTelemetry collector.
//! [`TraceContext`] carries a request's trace from the client through edge and core (W3C Trace Context).
//!
//! Nothing here knows of Brink's other parts, so both edge and core can use it.

mod config;
mod error;
mod histograms;
mod logs;
mod otlp;
mod prometheus;
mod random;
mod request_id;
mod telemetry;
pub mod trace_context;

pub use config::{Config, LogFormat};
pub use error::Error;
pub use request_id::RequestId;
pub use telemetry::{Telemetry, init};
pub use trace_context::TraceContext;
