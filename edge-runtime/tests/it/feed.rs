//! The feed of a core that repeats, skips, talks nonsense or falls silent.

use crate::{
    harness::{Edge, start},
    scripted::{Core, Offers},
};
use brink_protocol::{
    change::{Change, ChangeKind, Phase, RecordChange},
    link::{CountRequest, FeedMessage},
    purge::{Purge, Selector},
};

fn change(sequence: u64, kind: ChangeKind) -> FeedMessage {
    FeedMessage::Change(Change {
        origin: "core.1".parse().unwrap(),
        sequence,
        at_ms: 0,
        kind,
    })
}

fn record(sequence: u64) -> FeedMessage {
    let kind = ChangeKind::Records {
        partition: brink_protocol::address::PartitionAddress {
            tenant: "default".parse().unwrap(),
            collection: "stock".into(),
            partition: "ams".into(),
        },
        records: vec![RecordChange {
            sort: "sku-1".into(),
            version: Some(1),
        }],
        phase: Phase::Written,
    };
    change(sequence, kind)
}

fn purge(sequence: u64, id: &str) -> FeedMessage {
    let purge = Purge {
        id: id.into(),
        tenant: "default".parse().unwrap(),
        selectors: vec![Selector::Everything],
        soft: false,
    };
    change(sequence, ChangeKind::Purge(purge))
}

async fn edge(core: &Core, data: &std::path::Path) -> Edge {
    start(core.settings(data), async |_| {}).await
}

async fn at(edge: &Edge, position: &str) {
    edge.until(|status| status["position"] == position).await;
}

#[tokio::test]
async fn changes_are_applied_in_order_and_once() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let edge = edge(&core, data.path()).await;
    assert_eq!(edge.ask_admin("/ready").await.status, 503);
    let feed = core.feed().await;
    assert_eq!(feed.position, None, "nothing is held");
    feed.start("core.1=4", false, 0);
    at(&edge, "core.1=4").await;
    for message in [record(5), record(5), record(4), record(6)] {
        feed.say(&message);
    }
    at(&edge, "core.1=6").await;
    let status = edge.status().await;
    assert_eq!(status["region"], "eu");
    assert_eq!(status["core"]["feed_is_live"], true);
    assert_eq!(edge.ask_admin("/ready").await.status, 200);
    // One is skipped: the feed is asked for again, from what was applied.
    feed.say(&record(8));
    let feed = core.feed().await;
    assert_eq!(feed.position.as_ref().unwrap().to_string(), "core.1=6");
    feed.start("core.1=6", true, 0);
    feed.say(&record(7));
    feed.say(&record(8));
    at(&edge, "core.1=8").await;
    edge.stop().await;
    core.stop().await;
}

#[tokio::test]
async fn a_feed_that_breaks_is_taken_up_where_it_was() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let edge = edge(&core, data.path()).await;
    let feed = core.feed().await;
    feed.start("core.1=1", false, 0);
    at(&edge, "core.1=1").await;
    let heartbeat = FeedMessage::Heartbeat {
        head: "core.1=9".parse().unwrap(),
    };
    feed.say(&heartbeat);
    edge.until(|status| status["core"]["lag_changes"] == 8)
        .await;
    // Ends, nonsense, a frame over the limit, a second Start, no Start, silence.
    drop(feed);
    let feed = core.feed().await;
    feed.say_bytes(b"\x03\x00\x00\x00\xff\xff\xff");
    let feed = core.feed().await;
    feed.say_bytes(b"\xff\xff\xff\xff");
    let feed = core.feed().await;
    feed.start("core.1=1", true, 0);
    feed.start("core.1=1", true, 0);
    let feed = core.feed().await;
    feed.say(&heartbeat);
    let silent = core.feed().await;
    silent.start("core.1=1", true, 0);
    let feed = core.feed().await;
    assert_eq!(feed.position.as_ref().unwrap().to_string(), "core.1=1");
    // The log no longer reaches back: everything begins at the head.
    feed.start("core.1=7", false, 0);
    at(&edge, "core.1=7").await;
    edge.stop().await;
    core.stop().await;
}

#[tokio::test]
async fn an_applied_purge_is_reported_at_once() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let edge = edge(&core, data.path()).await;
    let feed = core.feed().await;
    feed.start("core.1=1", false, 0);
    feed.say(&purge(2, "01PURGE"));
    let report = core.report(|report| !report.purges.is_empty()).await;
    assert_eq!(report.purges.first().unwrap().id, "01PURGE");
    assert_eq!(report.position.to_string(), "core.1=2");
    assert_eq!(report.pop.as_str(), "ams");
    edge.stop().await;
    core.stop().await;
}

#[tokio::test]
async fn an_edge_that_restarts_goes_on_from_its_position() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let first = edge(&core, data.path()).await;
    let feed = core.feed().await;
    feed.start("core.1=1", false, 0);
    feed.say(&record(2));
    at(&first, "core.1=2").await;
    first.stop().await;
    let second = edge(&core, data.path()).await;
    let feed = core.feed().await;
    assert_eq!(feed.position.as_ref().unwrap().to_string(), "core.1=2");
    feed.start("core.1=2", true, 0);
    second.stop().await;
    core.stop().await;
}

#[tokio::test]
async fn changes_of_several_origins_are_applied_each_in_its_order() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let edge = edge(&core, data.path()).await;
    let feed = core.feed().await;
    feed.start("core.1=4,peer.7=1", false, 3);
    at(&edge, "core.1=4,peer.7=1").await;
    let of_peer = |sequence: u64, kind: ChangeKind| {
        FeedMessage::Change(Change {
            origin: "peer.7".parse().unwrap(),
            sequence,
            at_ms: u64::MAX,
            kind,
        })
    };
    let deployed = |revision| ChangeKind::Deployments {
        revision,
        tenant: "default".parse().unwrap(),
        modules: vec!["shop".parse().unwrap()],
    };
    // The table of another core is not this PoP's: its revision is not wanted.
    feed.say(&of_peer(2, deployed(0)));
    feed.say(&record(5));
    feed.say(&of_peer(3, deployed(0)));
    at(&edge, "core.1=5,peer.7=3").await;
    assert_eq!(edge.status().await["revision"]["wanted"], 3);
    feed.say(&change(6, deployed(9)));
    at(&edge, "core.1=6,peer.7=3").await;
    assert_eq!(edge.status().await["revision"]["wanted"], 9);
    // One of the peer's is skipped.
    feed.say(&of_peer(5, deployed(0)));
    let feed = core.feed().await;
    assert_eq!(
        feed.position.as_ref().unwrap().to_string(),
        "core.1=6,peer.7=3"
    );
    edge.stop().await;
    core.stop().await;
}

#[tokio::test]
async fn dry_runs_are_counted_and_told() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let edge = edge(&core, data.path()).await;
    let feed = core.feed().await;
    feed.start("core.1=1", false, 0);
    for number in 0..3 {
        feed.say(&FeedMessage::Count(CountRequest {
            id: format!("01COUNT{number}"),
            tenant: "default".parse().unwrap(),
            selectors: vec![Selector::Everything],
        }));
    }
    let mut told = Vec::new();
    while told.len() < 3 {
        let report = core.report(|report| !report.counts.is_empty()).await;
        told.extend(report.counts);
    }
    for (number, counted) in told.iter().enumerate() {
        assert_eq!(counted.id, format!("01COUNT{number}"));
        assert_eq!(
            (counted.objects, counted.bytes),
            (0, 0),
            "nothing is stored"
        );
    }
    edge.stop().await;
    core.stop().await;
}
