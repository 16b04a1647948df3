//! Heads of requests and responses, as plugins see and change them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, uri::PathAndQuery};

/// Largest body of a plugin's own answer, in bytes.
pub const PLUGIN_BODY_BYTES_MAX: usize = 64 << 10;

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Its method.
    pub method: Method,
    /// `http` or `https`.
    pub scheme: String,
    /// `host[:port]`.
    pub authority: String,
    /// The target.
    pub path_and_query: PathAndQuery,
    /// Its fields.
    pub headers: HeaderMap,
    /// The client's address as the listener saw it.
    pub client_address: String,
}

/// What a plugin changes on a request. What it does not name stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestChange {
    /// The target, if it sets one.
    pub path_and_query: Option<PathAndQuery>,
    /// Each of these names has these values and no others.
    pub set: HeaderMap,
    /// Fields that it takes off. At most as many as a head may have fields.
    pub remove: Vec<HeaderName>,
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
    /// Go on with these changes.
    Change(RequestChange),
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
