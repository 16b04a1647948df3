//! What origins may say of their answers: parts, cookies, fields for one caller, languages, what a `POST` gives.

use super::*;
use crate::cache::Fill;
use bytes::Bytes;
use http::{Method, StatusCode};

/// The answer to a request for a part.
fn part(fill: Fill, fields: Fields<'_>, body: &'static str) -> Answer {
    let body = Bytes::from_static(body.as_bytes());
    fill.complete(head(206, fields), body, none(), now())
}

fn ranged(range: &str) -> Ask {
    get("/").with("range", range)
}

#[tokio::test]
async fn a_part_answers_for_what_is_in_it() {
    let cache = memory().await;
    let fields = [
        ("cache-control", "max-age=60"),
        ("content-range", "bytes 4-9/10"),
        ("etag", "\"a\""),
    ];
    let fill = ranged("bytes=-6").forward(&cache, now()).await;
    let first = part(fill, &fields, "456789");
    assert_eq!(first.head.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        (field(&first, "content-range"), first.body.as_ref()),
        (Some("bytes 4-9/10"), &b"456789"[..])
    );
    for (range, body, content_range) in [
        ("bytes=-6", "456789", "bytes 4-9/10"),
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=5-6", "56", "bytes 5-6/10"),
        ("bytes=-1", "9", "bytes 9-9/10"),
    ] {
        let hit = ranged(range).hit(&cache, now()).await;
        assert_eq!(hit.head.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(hit.body, body, "{range}");
        assert_eq!(field(&hit, "content-range"), Some(content_range), "{range}");
    }
    let known = ranged("bytes=5-6").with("if-none-match", "\"a\"");
    let known = known.hit(&cache, now()).await;
    assert_eq!(known.head.status, StatusCode::NOT_MODIFIED);
    for ask in [
        get("/"),
        get("/").method(Method::HEAD),
        get("/").with("if-none-match", "\"a\""),
        ranged("bytes=3-5"),
        ranged("bytes=10-"),
        ranged("bytes=4-5,7-8"),
        ranged("bytes=4-5").with("if-range", "\"b\""),
    ] {
        let fill = ask.forward(&cache, now()).await;
        assert_eq!(fill.reason().as_str(), "partial", "{:?}", ask.headers);
        let mut headers = ask.headers.clone();
        fill.prepare(&mut headers);
        // Who asks for the whole is given what is there behind what is missing.
        let expected = match ask.headers.get("range") {
            Some(range) => Some((range.clone(), ask.headers.get("if-range").cloned())),
            None if ask.method == Method::HEAD => None,
            None => Some(("bytes=0-3".parse().unwrap(), "\"a\"".parse().ok())),
        };
        let asked = headers.get("range").cloned();
        let asked = asked.map(|range| (range, headers.get("if-range").cloned()));
        assert_eq!(asked, expected, "{:?}", ask.headers);
        assert!(
            !headers.contains_key("if-none-match"),
            "a 304 would say nothing of the whole"
        );
    }
    // The whole takes its place; a part does not take that of the whole.
    get("/").fill(&cache, FRESH, "0123456789", none()).await;
    assert_eq!(ranged("bytes=0-1").hit(&cache, now()).await.body, "01");
    let fill = ranged("bytes=-6").forward(&cache, later(61)).await;
    part(fill, &fields, "456789");
    assert_eq!(get("/").hit(&cache, now()).await.body, "0123456789");
}

#[tokio::test]
async fn parts_that_do_not_say_where_they_lie_are_passed() {
    for content_range in ["bytes 4-9/*", "bytes 4-8/10", "bytes 9-4/10", ""] {
        let cache = memory().await;
        let fields = [
            ("cache-control", "max-age=60"),
            ("content-range", content_range),
        ];
        let fill = ranged("bytes=4-").forward(&cache, now()).await;
        let first = part(fill, &fields, "456789");
        assert_eq!(field(&first, "content-range"), Some(content_range));
        assert!(!ranged("bytes=4-").is_hit(&cache).await, "{content_range}");
    }
}

#[tokio::test]
async fn cookies_are_shared_where_the_origin_gives_a_lifetime() {
    let cache = memory().await;
    let cookie = ("set-cookie", "a=b");
    for (path, fields, kept, again) in [
        ("/1", &[FRESH[0], cookie][..], true, Some("a=b")),
        (
            "/2",
            &[
                ("cache-control", "max-age=60, no-cache=\"set-cookie\""),
                cookie,
            ],
            true,
            None,
        ),
        (
            "/3",
            &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"), cookie],
            false,
            None,
        ),
    ] {
        let first = get(path).fill(&cache, fields, "x", none()).await;
        assert_eq!(field(&first, "set-cookie"), Some("a=b"), "{path}");
        match get(path).lookup(&cache, now()).await {
            Lookup::Hit(hit) if kept => assert_eq!(field(&hit, "set-cookie"), again, "{path}"),
            Lookup::Forward(_) if !kept => {}
            other => panic!("{path}: {other:?}"),
        }
    }
    let of_module = Dependencies {
        module: Some("m".parse().unwrap()),
        ..none()
    };
    let fields = [FRESH[0], cookie];
    get("/4").fill(&cache, &fields, "x", of_module).await;
    assert!(
        !get("/4").is_hit(&cache).await,
        "a framework may say so of all"
    );
}

#[tokio::test]
async fn a_variant_serves_those_who_like_its_language_best() {
    let cache = memory().await;
    let fields = [
        ("cache-control", "max-age=60"),
        ("vary", "accept-language, x-plan"),
        ("content-language", "de"),
    ];
    let ask = |languages| get("/").with("accept-language", languages);
    ask("en, de").fill(&cache, &fields, "Hallo", none()).await;
    for (ask, hits) in [
        (ask("de, en"), true),
        (ask("fr;q=0.5, DE"), true),
        (ask("fr, de"), false),
        (ask("de").with("x-plan", "1"), false),
    ] {
        assert_eq!(ask.is_hit(&cache).await, hits, "{:?}", ask.headers);
    }
}

fn post() -> Ask {
    get("/").method(Method::POST)
}

const POSTED: Fields<'static> = &[("cache-control", "max-age=60"), ("content-location", "/")];

fn answered(fill: Fill, status: u16, fields: Fields<'_>) -> Answer {
    fill.complete(
        head(status, fields),
        Bytes::from_static(b"made"),
        none(),
        now(),
    )
}

#[tokio::test]
async fn what_a_post_gives_serves_get_if_it_says_so() {
    for (status, fields, kept) in [
        (200, POSTED, true),
        (201, POSTED, false),
        (404, POSTED, false),
        (200, FRESH, false),
        (200, &[FRESH[0], ("content-location", "/other")], false),
        (200, &[("content-location", "/")], false),
        (
            200,
            &[("cache-control", "no-store"), ("content-location", "/")],
            false,
        ),
    ] {
        let cache = memory().await;
        let fill = post().forward(&cache, now()).await;
        let answer = answered(fill, status, fields);
        assert_eq!(
            (answer.head.status.as_u16(), &*answer.body),
            (status, &b"made"[..])
        );
        match get("/").lookup(&cache, now()).await {
            Lookup::Hit(hit) if kept => assert_eq!(hit.body, "made"),
            Lookup::Forward(_) if !kept => {}
            other => panic!("{status} {fields:?}: {other:?}"),
        }
        assert!(
            !post().is_hit(&cache).await,
            "POST itself always goes forward"
        );
    }
}

#[tokio::test]
async fn what_a_post_gives_is_not_kept_beside_other_changes() {
    // There was an answer: it ends, and GET is asked anew.
    let cache = memory().await;
    get("/").fill(&cache, FRESH, "old", none()).await;
    answered(post().forward(&cache, now()).await, 200, POSTED);
    assert!(!get("/").is_hit(&cache).await);
    // Another unsafe request was answered while this one was under way, before or after.
    for earlier in [Method::PUT, Method::POST] {
        let cache = memory().await;
        let under_way = post().forward(&cache, now()).await;
        let other = get("/").method(earlier).forward(&cache, now()).await;
        answered(other, 204, &[]);
        answered(under_way, 200, POSTED);
        assert!(!get("/").is_hit(&cache).await);
    }
    // A purge came in between.
    let cache = memory().await;
    let under_way = post().forward(&cache, now()).await;
    let selector = brink_protocol::purge::Selector::Url("h/".into());
    cache.apply(&purge(1, selector, false));
    answered(under_way, 200, POSTED);
    assert!(!get("/").is_hit(&cache).await);
    // One that comes after ends it.
    let cache = memory().await;
    answered(post().forward(&cache, now()).await, 200, POSTED);
    let delete = get("/").method(Method::DELETE).forward(&cache, now()).await;
    answered(delete, 204, &[]);
    assert!(!get("/").is_hit(&cache).await);
}

#[tokio::test]
async fn how_long_an_answer_took_is_not_added_to_its_age_twice() {
    let cache = memory().await;
    let fill = get("/").forward(&cache, now()).await;
    let fields = [FRESH[0], ("age", "5")];
    let body = Bytes::from_static(b"x");
    let first = fill.complete(head(200, &fields), body, none(), later(3));
    assert_eq!(
        field(&first, "age"),
        Some("5"),
        "whoever asked measures the rest"
    );
    let hit = get("/").hit(&cache, later(3)).await;
    assert_eq!(field(&hit, "age"), Some("8"));
}
