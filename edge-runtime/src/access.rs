//! What is written down of each request: a span, figures, the access log.

use crate::{exchange::Exchange, figures::Sums};
use brink_listener::Body;
use http::Response;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which requests are written to the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// None.
    Off,
    /// Those answered with a status from 500.
    #[default]
    Errors,
    /// All.
    All,
}

/// A span for every request where spans are exported; else for those that their caller samples, and for all at level
/// debug. Otherwise none, at no cost.
pub fn span(exports_spans: bool, exchange: &Exchange) -> tracing::Span {
    if exports_spans || exchange.trace.is_sampled() {
        return tracing::info_span!(
            "request",
            request_id = %exchange.id,
            method = %exchange.head.method,
            path = exchange.head.uri.path(),
            protocol = exchange.connection.protocol.as_str(),
        );
    }
    tracing::debug_span!(
        "request",
        request_id = %exchange.id,
        method = %exchange.head.method,
        path = exchange.head.uri.path(),
    )
}

/// Counts and logs an answered request.
pub fn told(sums: &Sums, log: AccessLog, exchange: &Exchange, response: &Response<Body>) {
    let took = exchange.began.elapsed();
    sums.answered();
    exchange.entry.red.answered(response.status(), took);
    let is_logged = match log {
        AccessLog::Off => false,
        AccessLog::Errors => response.status().is_server_error(),
        AccessLog::All => true,
    };
    if is_logged {
        log_access(exchange, response, took);
    }
}

fn log_access(exchange: &Exchange, response: &Response<Body>, took: Duration) {
    tracing::info!(
        target: "brink::access",
        request_id = %exchange.id,
        trace_id = %exchange.trace.trace_id(),
        client = %exchange.connection.peer.ip(),
        protocol = exchange.connection.protocol.as_str(),
        method = %exchange.head.method,
        host = %exchange.host(),
        path = exchange.head.uri.path(),
        status = response.status().as_u16(),
        is_hit = exchange.cache.is_some_and(|status| status.is_hit()),
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
}
