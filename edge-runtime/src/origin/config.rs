//! Bounds of the origin client.

use crate::address::Block;
use serde::Deserialize;
use std::path::PathBuf;

/// Bounds of the origin client. Every key has a default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A PEM file of authorities trusted beside the platform's.
    pub ca: Option<PathBuf>,
    /// Addresses, as `ADDRESS` or `ADDRESS/BITS`, that origins of any tenant may have though they are not public. Those of the
    /// tenant `default` may have any but link-local and other special ones without it. Default none.
    pub allow: Vec<Block>,
    /// Time to connect, TLS included, in milliseconds. Default 3,000.
    pub connect_ms_max: u64,
    /// Time from the end of the request to the head of the answer, in milliseconds. Default 30,000.
    pub response_ms_max: u64,
    /// Time between two pieces of an answer's body, in milliseconds. Default 30,000.
    pub body_idle_ms_max: u64,
    /// How long an idle connection is kept, in milliseconds. Less than the origin keeps it: a request on a connection that
    /// is just being closed fails. Default 4,000, as many servers keep theirs for 5 seconds.
    pub idle_ms_max: u64,
    /// Idle connections kept to one origin. Default 64.
    pub idle_max: usize,
    /// Largest request body, in bytes. Default 64 MiB.
    pub request_bytes_max: u64,
    /// Largest answer's body, in bytes. Default 1 GiB.
    pub response_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ca: None,
            allow: Vec::new(),
            connect_ms_max: 3_000,
            response_ms_max: 30_000,
            body_idle_ms_max: 30_000,
            idle_ms_max: 4_000,
            idle_max: 64,
            request_bytes_max: 64 << 20,
            response_bytes_max: 1 << 30,
        }
    }
}
