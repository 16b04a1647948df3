//! Entries as bytes on disk: a head in postcard, then the body. foyer puts a checksum over both and over the key; what
//! does not fit the format all the same is a miss, never a panic.

use super::stored::{
    CACHE_STATUS, Codings, FULL_KEY_BYTES_MAX, Form, HEAD_BYTES_MAX, Key, OBJECT_BYTES_MAX, Parts,
    Slot, Stored, Variant, from_ms, to_ms,
};
use brink_policy::{
    coding::CODINGS,
    coherence::{Dependency, Depends as _},
    http::Lifetime,
    key::CacheKey,
};
use brink_protocol::Position;
use bytes::Bytes;
use foyer::{Code, Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::AGE};
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Write},
    sync::Arc,
};

/// Begins every value; its last byte is the version of the format.
const MAGIC: u32 = 0x4252_4b04;
/// Largest encoded head, in bytes: fields, tags, selections.
const META_BYTES_MAX: usize = 4 * HEAD_BYTES_MAX + (1 << 20);

#[derive(Serialize, Deserialize)]
enum Meta<'a> {
    Answer {
        generation: u64,
        status: u16,
        #[serde(borrow)]
        headers: Vec<(&'a str, &'a [u8])>,
        lifetime: Lifetime,
        initial_age: u64,
        received_ms: u64,
        on: Vec<Dependency>,
        index: u64,
        position: Position,
        described: &'a str,
        /// Lengths of the coded forms, which follow the body; none: none are made of it.
        codings: Option<[Option<Coded>; CODINGS]>,
    },
    Variants(Vec<(Vec<&'a str>, &'a str, &'a str)>),
}

/// One coded form: its length; none: it gets no smaller.
type Coded = Option<u32>;

/// foyer counts this kind as a miss and forgets the block's entry.
fn not_ours(what: &'static str) -> Error {
    Error::new(ErrorKind::MagicMismatch, what)
}

impl Code for Key {
    fn encode(&self, writer: &mut impl Write) -> Result<()> {
        writer
            .write_all(self.0.as_str().as_bytes())
            .map_err(Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> Result<Self> {
        let mut text = String::new();
        let limit = FULL_KEY_BYTES_MAX as u64 + 1;
        let read = reader
            .take(limit)
            .read_to_string(&mut text)
            .map_err(|_| not_ours("key: not text"))?;
        if read as u64 == limit {
            return Err(not_ours("key: too long"));
        }
        Ok(Self(CacheKey::from_text(text)))
    }

    fn estimated_size(&self) -> usize {
        self.0.as_str().len()
    }
}

impl Code for Slot {
    fn encode(&self, writer: &mut impl Write) -> Result<()> {
        let meta = match self {
            Self::Answer(stored) => encode_answer(stored),
            Self::Variants(list) => {
                let names: Vec<Vec<&str>> = list
                    .iter()
                    .map(|v| v.fields.iter().map(HeaderName::as_str).collect())
                    .collect();
                let variants = names.into_iter().zip(list.iter());
                let variants = variants.map(|(names, v)| (names, &*v.selection, &*v.language));
                postcard::to_stdvec(&Meta::Variants(variants.collect()))
            }
        };
        let meta = meta.map_err(|_| not_ours("entry: not encodable"))?;
        let (body, codings) = match self {
            Self::Answer(stored) => (&stored.body[..], stored.codings()),
            Self::Variants(_) => (&[][..], Codings::default()),
        };
        let forms: Vec<&[u8]> = codings.0.iter().flatten().map(bytes_of).collect();
        let bodies = body.len() + forms.iter().map(|form| form.len()).sum::<usize>();
        let lengths =
            [meta.len(), bodies].map(|n| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
        let [meta_length, body_length] = lengths;
        for piece in [
            &MAGIC.to_le_bytes()[..],
            &meta_length,
            &body_length,
            &meta,
            body,
        ] {
            writer.write_all(piece).map_err(Error::io_error)?;
        }
        for form in forms {
            writer.write_all(form).map_err(Error::io_error)?;
        }
        Ok(())
    }

    fn decode(reader: &mut impl Read) -> Result<Self> {
        let mut number = || -> Result<u32> {
            let mut bytes = [0; 4];
            reader
                .read_exact(&mut bytes)
                .map_err(|_| not_ours("entry: cut short"))?;
            Ok(u32::from_le_bytes(bytes))
        };
        if number()? != MAGIC {
            return Err(not_ours("entry: another format"));
        }
        let [meta_length, body_length] = [number()? as usize, number()? as usize];
        if meta_length > META_BYTES_MAX || body_length as u64 > 2 * OBJECT_BYTES_MAX {
            return Err(not_ours("entry: too long"));
        }
        let mut piece = |length: usize| -> Result<Vec<u8>> {
            let mut bytes = vec![0; length];
            reader
                .read_exact(&mut bytes)
                .map_err(|_| not_ours("entry: cut short"))?;
            Ok(bytes)
        };
        let (meta, body) = (piece(meta_length)?, piece(body_length)?);
        decode_meta(&meta, body).ok_or_else(|| not_ours("entry: malformed"))
    }

    fn estimated_size(&self) -> usize {
        match self {
            Self::Answer(stored) => {
                let head: usize = stored
                    .headers
                    .iter()
                    .map(|(n, v)| n.as_str().len() + v.len() + 8)
                    .sum();
                let of = |on: &Dependency| 12 + on.bounds().map_or(0, |_| 68);
                let on: usize = stored.on.iter().map(of).sum();
                stored.body.len()
                    + stored.forms_bytes().0
                    + head
                    + on
                    + stored.described.len()
                    + 256
            }
            Self::Variants(list) => {
                list.iter()
                    .map(|v| v.selection.len() * 2 + v.language.len() + 16)
                    .sum::<usize>()
                    + 32
            }
        }
    }
}

fn encode_answer(stored: &Stored) -> postcard::Result<Vec<u8>> {
    let sent = |name: &HeaderName| *name != AGE && *name != CACHE_STATUS;
    let own = stored.headers.iter().filter(|(name, _)| sent(name));
    let upstream = stored
        .upstream_status
        .iter()
        .map(|value| ("cache-status", value.as_bytes()));
    postcard::to_stdvec(&Meta::Answer {
        generation: stored.generation,
        status: stored.status.as_u16(),
        headers: own
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .chain(upstream)
            .collect(),
        lifetime: stored.lifetime,
        initial_age: stored.initial_age,
        received_ms: to_ms(stored.received),
        on: stored.on.to_vec(),
        index: stored.index,
        position: (*stored.position).clone(),
        described: &stored.described,
        codings: stored
            .known_codings()
            .map(|codings| codings.0.map(|form| form.as_ref().map(length_of))),
    })
}

fn bytes_of(form: &Form) -> &[u8] {
    match form {
        Form::Coded(bytes) => bytes,
        Form::Useless => &[],
    }
}

fn length_of(form: &Form) -> Coded {
    match form {
        Form::Coded(bytes) => Some(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        Form::Useless => None,
    }
}

/// Parts a body from the coded forms behind it.
fn split(
    mut body: Bytes,
    lengths: Option<[Option<Coded>; CODINGS]>,
) -> Option<(Bytes, Option<Codings>)> {
    let Some(lengths) = lengths else {
        return Some((body, None));
    };
    let mut codings = Codings::default();
    // From the end: what is left is the body.
    for (place, length) in codings.0.iter_mut().zip(lengths).rev() {
        *place = match length {
            None => None,
            Some(None) => Some(Form::Useless),
            Some(Some(length)) => {
                let at = body.len().checked_sub(usize::try_from(length).ok()?)?;
                Some(Form::Coded(body.split_off(at)))
            }
        };
    }
    Some((body, Some(codings)))
}

fn decode_meta(meta: &[u8], body: Vec<u8>) -> Option<Slot> {
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
            codings,
        } => {
            let (body, codings) = split(body.into(), codings)?;
            let mut headers = HeaderMap::with_capacity(fields.len() + 2);
            for (name, value) in fields {
                headers.append(
                    name.parse::<HeaderName>().ok()?,
                    HeaderValue::from_bytes(value).ok()?,
                );
            }
            Some(Slot::Answer(Arc::new(Stored::new(Parts {
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
            }))))
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
    }
}

#[cfg(test)]
mod tests;
