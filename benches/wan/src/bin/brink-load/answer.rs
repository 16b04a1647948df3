//! What becomes of a request.

use brink_planet::history::Source;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// Longest body of an answer, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;

/// Why there is no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nobody listens there.
    Refused,
    /// The connection broke off.
    BrokeOff,
    /// It took too long.
    TooLate,
}

/// What became of a request.
pub(crate) type Outcome = Result<Answer, Silence>;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A field's value.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Where it says that it comes from.
    pub(crate) fn source(&self) -> Source {
        source(self.status, self.field("cache-status").unwrap_or_default())
    }
}

/// `Cache-Status` (RFC 9211) of an edge: the last member is of the cache that is next to the client.
fn source(status: StatusCode, cache_status: &str) -> Source {
    const STALE: [&str; 4] = [
        "detail=stale-while-revalidate",
        "detail=stale-if-error",
        "detail=max-stale",
        "detail=disconnected",
    ];
    let last = cache_status.rsplit(',').next().unwrap_or_default();
    let says = |word: &str| last.split(';').any(|part| part.trim() == word);
    if !status.is_success() {
        Source::Error
    } else if STALE.iter().any(|word| says(word)) {
        Source::Stale
    } else if says("hit") {
        Source::Hit
    } else {
        Source::Forward
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        for (status, field, expected) in [
            (200, "brink-ams; hit; ttl=5; detail=memory", Source::Hit),
            (
                200,
                "other; hit, brink-ams; fwd=uri-miss; stored",
                Source::Forward,
            ),
            (
                200,
                "brink-ams; hit; ttl=-5; detail=stale-if-error",
                Source::Stale,
            ),
            (
                200,
                "brink-ams; hit; ttl=5; detail=disconnected",
                Source::Stale,
            ),
            (200, "", Source::Forward),
            (503, "brink-ams; hit", Source::Error),
        ] {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            assert_eq!(source(status, field), expected, "{field}");
        }
    }
}
