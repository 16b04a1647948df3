//! The coded form of an answer that is made before it is stored, for the one who asked first.

use super::{
    coders::coded,
    fill::{Fill, Made},
    request::Dependencies,
};
use brink_policy::coding::Codable;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::SET_COOKIE, response::Parts};
use std::time::SystemTime;

/// Longest body that is coded before it is stored, in bytes.
const AT_ONCE_BYTES_MAX: usize = 256 << 10;

impl Fill {
    /// Codes an answer that [`Fill::complete`] is going to store, if it is short and its client likes a coding. To be awaited
    /// before that.
    pub async fn encode(&mut self, head: &Parts, body: &Bytes, dependencies: &Dependencies) {
        let Some(coding) = self.subject.ruled.accepts.iter().next() else {
            return;
        };
        let is_short = body.len() <= AT_ONCE_BYTES_MAX;
        if !is_short
            || head.status == StatusCode::NOT_MODIFIED
            || self
                .trailers
                .as_ref()
                .is_some_and(|section| !section.is_empty())
            || !self.codes(head.status, &head.headers, body.len())
            || self.judge(head, dependencies, SystemTime::now()).is_err()
        {
            return;
        }
        let Some(place) = self.shared.coders.place() else {
            return;
        };
        if let Some(form) = coded(coding, &body.clone().into(), place, &self.shared.tiers).await {
            self.coded = Some((coding, form));
        }
    }

    /// Whether coded forms may be kept of an answer. The one that goes out first has all that it was `received` with.
    pub(super) fn is_codable(&self, made: &Made<'_>, received: &HeaderMap) -> bool {
        made.trailers.as_ref().is_none_or(HeaderMap::is_empty)
            && self.codes(made.status, &made.headers, made.body.len())
            && !received.contains_key(SET_COOKIE)
    }

    fn codes(&self, status: StatusCode, response: &HeaderMap, length: usize) -> bool {
        let codable = Codable {
            status,
            response,
            request: &self.subject.headers,
            length: length as u64,
        };
        self.subject.ruled.compresses && codable.is_codable()
    }
}
