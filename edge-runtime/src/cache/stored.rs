//! What the tiers hold: a response with all that decides about its reuse, or the list of a URI's variants.

use super::content::Content;
use brink_policy::{
    coding::{self, Accepted, CODINGS, Coding},
    coherence::{Dependency, EntryId},
    http::{
        Lifetime, age,
        fields::{date_value, lines},
        range::Held,
        trailers::announced,
        vary,
    },
    key::{CacheKey, KEY_BYTES_MAX},
};
use brink_protocol::Position;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{ACCEPT_ENCODING, AGE, CONTENT_LENGTH, DATE, TRAILER},
};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// `Cache-Status`: RFC 9211.
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Largest stored head, in bytes; a response with a larger one is passed.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// Longest body that is copied when it is stored, in bytes. Nothing is read from a connection in longer pieces.
const COPIED_BYTES_MAX: usize = 1 << 20;
/// Longest key with a variant's selection, in bytes.
pub(super) const FULL_KEY_BYTES_MAX: usize =
    KEY_BYTES_MAX + brink_policy::http::vary::SELECTION_BYTES_MAX + 128;
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
    /// A piece of a response's body.
    Piece(Bytes),
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
    pub(super) body: Content,
    /// Its trailer section, which is never empty. RFC 9111 §3: kept apart from the header section.
    pub(super) trailers: Option<Box<HeaderMap>>,
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
    /// Its coded forms; none: none are made of it.
    forms: Option<Box<[Made; CODINGS]>>,
    /// Up to which apply index it was found untouched (times two), and whether it was purged softly before (plus one):
    /// a hit between two changes costs one comparison.
    checked: AtomicU64,
    /// See [`super::prepared::prepare`]; made on the first hit that wants it.
    prepared: OnceLock<Option<Box<[u8]>>>,
}

/// One coded form of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Coded(Content),
    /// It gets no smaller.
    Useless,
}

/// The coded forms of a body that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Codings(pub(super) [Option<Form>; CODINGS]);

impl Codings {
    pub(super) fn of((coding, form): (Coding, Form)) -> Self {
        Self(Coding::ALL.map(|other| (other == coding).then(|| form.clone())))
    }

    fn bytes(&self) -> usize {
        let length = |form: &Form| match form {
            Form::Coded(content) => content.len(),
            Form::Useless => 0,
        };
        self.0.iter().flatten().map(length).sum()
    }
}

/// A coded form, ready to be sent.
#[derive(Debug)]
enum Made {
    Not,
    Useless,
    Coded(Arc<Stored>),
}

/// What a [`Stored`] is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) generation: u64,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Content,
    pub(super) lifetime: Lifetime,
    pub(super) initial_age: u64,
    pub(super) received: SystemTime,
    pub(super) on: Box<[Dependency]>,
    pub(super) index: u64,
    pub(super) position: Arc<Position>,
    pub(super) described: Box<str>,
    /// Coded forms of the body; none: none are made of it.
    pub(super) codings: Option<Codings>,
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
            codings,
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
        if codings.is_some() {
            coding::vary(&mut headers);
        }
        let upstream_status = joined(&headers, &CACHE_STATUS);
        headers.insert(AGE, HeaderValue::from(0_u64));
        headers.insert(CACHE_STATUS, HeaderValue::from_static("-"));
        own_values(&mut headers);
        let mut whole = Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            generation,
            status,
            headers,
            upstream_status,
            body,
            trailers: None,
            lifetime,
            initial_age,
            received,
            on: parts.on,
            checked: AtomicU64::new(parts.index << 1),
            prepared: OnceLock::new(),
            index: parts.index,
            position: parts.position,
            described: parts.described,
            forms: None,
        };
        whole.forms = codings.map(|codings| {
            let [brotli, zstd, gzip] = Coding::ALL;
            let [a, b, c] = codings.0;
            Box::new([
                whole.made(brotli, a),
                whole.made(zstd, b),
                whole.made(gzip, c),
            ])
        });
        whole
    }

    /// The same with a trailer section behind its body, which its head announces.
    pub(super) fn with_trailers(mut self, mut section: HeaderMap) -> Self {
        match announced(&section) {
            Some(names) => {
                own_values(&mut section);
                self.headers.insert(TRAILER, names);
                self.trailers = Some(Box::new(section));
            }
            None => {
                self.headers.remove(TRAILER);
            }
        }
        self
    }

    /// A coded form of this: all that decides about its use stays here.
    fn made(&self, coding: Coding, form: Option<Form>) -> Made {
        let body = match form {
            None => return Made::Not,
            Some(Form::Useless) => return Made::Useless,
            Some(Form::Coded(body)) => body,
        };
        let mut headers = self.headers.clone();
        coding::encode(&mut headers, coding);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        own_values(&mut headers);
        Made::Coded(Arc::new(Self {
            id: self.id,
            generation: self.generation,
            status: self.status,
            headers,
            upstream_status: self.upstream_status.clone(),
            body,
            trailers: None,
            lifetime: self.lifetime,
            initial_age: self.initial_age,
            received: self.received,
            on: Box::default(),
            index: self.index,
            position: self.position.clone(),
            described: Box::default(),
            forms: None,
            prepared: OnceLock::new(),
            checked: AtomicU64::new(0),
        }))
    }

    /// What is sent to a client that accepts these codings: the one that it likes best of those that are there.
    pub(super) fn form(&self, accepted: &Accepted) -> &Self {
        let Some(forms) = &self.forms else {
            return self;
        };
        let made = |coding: Coding| match forms.get(coding.index()) {
            Some(Made::Coded(form)) => Some(&**form),
            Some(Made::Not | Made::Useless) | None => None,
        };
        accepted.iter().find_map(made).unwrap_or(self)
    }

    /// The coding that such a client likes better than what is there, and that has not been tried yet.
    pub(super) fn missing(&self, accepted: &Accepted) -> Option<Coding> {
        let forms = self.forms.as_ref()?;
        for coding in accepted.iter() {
            match forms.get(coding.index()) {
                Some(Made::Not) => return Some(coding),
                Some(Made::Useless) => {}
                Some(Made::Coded(_)) | None => return None,
            }
        }
        None
    }

    /// Its coded forms; none: none are made of it.
    pub(super) fn known_codings(&self) -> Option<Codings> {
        let form = |made: &Made| match made {
            Made::Not => None,
            Made::Useless => Some(Form::Useless),
            Made::Coded(form) => Some(Form::Coded(form.body.clone())),
        };
        let [a, b, c] = &**self.forms.as_ref()?;
        Some(Codings([form(a), form(b), form(c)]))
    }

    /// Its coded forms, in case that some are made of what takes its place.
    pub(super) fn codings(&self) -> Codings {
        self.known_codings().unwrap_or_default()
    }

    /// The same with one more coded form. Where its forms would have more than `room` bytes beside it, or none are made of
    /// it, there is none.
    pub(super) fn with_form(&self, coding: Coding, form: Form, room: usize) -> Option<Self> {
        let mut codings = self.known_codings()?;
        if let Form::Coded(body) = &form
            && codings.bytes().saturating_add(body.len()) > room.saturating_sub(self.body.len())
        {
            return self.with_form(coding, Form::Useless, room);
        }
        *codings.0.get_mut(coding.index())? = Some(form);
        Some(self.again(self.body.clone(), Some(codings)))
    }

    /// The same with its body elsewhere.
    pub(super) fn with_body(&self, body: Content) -> Self {
        let stored = self.again(body, self.known_codings());
        match self.trailers.as_deref() {
            Some(section) => stored.with_trailers(section.clone()),
            None => stored,
        }
    }

    /// The same response, without its trailers.
    fn again(&self, body: Content, codings: Option<Codings>) -> Self {
        let stored = Self::new(Parts {
            generation: self.generation,
            status: self.status,
            headers: self.own_headers(),
            body,
            lifetime: self.lifetime,
            initial_age: self.initial_age,
            received: self.received,
            on: self.on.clone(),
            index: self.index,
            position: self.position.clone(),
            described: self.described.clone(),
            codings,
        });
        let checked = self.checked.load(Ordering::Acquire);
        stored.checked.store(checked, Ordering::Release);
        stored
    }

    /// The fields that select it, for us; none if nothing can be selected by them. What has coded forms is the same for
    /// all that a client may accept.
    pub(super) fn selecting(&self) -> Option<Vec<HeaderName>> {
        let mut fields = vary::fields(&self.headers)?;
        if self.forms.is_some() {
            fields.retain(|name| *name != ACCEPT_ENCODING);
        }
        Some(fields)
    }

    /// Its coded forms.
    pub(super) fn coded_forms(&self) -> impl Iterator<Item = &Self> {
        let forms = self.forms.iter().flat_map(|forms| forms.iter());
        forms.filter_map(|made| match made {
            Made::Coded(form) => Some(&**form),
            Made::Not | Made::Useless => None,
        })
    }

    /// Bytes of the table of its coded forms.
    pub(super) fn forms_table_bytes(&self) -> usize {
        self.forms.as_deref().map_or(0, size_of_val)
    }

    /// `current_age`, in seconds. RFC 9111 §4.2.3.
    pub(super) fn age(&self, now: SystemTime) -> u64 {
        age::current_age(self.initial_age, self.received, now)
    }

    /// Its head as HTTP/1.1 sends it, if it can be sent so.
    pub(super) fn prepared(&self) -> Option<&[u8]> {
        let prepared = self
            .prepared
            .get_or_init(|| super::prepared::prepare(self.status, &self.headers));
        prepared.as_deref()
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

/// Copies the values into one buffer: as they come they may be parts of all that was read from a connection.
fn own_values(headers: &mut HeaderMap) {
    let length = headers.values().map(HeaderValue::len).sum();
    let mut bytes = Vec::with_capacity(length);
    for value in headers.values() {
        bytes.extend_from_slice(value.as_bytes());
    }
    let mut bytes = Bytes::from(bytes);
    for value in headers.values_mut() {
        let own = bytes.split_to(value.len().min(bytes.len()));
        if let Ok(mut own) = HeaderValue::from_maybe_shared(own) {
            own.set_sensitive(value.is_sensitive());
            *value = own;
        }
    }
}

/// A body by itself, in no more room than it needs: as it came it may be a part of all that was read from a connection.
pub(super) fn own_body(body: &Bytes) -> Bytes {
    match body.len() {
        0 => Bytes::new(),
        1..=COPIED_BYTES_MAX => Bytes::copy_from_slice(body),
        _ => body.clone(),
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
