//! Entries of the disk tier: any bytes are an entry or a miss; what is read is written back so that it reads the same.

use super::{
    content::{Content, FillingId, Pieces},
    stored::{Parts, Slot, Stored, Variant},
};
use crate::Target;
use brink_policy::{
    coherence::Dependency,
    http::{Lifetime, RequestDirectives},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::RANGE};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(crate) const TARGET: Target = Target {
    name: "disk_entries",
    seeds,
    run,
};

fn answer(
    status: StatusCode,
    fields: &[(&'static str, &'static str)],
    body: impl Into<Content>,
) -> Slot {
    let fields = fields.iter().copied();
    let headers: HeaderMap = fields
        .map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect();
    Slot::Answer(Arc::new(Stored::new(Parts {
        generation: 7,
        status,
        headers,
        body: body.into(),
        lifetime: Lifetime::fresh_for(60),
        initial_age: 3,
        received: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        on: [Dependency::Tag(1), Dependency::Tag(u64::MAX)].into(),
        index: 42,
        position: Arc::default(),
        described: "name:a".into(),
        codings: None,
    })))
}

fn in_pieces(fields: &[(&'static str, &'static str)]) -> Slot {
    let id = "t".parse().map(|tenant| FillingId { tenant, number: 7 });
    let pieces = id.ok().and_then(|id| Pieces::new(id, 3 << 20, 1 << 20));
    let content = pieces.map(|pieces| Content::Pieces(Arc::new(pieces)));
    answer(StatusCode::OK, fields, content.unwrap_or_default())
}

fn written(slot: &Slot) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(slot.encode(&mut bytes).is_some(), "an entry can be written");
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    let plain = [
        ("content-type", "text/plain"),
        ("etag", "\"a\""),
        ("cache-status", "o; hit"),
    ];
    let part = [
        ("content-range", "bytes 4-8/10"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ];
    let variants = Slot::Variants(Arc::new(vec![Variant {
        fields: vec![http::header::ACCEPT_LANGUAGE],
        selection: "accept-language: de\n".to_owned(),
        language: "de".to_owned(),
    }]));
    [
        answer(StatusCode::OK, &plain, &b"hello"[..]),
        in_pieces(&plain),
        Slot::Piece(Bytes::from_static(b"a piece")),
        answer(StatusCode::PARTIAL_CONTENT, &part, &b"45678"[..]),
        answer(StatusCode::NO_CONTENT, &[], Content::default()),
        variants,
    ]
    .iter()
    .map(written)
    .collect()
}

fn run(bytes: &[u8]) {
    // What a flipped bit makes of a length must not cost its memory.
    let Some(slot) = Slot::decode(&Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let again = written(&slot);
    let Some(other) = Slot::decode(&again.into()) else {
        panic!("what was written can be read");
    };
    match (&slot, &other) {
        (Slot::Answer(one), Slot::Answer(other)) => {
            check_same(one, other);
            check_use(one);
        }
        (Slot::Variants(one), Slot::Variants(other)) => assert_eq!(one, other),
        (Slot::Piece(one), Slot::Piece(other)) => assert_eq!(one, other),
        (one, other) => panic!("{one:?} became {other:?}"),
    }
}

fn check_same(one: &Stored, other: &Stored) {
    assert_eq!(one.own_headers(), other.own_headers());
    assert_eq!((one.status, &one.body), (other.status, &other.body));
    assert_eq!(
        (one.lifetime, one.initial_age),
        (other.lifetime, other.initial_age)
    );
    assert_eq!(
        (one.received, one.generation),
        (other.received, other.generation)
    );
    assert_eq!((one.index, &one.position), (other.index, &other.position));
    assert_eq!((&one.on, &one.described), (&other.on, &other.described));
}

/// What is done with an entry on a hit.
fn check_use(stored: &Stored) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let age = stored.age(now);
    let reuse = brink_policy::http::reuse::Stored {
        lifetime: &stored.lifetime,
        age_seconds: age,
        soft_purged: false,
    };
    let _ = brink_policy::http::reuse(
        &RequestDirectives::default(),
        &reuse,
        brink_policy::http::Connection::Connected,
    );
    let mut request = HeaderMap::new();
    request.insert(RANGE, HeaderValue::from_static("bytes=1-"));
    let answers = stored.answers(&Method::GET, &request);
    if let Some(held) = stored.part() {
        assert!(held.first + stored.body.len() <= held.complete);
    }
    let _ = (answers, stored.checked());
}
