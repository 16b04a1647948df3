//! Commands over the link: transactions, idempotency, refusals.

use crate::{client::Link, guests, server::Server};
use brink_protocol::{
    change::{ChangeKind, Phase},
    link::{
        CommandAnswer, CommandError, CommandRequest, Condition, FeedRequest, RecordOperation,
        RecordOutcome, RecordsAnswer, RecordsRequest, path,
    },
    record::Key,
};
use bytes::Bytes;
use serde_json::json;

fn call(input: &'static str, key: Option<&str>) -> CommandRequest {
    CommandRequest {
        tenant: "default".parse().unwrap(),
        caller: "shop".parse().unwrap(),
        subject: None,
        command: "count".parse().unwrap(),
        collection: "counters".into(),
        partition: "p".into(),
        input: Bytes::from_static(input.as_bytes()),
        idempotency_key: key.map(Into::into),
    }
}

async fn execute(link: &Link, request: &CommandRequest) -> CommandAnswer {
    link.call(path::COMMANDS, request).await
}

fn count(answer: &CommandAnswer) -> u64 {
    let bytes = answer.outcome.as_ref().unwrap();
    u64::from_le_bytes(bytes.as_ref().try_into().unwrap())
}

async fn stored(link: &Link) -> u64 {
    let key = Key {
        collection: "counters".into(),
        partition: "p".into(),
        sort: "n".into(),
    };
    let request = RecordsRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        at_least: Default::default(),
        operation: RecordOperation::Get(vec![key]),
    };
    let answer: RecordsAnswer = link.call(path::RECORDS, &request).await;
    let Ok(RecordOutcome::Entries(entries)) = answer.outcome else {
        panic!("{answer:?}")
    };
    entries[0].as_ref().map_or(0, |entry| {
        u64::from_le_bytes(entry.value.as_ref().try_into().unwrap())
    })
}

async fn deployed() -> (Server, Link) {
    let server = Server::start().await;
    let control = server.control();
    let path = "/v1/modules/count/versions";
    control
        .send("POST", path, "application/wasm", guests::counter())
        .await
        .expect(201);
    control
        .json("POST", "/v1/deployments", json!({"module": "count"}))
        .await
        .expect(200);
    let link = server.link("ams").await;
    (server, link)
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_committed_once_for_a_key() {
    let (_server, link) = deployed().await;
    let mut feed = link
        .feed(&FeedRequest {
            pop: "ams".parse().unwrap(),
            position: None,
        })
        .await;
    let first = execute(&link, &call("", Some("k1"))).await;
    assert_eq!(count(&first), 1);
    let change = feed.change().await;
    assert!(
        matches!(&change.kind, ChangeKind::Records { records, phase: Phase::Written, .. } if records.len() == 1)
    );
    assert_eq!(first.position.get(&change.origin), change.sequence);
    let again = execute(&link, &call("", Some("k1"))).await;
    let kept = CommandAnswer {
        asked_for_caller: true,
        ..first
    };
    assert_eq!(again, kept, "the kept answer, with its position");
    assert_eq!(stored(&link).await, 1);
    let other = execute(&link, &call("x", Some("k1"))).await;
    assert_eq!(other, kept, "the key decides, not the input");
    assert_eq!(stored(&link).await, 1);
    assert_eq!(count(&execute(&link, &call("", Some("k2"))).await), 2);
    assert_eq!(count(&execute(&link, &call("", None)).await), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_by_refusals_and_traps() {
    let (_server, link) = deployed().await;
    let refused = execute(&link, &call("r", Some("k"))).await;
    assert_eq!(
        refused.outcome,
        Err(CommandError::Refused(Bytes::from_static(b"no more")))
    );
    for input in ["t", "o"] {
        let failed = execute(&link, &call(input, None)).await;
        assert!(
            matches!(failed.outcome, Err(CommandError::Failed(_))),
            "{input}: {failed:?}"
        );
    }
    assert_eq!(stored(&link).await, 0);
    // A refusal is not kept: the key is free.
    assert_eq!(count(&execute(&link, &call("", Some("k"))).await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_is_told_if_a_command_may_have_asked() {
    let (_server, link) = deployed().await;
    for (input, key, asked) in [
        ("", None, false),
        ("w", None, true),
        ("", Some("k"), false),
        // The kept answer: nobody knows any more.
        ("", Some("k"), true),
    ] {
        let answer = execute(&link, &call(input, key)).await;
        assert_eq!(answer.asked_for_caller, asked, "{input} {key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_calls_are_told_apart() {
    let (_server, link) = deployed().await;
    let denied = CommandRequest {
        command: "none".parse().unwrap(),
        ..call("", None)
    };
    let other_tenant = CommandRequest {
        tenant: "other".parse().unwrap(),
        ..call("", None)
    };
    for request in [denied, other_tenant] {
        let answer = execute(&link, &request).await;
        assert!(
            matches!(answer.outcome, Err(CommandError::Denied(_))),
            "{answer:?}"
        );
    }
    let bad_partition = CommandRequest {
        partition: "a\nb".into(),
        ..call("", None)
    };
    let long_key = "k".repeat(129);
    for request in [
        bad_partition,
        call("", Some(&long_key)),
        call("", Some("a b")),
    ] {
        let answer = execute(&link, &request).await;
        assert!(
            matches!(answer.outcome, Err(CommandError::Invalid(_))),
            "{answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_and_writes_lose_nothing() {
    let (_server, link) = deployed().await;
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let link = link.clone();
            tokio::spawn(async move { count(&execute(&link, &call("", None)).await) })
        })
        .collect();
    // Writes from outside to the same partition, which no lock keeps away.
    let others: Vec<_> = (0..40)
        .map(|n| {
            let link = link.clone();
            tokio::spawn(async move {
                let request = RecordsRequest {
                    tenant: "default".parse().unwrap(),
                    module: "shop".parse().unwrap(),
                    at_least: Default::default(),
                    operation: RecordOperation::Put {
                        key: Key {
                            collection: "counters".into(),
                            partition: "p".into(),
                            sort: format!("other-{n}"),
                        },
                        value: Bytes::from_static(b"x"),
                        lifetime_ms: None,
                        condition: Condition::Absent,
                    },
                };
                let answer: RecordsAnswer = link.call(path::RECORDS, &request).await;
                assert_eq!(answer.outcome, Ok(RecordOutcome::Written(1)));
            })
        })
        .collect();
    let mut counts = Vec::new();
    for call in calls {
        counts.push(call.await.unwrap());
    }
    for other in others {
        other.await.unwrap();
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=40).collect::<Vec<u64>>());
    assert_eq!(stored(&link).await, 40);
}
