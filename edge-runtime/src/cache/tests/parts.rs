//! Parts: what stands behind them, and what shields and PoPs make of them.

use super::support::*;
use crate::cache::Kept;
use brink_policy::http::Lifetime;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use std::time::Duration;

const PART: Fields<'static> = &[
    ("cache-control", "max-age=60"),
    ("etag", "\"a\""),
    ("content-range", "bytes 0-4/10"),
];

/// A cache that holds the first half.
async fn with_half() -> Cache {
    let cache = memory().await;
    let fill = get("/a")
        .with("range", "bytes=0-4")
        .forward(&cache, now())
        .await;
    fill.complete(head(206, PART), Bytes::from_static(b"01234"), none(), now());
    cache
}

#[tokio::test]
async fn what_stands_behind_a_part_does_not_stand_behind_the_whole() {
    for (kept, is_kept) in [("private", false), ("max-age=60", true)] {
        let cache = with_half().await;
        let mut fill = get("/a").forward(&cache, now()).await;
        let mut asked = HeaderMap::new();
        fill.prepare(&mut asked);
        assert_eq!(asked["range"], "bytes=5-");
        fill.set_trailers(map(&[("x-sum", "1")]));
        let rest = [
            ("cache-control", kept),
            ("etag", "\"a\""),
            ("content-range", "bytes 5-9/10"),
            ("trailer", "x-sum"),
        ];
        let answer = fill.complete(
            head(206, &rest),
            Bytes::from_static(b"56789"),
            none(),
            now(),
        );
        assert_eq!(answer.head.status, 200);
        assert!(status_line(&answer).contains("stored") == is_kept);
        assert!(answer.trailers.is_none_or(|section| section.is_empty()));
        assert!(!answer.head.headers.contains_key("trailer"));
    }
}

fn for_pop() -> Option<PopAsks> {
    Some(PopAsks {
        outdated: Duration::from_secs(3600),
        widens: true,
    })
}

/// What is asked of an origin for a part.
async fn asked(cache: &Cache, ask: &Ask) -> Option<String> {
    let fill = ask.forward(cache, now()).await;
    let mut headers = ask.headers.clone();
    fill.prepare(&mut headers);
    let range: Option<&HeaderValue> = headers.get("range");
    range.map(|range| range.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_shield_asks_for_the_whole_where_it_may_be_short() {
    let ask = |path: &str, pop| Ask {
        pop,
        ..get(path).with("range", "bytes=2-3")
    };
    let cache = memory().await;
    assert_eq!(
        asked(&cache, &ask("/a", None)).await.as_deref(),
        Some("bytes=2-3")
    );
    assert_eq!(asked(&cache, &ask("/a", for_pop())).await, None);
    let no_store = ask("/a", for_pop()).with("cache-control", "no-store");
    assert_eq!(asked(&cache, &no_store).await.as_deref(), Some("bytes=2-3"));

    // The whole came: the part is cut out of it, and others are at hand.
    let mut fill = ask("/a", for_pop()).forward(&cache, now()).await;
    let (short, mut sent) = (
        head(
            200,
            &[("cache-control", "max-age=60"), ("content-length", "10")],
        ),
        HeaderMap::new(),
    );
    assert!(!fill.refuses(&short, &none(), &mut sent) && !fill.may_stream(&short));
    let answer = fill.complete(short, Bytes::from_static(b"0123456789"), none(), now());
    assert_eq!(
        (answer.head.status.as_u16(), field(&answer, "content-range")),
        (206, Some("bytes 2-3/10"))
    );
    assert!(answer.kept().is_some());
    let none_of_it = Ask {
        pop: for_pop(),
        ..get("/a").with("range", "bytes=20-")
    };
    let answer = none_of_it.hit(&cache, now()).await;
    assert!(answer.head.status == 416 && answer.kept().is_none());

    // It is long, or nobody else's: the part is asked for, and nobody tries again soon.
    for (path, fields) in [
        (
            "/long",
            [
                ("cache-control", "max-age=60"),
                ("content-length", "99999999"),
            ],
        ),
        (
            "/own",
            [("cache-control", "private"), ("content-length", "10")],
        ),
    ] {
        let wanted = ask(path, for_pop());
        let mut fill = wanted.forward(&cache, now()).await;
        let mut sent = wanted.headers.clone();
        fill.prepare(&mut sent);
        assert!(!sent.contains_key("range"));
        assert!(
            fill.refuses(&head(200, &fields), &none(), &mut sent),
            "{path}"
        );
        assert_eq!(sent["range"], "bytes=2-3");
        // Once: what comes now is taken as it is.
        assert!(!fill.refuses(&head(200, &fields), &none(), &mut sent));
        assert_eq!(asked(&cache, &wanted).await.as_deref(), Some("bytes=2-3"));
        assert_eq!(asked(&cache, &ask("/other", for_pop())).await, None);
    }
}

#[tokio::test]
async fn what_a_shield_says_of_a_part_is_kept_as_of_a_part() {
    let cache = memory().await;
    let kept = || {
        Some(Kept {
            lifetime: Lifetime::fresh_for(60),
            on: Vec::new(),
            described: String::new(),
        })
    };
    let ask = get("/a")
        .with("range", "bytes=0-4")
        .with("if-none-match", "\"b\"");
    for status in [304, 416] {
        let mut fill = ask.forward(&cache, now()).await;
        assert!(fill.shield_terms().is_some());
        fill.shielded_by(kept());
        let head = head(status, FRESH);
        assert!(fill.wants(&head, &none()).is_none(), "{status}");
    }
    let mut fill = ask.forward(&cache, now()).await;
    fill.shielded_by(kept());
    fill.complete(head(206, PART), Bytes::from_static(b"01234"), none(), now());
    assert!(get("/a").with("range", "bytes=1-2").is_hit(&cache).await);
    assert!(!get("/a").is_hit(&cache).await);
    // `HEAD`, and what is missing of a part, may come by way of a shield; what nobody keeps may not.
    let terms = async |ask: Ask| ask.forward(&cache, now()).await.shield_terms().is_some();
    assert!(terms(get("/a")).await);
    assert!(terms(get("/b").method(http::Method::HEAD)).await);
    assert!(!terms(get("/b").method(http::Method::POST)).await);
    assert!(!terms(get("/b").with("cache-control", "no-store")).await);
    assert!(!terms(get("/b").with("if-match", "\"a\"")).await);
}
