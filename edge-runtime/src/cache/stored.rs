//! What the tiers hold: a response with all that decides about its reuse, or the list of a URI's variants.

use brink_policy::{
    coherence::{Dependency, Depends as _, EntryId},
    http::{
        Lifetime, age,
        fields::{date_value, lines},
        range::Held,
    },
    key::{CacheKey, KEY_BYTES_MAX},
};
use brink_protocol::Position;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{AGE, CONTENT_LENGTH, DATE},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// `Cache-Status`: RFC 9211.
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Largest stored head, in bytes; a response with a larger one is passed.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// Largest body that a configuration may allow to be stored, in bytes.
pub(super) const OBJECT_BYTES_MAX: u64 = 64 << 20;
/// Longest key with a variant's selection, in bytes.
pub(super) const FULL_KEY_BYTES_MAX: usize =
    KEY_BYTES_MAX + brink_policy::http::vary::SELECTION_BYTES_MAX + 128;
/// What an entry costs in memory beside its bytes: maps, counters, places in the tag index.
const ENTRY_OVERHEAD_BYTES: usize = 512;
/// What one tag of an entry costs in memory.
const TAG_OVERHEAD_BYTES: usize = 64;
/// What the bounds of a range cost in memory beside its tag.
const BOUNDS_OVERHEAD_BYTES: usize = 96;
/// What one field costs in memory beside its bytes.
const FIELD_OVERHEAD_BYTES: usize = 96;

/// A key in both tiers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) CacheKey);

/// What a key leads to.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    /// A response.
    Answer(Arc<Stored>),
    /// The responses of this URI are told apart by request fields: their selections, the newest last.
    Variants(Arc<Vec<Variant>>),
}

/// One variant of a URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variant {
    /// The selecting fields.
    pub(super) fields: Vec<HeaderName>,
    /// See [`brink_policy::http::vary::selection`].
    pub(super) selection: String,
    /// Its language, if it was selected by `Accept-Language`; else empty.
    pub(super) language: String,
}

/// A stored response.
#[derive(Debug)]
pub(super) struct Stored {
    /// Tells this entry from the one that had its place before; counts within one life of the program.
    pub(super) id: EntryId,
    /// Which journal can vouch for it.
    pub(super) generation: u64,
    pub(super) status: StatusCode,
    /// As it is sent; `Age` and `Cache-Status` hold a place for what is set on each hit, so that the map need not grow.
    pub(super) headers: HeaderMap,
    /// What caches before us said of it.
    pub(super) upstream_status: Option<HeaderValue>,
    pub(super) body: Bytes,
    pub(super) lifetime: Lifetime,
    pub(super) initial_age: u64,
    pub(super) received: SystemTime,
    /// Each once, in order.
    pub(super) on: Box<[Dependency]>,
    /// The apply index when its fill started.
    pub(super) index: u64,
    /// The core's position at which its records were read; ours when its fill started, if it was made of other things too.
    pub(super) position: Arc<Position>,
    /// Some of its tags, for people.
    pub(super) described: Box<str>,
    /// Up to which apply index it was found untouched (times two), and whether it was purged softly before (plus one):
    /// a hit between two changes costs one comparison.
    checked: AtomicU64,
}

/// What a [`Stored`] is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) generation: u64,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) lifetime: Lifetime,
    pub(super) initial_age: u64,
    pub(super) received: SystemTime,
    pub(super) on: Box<[Dependency]>,
    pub(super) index: u64,
    pub(super) position: Arc<Position>,
    pub(super) described: Box<str>,
}

static IDS: AtomicU64 = AtomicU64::new(1);

/// The id that the next entry gets.
pub(super) fn next_id() -> EntryId {
    IDS.load(Ordering::Relaxed)
}

impl Stored {
    /// Prepares a response for being sent again and again: length, date and the places for `Age` and `Cache-Status` are
    /// set.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            generation,
            status,
            mut headers,
            body,
            lifetime,
            initial_age,
            received,
            ..
        } = parts;
        if status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if !headers.contains_key(DATE)
            && let Some(date) = date_value(received)
        {
            headers.insert(DATE, date);
        }
        let upstream_status = joined(&headers, &CACHE_STATUS);
        headers.insert(AGE, HeaderValue::from(0_u64));
        headers.insert(CACHE_STATUS, HeaderValue::from_static("-"));
        Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            generation,
            status,
            headers,
            upstream_status,
            body,
            lifetime,
            initial_age,
            received,
            on: parts.on,
            checked: AtomicU64::new(parts.index << 1),
            index: parts.index,
            position: parts.position,
            described: parts.described,
        }
    }

    /// `current_age`, in seconds. RFC 9111 §4.2.3.
    pub(super) fn age(&self, now: SystemTime) -> u64 {
        age::current_age(self.initial_age, self.received, now)
    }

    /// Up to which index it was found untouched, and whether it was purged softly before.
    pub(super) fn checked(&self) -> (u64, bool) {
        let checked = self.checked.load(Ordering::Acquire);
        (checked >> 1, checked & 1 == 1)
    }

    /// Notes a check. A softly purged entry remains one.
    pub(super) fn set_checked(&self, index: u64, soft: bool) {
        self.checked
            .fetch_max(index << 1 | u64::from(soft), Ordering::AcqRel);
    }

    /// Where its body lies in the representation, if it is only a part of it.
    pub(super) fn part(&self) -> Option<Held> {
        match self.status {
            StatusCode::PARTIAL_CONTENT => Held::of(&self.headers, self.body.len()),
            _ => None,
        }
    }

    /// Whether it can answer a request at all: a part answers what asks for some of it.
    pub(super) fn answers(&self, method: &Method, request: &HeaderMap) -> bool {
        self.status != StatusCode::PARTIAL_CONTENT
            || self
                .part()
                .is_some_and(|held| held.answers(method, request, &self.headers, self.body.len()))
    }

    /// The fields without those that are set on each hit.
    pub(super) fn own_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(AGE);
        headers.remove(CACHE_STATUS);
        if let Some(upstream) = &self.upstream_status {
            headers.insert(CACHE_STATUS, upstream.clone());
        }
        headers
    }
}

/// The lines of a list field as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let lines: Vec<&str> = lines(headers, name).collect();
    if lines.is_empty() {
        None
    } else {
        HeaderValue::try_from(lines.join(", ")).ok()
    }
}

/// Bytes of names and values.
pub(super) fn head_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

/// What a slot costs in memory, in bytes.
pub(super) fn weight(key: &Key, slot: &Slot) -> usize {
    match slot {
        Slot::Answer(stored) => weight_of(key, stored),
        Slot::Variants(list) => {
            let lists = list.iter().map(|v| {
                v.selection.len() + v.language.len() + v.fields.len() * FIELD_OVERHEAD_BYTES
            });
            of_key(key) + lists.sum::<usize>()
        }
    }
}

/// What a response costs in memory, in bytes.
pub(super) fn weight_of(key: &Key, stored: &Stored) -> usize {
    let head = head_bytes(&stored.headers) + stored.headers.len() * FIELD_OVERHEAD_BYTES;
    let ranges = stored.on.iter().filter(|on| on.bounds().is_some()).count();
    of_key(key)
        + stored.body.len()
        + head
        + stored.on.len() * TAG_OVERHEAD_BYTES
        + ranges * BOUNDS_OVERHEAD_BYTES
        + stored.described.len()
}

fn of_key(key: &Key) -> usize {
    2 * key.0.as_str().len() + ENTRY_OVERHEAD_BYTES
}

/// Milliseconds since 1970.
pub(super) fn to_ms(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The reverse of [`to_ms`].
pub(super) fn from_ms(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(ms))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
