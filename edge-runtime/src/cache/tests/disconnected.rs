//! A silent feed.

use super::*;
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

fn asks(when_disconnected: WhenDisconnected) -> Ask {
    Ask {
        when_disconnected,
        ..get("/")
    }
}

#[tokio::test]
async fn the_routes_choice() {
    let cache = following().await;
    assert!(
        !cache.connected(Instant::now()),
        "the feed was not heard yet"
    );
    cache.heard(Instant::now());
    get("/").fill(&cache, FRESH, "x", none()).await;
    for choice in [Revalidate, ServeStale, Fail] {
        assert_eq!(
            status_line(&asks(choice).hit(&cache, now()).await),
            "brink-ams; hit; ttl=60; detail=memory"
        );
    }
    cache.set_lease(Duration::ZERO);
    let silent_since = Instant::now() + Duration::from_millis(5);
    assert!(!cache.connected(silent_since));
    while cache.connected(Instant::now()) {
        std::hint::spin_loop();
    }
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
    cache.set_lease(Duration::from_secs(60));
    cache.heard(Instant::now());
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
    cache.heard(Instant::now());
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
