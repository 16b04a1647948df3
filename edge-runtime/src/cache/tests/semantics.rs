//! HTTP: storing, reusing, variants, validation, conditions, ranges, invalidation, limits.

use super::*;
use bytes::Bytes;
use http::{Method, StatusCode};

#[tokio::test]
async fn miss_store_hit() {
    let cache = memory().await;
    let fields = [
        ("cache-control", "max-age=60"),
        ("age", "5"),
        ("surrogate-key", "a b"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("x-kept", "1"),
    ];
    let stored = get("/a?b").fill(&cache, &fields, "hello", none()).await;
    assert_eq!(
        status_line(&stored),
        "brink-ams; fwd=uri-miss; stored; ttl=55"
    );
    assert_eq!(
        (stored.body.as_ref(), field(&stored, "age")),
        (&b"hello"[..], Some("5"))
    );
    let hit = get("/a?b").hit(&cache, later(10)).await;
    assert_eq!(status_line(&hit), "brink-ams; hit; ttl=45; detail=memory");
    assert_eq!(hit.body, "hello");
    assert_eq!(field(&hit, "age"), Some("15"));
    assert_eq!(field(&hit, "content-length"), Some("5"));
    assert_eq!(field(&hit, "x-kept"), Some("1"));
    assert_eq!(
        field(&hit, "date").unwrap(),
        "Fri, 15 Jan 2027 08:00:00 GMT"
    );
    for gone in ["surrogate-key", "x-hop", "connection"] {
        assert_eq!(field(&hit, gone), None, "{gone}");
    }
    for other in [
        get("/a"),
        get("/a?c"),
        Ask {
            host: "g",
            ..get("/a?b")
        },
        Ask {
            tenant: "t".parse().unwrap(),
            ..get("/a?b")
        },
    ] {
        assert!(!other.is_hit(&cache).await);
    }
    let figures = cache.figures();
    assert_eq!(
        (figures.hits_memory, figures.stored, figures.entries),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn what_is_not_stored() {
    let cache = memory().await;
    let fresh = Dependencies {
        lifetime: Some(std::time::Duration::from_secs(60)),
        ..none()
    };
    let too_many = vec!["k"; 200].join(" ");
    for (n, (fields, dependencies, detail)) in [
        (&[][..], none(), Some("not-reusable")),
        (&[], fresh.clone(), None),
        (
            FRESH,
            Dependencies {
                no_store: true,
                ..none()
            },
            Some("handler-no-store"),
        ),
        (
            FRESH,
            Dependencies {
                private: true,
                ..none()
            },
            Some("private"),
        ),
        (
            &[],
            Dependencies {
                unnamed: true,
                ..none()
            },
            Some("unnamed-read"),
        ),
        (
            &[],
            Dependencies {
                unnamed: true,
                ..fresh.clone()
            },
            None,
        ),
        (
            FRESH,
            Dependencies {
                unnamed: true,
                ..none()
            },
            None,
        ),
        (
            &[("cache-control", "no-store")],
            fresh.clone(),
            Some("no-store"),
        ),
        (
            &[("cache-control", "max-age=60"), ("vary", "*")],
            none(),
            Some("vary-any"),
        ),
        (
            &[
                ("cache-control", "max-age=60"),
                ("surrogate-key", &too_many),
            ],
            none(),
            Some("too-many-tags"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let ask = get(&format!("/{n}"));
        let answer = ask.fill(&cache, fields, "x", dependencies).await;
        assert_eq!(answer.body, "x");
        assert_eq!(field(&answer, "surrogate-key"), None);
        let line = status_line(&answer);
        match detail {
            None => assert!(line.contains("; stored"), "{n}: {line}"),
            Some(detail) => assert_eq!(
                line,
                format!("brink-ams; fwd=uri-miss; detail={detail}"),
                "{n}"
            ),
        }
        assert_eq!(ask.is_hit(&cache).await, detail.is_none(), "{n}");
    }
}

#[tokio::test]
async fn limits() {
    let cache = open(Config {
        object_bytes_max: 4,
        ..small()
    })
    .await;
    let fill = get("/a").forward(&cache, now()).await;
    assert_eq!(fill.wants(&head(200, FRESH), &none()), Some(4));
    assert_eq!(
        fill.wants(
            &head(
                200,
                &[("cache-control", "max-age=9"), ("content-length", "5")]
            ),
            &none()
        ),
        None
    );
    assert_eq!(
        fill.wants(&head(200, &[("cache-control", "no-store")]), &none()),
        None
    );
    let answer = fill.complete(
        head(200, FRESH),
        Bytes::from_static(b"12345"),
        none(),
        now(),
    );
    assert_eq!(
        status_line(&answer),
        "brink-ams; fwd=uri-miss; detail=too-large"
    );
    assert!(!get("/a").is_hit(&cache).await);
    let long = get(&format!("/{}", "x".repeat(20_000)));
    let answer = long.fill(&cache, FRESH, "1", none()).await;
    assert_eq!(
        status_line(&answer),
        "brink-ams; fwd=bypass; detail=request"
    );
    let mut untold = get("/fat");
    untold.has_content = true;
    for fat in [untold, get("/fat").with("content-length", "3")] {
        assert_eq!(
            status_line(&fat.fill(&cache, FRESH, "1", none()).await),
            "brink-ams; fwd=bypass; detail=request"
        );
    }
    let head_of = "x".repeat(70_000);
    let answer = get("/head")
        .fill(
            &cache,
            &[("cache-control", "max-age=9"), ("x-long", &head_of)],
            "1",
            none(),
        )
        .await;
    assert_eq!(
        status_line(&answer),
        "brink-ams; fwd=uri-miss; detail=too-large"
    );
    assert!(
        Cache::open(
            Config {
                object_bytes_max: u64::MAX,
                ..small()
            },
            &"ams".parse().unwrap()
        )
        .await
        .is_err()
    );
}

#[tokio::test]
async fn memory_is_bounded() {
    let cache = open(Config {
        memory_bytes_max: 256 << 10,
        ..small()
    })
    .await;
    for n in 0..400 {
        get(&format!("/{n}"))
            .fill(&cache, FRESH, "0123456789", none())
            .await;
    }
    let figures = cache.figures();
    assert!(figures.bytes <= 256 << 10, "{figures:?}");
    assert!(figures.entries > 20 && figures.entries < 400, "{figures:?}");
}

#[tokio::test]
async fn variants() {
    let cache = open(Config {
        variants_max: 2,
        ..small()
    })
    .await;
    let fields = [("cache-control", "max-age=60"), ("vary", "Accept-Language")];
    let (de, en, fr) = (
        get("/").with("accept-language", "de"),
        get("/").with("accept-language", "EN"),
        get("/").with("accept-language", "fr"),
    );
    de.fill(&cache, &fields, "hallo", none()).await;
    let answer = en.fill(&cache, &fields, "hello", none()).await;
    assert!(
        status_line(&answer).starts_with("brink-ams; fwd=vary-miss; stored"),
        "{}",
        status_line(&answer)
    );
    assert_eq!(de.hit(&cache, now()).await.body, "hallo");
    assert_eq!(
        get("/")
            .with("accept-language", "en")
            .hit(&cache, now())
            .await
            .body,
        "hello"
    );
    assert!(!get("/").is_hit(&cache).await);
    fr.fill(&cache, &fields, "salut", none()).await;
    assert_eq!(fr.hit(&cache, now()).await.body, "salut");
    assert!(en.is_hit(&cache).await);
    assert!(!de.is_hit(&cache).await, "the oldest made room");
}

#[tokio::test]
async fn what_plugins_set_selects_though_the_stored_answer_knows_nothing_of_it() {
    let cache = memory().await;
    let fields = [("cache-control", "max-age=60")];
    let varied = [("cache-control", "max-age=60"), ("vary", "x-plan")];
    let (plain, guest) = (get("/"), get("/").set("x-plan", "guest"));
    plain.fill(&cache, &fields, "for members", none()).await;
    assert!(plain.is_hit(&cache).await);
    assert!(!guest.is_hit(&cache).await, "it was not made for a guest");
    guest.fill(&cache, &varied, "for guests", none()).await;
    assert_eq!(guest.hit(&cache, now()).await.body, "for guests");
    assert!(!plain.is_hit(&cache).await, "it was made for a guest");
    // Variants of another field do not serve either.
    let cache = memory().await;
    let other = [("cache-control", "max-age=60"), ("vary", "accept-language")];
    plain.fill(&cache, &other, "for members", none()).await;
    assert!(plain.is_hit(&cache).await);
    assert!(!guest.is_hit(&cache).await);
}

#[tokio::test]
async fn validation() {
    let cache = memory().await;
    let fields = [
        ("cache-control", "max-age=10"),
        ("etag", "\"v1\""),
        ("x-a", "1"),
    ];
    get("/").fill(&cache, &fields, "one", none()).await;
    let fill = get("/")
        .with("if-none-match", "\"client\"")
        .forward(&cache, later(20))
        .await;
    let mut headers = map(&[("if-none-match", "\"client\""), ("accept", "a")]);
    fill.prepare(&mut headers);
    assert_eq!(
        headers,
        map(&[("if-none-match", "\"v1\""), ("accept", "a")])
    );
    assert!(fill.wants(&head(304, &[]), &none()).is_some());
    let update = head(
        304,
        &[
            ("cache-control", "max-age=30"),
            ("x-a", "2"),
            ("etag", "\"v1\""),
        ],
    );
    let answer = fill.complete(update, Bytes::new(), none(), later(20));
    assert_eq!(
        status_line(&answer),
        "brink-ams; fwd=stale; fwd-status=304; stored; ttl=30"
    );
    assert_eq!(
        (answer.head.status, answer.body.as_ref()),
        (StatusCode::OK, &b"one"[..])
    );
    let hit = get("/").hit(&cache, later(45)).await;
    assert_eq!(
        (field(&hit, "x-a"), field(&hit, "age"), hit.body.as_ref()),
        (Some("2"), Some("25"), &b"one"[..])
    );
    // Without a word on its lifetime the stored one goes on; a new body takes the old one's place.
    let fill = get("/").forward(&cache, later(100)).await;
    let answer = fill.complete(
        head(304, &[("etag", "\"v1\"")]),
        Bytes::new(),
        none(),
        later(100),
    );
    assert!(
        status_line(&answer).ends_with("ttl=30"),
        "{}",
        status_line(&answer)
    );
    let fill = get("/").forward(&cache, later(200)).await;
    fill.complete(
        head(200, &fields),
        Bytes::from_static(b"two"),
        none(),
        later(200),
    );
    assert_eq!(get("/").hit(&cache, later(200)).await.body, "two");
}

#[tokio::test]
async fn stale_while_revalidate_and_if_error() {
    let cache = memory().await;
    let fields = [
        (
            "cache-control",
            "max-age=10, stale-while-revalidate=20, stale-if-error=100",
        ),
        ("etag", "\"a\""),
    ];
    get("/").fill(&cache, &fields, "old", none()).await;
    let mut first = get("/").hit(&cache, later(15)).await;
    assert_eq!(
        status_line(&first),
        "brink-ams; hit; ttl=-5; detail=stale-while-revalidate"
    );
    let beside = first.revalidate.take().unwrap();
    let second = get("/").hit(&cache, later(15)).await;
    assert!(second.revalidate.is_none(), "one is under way");
    beside.complete(
        head(200, &fields),
        Bytes::from_static(b"new"),
        none(),
        later(15),
    );
    assert_eq!(get("/").hit(&cache, later(16)).await.body, "new");
    // Beyond its grace it is asked for; if that fails, the stale answer is allowed.
    let fill = get("/").forward(&cache, later(60)).await;
    let answer = fill.failed(later(60)).unwrap();
    assert_eq!(
        (status_line(&answer).as_str(), answer.body.as_ref()),
        (
            "brink-ams; hit; ttl=-35; detail=stale-if-error",
            &b"new"[..]
        )
    );
    let fill = get("/").forward(&cache, later(60)).await;
    let answer = fill.complete(
        head(503, &[]),
        Bytes::from_static(b"sorry"),
        none(),
        later(60),
    );
    assert_eq!(answer.body, "new");
    let fill = get("/").forward(&cache, later(60)).await;
    assert_eq!(
        fill.complete(
            head(404, &[]),
            Bytes::from_static(b"gone"),
            none(),
            later(60)
        )
        .body,
        "gone"
    );
    assert!(
        get("/")
            .forward(&cache, later(500))
            .await
            .failed(later(500))
            .is_none()
    );
}

#[tokio::test]
async fn conditions_ranges_head() {
    let cache = memory().await;
    let fields = [
        ("cache-control", "max-age=60"),
        ("etag", "\"a\""),
        ("content-type", "text/plain"),
    ];
    let first = get("/")
        .with("if-none-match", "\"a\"")
        .fill(&cache, &fields, "0123456789", none())
        .await;
    assert_eq!(
        (first.head.status, first.body.len()),
        (StatusCode::NOT_MODIFIED, 0),
        "answered from the whole"
    );
    for (ask, status, body, length) in [
        (get("/"), 200, "0123456789", Some("10")),
        (get("/").method(Method::HEAD), 200, "", Some("10")),
        (get("/").with("if-none-match", "W/\"a\""), 304, "", None),
        (
            get("/").with("if-none-match", "\"b\""),
            200,
            "0123456789",
            Some("10"),
        ),
        (get("/").with("range", "bytes=2-4"), 206, "234", Some("3")),
        (
            get("/")
                .with("range", "bytes=2-4")
                .with("if-range", "\"b\""),
            200,
            "0123456789",
            Some("10"),
        ),
        (get("/").with("range", "bytes=20-"), 416, "", Some("0")),
        (
            get("/").with("range", "bytes=0-1,4-5"),
            200,
            "0123456789",
            Some("10"),
        ),
    ] {
        let answer = ask.hit(&cache, now()).await;
        assert_eq!(
            (answer.head.status.as_u16(), answer.body.as_ref()),
            (status, body.as_bytes()),
            "{:?}",
            ask.headers
        );
        assert_eq!(
            field(&answer, "content-length"),
            length,
            "{:?}",
            ask.headers
        );
    }
    let range = get("/").with("range", "bytes=2-4").hit(&cache, now()).await;
    assert_eq!(field(&range, "content-range"), Some("bytes 2-4/10"));
    let precondition = get("/")
        .with("if-match", "\"a\"")
        .forward(&cache, now())
        .await;
    assert_eq!(precondition.reason().as_str(), "bypass");
    let partial = get("/other")
        .with("range", "bytes=0-1")
        .forward(&cache, now())
        .await;
    let mut headers = map(&[("range", "bytes=0-1")]);
    partial.prepare(&mut headers);
    assert!(headers.contains_key("range"));
    partial.complete(head(206, FRESH), Bytes::from_static(b"01"), none(), now());
    assert!(!get("/other").is_hit(&cache).await);
}

#[tokio::test]
async fn a_304_for_what_the_client_has_says_nothing_of_what_is_stored() {
    let fields = [
        ("cache-control", "max-age=60, stale-while-revalidate=60"),
        ("etag", "\"old\""),
    ];
    let ask = get("/")
        .with("range", "bytes=0-1")
        .with("if-none-match", "\"new\"");
    for (at, beside) in [(later(60), true), (later(200), false)] {
        let cache = memory().await;
        get("/").fill(&cache, &fields, "old", none()).await;
        let fill = match ask.lookup(&cache, at).await {
            Lookup::Hit(mut answer) => answer.revalidate.take().unwrap(),
            Lookup::Forward(fill) => fill,
            other => panic!("{other:?}"),
        };
        let mut sent = ask.headers.clone();
        fill.prepare(&mut sent);
        assert_eq!(sent.contains_key("range"), !beside);
        let asked = if beside { "\"old\"" } else { "\"new\"" };
        assert_eq!(sent.get("if-none-match").unwrap(), asked);
        if beside {
            continue;
        }
        let answer = fill.complete(head(304, &[("etag", asked)]), Bytes::new(), none(), at);
        assert_eq!(
            (answer.head.status, answer.body.as_ref()),
            (StatusCode::NOT_MODIFIED, &b""[..])
        );
        assert!(
            matches!(get("/").lookup(&cache, at).await, Lookup::Forward(_)),
            "what was stored is as stale as before"
        );
    }
}

#[tokio::test]
async fn request_directives() {
    let cache = memory().await;
    assert!(matches!(
        get("/").with("cache-control", "only-if-cached").lookup(&cache, now()).await,
        Lookup::Unavailable(problem) if problem.status == 504
    ));
    get("/").fill(&cache, FRESH, "x", none()).await;
    assert!(
        get("/")
            .with("cache-control", "only-if-cached")
            .is_hit(&cache)
            .await
    );
    for (directive, hit) in [
        ("no-cache", false),
        ("max-age=0", true),
        ("max-age=5", true),
        ("min-fresh=61", false),
    ] {
        assert_eq!(
            get("/")
                .with("cache-control", directive)
                .is_hit(&cache)
                .await,
            hit,
            "{directive}"
        );
    }
    let fill = get("/new")
        .with("cache-control", "no-store")
        .forward(&cache, now())
        .await;
    fill.complete(head(200, FRESH), Bytes::from_static(b"x"), none(), now());
    assert!(!get("/new").is_hit(&cache).await);
}

#[tokio::test]
async fn unsafe_methods_invalidate() {
    let cache = memory().await;
    for (status, location, hits) in [
        (500, None, [true, true]),
        (200, None, [false, true]),
        (201, Some("/b"), [false, false]),
        (303, Some("https://elsewhere/b"), [false, true]),
    ] {
        for path in ["/a", "/b"] {
            if !get(path).is_hit(&cache).await {
                get(path).fill(&cache, FRESH, "x", none()).await;
            }
        }
        let fill = get("/a").method(Method::POST).forward(&cache, now()).await;
        let fields: Vec<_> = location.map(|to| ("location", to)).into_iter().collect();
        let mut answer = head(status, &fields);
        assert_eq!(
            fill.pass(&mut answer).outcome,
            brink_policy::cache_status::CacheStatus::forward(
                brink_policy::cache_status::ForwardReason::Method
            )
            .outcome
        );
        let got = [
            get("/a").is_hit(&cache).await,
            get("/b").is_hit(&cache).await,
        ];
        assert_eq!(got, hits, "{status} {location:?}");
    }
}

#[tokio::test]
async fn an_unsafe_request_fences_a_fill_under_way() {
    let cache = memory().await;
    let slow = get("/a").forward(&cache, now()).await;
    let post = get("/a").method(Method::POST).forward(&cache, now()).await;
    post.pass(&mut head(200, &[]));
    let answer = slow.complete(head(200, FRESH), Bytes::from_static(b"old"), none(), now());
    assert_eq!(
        status_line(&answer),
        "brink-ams; fwd=uri-miss; detail=fenced"
    );
    assert!(!get("/a").is_hit(&cache).await);
    // What nobody stores or fetches costs the table nothing.
    let before = cache.explain("h/").await["applied"]["tags"].clone();
    get("/unknown")
        .method(Method::POST)
        .forward(&cache, now())
        .await
        .pass(&mut head(200, &[]));
    assert_eq!(cache.explain("h/").await["applied"]["tags"], before);
}

#[tokio::test]
async fn cache_groups() {
    let cache = memory().await;
    let fields = [
        ("cache-control", "max-age=60"),
        ("cache-groups", "\"scripts\""),
    ];
    get("/a").fill(&cache, &fields, "x", none()).await;
    Ask {
        host: "g",
        ..get("/a")
    }
    .fill(&cache, &fields, "x", none())
    .await;
    let post = get("/build")
        .method(Method::POST)
        .forward(&cache, now())
        .await;
    post.pass(&mut head(
        200,
        &[("cache-group-invalidation", "\"scripts\"")],
    ));
    assert!(!get("/a").is_hit(&cache).await);
    assert!(
        Ask {
            host: "g",
            ..get("/a")
        }
        .is_hit(&cache)
        .await,
        "groups are of one host"
    );
}

#[tokio::test]
async fn status_of_caches_before_us_is_kept() {
    let cache = memory().await;
    let fields = [
        ("cache-control", "max-age=60"),
        ("cache-status", "origin; hit"),
    ];
    let stored = get("/").fill(&cache, &fields, "x", none()).await;
    assert_eq!(
        status_line(&stored),
        "origin; hit, brink-ams; fwd=uri-miss; stored; ttl=60"
    );
    let hit = get("/").hit(&cache, now()).await;
    assert_eq!(
        status_line(&hit),
        "origin; hit, brink-ams; hit; ttl=60; detail=memory"
    );
}
