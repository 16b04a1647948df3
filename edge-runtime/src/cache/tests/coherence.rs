//! Purges, writes, the fence, positions.

use super::*;
use brink_policy::coherence::tags;
use brink_protocol::{purge::Selector, tag::Tag};
use bytes::Bytes;

#[tokio::test]
async fn each_selector() {
    for (selector, ends) in [
        (Selector::Key("k".parse().unwrap()), true),
        (Selector::Key("other".parse().unwrap()), false),
        (Selector::Url("h/a/b?c".into()), true),
        (Selector::Url("h/a/b".into()), false),
        (Selector::Prefix("h/a".into()), true),
        (Selector::Prefix("h/a/b".into()), true),
        (Selector::Prefix("h/a/bc".into()), false),
        (Selector::Prefix("h/".into()), true),
        (Selector::Host("h".into()), true),
        (Selector::Host("g".into()), false),
        (Selector::Module("m".parse().unwrap()), true),
        (Selector::Module("n".parse().unwrap()), false),
        (Selector::Everything, true),
    ] {
        for soft in [false, true] {
            let cache = memory().await;
            let fields = [
                ("cache-control", "max-age=60"),
                ("surrogate-key", "j k"),
                ("etag", "\"a\""),
            ];
            let on = Dependencies {
                module: Some("m".parse().unwrap()),
                ..none()
            };
            get("/a/b?c").fill(&cache, &fields, "x", on).await;
            let foreign = Ask {
                tenant: "t".parse().unwrap(),
                ..get("/a/b?c")
            };
            foreign.fill(&cache, &fields, "x", none()).await;
            let applied = cache.apply(&purge(1, selector.clone(), soft));
            assert_eq!(applied.objects, u64::from(ends), "{selector:?} soft={soft}");
            assert_eq!(
                get("/a/b?c").is_hit(&cache).await,
                !ends,
                "{selector:?} soft={soft}"
            );
            assert!(foreign.is_hit(&cache).await, "another tenant's stays");
            assert_eq!(cache.position().to_string(), "core-1.1=1");
            let fill = get("/a/b?c").lookup(&cache, now()).await;
            if let (true, Lookup::Forward(fill)) = (ends, fill) {
                assert_eq!(
                    !fill.request_headers().is_empty(),
                    soft,
                    "only what was purged softly is validated"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_soft_purge_makes_stale() {
    let cache = memory().await;
    let fields = [
        ("cache-control", "max-age=60, stale-while-revalidate=60"),
        ("etag", "\"a\""),
    ];
    get("/").fill(&cache, &fields, "old", none()).await;
    cache.apply(&purge(1, Selector::Host("h".into()), true));
    let mut answer = get("/").hit(&cache, now()).await;
    assert_eq!(
        status_line(&answer),
        "brink-ams; hit; ttl=60; detail=stale-while-revalidate"
    );
    let beside = answer.revalidate.take().unwrap();
    beside.complete(head(304, &[]), Bytes::new(), none(), now());
    assert_eq!(
        status_line(&get("/").hit(&cache, now()).await),
        "brink-ams; hit; ttl=60; detail=memory"
    );
    // A hard purge after a soft one ends it; a soft one before the entry was made does not count.
    cache.apply(&purge(2, Selector::Host("h".into()), true));
    assert!(get("/").hit(&cache, now()).await.revalidate.is_some());
    cache.apply(&purge(3, Selector::Host("h".into()), false));
    assert!(!get("/").is_hit(&cache).await);
}

#[tokio::test]
async fn writes_end_what_read_them() {
    let cache = memory().await;
    get("/item")
        .fill(&cache, FRESH, "5", depends(vec![record("ams-1", "sku-1")]))
        .await;
    get("/list")
        .fill(&cache, FRESH, "5,6", depends(vec![range("ams-1")]))
        .await;
    get("/other")
        .fill(&cache, FRESH, "7", depends(vec![record("sfo-1", "sku-1")]))
        .await;
    assert_eq!(cache.apply(&written(1, "ams-1", "sku-2")).objects, 1);
    assert!(get("/item").is_hit(&cache).await);
    assert!(!get("/list").is_hit(&cache).await);
    assert_eq!(cache.apply(&written(2, "ams-1", "sku-1")).objects, 1);
    assert!(!get("/item").is_hit(&cache).await);
    assert!(get("/other").is_hit(&cache).await);
}

#[tokio::test]
async fn deployments_end_a_modules_answers() {
    let cache = memory().await;
    let by = |module: &str| Dependencies {
        module: Some(module.parse().unwrap()),
        ..none()
    };
    get("/a").fill(&cache, FRESH, "x", by("a")).await;
    get("/b").fill(&cache, FRESH, "x", by("b")).await;
    assert_eq!(cache.apply(&deployed(1, "a")).objects, 1);
    assert!(!get("/a").is_hit(&cache).await && get("/b").is_hit(&cache).await);
}

#[tokio::test]
async fn a_fill_that_a_change_touches_is_served_and_not_stored() {
    let cache = memory().await;
    let on = || depends(vec![record("p", "s")]);
    let touched = get("/touched").forward(&cache, now()).await;
    let untouched = get("/untouched").forward(&cache, now()).await;
    cache.apply(&written(1, "p", "s"));
    let answer = touched.complete(
        head(200, FRESH),
        Bytes::from_static(b"old"),
        at(on(), "core-1.1=1"),
        now(),
    );
    assert_eq!(
        (answer.body.as_ref(), status_line(&answer).as_str()),
        (&b"old"[..], "brink-ams; fwd=uri-miss; detail=fenced")
    );
    assert!(!get("/touched").is_hit(&cache).await);
    let other = at(depends(vec![record("p", "t")]), "core-1.1=1");
    untouched.complete(head(200, FRESH), Bytes::from_static(b"x"), other, now());
    assert!(get("/untouched").is_hit(&cache).await);
    assert_eq!(cache.figures().fenced, 1);
}

fn at(dependencies: Dependencies, position: &str) -> Dependencies {
    Dependencies {
        position: position.parse().unwrap(),
        ..dependencies
    }
}

#[tokio::test]
async fn records_read_at_a_core_that_is_behind_are_not_stored() {
    let cache = memory().await;
    for sequence in 1..=3 {
        cache.apply(&written(sequence, "p", "s"));
    }
    for (position, stored) in [
        ("core-1.1=2", false),
        ("", false),
        ("core-1.1=3", true),
        ("core-1.1=9,core-2.1=1", true),
    ] {
        let on = at(depends(vec![record("p", "s")]), position);
        let fill = get("/").forward(&cache, now()).await;
        let answer = fill.complete(head(200, FRESH), Bytes::from_static(b"x"), on, now());
        assert_eq!(
            status_line(&answer).contains("stored"),
            stored,
            "{position}: {}",
            status_line(&answer)
        );
        if stored {
            break;
        }
    }
    let named = depends(vec![Tag::Name {
        tenant: brink_protocol::deployment::default_tenant(),
        name: "n".parse().unwrap(),
    }]);
    get("/named").fill(&cache, FRESH, "x", named).await;
    assert!(get("/named").is_hit(&cache).await, "nothing was read there");
}

#[tokio::test]
async fn order_repeats_and_gaps() {
    let cache = memory().await;
    get("/").fill(&cache, FRESH, "x", none()).await;
    assert!(!cache.apply(&written(1, "p", "s")).repeated);
    get("/item")
        .fill(
            &cache,
            FRESH,
            "x",
            at(depends(vec![record("p", "s")]), "core-1.1=1"),
        )
        .await;
    let again = cache.apply(&written(1, "p", "s"));
    assert!(again.repeated);
    assert!(
        get("/item").is_hit(&cache).await,
        "a repeated change does nothing"
    );
    let skipped = cache.apply(&written(5, "other", "s"));
    assert!(skipped.gap);
    assert_eq!(skipped.objects, 2);
    assert!(!get("/").is_hit(&cache).await);
    assert_eq!(cache.position().to_string(), "core-1.1=5");
    get("/").fill(&cache, FRESH, "x", none()).await;
    let fill = get("/late").forward(&cache, now()).await;
    cache.reset("core-9.1=7".parse().unwrap());
    assert_eq!(cache.position().to_string(), "core-9.1=7");
    assert!(!get("/").is_hit(&cache).await);
    let answer = fill.complete(head(200, FRESH), Bytes::from_static(b"x"), none(), now());
    assert!(
        status_line(&answer).ends_with("detail=fenced"),
        "begun before everything was dropped"
    );
}

#[tokio::test]
async fn a_session_sees_no_older_answer() {
    let cache = memory().await;
    cache.apply(&written(1, "p", "s"));
    get("/").fill(&cache, FRESH, "x", none()).await;
    for (token, hit) in [
        ("core-1.1=1", true),
        ("core-1.1=2", false),
        ("core-2.1=1", false),
    ] {
        let ask = Ask {
            at_least: Some(token.parse().unwrap()),
            ..get("/")
        };
        assert_eq!(ask.is_hit(&cache).await, hit, "{token}");
    }
    cache.apply(&written(2, "other", "s"));
    assert!(
        Ask {
            at_least: Some("core-1.1=2".parse().unwrap()),
            ..get("/")
        }
        .is_hit(&cache)
        .await
    );
}

#[tokio::test]
async fn a_session_is_not_answered_with_what_is_older_even_if_nothing_else_is_there() {
    let cache = memory().await;
    cache.apply(&written(1, "p", "s"));
    let fields = [("cache-control", "max-age=60, stale-if-error=600")];
    get("/").fill(&cache, &fields, "x", none()).await;
    let failing = |token: Option<&str>, is_uncached| Ask {
        at_least: token.map(|token| token.parse().unwrap()),
        is_uncached,
        ..get("/").with("cache-control", "no-cache")
    };
    for (ask, served) in [
        (failing(None, false), true),
        (failing(Some("core-1.1=1"), false), true),
        (failing(Some("core-1.1=2"), false), false),
        (failing(None, true), false),
    ] {
        let fill = ask.forward(&cache, now()).await;
        assert_eq!(fill.failed(now()).is_some(), served, "{:?}", ask.at_least);
        let fill = ask.forward(&cache, now()).await;
        let answer = fill.complete(head(503, &[]), Bytes::new(), none(), now());
        assert_eq!(answer.body == "x", served);
        assert_eq!(answer.stored.is_some(), served);
    }
    // Nobody waits for another's answer that would not do.
    let leader = get("/new").forward(&cache, now()).await;
    let unread = Ask {
        is_uncached: true,
        ..get("/new")
    };
    unread.forward(&cache, now()).await;
    drop(leader);
    let fill = unread.forward(&cache, now()).await;
    fill.complete(head(200, FRESH), Bytes::from_static(b"new"), none(), now());
    assert!(get("/new").is_hit(&cache).await, "what came may be stored");
    assert!(!unread.is_hit(&cache).await);
}

#[tokio::test]
async fn new_records_make_nothing_new_of_what_has_no_tag() {
    for (unnamed, serves) in [(false, true), (true, false)] {
        let cache = memory().await;
        // The core was at 5 already, and this PoP is not.
        let on = Dependencies {
            lifetime: Some(std::time::Duration::from_secs(60)),
            unnamed,
            ..at(depends(vec![record("p", "s")]), "core-1.1=5")
        };
        get("/").fill(&cache, FRESH, "x", on).await;
        let ask = Ask {
            at_least: Some("core-1.1=5".parse().unwrap()),
            ..get("/")
        };
        assert!(get("/").is_hit(&cache).await);
        assert_eq!(ask.is_hit(&cache).await, serves, "{unnamed}");
    }
}

#[tokio::test]
async fn answers_tell_of_which_position_they_were_stored() {
    let cache = memory().await;
    cache.apply(&written(1, "p", "s"));
    let on = at(depends(vec![record("p", "s")]), "core-1.1=1,core-2.1=4");
    let made = get("/").fill(&cache, FRESH, "x", on).await;
    assert_eq!(made.stored, None);
    let hit = get("/").hit(&cache, now()).await;
    assert_eq!(hit.stored.unwrap().to_string(), "core-1.1=1,core-2.1=4");
    get("/other").fill(&cache, FRESH, "x", none()).await;
    let hit = get("/other").hit(&cache, now()).await;
    assert_eq!(hit.stored.unwrap().to_string(), "core-1.1=1");
}

#[tokio::test]
async fn writes_beside_a_range_leave_it_alone() {
    let cache = memory().await;
    let on = || depends(vec![range_between("p", "b", "d")]);
    get("/list").fill(&cache, FRESH, "b,c", on()).await;
    let fill = get("/filled").forward(&cache, now()).await;
    for (sequence, sort) in [(1, "a"), (2, "d"), (3, "e")] {
        assert_eq!(cache.apply(&written(sequence, "p", sort)).objects, 0);
        assert!(get("/list").is_hit(&cache).await, "{sort}");
    }
    let on = at(on(), "core-1.1=3");
    fill.complete(head(200, FRESH), Bytes::from_static(b"x"), on, now());
    assert!(get("/filled").is_hit(&cache).await);
    assert_eq!(cache.apply(&written(4, "p", "c")).objects, 2);
    assert_eq!(cache.figures().entries, 0, "their room is given back");
    assert!(!get("/list").is_hit(&cache).await);
    // A fill that a write between the bounds overtook.
    let late = get("/list").forward(&cache, now()).await;
    cache.apply(&written(5, "p", "b"));
    let on = at(depends(vec![range_between("p", "b", "d")]), "core-1.1=5");
    let answer = late.complete(head(200, FRESH), Bytes::from_static(b"x"), on, now());
    assert!(status_line(&answer).ends_with("detail=fenced"));
}

#[tokio::test]
async fn another_cache_asks_the_same() {
    let cache = memory().await;
    cache.apply(&written(1, "p", "s"));
    let touched = [tags::record(&partition("p"), "s")];
    let other = [tags::record(&partition("p"), "t")];
    let start = cache.begin();
    assert_eq!(start.position.to_string(), "core-1.1=1");
    cache.apply(&written(2, "p", "s"));
    for (on, read_at, expected) in [
        (&other, "core-1.1=1", true),
        (&other, "", false),
        (&touched, "core-1.1=2", false),
    ] {
        let read_at = read_at.parse().unwrap();
        assert_eq!(cache.admit(&start, on, &read_at), expected);
    }
    let figures = cache.figures();
    assert_eq!((figures.fenced, figures.read_behind), (1, 1));
    let held = cache.holds(&other, start.index).unwrap();
    assert_eq!(held.to_string(), "core-1.1=2");
    assert_eq!(cache.holds(&touched, start.index), None);
    let silent = open(Config {
        follows_feed: true,
        ..small()
    })
    .await;
    assert_eq!(silent.holds(&other, 0), None, "nothing vouches");
}

#[tokio::test]
async fn what_a_purge_would_end_is_counted() {
    let cache = memory().await;
    for n in 0..1_000 {
        let fields = [("cache-control", "max-age=60"), ("surrogate-key", "k j")];
        let fields = if n % 2 == 0 {
            &fields[..]
        } else {
            &fields[..1]
        };
        get(&format!("/{}/{n}", n % 4))
            .fill(&cache, fields, "x", none())
            .await;
    }
    let tenant = brink_protocol::deployment::default_tenant();
    let key = |name: &str| Selector::Key(name.parse().unwrap());
    let everything = cache.count(&tenant, &[Selector::Everything]);
    assert_eq!(everything, (1_000, cache.figures().bytes));
    for (selectors, expected) in [
        (vec![key("k")], 500),
        (vec![key("k"), key("j")], 500),
        (vec![key("k"), Selector::Prefix("h/1".into())], 750),
        (vec![key("k"), Selector::Prefix("h/2".into())], 500),
        (vec![key("none")], 0),
        (vec![], 0),
    ] {
        let (objects, bytes) = cache.count(&tenant, &selectors);
        assert_eq!(objects, expected, "{selectors:?}");
        assert_eq!(bytes > 0, expected > 0);
    }
    assert_eq!(cache.count(&"t".parse().unwrap(), &[key("k")]).0, 0);
    assert!(get("/0/0").is_hit(&cache).await, "nothing was ended");
}

#[tokio::test]
async fn without_coherence_nothing_is_held_against_the_changes() {
    let cache = open(Config {
        coherence: false,
        follows_feed: true,
        ..small()
    })
    .await;
    let on = || depends(vec![record("p", "s")]);
    get("/").fill(&cache, FRESH, "x", on()).await;
    let fill = get("/late").forward(&cache, now()).await;
    cache.apply(&purge(1, Selector::Key("other".parse().unwrap()), false));
    cache.apply(&purge(2, Selector::Host("h".into()), true));
    fill.complete(head(200, FRESH), Bytes::from_static(b"x"), on(), now());
    for path in ["/", "/late"] {
        let answer = get(path).hit(&cache, now()).await;
        assert_eq!(
            status_line(&answer),
            "brink-ams; hit; ttl=60; detail=memory"
        );
    }
    assert!(cache.connected(std::time::Instant::now()));
}

#[tokio::test]
async fn a_large_purge_is_counted_at_once_and_removed_in_slices() {
    let cache = memory().await;
    for n in 0..2_000 {
        get(&format!("/p/{n}"))
            .fill(&cache, FRESH, "x", none())
            .await;
    }
    let applied = cache.apply(&purge(1, Selector::Prefix("h/p".into()), false));
    assert_eq!(applied.objects, 2_000);
    assert!(!get("/p/1999").is_hit(&cache).await && !get("/p/0").is_hit(&cache).await);
    get("/p/again").fill(&cache, FRESH, "x", none()).await;
    for _ in 0..10_000 {
        if cache.figures().entries == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(cache.figures().entries, 1);
    assert!(
        get("/p/again").is_hit(&cache).await,
        "what came after the purge stays"
    );
}

#[tokio::test]
async fn the_floor_refuses_what_is_too_old_and_not_what_was_looked_at() {
    let cache = open(Config {
        changes_max: 10,
        ..small()
    })
    .await;
    get("/cold").fill(&cache, FRESH, "x", none()).await;
    get("/hot").fill(&cache, FRESH, "x", none()).await;
    for sequence in 1..=50 {
        cache.apply(&written(sequence, "p", &format!("s{sequence}")));
        assert!(get("/hot").is_hit(&cache).await);
    }
    assert!(!get("/cold").is_hit(&cache).await);
    assert!(cache.figures().refused >= 1);
}

#[tokio::test]
async fn explained() {
    let cache = memory().await;
    let fields = [
        ("cache-control", "max-age=60"),
        ("surrogate-key", "k"),
        ("etag", "\"a\""),
        ("vary", "accept"),
    ];
    let on = depends(vec![record("p", "s")]);
    get("/a")
        .with("accept", "text/html")
        .fill(&cache, &fields, "x", on)
        .await;
    let told = cache.explain("https://H:443/a").await;
    let entry = &told["entries"][0];
    assert_eq!(told["entries"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(entry["variant"], "accept: text/html");
    assert_eq!(
        entry["tags"],
        serde_json::json!(["record:stock/p/s", "name:k"])
    );
    assert_eq!(
        (&entry["tier"], &entry["etag"]),
        (&"memory".into(), &"\"a\"".into())
    );
    cache.apply(&purge(1, Selector::Key("k".parse().unwrap()), true));
    assert_eq!(
        cache.explain("h/a").await["entries"][0]["state"],
        "purged-softly"
    );
    assert!(cache.explain("not a url").await["error"].is_string());
}
