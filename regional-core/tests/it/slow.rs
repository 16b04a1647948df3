//! A PoP that follows the feed and reads nothing.

use crate::{client::Link, server::Server};
use brink_protocol::{
    Position,
    link::{FeedMessage, FeedRequest, PurgeAnswer, PurgeRequest, path},
    purge::{SELECTORS_MAX, Selector},
};
use std::time::Duration;

/// A change of about a quarter of a MiB.
async fn large_purge(link: &Link) -> Position {
    let key = |n: usize| Selector::Key(format!("{n:01000}").parse().unwrap());
    let request = PurgeRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        selectors: (0..SELECTORS_MAX.min(256)).map(key).collect(),
        soft: false,
    };
    let answer: PurgeAnswer = link.call(path::PURGES, &request).await;
    answer.position
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_that_reads_nothing_is_cut_off_and_holds_up_nobody() {
    let text = "[prober]\ninterval_ms = 0\n[feed]\nstall_ms = 200";
    let server = Server::start_with(tempfile::tempdir().unwrap(), text).await;
    let (slow, quick) = (server.link("slow").await, server.link("quick").await);
    let follow = async |link: &Link, pop: &str| {
        let request = FeedRequest {
            pop: pop.parse().unwrap(),
            position: None,
        };
        link.feed(&request).await
    };
    let unread = follow(&slow, "slow").await;
    let mut read = follow(&quick, "quick").await;
    let control = server.control();
    let mut last = Position::default();
    // Until the windows and buffers between are full, and some more.
    loop {
        last.merge(&large_purge(&quick).await);
        let pops = control.get("/v1/pops").await.expect(200).json();
        let pops = pops.as_array().unwrap();
        let connected = |name: &str| {
            let pop = pops.iter().find(|pop| pop["name"] == name);
            pop.is_some_and(|pop| pop["connected"] == true)
        };
        assert!(connected("quick"));
        if !connected("slow") {
            break;
        }
        let mut seen = Position::default();
        while !seen.covers(&last) {
            if let Some(FeedMessage::Change(change)) = read.next().await {
                seen.advance(&change.origin, change.sequence);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It may come back to where it was.
    drop(unread);
    let request = FeedRequest {
        pop: "slow".parse().unwrap(),
        position: Some("core-1.1=1".parse().unwrap()),
    };
    let mut again = slow.feed(&request).await;
    assert!(matches!(
        again.next().await,
        Some(FeedMessage::Start { resumed: true, .. })
    ));
    assert_eq!(again.change().await.sequence, 2);
}
