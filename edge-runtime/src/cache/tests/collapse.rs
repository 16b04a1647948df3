//! One fill for many requests.

use super::*;
use brink_policy::cache_status::Outcome;
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Many requests for one key; each that is told to go forward answers with `fields`.
async fn many(cache: &Cache, count: usize, fields: Fields<'static>) -> (usize, usize) {
    let (fills, collapsed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let first = get("/").forward(cache, now()).await;
    let mut tasks = Vec::new();
    for _ in 0..count {
        let (cache, fills, collapsed) = (cache.clone(), fills.clone(), collapsed.clone());
        tasks.push(tokio::spawn(async move {
            let answer = match get("/").lookup(&cache, now()).await {
                Lookup::Hit(answer) => answer,
                Lookup::Forward(fill) => {
                    fills.fetch_add(1, Ordering::SeqCst);
                    fill.complete(head(200, fields), Bytes::from_static(b"x"), none(), now())
                }
                Lookup::Unavailable(problem) => panic!("{problem:?}"),
            };
            assert_eq!(answer.body, "x");
            if matches!(
                answer.status.outcome,
                Outcome::Forward {
                    collapsed: true,
                    ..
                }
            ) {
                collapsed.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    for _ in 0..count * 2 {
        tokio::task::yield_now().await;
    }
    drop(first.complete(head(200, fields), Bytes::from_static(b"x"), none(), now()));
    for task in tasks {
        task.await.unwrap();
    }
    (
        fills.load(Ordering::SeqCst),
        collapsed.load(Ordering::SeqCst),
    )
}

#[tokio::test]
async fn a_thousand_requests_and_one_fill() {
    let cache = memory().await;
    assert_eq!(many(&cache, 1_000, FRESH).await, (0, 1_000));
    assert_eq!(cache.figures().collapsed, 1_000);
}

#[tokio::test]
async fn what_cannot_be_shared_is_not_waited_for_twice() {
    let cache = memory().await;
    assert_eq!(
        many(&cache, 100, &[("cache-control", "private")]).await,
        (100, 0)
    );
    // Remembered: nobody waits now, while a fill is under way.
    let first = get("/").forward(&cache, now()).await;
    let second = get("/").forward(&cache, now()).await;
    drop((first, second));
}

#[tokio::test]
async fn who_cannot_share_does_not_part_the_others() {
    for (name, value, status) in [
        ("cookie", "a=1", 200),
        ("authorization", "x", 200),
        ("range", "bytes=9-", 416),
        ("range", "bytes=0-0,2-2", 206),
    ] {
        let cache = memory().await;
        let own = get("/").with(name, value);
        let private = &[("cache-control", "private")];
        let fill = own.forward(&cache, now()).await;
        drop(fill.complete(
            head(status, private),
            Bytes::from_static(b"x"),
            none(),
            now(),
        ));
        // Those of its kind do not wait for each other, all others do.
        drop((
            own.forward(&cache, now()).await,
            own.forward(&cache, now()).await,
        ));
        assert_eq!(many(&cache, 100, FRESH).await, (0, 100), "{name}");
    }
}

#[tokio::test]
async fn a_leader_that_goes_away_is_followed_by_another() {
    let cache = memory().await;
    let leader = get("/").forward(&cache, now()).await;
    let follower = tokio::spawn({
        let cache = cache.clone();
        async move { get("/").forward(&cache, now()).await }
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!follower.is_finished());
    drop(leader);
    follower
        .await
        .unwrap()
        .complete(head(200, FRESH), Bytes::from_static(b"x"), none(), now());
    assert!(get("/").is_hit(&cache).await);
}

#[tokio::test]
async fn followers_and_their_wait_are_bounded() {
    let cache = open(Config {
        followers_max: 1,
        follower_wait_ms_max: 20,
        ..small()
    })
    .await;
    let leader = get("/").forward(&cache, now()).await;
    let waiting = tokio::spawn({
        let cache = cache.clone();
        async move { get("/").forward(&cache, now()).await }
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    // The one place is taken: this one goes by itself at once, the waiting one after its time.
    drop(get("/").forward(&cache, now()).await);
    drop(waiting.await.unwrap());
    leader.complete(head(200, FRESH), Bytes::from_static(b"x"), none(), now());
    assert!(get("/").is_hit(&cache).await);
}

#[tokio::test]
async fn what_ends_during_a_wait_is_not_validated() {
    let cache = open(Config {
        follower_wait_ms_max: 20,
        ..small()
    })
    .await;
    let fields = &[("cache-control", "max-age=60"), ("etag", "\"1\"")];
    get("/")
        .fill(&cache, fields, "old", depends(vec![record("p", "s")]))
        .await;
    let leader = get("/").forward(&cache, later(100)).await;
    assert!(leader.request_headers().contains_key("if-none-match"));
    let waiting = tokio::spawn({
        let cache = cache.clone();
        async move { get("/").forward(&cache, later(100)).await }
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished(), "it found the entry, and waits");
    cache.apply(&written(1, "p", "s"));
    let fill = waiting.await.unwrap();
    assert!(fill.request_headers().is_empty(), "nothing to validate");
    // Whoever answers so all the same does not bring the entry back.
    let answer = fill.complete(head(304, &[]), Bytes::new(), none(), later(100));
    assert_eq!(answer.body, "");
    drop(leader);
    assert!(matches!(
        get("/").lookup(&cache, later(101)).await,
        Lookup::Forward(_)
    ));
}

#[tokio::test]
async fn others_do_not_wait() {
    let cache = memory().await;
    let _leader = get("/").forward(&cache, now()).await;
    for other in [
        get("/other"),
        get("/").method(http::Method::HEAD),
        get("/").method(http::Method::POST),
        get("/").with("range", "bytes=0-1"),
        get("/").with("cache-control", "no-store"),
    ] {
        drop(other.forward(&cache, now()).await);
    }
}
