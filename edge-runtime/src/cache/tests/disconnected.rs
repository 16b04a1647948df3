//! A silent feed.

use super::*;
use brink_policy::coherence::{Start, Started};
use brink_protocol::Position;
use brink_protocol::deployment::WhenDisconnected::{self, Fail, Revalidate, ServeStale};
use bytes::Bytes;
use std::time::{Duration, Instant};

async fn following() -> Cache {
    open(Config {
        follows_feed: true,
        ..small()
    })
    .await
}

/// A feed begins, with a lease of so many milliseconds, at a log that is empty.
fn begins(cache: &Cache, lease_ms: u64, sent: Instant) -> Started {
    let start = Start {
        position: Position::default(),
        head: Position::default(),
        resumed: true,
        lease_ms,
        age_ms: 0,
    };
    cache.start(&start, true, sent)
}

fn claims(cache: &Cache, head: &str) {
    cache.claim(Instant::now(), head.parse().unwrap(), Duration::ZERO);
}

fn asks(when_disconnected: WhenDisconnected) -> Ask {
    Ask {
        when_disconnected,
        ..get("/")
    }
}

#[tokio::test]
async fn the_routes_choice() {
    let cache = following().await;
    assert!(!cache.connected(Instant::now()), "nothing vouches yet");
    assert_eq!(cache.staleness_bound(Instant::now()), None);
    assert_eq!(begins(&cache, 60_000, Instant::now()), Started::Resumed);
    get("/").fill(&cache, FRESH, "x", none()).await;
    for choice in [Revalidate, ServeStale, Fail] {
        assert_eq!(
            status_line(&asks(choice).hit(&cache, now()).await),
            "brink-ams; hit; ttl=60; detail=memory"
        );
    }
    assert!(!cache.connected(Instant::now() + Duration::from_millis(60_001)));
    begins(&cache, 0, Instant::now());
    assert!(!cache.connected(Instant::now()));
    let stale = asks(ServeStale).hit(&cache, now()).await;
    assert_eq!(
        status_line(&stale),
        "brink-ams; hit; ttl=60; detail=disconnected"
    );
    match asks(Fail).lookup(&cache, now()).await {
        Lookup::Unavailable(problem) => assert_eq!(problem.status, 503),
        other => panic!("{other:?}"),
    }
    let fill = asks(Revalidate).forward(&cache, now()).await;
    assert_eq!(
        status_line(&fill.failed(now()).unwrap()),
        "brink-ams; hit; ttl=60; detail=disconnected"
    );
    // A better answer came after all.
    let fill = asks(Revalidate).forward(&cache, now()).await;
    assert_eq!(
        fill.complete(head(200, FRESH), Bytes::from_static(b"new"), none(), now())
            .body,
        "new"
    );
    begins(&cache, 60_000, Instant::now());
    assert_eq!(asks(Fail).hit(&cache, now()).await.body, "new");
}

#[tokio::test]
async fn stale_beyond_its_lifetime_only_when_nobody_answers() {
    let cache = following().await;
    get("/").fill(&cache, FRESH, "x", none()).await;
    for (choice, served) in [(ServeStale, true), (Revalidate, true), (Fail, false)] {
        let fill = asks(choice).forward(&cache, later(100)).await;
        assert_eq!(fill.failed(later(100)).is_some(), served, "{choice:?}");
    }
    let too_old = later(90_000);
    assert!(
        asks(ServeStale)
            .forward(&cache, too_old)
            .await
            .failed(too_old)
            .is_none()
    );
    claims(&cache, "");
    assert!(
        asks(ServeStale)
            .forward(&cache, later(100))
            .await
            .failed(later(100))
            .is_none(),
        "connected"
    );
}

#[tokio::test]
async fn what_a_change_ended_is_not_served_stale() {
    let cache = following().await;
    get("/").fill(&cache, FRESH, "x", none()).await;
    let fill = asks(ServeStale).forward(&cache, later(100)).await;
    cache.apply(&purge(
        1,
        brink_protocol::purge::Selector::Everything,
        false,
    ));
    assert!(fill.failed(later(100)).is_none());
}

#[tokio::test]
async fn a_claim_counts_once_its_head_is_applied() {
    let cache = following().await;
    get("/").fill(&cache, FRESH, "x", none()).await;
    begins(&cache, 60_000, Instant::now());
    let before = cache.staleness_bound(Instant::now()).unwrap();
    assert!(before < Duration::from_secs(60));
    // Of a core that is a minute behind the others: nothing is known of that minute.
    let cache = following().await;
    let now = Instant::now();
    cache.claim(now, Position::default(), Duration::from_secs(60));
    assert!(cache.staleness_bound(now).unwrap() >= Duration::from_secs(60));
    assert!(!cache.connected(now));
    claims(&cache, "core-1.1=2");
    assert!(!cache.connected(now));
    cache.apply(&written(1, "p", "s"));
    assert!(!cache.connected(now));
    cache.apply(&written(2, "p", "s"));
    assert!(cache.connected(now));
    assert_eq!(cache.lease(), Duration::from_secs(2));
}

#[tokio::test]
async fn each_end_of_the_lease_is_counted_once() {
    let cache = following().await;
    let now = Instant::now();
    cache.poll(now);
    cache.poll(now + Duration::from_secs(9));
    assert_eq!(cache.figures().lease_expiries, 0, "it never began");
    begins(&cache, 2_000, now);
    cache.poll(now);
    cache.poll(now + Duration::from_millis(1_500));
    for _ in 0..2 {
        cache.poll(now + Duration::from_millis(2_001));
    }
    cache.poll(now);
    assert_eq!(cache.figures().lease_expiries, 1);
    // Nobody looked while it was over: the next claim tells.
    let long_ago = now.checked_sub(Duration::from_secs(10)).unwrap();
    let cache = following().await;
    begins(&cache, 60_000, long_ago);
    cache.poll(now);
    begins(&cache, 2_000, long_ago);
    assert_eq!(cache.figures().lease_expiries, 1);
    claims(&cache, "");
    assert_eq!(cache.figures().lease_expiries, 1);
}

#[tokio::test]
async fn a_feed_that_goes_on_keeps_and_one_that_begins_anew_drops() {
    let cache = following().await;
    let start = |position: &str, resumed| Start {
        position: position.parse().unwrap(),
        head: position.parse().unwrap(),
        resumed,
        lease_ms: 2_000,
        age_ms: 0,
    };
    assert_eq!(
        cache.start(&start("core-1.1=4", false), false, Instant::now()),
        Started::Reset
    );
    for (begins, asked, expected) in [
        (start("core-1.1=4", true), true, Started::Resumed),
        (start("core-1.1=5", true), true, Started::Reset),
        (start("core-1.1=5", false), true, Started::Reset),
        (start("core-1.1=5", true), false, Started::Reset),
    ] {
        get("/").fill(&cache, FRESH, "x", none()).await;
        let fill = get("/late").forward(&cache, now()).await;
        assert_eq!(cache.start(&begins, asked, Instant::now()), expected);
        let kept = expected == Started::Resumed;
        assert_eq!(get("/").is_hit(&cache).await, kept, "{begins:?} {asked}");
        let late = fill.complete(head(200, FRESH), Bytes::from_static(b"x"), none(), now());
        assert_eq!(status_line(&late).contains("stored"), kept);
        assert_eq!(cache.position(), begins.position);
        assert!(cache.connected(Instant::now()));
        cache.invalidate(
            &brink_protocol::deployment::default_tenant(),
            &brink_protocol::purge::Selector::Everything,
        );
    }
}
