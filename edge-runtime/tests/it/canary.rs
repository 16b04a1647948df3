//! What the cache says of the canary is in the reports.

use crate::{
    harness::start,
    scripted::{Core, Offers, Reply},
};
use brink_protocol::{
    address::PartitionAddress,
    change::{Change, ChangeKind, Phase, RecordChange},
    codec,
    link::{Canary, FeedMessage, RecordOutcome, RecordsAnswer, RecordsRequest, canary, path},
    record::Entry,
};
use bytes::Bytes;

fn canary_at(position: &str, version: u64) -> Reply {
    let entry = (version > 0).then(|| Entry {
        sort: canary::SORT.into(),
        value: Bytes::from_static(b"canary"),
        version,
        lifetime_ms: None,
    });
    Reply::message(&RecordsAnswer {
        position: position.parse().unwrap(),
        outcome: Ok(RecordOutcome::Entries(vec![entry])),
    })
}

fn written(sequence: u64, version: u64) -> FeedMessage {
    FeedMessage::Change(Change {
        origin: "core.1".parse().unwrap(),
        sequence,
        at_ms: 0,
        kind: ChangeKind::Records {
            partition: PartitionAddress {
                tenant: canary::TENANT.parse().unwrap(),
                collection: canary::COLLECTION.into(),
                partition: canary::PARTITION.into(),
            },
            records: vec![RecordChange {
                sort: canary::SORT.into(),
                version: Some(version),
            }],
            phase: Phase::Written,
        },
    })
}

fn hit(version: u64) -> Option<Canary> {
    Some(Canary {
        version,
        is_hit: true,
    })
}

#[tokio::test]
async fn the_canary_is_read_through_the_cache() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    core.set(path::RECORDS, canary_at("core.1=1", 0));
    let edge = start(core.settings(data.path()), async |_| {}).await;
    let feed = core.feed().await;
    feed.start("core.1=1", false, 0);
    // There is none yet, which is an answer too.
    core.report(|report| report.canary == hit(0)).await;
    let (path, body) = core.questions.recv().await.unwrap();
    assert_eq!(path, path::RECORDS);
    let request: RecordsRequest = codec::decode(&body).unwrap();
    assert_eq!(request.tenant.as_str(), canary::TENANT);
    // The core has a newer one, and this PoP has not heard: it says what it has.
    core.set(path::RECORDS, canary_at("core.1=2", 1));
    while core.reports.try_recv().is_ok() {}
    for _ in 0..2 {
        let report = core.report(|report| report.canary.is_some()).await;
        assert_eq!(report.canary, hit(0));
    }
    feed.say(&written(2, 1));
    core.report(|report| report.canary == hit(1)).await;
    // While the core is away, what is there is told.
    core.set(path::RECORDS, Reply::Status(503, "{}"));
    core.report(|report| report.canary == hit(1)).await;
    edge.stop().await;
    core.stop().await;
}
