//! Makes the answer to one request of a stored response: `HEAD`, conditions and ranges, `Age` and `Cache-Status`.

use super::{
    content::Content,
    stored::{CACHE_STATUS, Stored},
};
use brink_policy::{
    cache_status::CacheStatus,
    http::{
        condition::{is_plain, not_modified, retain_for_304},
        range::{Part, content_range, part, unsatisfied},
    },
};
use brink_protocol::Position;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, TRAILER},
    response::Parts,
};
use std::{ops::Range, sync::Arc};

/// What is sent.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: Parts,
    pub(super) body: Sent,
    /// The trailer section behind it.
    pub(super) trailers: Option<HeaderMap>,
    pub(super) status: CacheStatus,
    /// See [`super::Answer::stored`].
    pub(super) stored: Option<Arc<Position>>,
    /// The entry that it was kept as, just now.
    pub(super) kept: Option<Arc<Stored>>,
}

/// The head of an answer.
pub(super) fn head(status: StatusCode, headers: HeaderMap) -> Parts {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.headers = headers;
    parts
}

/// Sets this cache's member of `Cache-Status`, after those of the caches before it.
pub(super) fn set_status(
    headers: &mut HeaderMap,
    upstream: Option<&HeaderValue>,
    status: &CacheStatus,
    name: &str,
) {
    let Some(own) = status.to_value(name) else {
        return;
    };
    let both = upstream.and_then(|upstream| {
        let text = format!("{}, {}", upstream.to_str().ok()?, own.to_str().ok()?);
        HeaderValue::try_from(text).ok()
    });
    headers.insert(CACHE_STATUS, both.unwrap_or(own));
}

/// Bytes of a stored body.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) content: Content,
    pub(super) range: Range<usize>,
}

impl Sent {
    pub(super) fn nothing() -> Self {
        Self::from(Bytes::new())
    }

    /// The bytes, if they are at hand.
    pub(super) fn bytes(&self) -> Option<Bytes> {
        let whole = self.content.whole()?;
        match self.range.len() == whole.len() {
            true => Some(whole.clone()),
            false => Some(whole.slice(self.range.clone())),
        }
    }
}

impl From<Bytes> for Sent {
    fn from(bytes: Bytes) -> Self {
        Self {
            range: 0..bytes.len(),
            content: Content::Whole(bytes),
        }
    }
}

/// What a request gets of a stored response.
enum Selected {
    Whole,
    NotModified,
    Part {
        /// Of the representation.
        range: Range<usize>,
        /// The same bytes in the stored body.
        place: Range<usize>,
        complete: usize,
    },
    Unsatisfiable {
        complete: usize,
    },
}

/// The answer to a request, made of a stored response of this age.
pub(super) fn compose(
    stored: &Stored,
    method: &Method,
    request: &HeaderMap,
    age: u64,
    status: CacheStatus,
    name: &str,
) -> Reply {
    let mut headers = stored.headers.clone();
    headers.insert(AGE, HeaderValue::from(age));
    set_status(&mut headers, stored.upstream_status.as_ref(), &status, name);
    let mut head = head(stored.status, headers);
    let selected = match is_plain(request) {
        true => Selected::Whole,
        false => select(stored, method, request),
    };
    let range = restrict(&mut head, selected, stored.body.len());
    let is_head = *method == Method::HEAD;
    let body = match is_head || range.is_empty() {
        true => Sent::nothing(),
        false => Sent {
            content: stored.body.clone(),
            range,
        },
    };
    let is_whole = !is_head && head.status == stored.status;
    let trailers = stored.trailers.as_deref().filter(|_| is_whole).cloned();
    if head.status != stored.status {
        // They are of the whole.
        head.headers.remove(TRAILER);
    }
    Reply {
        head,
        body,
        trailers,
        status,
        stored: Some(stored.position.clone()),
        kept: None,
    }
}

/// The bytes of a stored body that the answer to a request has.
pub(super) fn wanted(stored: &Stored, method: &Method, request: &HeaderMap) -> Range<usize> {
    let length = stored.body.len();
    if *method == Method::HEAD {
        return 0..0;
    }
    match select(stored, method, request) {
        Selected::Whole => 0..length,
        Selected::Part { place, .. } => place,
        Selected::NotModified | Selected::Unsatisfiable { .. } => 0..0,
    }
}

/// Conditions, then ranges: RFC 9110 §13.2.2.
fn select(stored: &Stored, method: &Method, request: &HeaderMap) -> Selected {
    let held = stored.part();
    // A part is one of what would be a 200.
    let status = match held {
        Some(_) => StatusCode::OK,
        None => stored.status,
    };
    if not_modified(method, request, status, &stored.headers, stored.received) {
        return Selected::NotModified;
    }
    let held_bytes = stored.body.len();
    let complete = held.map_or(held_bytes, |held| held.complete);
    let place = |range: &Range<usize>| match held {
        Some(held) => held.place(range, held_bytes),
        None => Some(range.clone()),
    };
    match part(method, request, status, &stored.headers, complete) {
        Part::Whole => Selected::Whole,
        Part::Range(range) => match place(&range) {
            Some(place) => Selected::Part {
                range,
                place,
                complete,
            },
            // An origin may answer another range than it was asked for; it is sent as it came.
            None => Selected::Whole,
        },
        Part::Unsatisfiable if held.is_some() => Selected::Whole,
        Part::Unsatisfiable => Selected::Unsatisfiable { complete },
    }
}

/// Makes the head that of what was selected; gives which bytes of the stored body go with it.
fn restrict(head: &mut Parts, selected: Selected, length: usize) -> Range<usize> {
    match selected {
        Selected::Whole => 0..length,
        Selected::NotModified => {
            head.status = StatusCode::NOT_MODIFIED;
            retain_for_304(&mut head.headers);
            0..0
        }
        Selected::Part {
            range,
            place,
            complete,
        } => {
            head.status = StatusCode::PARTIAL_CONTENT;
            head.headers
                .insert(CONTENT_LENGTH, HeaderValue::from(range.len()));
            if let Some(value) = content_range(&range, complete) {
                head.headers.insert(CONTENT_RANGE, value);
            }
            place
        }
        Selected::Unsatisfiable { complete } => {
            head.status = StatusCode::RANGE_NOT_SATISFIABLE;
            head.headers
                .insert(CONTENT_LENGTH, HeaderValue::from(0_u64));
            head.headers.remove(CONTENT_TYPE);
            if let Some(value) = unsatisfied(complete) {
                head.headers.insert(CONTENT_RANGE, value);
            }
            0..0
        }
    }
}
