//! What is counted, and that nothing else is kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::cache::stored::{Codings, Form, Parts, own_body};
use brink_policy::{coding::Coding, http::Lifetime, key::CacheKey};
use bytes::Bytes;
use http::{HeaderName, StatusCode};
use std::{sync::Arc, time::SystemTime};

#[test]
fn sizes_are_those_of_the_allocator() {
    let sizes = [
        (0, 0),
        (1, 16),
        (16, 16),
        (17, 32),
        (128, 128),
        (129, 160),
        (256, 256),
        (257, 320),
        (1_025, 1_280),
        (4_096, 4_096),
        (65_537, 81_920),
    ];
    for (bytes, given) in sizes {
        assert_eq!(allocated(bytes), given, "{bytes}");
    }
}

fn stored(headers: HeaderMap, body: Bytes, codings: Option<Codings>) -> Stored {
    Stored::new(Parts {
        generation: 1,
        status: StatusCode::OK,
        headers,
        body: body.into(),
        lifetime: Lifetime::default(),
        initial_age: 0,
        received: SystemTime::UNIX_EPOCH,
        on: Box::default(),
        index: 0,
        position: Arc::default(),
        described: Box::default(),
        codings,
    })
}

#[test]
fn what_was_read_from_a_connection_is_not_kept() {
    let read = Bytes::from(vec![b'a'; 64 << 10]);
    let is_part = |bytes: &[u8]| read.as_ptr_range().contains(&bytes.as_ptr());
    let mut headers = HeaderMap::new();
    for (name, at) in [("etag", 0), ("x-own", 100), ("x-own", 200), ("empty", 300)] {
        let length = if name == "empty" { 0 } else { 20 };
        let value = HeaderValue::from_maybe_shared(read.slice(at..at + length)).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers.get_mut("etag").unwrap().set_sensitive(true);
    let body = own_body(&read.slice(1_000..2_000));
    let form = Codings::of((
        Coding::Gzip,
        Form::Coded(Bytes::from_static(b"coded").into()),
    ));
    let entry = stored(headers.clone(), body, Some(form));
    assert!(!is_part(entry.body.own()) && entry.body.len() == 1_000);
    for one in entry.coded_forms().chain([&entry]) {
        assert!(!one.headers.values().any(|value| is_part(value.as_bytes())));
        let both =
            |headers: &HeaderMap| headers.get_all("x-own").iter().cloned().collect::<Vec<_>>();
        assert_eq!(both(&one.headers), both(&headers));
        assert_eq!(one.headers["empty"], "");
    }
    assert!(entry.headers["etag"].is_sensitive());
    assert_eq!(entry.coded_forms().count(), 1);
}

#[test]
fn all_of_an_entry_weighs_something() {
    let key = Key(CacheKey::from_text("k".repeat(100)));
    let weight = |stored: Stored| weight(&key, &Slot::Answer(Arc::new(stored)));
    let field = |name: &'static str, length: usize| {
        let value = HeaderValue::try_from("v".repeat(length)).unwrap();
        HeaderMap::from_iter([(HeaderName::from_static(name), value)])
    };
    let empty = weight(stored(HeaderMap::new(), Bytes::new(), None));
    assert!(empty > size_of::<Stored>() + 300);
    let body = weight(stored(HeaderMap::new(), Bytes::from(vec![0; 5_000]), None));
    assert!(body >= empty + 5_000);
    // In the map, and as it is sent.
    let head = weight(stored(field("x-large", 2_000), Bytes::new(), None));
    assert!(head >= empty + 4_000);
    let form = Form::Coded(Bytes::from(vec![0; 700]).into());
    let codings = Codings::of((Coding::Brotli, form));
    let coded = weight(stored(HeaderMap::new(), Bytes::new(), Some(codings)));
    assert!(coded >= empty + 700 + size_of::<Stored>());
}
