//! What a PoP and a shield say to each other, in one field of the request and one of the answer.

use crate::{cache::Kept, exchange::Caller};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use brink_policy::coherence::tags;
use brink_protocol::{Position, TenantName, codec, deployment::default_tenant};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::net::SocketAddr;

/// The field, in requests and answers. Clients cannot send it: its prefix is internal.
pub(super) const SHIELD_FIELD: HeaderName = HeaderName::from_static("brink-shield");
/// Longest value of the field, in bytes: the most tags of an entry fit.
const FIELD_BYTES_MAX: usize = 64 << 10;
/// Changes whenever the meaning of a message does.
const VERSION: u32 = 3;

/// What a PoP asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    format: Format,
    /// Whose route it is.
    pub tenant: TenantName,
    /// The scheme of the client's request.
    pub scheme: String,
    /// The revision of the asking PoP's deployments: the shield's must be the same.
    pub revision: u64,
    /// What the asking PoP has applied, and what the client's session has seen.
    pub at_least: Position,
    /// How long ago an unsafe request may have outdated the URL at the asking PoP, at last, in milliseconds.
    pub outdated_ms: u64,
    /// Fields of the request that plugins set.
    pub fields_set: Vec<String>,
    /// Whose request it is.
    pub client: Option<SocketAddr>,
    /// Who sends it, as the asking PoP's plugins found it.
    pub caller: Option<Caller>,
}

/// What a shield says of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    format: Format,
    /// None: it is for this one request.
    pub kept: Option<Kept>,
    /// Where what was written on the request's behalf is in the log.
    pub written: Position,
}

/// What both sides must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Format {
    version: u32,
    /// How a tag is hashed: tags travel as hashes, and one that is hashed otherwise would never be found changed.
    probe: u64,
}

impl Format {
    fn own() -> Self {
        Self {
            version: VERSION,
            probe: tags::name(&default_tenant(), "brink-shield"),
        }
    }
}

/// The rest of a question.
pub(super) struct Question {
    pub(super) tenant: TenantName,
    pub(super) scheme: String,
    pub(super) revision: u64,
    pub(super) at_least: Position,
    pub(super) outdated_ms: u64,
    pub(super) fields_set: Vec<String>,
    pub(super) client: Option<SocketAddr>,
    pub(super) caller: Option<Caller>,
}

impl From<Question> for Asked {
    fn from(question: Question) -> Self {
        Self {
            format: Format::own(),
            tenant: question.tenant,
            scheme: question.scheme,
            revision: question.revision,
            at_least: question.at_least,
            outdated_ms: question.outdated_ms,
            fields_set: question.fields_set,
            client: question.client,
            caller: question.caller,
        }
    }
}

impl Asked {
    /// As a field value; none if it is too long.
    pub(super) fn to_value(&self) -> Option<HeaderValue> {
        encoded(self)
    }

    /// Takes the question off a request; none if there is none that is understood here.
    pub fn take(headers: &mut HeaderMap) -> Option<Self> {
        let asked: Self = decoded(&headers.remove(SHIELD_FIELD)?)?;
        (asked.format == Format::own()).then_some(asked)
    }
}

impl Told {
    /// Of an answer.
    #[must_use]
    pub fn new(kept: Option<Kept>, written: Position) -> Self {
        Self {
            format: Format::own(),
            kept,
            written,
        }
    }

    /// Puts it on an answer. Where it would be too long, the answer is for one request.
    pub fn put(self, headers: &mut HeaderMap) {
        let whole = encoded(&self);
        if let Some(value) = whole.or_else(|| encoded(&Self { kept: None, ..self })) {
            headers.insert(SHIELD_FIELD, value);
        }
    }

    /// Takes it off an answer; none: the shield did not answer for an origin.
    pub(super) fn take(headers: &mut HeaderMap) -> Option<Self> {
        let told: Self = decoded(&headers.remove(SHIELD_FIELD)?)?;
        (told.format == Format::own()).then_some(told)
    }
}

fn encoded<T: Serialize>(message: &T) -> Option<HeaderValue> {
    let text = URL_SAFE_NO_PAD.encode(codec::encode(message).ok()?);
    if text.len() > FIELD_BYTES_MAX {
        return None;
    }
    HeaderValue::try_from(text).ok()
}

fn decoded<T: DeserializeOwned>(value: &HeaderValue) -> Option<T> {
    if value.len() > FIELD_BYTES_MAX {
        return None;
    }
    codec::decode(&URL_SAFE_NO_PAD.decode(value.as_bytes()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_policy::{coherence::Dependency, http::Lifetime};
    use proptest::prelude::*;

    fn asked() -> Asked {
        Question {
            tenant: default_tenant(),
            scheme: "https".into(),
            revision: 7,
            at_least: "core-1.1=42".parse().unwrap(),
            outdated_ms: 5,
            fields_set: vec!["x-user".into()],
            client: Some("10.0.0.1:5".parse().unwrap()),
            caller: Some(Caller {
                subject: Some("ann".into()),
                claims: vec![("role".into(), "buyer".into())],
            }),
        }
        .into()
    }

    #[test]
    fn messages_come_back_and_other_formats_do_not() {
        let mut headers = HeaderMap::new();
        headers.insert(SHIELD_FIELD, asked().to_value().unwrap());
        assert_eq!(Asked::take(&mut headers), Some(asked()));
        assert!(headers.is_empty() && Asked::take(&mut headers).is_none());
        for format in [
            Format {
                version: VERSION + 1,
                ..Format::own()
            },
            Format {
                probe: 1,
                ..Format::own()
            },
        ] {
            let other = Asked { format, ..asked() };
            headers.insert(SHIELD_FIELD, other.to_value().unwrap());
            assert_eq!(Asked::take(&mut headers), None);
        }
    }

    #[test]
    fn what_has_too_many_tags_is_for_one_request() {
        let kept = |count: u64| Kept {
            lifetime: Lifetime::fresh_for(60),
            on: (0..count).map(|n| Dependency::Tag(u64::MAX - n)).collect(),
            described: "name:a".into(),
        };
        for (count, is_kept) in [(1_024, true), (10_000, false)] {
            let mut headers = HeaderMap::new();
            let written: Position = "core-1.1=42".parse().unwrap();
            Told::new(Some(kept(count)), written.clone()).put(&mut headers);
            let told = Told::take(&mut headers).unwrap();
            assert_eq!((told.kept.is_some(), told.written), (is_kept, written));
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut headers = HeaderMap::new();
            headers.insert(SHIELD_FIELD, HeaderValue::try_from(URL_SAFE_NO_PAD.encode(&bytes)).unwrap());
            let _ = Asked::take(&mut headers);
            headers.insert(SHIELD_FIELD, HeaderValue::try_from(URL_SAFE_NO_PAD.encode(&bytes)).unwrap());
            let _ = Told::take(&mut headers);
        }
    }
}
