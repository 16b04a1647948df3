//! Entries as bytes on disk: a head in postcard, then the body. The log puts a checksum over both and over the key; what
//! does not fit the format all the same is a miss, never a panic.

use super::{
    content::{Content, FillingId, PIECE_BYTES, Pieces, WHOLE_BYTES_MAX},
    stored::{
        CACHE_STATUS, Codings, Form, HEAD_BYTES_MAX, Parts, Slot, Stored, Variant, from_ms,
        head_bytes, to_ms,
    },
};
use brink_policy::{
    coding::CODINGS,
    coherence::{Dependency, Depends as _},
    http::Lifetime,
};
use brink_protocol::Position;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::AGE};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Begins every value; its last byte is the version of the format.
const MAGIC: u32 = 0x4252_4b06;
/// Largest encoded head, in bytes: fields, tags, selections.
const META_BYTES_MAX: usize = 4 * HEAD_BYTES_MAX + (1 << 20);
/// Largest body with its coded forms, or piece of a body, in bytes.
const BODIES_BYTES_MAX: usize = 2 * WHOLE_BYTES_MAX;
const _: () = assert!(PIECE_BYTES <= BODIES_BYTES_MAX);
/// Magic and two lengths.
const FRAME_BYTES: usize = 12;
/// Longest entry, in bytes.
pub(super) const VALUE_BYTES_MAX: usize = FRAME_BYTES + META_BYTES_MAX + BODIES_BYTES_MAX;
/// A body of so many bytes keeps the record that it was read with in memory, if the rest of that is a small part of it;
/// another is copied out of it.
const SHARED_BODY_BYTES_MIN: usize = 64 << 10;
/// So small a part: one in so many.
const SHARED_PART: usize = 64;

/// Names and values.
type Fields<'a> = Vec<(&'a str, &'a [u8])>;

#[derive(Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is made once, written or taken apart, and dropped"
)]
enum Meta<'a> {
    Answer {
        generation: u64,
        status: u16,
        #[serde(borrow)]
        headers: Fields<'a>,
        lifetime: Lifetime,
        initial_age: u64,
        received_ms: u64,
        on: Vec<Dependency>,
        index: u64,
        position: Position,
        described: &'a str,
        #[serde(borrow)]
        body: Lies<'a>,
        /// The coded forms; none: none are made of it.
        #[serde(borrow)]
        codings: Option<[Option<Coded<'a>>; CODINGS]>,
        #[serde(borrow)]
        trailers: Fields<'a>,
    },
    Variants(Vec<(Vec<&'a str>, &'a str, &'a str)>),
    Piece,
}

/// One coded form; none: it gets no smaller.
type Coded<'a> = Option<Lies<'a>>;

/// Where a body lies.
#[derive(Serialize, Deserialize)]
enum Lies<'a> {
    /// Behind the head: the body first, then each coded form, of so many bytes.
    Here(u32),
    /// In entries of their own.
    Pieces {
        tenant: &'a str,
        number: u128,
        length: u64,
        piece_bytes: u32,
    },
}

impl Slot {
    /// Appends this entry. None: it is larger than the format allows, and what was appended is to be dropped.
    pub(super) fn encode(&self, buffer: &mut Vec<u8>) -> Option<()> {
        let start = buffer.len();
        buffer.extend(MAGIC.to_le_bytes());
        // For the two lengths.
        buffer.extend([0; 8]);
        let meta_length = self.encode_meta(buffer)?;
        let (body, codings) = match self {
            Self::Answer(stored) => (stored.body.own(), stored.codings()),
            Self::Variants(_) => (&[][..], Codings::default()),
            Self::Piece(bytes) => (&bytes[..], Codings::default()),
        };
        buffer.extend_from_slice(body);
        let mut bodies_length = body.len();
        for form in codings.0.iter().flatten().map(bytes_of) {
            buffer.extend_from_slice(form);
            bodies_length += form.len();
        }
        if meta_length > META_BYTES_MAX || bodies_length > BODIES_BYTES_MAX {
            return None;
        }
        let lengths = buffer.get_mut(start + 4..start + FRAME_BYTES)?;
        let (meta, bodies) = lengths.split_at_mut_checked(4)?;
        meta.copy_from_slice(&u32::try_from(meta_length).ok()?.to_le_bytes());
        bodies.copy_from_slice(&u32::try_from(bodies_length).ok()?.to_le_bytes());
        Some(())
    }

    /// Appends the head; gives its length.
    fn encode_meta(&self, buffer: &mut Vec<u8>) -> Option<usize> {
        let start = buffer.len();
        match self {
            Self::Answer(stored) => encode_answer(stored, buffer)?,
            Self::Variants(list) => {
                let names: Vec<Vec<&str>> = list
                    .iter()
                    .map(|v| v.fields.iter().map(HeaderName::as_str).collect())
                    .collect();
                let variants = names.into_iter().zip(list.iter());
                let variants = variants.map(|(names, v)| (names, &*v.selection, &*v.language));
                put(&Meta::Variants(variants.collect()), buffer)?;
            }
            Self::Piece(_) => put(&Meta::Piece, buffer)?,
        }
        Some(buffer.len() - start)
    }

    /// The entry that these bytes are.
    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let (frame, rest) = bytes.split_first_chunk::<FRAME_BYTES>()?;
        let [magic, meta, bodies] = [0, 4, 8].map(|at| {
            let number = frame.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*number))
        });
        if magic? != MAGIC {
            return None;
        }
        let (meta_length, bodies_length) = (meta? as usize, bodies? as usize);
        if meta_length > META_BYTES_MAX || bodies_length > BODIES_BYTES_MAX {
            return None;
        }
        let (meta, bodies) = rest.split_at_checked(meta_length)?;
        if bodies.len() != bodies_length {
            return None;
        }
        let is_shared = bodies_length >= SHARED_BODY_BYTES_MIN
            && (bytes.len() - bodies_length) * SHARED_PART <= bodies_length;
        let bodies = match is_shared {
            true => bytes.slice(FRAME_BYTES + meta_length..),
            false => Bytes::copy_from_slice(bodies),
        };
        decode_meta(meta, bodies)
    }

    /// About how many bytes it has on disk.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Answer(stored) => {
                let head: usize = stored
                    .headers
                    .iter()
                    .map(|(n, v)| n.as_str().len() + v.len() + 8)
                    .sum();
                let of = |on: &Dependency| 12 + on.bounds().map_or(0, |_| 68);
                let on: usize = stored.on.iter().map(of).sum();
                let forms = stored.coded_forms().map(|form| form.body.own().len());
                let trailers = stored.trailers.as_deref().map_or(0, head_bytes);
                stored.body.own().len()
                    + forms.sum::<usize>()
                    + head
                    + trailers
                    + on
                    + stored.described.len()
                    + 256
            }
            Self::Variants(list) => {
                let lists = list
                    .iter()
                    .map(|v| v.selection.len() * 2 + v.language.len() + 16);
                lists.sum::<usize>() + 32
            }
            Self::Piece(bytes) => bytes.len() + FRAME_BYTES + 1,
        }
    }
}

/// Appends what `meta` is in postcard.
fn put(meta: &Meta<'_>, buffer: &mut Vec<u8>) -> Option<()> {
    postcard::to_io(meta, buffer).ok().map(|_| ())
}

fn encode_answer(stored: &Stored, buffer: &mut Vec<u8>) -> Option<()> {
    let sent = |name: &HeaderName| *name != AGE && *name != CACHE_STATUS;
    let own = stored.headers.iter().filter(|(name, _)| sent(name));
    let upstream = stored
        .upstream_status
        .iter()
        .map(|value| ("cache-status", value.as_bytes()));
    let trailers = stored.trailers.iter().flat_map(|section| section.iter());
    let codings = stored.known_codings();
    let meta = Meta::Answer {
        generation: stored.generation,
        status: stored.status.as_u16(),
        headers: own.map(field).chain(upstream).collect(),
        lifetime: stored.lifetime,
        initial_age: stored.initial_age,
        received_ms: to_ms(stored.received),
        on: stored.on.to_vec(),
        index: stored.index,
        position: (*stored.position).clone(),
        described: &stored.described,
        body: lies(&stored.body)?,
        codings: match &codings {
            Some(codings) => Some(coded(codings)?),
            None => None,
        },
        trailers: trailers.map(field).collect(),
    };
    put(&meta, buffer)
}

fn field<'a>((name, value): (&'a HeaderName, &'a HeaderValue)) -> (&'a str, &'a [u8]) {
    (name.as_str(), value.as_bytes())
}

fn map_of(fields: Fields<'_>) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(fields.len() + 2);
    for (name, value) in fields {
        map.append(
            name.parse::<HeaderName>().ok()?,
            HeaderValue::from_bytes(value).ok()?,
        );
    }
    Some(map)
}

fn bytes_of(form: &Form) -> &[u8] {
    match form {
        Form::Coded(content) => content.own(),
        Form::Useless => &[],
    }
}

fn lies(content: &Content) -> Option<Lies<'_>> {
    Some(match content {
        Content::Whole(bytes) => Lies::Here(u32::try_from(bytes.len()).ok()?),
        Content::Pieces(pieces) => Lies::Pieces {
            tenant: pieces.id().tenant.as_str(),
            number: pieces.id().number,
            length: pieces.length() as u64,
            piece_bytes: u32::try_from(pieces.piece_bytes()).ok()?,
        },
    })
}

fn coded(codings: &Codings) -> Option<[Option<Coded<'_>>; CODINGS]> {
    let mut forms = [const { None }; CODINGS];
    for (place, form) in forms.iter_mut().zip(&codings.0) {
        *place = match form {
            None => None,
            Some(Form::Useless) => Some(None),
            Some(Form::Coded(content)) => Some(Some(lies(content)?)),
        };
    }
    Some(forms)
}

/// Takes a body from the front of those that follow the head.
fn taken(lies: Lies<'_>, bodies: &mut Bytes) -> Option<Content> {
    match lies {
        Lies::Here(length) => {
            let length = usize::try_from(length).ok()?;
            (length <= bodies.len()).then(|| Content::Whole(bodies.split_to(length)))
        }
        Lies::Pieces {
            tenant,
            number,
            length,
            piece_bytes,
        } => {
            let tenant = tenant.parse().ok()?;
            let id = FillingId { tenant, number };
            let (length, piece_bytes) = (length.try_into().ok()?, piece_bytes.try_into().ok()?);
            Some(Content::Pieces(Arc::new(Pieces::new(
                id,
                length,
                piece_bytes,
            )?)))
        }
    }
}

/// Parts a body from the coded forms behind it.
fn split(
    body: Lies<'_>,
    forms: Option<[Option<Coded<'_>>; CODINGS]>,
    mut bodies: Bytes,
) -> Option<(Content, Option<Codings>)> {
    let body = taken(body, &mut bodies)?;
    let mut codings = forms.is_some().then(Codings::default);
    for (place, form) in codings
        .iter_mut()
        .flat_map(|codings| &mut codings.0)
        .zip(forms.into_iter().flatten())
    {
        *place = match form {
            None => None,
            Some(None) => Some(Form::Useless),
            Some(Some(lies)) => Some(Form::Coded(taken(lies, &mut bodies)?)),
        };
    }
    bodies.is_empty().then_some((body, codings))
}

fn decode_meta(meta: &[u8], bodies: Bytes) -> Option<Slot> {
    match postcard::from_bytes(meta).ok()? {
        Meta::Answer {
            generation,
            status,
            headers: fields,
            lifetime,
            initial_age,
            received_ms,
            on,
            index,
            position,
            described,
            body,
            codings,
            trailers,
        } => {
            let (body, codings) = split(body, codings, bodies)?;
            let (headers, trailers) = (map_of(fields)?, map_of(trailers)?);
            let stored = Stored::new(Parts {
                generation,
                status: StatusCode::from_u16(status).ok()?,
                headers,
                body,
                lifetime,
                initial_age,
                received: from_ms(received_ms),
                on: on.into(),
                index,
                position: Arc::new(position),
                described: described.into(),
                codings,
            });
            Some(Slot::Answer(Arc::new(stored.with_trailers(trailers))))
        }
        Meta::Variants(list) => {
            let variant = |(fields, selection, language): (Vec<&str>, &str, &str)| {
                let fields: Option<Vec<HeaderName>> =
                    fields.into_iter().map(|name| name.parse().ok()).collect();
                Some(Variant {
                    fields: fields?,
                    selection: selection.to_owned(),
                    language: language.to_owned(),
                })
            };
            Some(Slot::Variants(Arc::new(
                list.into_iter().map(variant).collect::<Option<_>>()?,
            )))
        }
        Meta::Piece => {
            let is_piece = (1..=PIECE_BYTES).contains(&bodies.len());
            is_piece.then_some(Slot::Piece(bodies))
        }
    }
}

#[cfg(test)]
mod tests;
