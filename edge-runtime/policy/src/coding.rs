//! Content codings: which a client gets, which answers are compressed at all, and what their fields become.
//! RFC 9110 §8.4, §12.5.3.
//!
//! What is stored without a coding serves everyone: its coded forms are made of it, kept with it, and end with it. So an
//! answer that can be coded is not selected by `Accept-Encoding`, though it says `Vary: accept-encoding` to caches behind us.

use crate::http::fields::{lines, members};
use ::http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        ACCEPT_ENCODING, ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING,
        CONTENT_RANGE, CONTENT_TYPE, COOKIE, ETAG, RANGE, SET_COOKIE, VARY,
    },
};

/// Shortest body that is compressed, in bytes: shorter ones fit into one packet anyway.
pub const CODED_BYTES_MIN: u64 = 512;
/// Longest body that is compressed, in bytes.
pub const CODED_BYTES_MAX: u64 = 16 << 20;
/// How many codings there are.
pub const CODINGS: usize = 3;

/// A content coding that is made here, in the order in which they are preferred: the densest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878, with a window of at most 8 MiB (RFC 9659).
    Zstd,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All, the preferred one first.
    pub const ALL: [Self; CODINGS] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Its name in `Content-Encoding`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Its place in [`Coding::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Brotli => 0,
            Self::Zstd => 1,
            Self::Gzip => 2,
        }
    }

    fn of(name: &str) -> Option<Self> {
        match name {
            n if n.eq_ignore_ascii_case("br") => Some(Self::Brotli),
            n if n.eq_ignore_ascii_case("zstd") => Some(Self::Zstd),
            n if n.eq_ignore_ascii_case("gzip") || n.eq_ignore_ascii_case("x-gzip") => {
                Some(Self::Gzip)
            }
            _ => None,
        }
    }
}

/// The codings that a client takes, those that it likes best first. Empty: it gets what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted([Option<Coding>; CODINGS]);

impl Accepted {
    /// What a request accepts and likes no less than no coding at all. A range is one of what is stored: nothing is coded
    /// for it.
    #[must_use]
    pub fn of(request: &HeaderMap) -> Self {
        if !request.contains_key(ACCEPT_ENCODING) || request.contains_key(RANGE) {
            return Self::default();
        }
        let weights = Weights::of(request);
        let floor = weights.identity.unwrap_or(1).max(1);
        let mut liked = Coding::ALL.map(|coding| (weights.of_coding(coding), coding));
        // Stable: of those with one weight the denser stays before.
        liked.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        Self(liked.map(|(weight, coding)| (weight >= floor).then_some(coding)))
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Coding> + '_ {
        self.0.iter().flatten().copied()
    }

    /// It gets what is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [None; CODINGS]
    }
}

/// Weights of a request's `Accept-Encoding`, in thousandths.
#[derive(Debug, Default)]
struct Weights {
    codings: [Option<u16>; CODINGS],
    identity: Option<u16>,
    any: Option<u16>,
    /// It names something that is none of these, or has a weight that is none.
    is_other: bool,
}

impl Weights {
    fn of(request: &HeaderMap) -> Self {
        let mut weights = Self::default();
        for member in lines(request, &ACCEPT_ENCODING).flat_map(members) {
            let (name, parameter) = match member.split_once(';') {
                Some((name, parameter)) => (name.trim_end(), Some(parameter)),
                None => (member, None),
            };
            let Some(weight) = parameter.map_or(Some(1000), weight) else {
                weights.is_other = true;
                continue;
            };
            let place = match Coding::of(name) {
                Some(coding) => weights.codings.get_mut(coding.index()),
                None if name == "*" => Some(&mut weights.any),
                None if name.eq_ignore_ascii_case("identity") => Some(&mut weights.identity),
                None => {
                    weights.is_other |= !name.eq_ignore_ascii_case("deflate");
                    None
                }
            };
            if let Some(place) = place {
                *place = Some(weight);
            }
        }
        weights
    }

    fn of_coding(&self, coding: Coding) -> u16 {
        let own = self.codings.get(coding.index()).copied().flatten();
        own.or(self.any).unwrap_or(0)
    }

    /// No coding at all is not acceptable. RFC 9110 §12.5.3.
    fn refuses_identity(&self) -> bool {
        self.identity == Some(0) || (self.identity.is_none() && self.any == Some(0))
    }
}

/// `q=` and a number from 0 to 1 with at most three digits after the point, in thousandths. RFC 9110 §12.4.2.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.trim().split_once('=')?;
    let (whole, rest) = value.split_once('.').unwrap_or((value, ""));
    let is_number = matches!(whole, "0" | "1") && rest.bytes().all(|b| b.is_ascii_digit());
    if !name.trim().eq_ignore_ascii_case("q") || !is_number || rest.len() > 3 {
        return None;
    }
    let thousandths: u16 = format!("{whole}{rest:0<3}").parse().ok()?;
    (thousandths <= 1000).then_some(thousandths)
}

/// Every list of codings that a module or origin is told, by which of them are on it.
const CANONICAL: [&str; 1 << CODINGS] = [
    "",
    "br",
    "zstd",
    "br, zstd",
    "gzip",
    "br, gzip",
    "zstd, gzip",
    "br, zstd, gzip",
];

/// Makes of `Accept-Encoding` one of few values, so that what is selected by it has few variants: the codings known here
/// that are accepted, without weights. One that says more than that (`identity;q=0`, a coding that is not known) stays as it
/// is.
pub fn simplify(request: &mut HeaderMap) {
    let Some(sent) = request.get(ACCEPT_ENCODING) else {
        return;
    };
    if CANONICAL.iter().skip(1).any(|known| sent == known) {
        return;
    }
    let weights = Weights::of(request);
    if weights.is_other || weights.refuses_identity() {
        return;
    }
    let accepted = |coding: &Coding| weights.of_coding(*coding) > 0;
    let listed = Coding::ALL.into_iter().filter(accepted);
    let place = listed.fold(0, |place, coding| place | 1 << coding.index());
    match CANONICAL.get(place).copied() {
        None | Some("") => request.remove(ACCEPT_ENCODING),
        Some(list) => request.insert(ACCEPT_ENCODING, HeaderValue::from_static(list)),
    };
}

/// An answer that might be kept in codings, and its request.
#[derive(Debug, Clone, Copy)]
pub struct Codable<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its fields, as they came.
    pub response: &'a HeaderMap,
    /// The request's fields.
    pub request: &'a HeaderMap,
    /// Bytes of its body.
    pub length: u64,
}

impl Codable<'_> {
    /// Whether codings are made of a stored answer: it has none, is of a type that gets smaller, does not forbid it, and
    /// holds no secret. Where what a caller sends stands beside a secret, the length of what both compress to tells of the
    /// secret (BREACH); so answers with cookies, to requests with credentials, and to such as are told apart by cookies or
    /// credentials are left as they are, and those that are not stored are never compressed.
    #[must_use]
    pub fn is_codable(&self) -> bool {
        let Self {
            status,
            response,
            request,
            length,
        } = *self;
        let has = |name: &HeaderName| response.contains_key(name);
        let lists = |name: &HeaderName, wanted: &HeaderName| {
            let mut listed = lines(response, name).flat_map(members);
            listed.any(|member| member.eq_ignore_ascii_case(wanted.as_str()))
        };
        // An error that an origin gives for everyone may well be a page.
        let is_whole = status == StatusCode::OK || status.is_client_error();
        let is_plain = ![CONTENT_ENCODING, CONTENT_RANGE, SET_COOKIE]
            .iter()
            .any(has);
        let is_secret = request.contains_key(AUTHORIZATION)
            || lists(&VARY, &COOKIE)
            || lists(&VARY, &AUTHORIZATION);
        let mut directives = lines(response, &CACHE_CONTROL).flat_map(members);
        let forbids = directives
            .any(|d| d.eq_ignore_ascii_case("no-transform") || starts_with(d, "private="));
        (CODED_BYTES_MIN..=CODED_BYTES_MAX).contains(&length)
            && is_whole
            && is_plain
            && !is_secret
            && !forbids
            && is_textual(response)
    }
}

fn starts_with(text: &str, prefix: &str) -> bool {
    let start = text.get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Whether the content is of a type that gets much smaller: text, and what is written as text or is uncompressed data.
fn is_textual(response: &HeaderMap) -> bool {
    let content_type = response.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let Some(content_type) = content_type else {
        return false;
    };
    let essence = content_type.split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    match essence.split_once('/') {
        // Its events are to come one by one.
        Some(("text", subtype)) => subtype != "event-stream",
        Some((_, subtype)) if subtype.ends_with("+json") || subtype.ends_with("+xml") => true,
        Some(("application", subtype)) => matches!(
            subtype,
            "json"
                | "javascript"
                | "x-javascript"
                | "ecmascript"
                | "xml"
                | "xhtml"
                | "manifest"
                | "wasm"
                | "x-ndjson"
                | "ndjson"
                | "json-seq"
                | "jsonlines"
                | "graphql"
                | "yaml"
                | "toml"
                | "sql"
                | "rtf"
                | "cbor"
                | "x-sh"
                | "vnd.apple.mpegurl"
                | "vnd.ms-fontobject"
                | "x-font-ttf"
        ),
        Some(("font", subtype)) => matches!(subtype, "ttf" | "otf" | "sfnt" | "collection"),
        Some(("image", subtype)) => matches!(
            subtype,
            "bmp" | "x-icon" | "vnd.microsoft.icon" | "x-ms-bmp"
        ),
        Some(_) | None => false,
    }
}

/// Fields that check the bytes of the message or of the representation, which a coding changes. RFC 9530, RFC 1864, RFC 3230.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
];

/// Tells caches behind us that the answer is selected by `Accept-Encoding`.
pub fn vary(headers: &mut HeaderMap) {
    let is_it = |name: &str| name == "*" || name.eq_ignore_ascii_case(ACCEPT_ENCODING.as_str());
    let is_listed = lines(headers, &VARY).flat_map(members).any(is_it);
    if !is_listed {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Makes of the fields of an answer without a coding those of one that has it. Its validator becomes a weak one: the coded
/// forms of two places, or of two versions of this program, need not be the same bytes (RFC 9110 §8.8.1, §8.8.3.3); so a range
/// is never one of a coded form.
pub fn encode(headers: &mut HeaderMap, coding: Coding) {
    vary(headers);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    headers.remove(ACCEPT_RANGES);
    for name in &DIGESTS {
        headers.remove(name);
    }
    if let Some(etag) = headers.get(ETAG)
        && !etag.as_bytes().starts_with(b"W/")
    {
        let weak = HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat());
        match weak {
            Ok(weak) => headers.insert(ETAG, weak),
            Err(_) => headers.remove(ETAG),
        };
    }
}

#[cfg(test)]
mod tests;
