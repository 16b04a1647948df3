//! The head of a stored answer as the bytes that HTTP/1.1 sends.

use crate::exchange::REQUEST_ID;
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{AGE, ALT_SVC, CONNECTION, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use std::io::Write as _;

/// `Cache-Status`: RFC 9211.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Room that most heads need.
const HEAD_BYTES: usize = 512;

/// The status line and all fields but those that each hit sets, as HTTP/1.1 sends them (RFC 9112). None: it is no whole
/// answer with a body, or has a field that is the listener's to set.
pub(super) fn prepare(status: StatusCode, headers: &HeaderMap) -> Option<Box<[u8]>> {
    let has_body = !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
        );
    let is_listeners = [ALT_SVC, CONNECTION, TRAILER, TRANSFER_ENCODING, UPGRADE];
    if !has_body || is_listeners.iter().any(|name| headers.contains_key(name)) {
        return None;
    }
    let mut head = Vec::with_capacity(HEAD_BYTES);
    let reason = status.canonical_reason().unwrap_or("");
    let _ = write!(head, "HTTP/1.1 {} {reason}\r\n", status.as_u16());
    for (name, value) in headers {
        if ![AGE, CACHE_STATUS, REQUEST_ID].contains(name) {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    }
    Some(head.into())
}
