//! Figures and spans of requests: rate, errors and duration by listener and route.

use brink_telemetry::{RequestId, TraceContext};
use http::{HeaderMap, StatusCode};
use std::time::Instant;

/// A request in progress.
pub struct Measured {
    listener: &'static str,
    route: String,
    begun: Instant,
}

impl Measured {
    /// A request begins.
    #[must_use]
    pub fn begin(listener: &'static str, route: impl Into<String>) -> Self {
        Self {
            listener,
            route: route.into(),
            begun: Instant::now(),
        }
    }

    /// It was answered (a feed: begun).
    pub fn end(self, status: StatusCode) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let status = status.as_str().to_owned();
        metrics::counter!("brink_core_requests_total",
            "listener" => self.listener, "route" => self.route.clone(), "status" => status)
        .increment(1);
        metrics::histogram!("brink_core_request_seconds", "listener" => self.listener, "route" => self.route)
            .record(seconds);
    }
}

/// The span of a request, in the trace of its sender if it has one.
pub struct RequestSpan {
    /// The span.
    pub span: tracing::Span,
    /// The trace, 32 hexadecimal digits.
    pub trace_id: String,
    /// The request's name.
    pub request_id: String,
}

impl RequestSpan {
    /// A request begins.
    #[must_use]
    pub fn begin(listener: &'static str, route: &str, headers: &HeaderMap) -> Self {
        let request_id = RequestId::generate().to_string();
        let span = tracing::info_span!("request", listener, route, request_id);
        let parent = TraceContext::from_headers(headers);
        let context = TraceContext::begin(parent.as_ref(), &span);
        Self {
            span,
            trace_id: context.trace_id().to_string(),
            request_id,
        }
    }
}
