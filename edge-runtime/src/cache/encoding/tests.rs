//! Entries there and back, cut, and changed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use brink_protocol::{
    record::{Bound, Range},
    tag::Tag,
};
use std::time::{Duration, SystemTime};

fn range(lower: &str, upper: &str) -> Tag {
    Tag::Range {
        tenant: "t".parse().unwrap(),
        range: Range {
            collection: "stock".into(),
            partition: "ams-1".into(),
            lower: Bound::Inclusive(lower.into()),
            upper: Bound::Exclusive(upper.into()),
            limit: 10,
            descending: false,
        },
    }
}

fn entry(body: &'static [u8]) -> Slot {
    let mut headers = HeaderMap::new();
    headers.append("content-type", "text/plain".parse().unwrap());
    headers.append("set-cookie", "a=1".parse().unwrap());
    headers.append("set-cookie", "b=2".parse().unwrap());
    headers.append("cache-status", "origin; hit".parse().unwrap());
    let section = HeaderMap::from_iter([(http::header::ETAG, "\"a\"".parse().unwrap())]);
    let stored = Stored::new(Parts {
        generation: 7,
        status: StatusCode::OK,
        headers,
        body: body.into(),
        lifetime: Lifetime::fresh_for(60),
        initial_age: 3,
        received: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        on: [
            Dependency::Tag(1),
            Dependency::Tag(u64::MAX),
            Dependency::on(&range("b", &"c".repeat(100))),
        ]
        .into(),
        index: 42,
        position: Arc::new("core-1.1=5".parse().unwrap()),
        codings: None,
        described: "name:a".into(),
    });
    Slot::Answer(Arc::new(stored.with_trailers(section)))
}

fn bytes(slot: &Slot) -> Bytes {
    let mut bytes = Vec::new();
    slot.encode(&mut bytes).unwrap();
    bytes.into()
}

fn answer(slot: &Slot) -> &Stored {
    match slot {
        Slot::Answer(stored) => stored,
        Slot::Variants(_) | Slot::Piece(_) => panic!("no answer"),
    }
}

#[test]
fn there_and_back() {
    let slot = entry(b"hello");
    let again = Slot::decode(&bytes(&slot)).unwrap();
    let (one, other) = (answer(&slot), answer(&again));
    assert_eq!(one.headers, other.headers);
    assert_eq!(one.upstream_status, other.upstream_status);
    assert_eq!(other.upstream_status.as_ref().unwrap(), "origin; hit");
    assert_eq!(
        (one.status, &one.body, one.lifetime),
        (other.status, &other.body, other.lifetime)
    );
    assert_eq!(
        (one.received, one.initial_age, one.generation),
        (other.received, other.initial_age, other.generation)
    );
    assert_eq!(
        (&one.on, one.index, &one.position),
        (&other.on, other.index, &other.position)
    );
    assert_eq!(one.trailers, other.trailers);
    assert_eq!(
        other.trailers.as_ref().map(|section| section.len()),
        Some(1)
    );
    assert_eq!(other.headers["trailer"], "etag");
    assert_ne!(one.id, other.id);
    assert!(bytes(&slot).len() <= slot.size());

    let variant = Variant {
        fields: vec!["accept".parse().unwrap()],
        selection: "accept: a\n".into(),
        language: "de".into(),
    };
    let list = Slot::Variants(Arc::new(vec![variant.clone()]));
    match Slot::decode(&bytes(&list)).unwrap() {
        Slot::Variants(again) => assert_eq!(*again, [variant]),
        Slot::Answer(_) | Slot::Piece(_) => panic!("no list"),
    }
}

/// A large body is not copied out of what was read; a small one does not keep that in memory.
#[test]
fn large_bodies_are_shared() {
    static LARGE: [u8; 100_000] = [1; 100_000];
    for (body, is_shared) in [(&LARGE[..], true), (b"hello", false)] {
        let read = bytes(&entry(body));
        let slot = Slot::decode(&read).unwrap();
        let body = answer(&slot).body.whole().unwrap();
        let within = read.as_ptr_range().contains(&body.as_ptr());
        assert_eq!(within, is_shared, "{} bytes", body.len());
    }
}

#[test]
fn cut_or_changed_anywhere_it_is_refused_or_read_but_never_panics() {
    let whole = bytes(&entry(b"hello"));
    for end in 0..whole.len() {
        assert!(Slot::decode(&whole.slice(..end)).is_none(), "cut at {end}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.to_vec();
            changed[at] ^= 1 << bit;
            let _ = Slot::decode(&changed.into());
        }
    }
    let mut huge = MAGIC.to_le_bytes().to_vec();
    huge.extend([0xff; 8]);
    assert!(Slot::decode(&huge.into()).is_none());
}
