//! Coded forms: which a client gets, that they end with what they are made of, and that they outlive a restart.

use super::support::*;
use brink_policy::coding::Accepted;
use brink_protocol::purge::Selector;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use std::io::Read as _;

const TYPE: (&str, &str) = ("content-type", "text/html");
const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn named(name: &str) -> Selector {
    Selector::Key(name.parse().unwrap())
}

fn text() -> Bytes {
    "It was a bright cold day in April. ".repeat(100).into()
}

/// A request whose route compresses.
fn ask(path: &str, accept: &str) -> Ask {
    let mut ask = match accept {
        "" => get(path),
        accept => get(path).with("accept-encoding", accept),
    };
    ask.ruled = Ruled {
        accepts: Accepted::of(&ask.headers),
        compresses: true,
        ..Ruled::default()
    };
    ask
}

/// Fetches as the pipeline does.
async fn fetch(cache: &Cache, ask: &Ask, fields: Fields<'_>, body: Bytes) -> Answer {
    let mut fill = ask.forward(cache, now()).await;
    let (head, read) = (head(200, fields), Dependencies::default());
    fill.encode(&head, &body, &read).await;
    fill.complete(head, body, read, now())
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// Its coding, its validator, whether its length is right.
fn told(answer: &Answer) -> (&str, &str, bool) {
    let headers = &answer.head.headers;
    let length = answer.body.len().to_string();
    let is_right = field(headers, "content-length") == length;
    (
        field(headers, "content-encoding"),
        field(headers, "etag"),
        is_right,
    )
}

/// Asks until the coding is there that is made beside.
async fn coded(cache: &Cache, ask: &Ask, coding: &str) -> Answer {
    for _ in 0..2_000 {
        let answer = ask.hit(cache, now()).await;
        if field(&answer.head.headers, "content-encoding") == coding {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{coding} is not made")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answer_serves_all_who_accept_what_they_like() {
    let cache = memory().await;
    let fields = [TYPE, FRESH, ("etag", "\"a\""), ("vary", "accept-encoding")];
    let first = fetch(&cache, &ask("/", "gzip, br"), &fields, text()).await;
    assert_eq!(told(&first), ("br", "W/\"a\"", true));
    assert_eq!(field(&first.head.headers, "vary"), "accept-encoding");
    let plain = ask("/", "").hit(&cache, now()).await;
    assert_eq!(told(&plain), ("", "\"a\"", true));
    assert_eq!(plain.body, text());
    for (accept, coding) in [("br", "br"), ("gzip", "gzip"), ("zstd, gzip;q=0.5", "zstd")] {
        let answer = coded(&cache, &ask("/", accept), coding).await;
        assert_eq!(told(&answer), (coding, "W/\"a\"", true));
        assert!(answer.status.is_hit() && answer.body.len() < text().len() / 5);
        let head = ask("/", accept)
            .method(Method::HEAD)
            .hit(&cache, now())
            .await;
        assert_eq!(told(&head).0, coding);
        assert!(head.body.is_empty());
        let length = answer.body.len().to_string();
        assert_eq!(field(&head.head.headers, "content-length"), length);
    }
    for refusing in ["identity", "br;q=0", "deflate"] {
        let answer = ask("/", refusing).hit(&cache, now()).await;
        assert_eq!(told(&answer).0, "", "{refusing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_hold_for_all_forms_and_ranges_are_of_the_whole() {
    let cache = memory().await;
    let fields = [TYPE, FRESH, ("etag", "\"a\"")];
    drop(fetch(&cache, &ask("/", "br"), &fields, text()).await);
    for tag in ["\"a\"", "W/\"a\""] {
        let same = ask("/", "br")
            .with("if-none-match", tag)
            .hit(&cache, now())
            .await;
        assert_eq!(same.head.status, StatusCode::NOT_MODIFIED, "{tag}");
        assert_eq!(field(&same.head.headers, "etag"), "W/\"a\"");
        assert_eq!(field(&same.head.headers, "vary"), "accept-encoding");
    }
    let part = ask("/", "br").with("range", "bytes=3-5");
    for (part, status) in [
        (part.clone(), 206),
        (part.clone().with("if-range", "\"a\""), 206),
        (part.with("if-range", "W/\"a\""), 200),
    ] {
        let part = Ask {
            ruled: Ruled {
                accepts: Accepted::of(&part.headers),
                ..part.ruled
            },
            ..part
        };
        let answer = part.hit(&cache, now()).await;
        assert_eq!(answer.head.status.as_u16(), status);
        assert_eq!(told(&answer), ("", "\"a\"", true));
        let whole = text();
        assert_eq!(
            answer.body,
            if status == 206 {
                whole.slice(3..6)
            } else {
                whole
            }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_coded_ends_and_is_freshened_with_what_it_is_made_of() {
    let cache = memory().await;
    let asks = ask("/", "br");
    let fields = [TYPE, FRESH, ("etag", "\"a\""), ("surrogate-key", "k")];
    drop(fetch(&cache, &asks, &fields, text()).await);
    let validation = asks.forward(&cache, later(61)).await;
    assert_eq!(
        field(&validation.request_headers(), "if-none-match"),
        "\"a\""
    );
    let still = head(304, &[("etag", "\"a\""), FRESH, ("x-new", "1")]);
    let answer = validation.complete(still, Bytes::new(), Dependencies::default(), later(61));
    assert_eq!(told(&answer), ("br", "W/\"a\"", true));
    let hit = asks.hit(&cache, later(62)).await;
    assert_eq!(
        (told(&hit).0, field(&hit.head.headers, "x-new")),
        ("br", "1")
    );
    drop(coded(&cache, &ask("/", "zstd"), "zstd").await);
    cache.apply(&purge(1, named("k"), false));
    for accept in ["br", "zstd", ""] {
        drop(ask("/", accept).forward(&cache, later(62)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_beside_does_not_come_in_behind_a_purge() {
    let cache = memory().await;
    let fields = [TYPE, FRESH, ("surrogate-key", "k")];
    for round in 1..50 {
        drop(fetch(&cache, &ask("/", ""), &fields, text()).await);
        // Begins to be made.
        drop(ask("/", "br").hit(&cache, now()).await);
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        cache.apply(&purge(round, named("k"), false));
        for accept in ["br", ""] {
            drop(ask("/", accept).forward(&cache, now()).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_coded_is_not() {
    let cache = memory().await;
    let is = |ask: Ask, fields: &'static [(&'static str, &'static str)], body: Bytes| {
        let cache = cache.clone();
        async move {
            let answer = fetch(&cache, &ask, fields, body).await;
            field(&answer.head.headers, "content-encoding").to_owned()
        }
    };
    let off = Ask {
        ruled: Ruled {
            compresses: false,
            ..ask("/off", "br").ruled
        },
        ..ask("/off", "br")
    };
    let secret = ask("/secret", "br").with("authorization", "x");
    const CODED: &[(&str, &str)] = &[TYPE, FRESH, ("content-encoding", "x")];
    for (ask, fields, body, expected) in [
        (ask("/yes", "br"), &[TYPE, FRESH][..], text(), "br"),
        (
            ask("/short", "br"),
            &[TYPE, FRESH],
            Bytes::from_static(b"short"),
            "",
        ),
        (
            ask("/image", "br"),
            &[("content-type", "image/png"), FRESH],
            text(),
            "",
        ),
        (ask("/coded", "br"), CODED, text(), "x"),
        (
            ask("/private", "br"),
            &[TYPE, ("cache-control", "private")],
            text(),
            "",
        ),
        (
            ask("/cookie", "br"),
            &[TYPE, FRESH, ("set-cookie", "a=1")],
            text(),
            "",
        ),
        (
            ask("/cookie-kept-out", "br"),
            &[
                TYPE,
                ("cache-control", "max-age=9, no-cache=\"set-cookie\""),
                ("set-cookie", "a=1"),
            ],
            text(),
            "",
        ),
        (
            secret,
            &[TYPE, ("cache-control", "public, max-age=9")],
            text(),
            "",
        ),
        (
            ask("/no", "br"),
            &[TYPE, ("cache-control", "max-age=9, no-transform")],
            text(),
            "",
        ),
        (off, &[TYPE, FRESH], text(), ""),
    ] {
        let path = ask.path.clone();
        assert_eq!(is(ask, fields, body).await, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let fields = [TYPE, FRESH, ("etag", "\"a\"")];
    let sent = {
        let cache = on_disk(dir.path()).await;
        drop(fetch(&cache, &ask("/", "br"), &fields, text()).await);
        let gzip = coded(&cache, &ask("/", "gzip"), "gzip").await;
        cache.synced().await;
        cache.written().await;
        cache.close().await.unwrap();
        gzip.body
    };
    let cache = on_disk(dir.path()).await;
    let gzip = ask("/", "gzip").hit(&cache, now()).await;
    assert_eq!(told(&gzip), ("gzip", "W/\"a\"", true));
    assert_eq!(gzip.body, sent);
    let br = ask("/", "br").hit(&cache, now()).await;
    assert_eq!(told(&br), ("br", "W/\"a\"", true));
    assert_eq!(ask("/", "").hit(&cache, now()).await.body, text());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_told_apart_by_what_rules_say() {
    let cache = memory().await;
    let keyed = |extra: &'static str| {
        let mut ask = get("/a?x=1");
        ask.extra = extra;
        ask.ruled = Ruled {
            is_keyed: true,
            changes_query: true,
            ..Ruled::default()
        };
        ask
    };
    for extra in ["dmobile", "ddesktop"] {
        let body = Bytes::copy_from_slice(extra.as_bytes());
        drop(fetch(&cache, &keyed(extra), &[FRESH], body).await);
    }
    for extra in ["dmobile", "ddesktop"] {
        assert_eq!(keyed(extra).hit(&cache, now()).await.body, extra);
    }
    // Another query of the same page leads to the same entry, by rules of which a purge knows nothing.
    let url = Selector::Url("h/a?utm_source=2&x=1".into());
    cache.apply(&purge(1, url, false));
    for extra in ["dmobile", "ddesktop"] {
        let fill = keyed(extra).forward(&cache, now()).await;
        drop(fill.complete(head(200, &[FRESH]), text(), Dependencies::default(), now()));
    }
    // An unsafe request has no key that these have, and ends them all the same.
    let post = keyed("").method(Method::POST).forward(&cache, now()).await;
    drop(post.complete(head(204, &[]), Bytes::new(), Dependencies::default(), now()));
    drop(keyed("dmobile").forward(&cache, now()).await);
}

/// Hexadecimal digits without a pattern: coded they have half the length.
fn digits(length: usize) -> Bytes {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        b"0123456789abcdef"[(state >> 60) as usize]
    };
    (0..length).map(|_| next()).collect::<Vec<u8>>().into()
}

#[tokio::test]
async fn a_long_answer_is_coded_by_pieces_and_lies_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config {
        dir: Some(dir.path().to_owned()),
        object_bytes_max: 16 << 20,
        ..small()
    };
    let cache = open(config()).await;
    let (gzip, plain) = (ask("/", "gzip"), ask("/", ""));
    let body = digits(5 << 20);
    let first = fetch(&cache, &gzip, &[FRESH, TYPE], body.clone()).await;
    assert_eq!(field(&first.head.headers, "content-encoding"), "");
    let unpacked = async |answer: Answer| {
        let length: usize = field(&answer.head.headers, "content-length")
            .parse()
            .unwrap();
        let coded = answer.into_response().into_body().collect().await.unwrap();
        let coded = coded.to_bytes();
        assert!(coded.len() == length && length > 2 << 20 && length < 4 << 20);
        let mut body = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&coded[..]);
        decoder.read_to_end(&mut body).unwrap();
        body
    };
    assert!(unpacked(coded(&cache, &gzip, "gzip").await).await == body);
    let hit = plain.hit(&cache, now()).await.into_response();
    assert!(hit.into_body().collect().await.unwrap().to_bytes() == body);
    cache.close().await.unwrap();
    drop(cache);
    let cache = open(config()).await;
    let hit = gzip.hit(&cache, now()).await;
    assert_eq!(field(&hit.head.headers, "content-encoding"), "gzip");
    assert!(unpacked(hit).await == body);
}
