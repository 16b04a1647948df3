//! Heads of requests and responses, as plugins see and change them.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, uri::PathAndQuery};

/// Largest body of a plugin's own answer, in bytes.
pub const PLUGIN_BODY_BYTES_MAX: usize = 64 << 10;

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Its method. A plugin cannot change it.
    pub method: Method,
    /// `http` or `https`. A plugin cannot change it.
    pub scheme: String,
    /// `host[:port]`. A plugin cannot change it.
    pub authority: String,
    /// The target.
    pub path_and_query: PathAndQuery,
    /// Its fields.
    pub headers: HeaderMap,
    /// The client's address as the listener saw it. A plugin cannot change it.
    pub client_address: String,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// 200 to 599.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
}

/// What a plugin wants done with a request.
#[derive(Debug, Clone)]
pub enum RequestAction {
    /// Go on as it is.
    Pass,
    /// Go on with this head instead. Method, scheme, authority and client address are those that were given.
    Change(RequestHead),
    /// Answer at once. The body is at most [`PLUGIN_BODY_BYTES_MAX`].
    Answer(http::Response<Bytes>),
}

/// What a plugin wants done with a response.
#[derive(Debug, Clone)]
pub enum ResponseAction {
    /// Go on as it is.
    Pass,
    /// Go on with this head instead.
    Change(ResponseHead),
    /// Answer with this instead. The body is at most [`PLUGIN_BODY_BYTES_MAX`].
    Answer(http::Response<Bytes>),
}
