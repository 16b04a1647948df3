//! What operators see, and clients do not.

use crate::{
    harness::start,
    scripted::{Core, Offers},
};
use brink_edge::config::File;

#[tokio::test]
async fn an_edge_without_a_core_is_ready_at_once() {
    let settings = File::default().standalone().unwrap();
    let edge = start(settings, async |_| {}).await;
    for (path, status, text) in [
        ("/health", 200, "alive"),
        ("/ready", 200, "ready"),
        ("/metrics", 200, "brink_test 1"),
        ("/cache?url=http://localhost/a", 200, "localhost/a"),
        ("/cache", 400, "Which URL?"),
        ("/status", 200, "\"pop\":\"local\""),
        ("/routes", 200, "[]"),
        ("/other", 404, "/health"),
    ] {
        let answer = edge.ask_admin(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.body.contains(text), "{path}: {}", answer.body);
        // None of it is on the public listener.
        assert_eq!(edge.get(path).await.status, 404, "{path}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_pop_says_what_it_waits_for() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let edge = start(core.settings(data.path()), async |_| {}).await;
    let answer = edge.ask_admin("/ready").await;
    assert!(
        answer.body.contains("the core cannot be reached"),
        "{}",
        answer.body
    );
    let feed = core.feed().await;
    feed.start("core.1=1", false, 3);
    edge.until(|status| status["revision"]["wanted"] == 3).await;
    let answer = edge.ask_admin("/ready").await;
    assert!(answer.body.contains("not loaded yet"), "{}", answer.body);
    edge.stop().await;
    core.stop().await;
}
