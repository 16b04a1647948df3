//! The audit trail of records: who wrote, as the control API tells it, and what is left of it after an erasure.

use crate::{client::Control, server::Server};
use brink_protocol::{
    link::{Condition, RecordOperation, RecordOutcome, RecordsAnswer, RecordsRequest, path},
    record::Key,
    trail::{AuthorKind, TrailPage},
};
use bytes::Bytes;
use serde_json::json;
use std::time::{Duration, Instant};

const TRAIL: &str = "/v1/records/audit?collection=accounts&partition=eu%2F1&sort=balance";

async fn trail(control: &Control, path: &str) -> TrailPage {
    control.get(path).await.expect(200).parse()
}

async fn import(control: &Control, sort: &str, value: u32) {
    let line = json!({"collection": "accounts", "partition": "eu/1", "sort": sort, "value": value});
    let kind = "application/x-ndjson";
    let sent = control.send("POST", "/v1/records/import", kind, line.to_string());
    sent.await.expect(200);
}

async fn erase(control: &Control, what: serde_json::Value) {
    let begun = control.json("POST", "/v1/erasures", what).await.expect(202);
    let path = format!("/v1/erasures/{}", begun.json()["id"].as_str().unwrap());
    let since = Instant::now();
    while control.get(&path).await.expect(200).json()["stage"] != "done" {
        assert!(since.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changed_a_record_is_told() {
    let server = Server::start().await;
    let control = server.control();
    import(&control, "balance", 0).await;
    assert_eq!(trail(&control, TRAIL).await.entries, []);
    for (audit_ms, status) in [(0, 422), (60_000, 200)] {
        let new = json!({"placement": {"kind": "hash"}, "audit_ms": audit_ms});
        let put = control.json("PUT", "/v1/collections/accounts", new).await;
        assert_eq!(put.status, status);
    }
    import(&control, "balance", 1).await;
    import(&control, "other", 1).await;
    let link = server.link("ams").await;
    let write = |operation| RecordsRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        at_least: Default::default(),
        operation,
    };
    let key = Key {
        collection: "accounts".into(),
        partition: "eu/1".into(),
        sort: "balance".into(),
    };
    let put = RecordOperation::Put {
        key: key.clone(),
        value: Bytes::from_static(b"22"),
        lifetime_ms: None,
        condition: Condition::Version(2),
    };
    let answer: RecordsAnswer = link.call(path::RECORDS, &write(put)).await;
    assert_eq!(answer.outcome, Ok(RecordOutcome::Written(3)));
    let delete = RecordOperation::Delete(key);
    let answer: RecordsAnswer = link.call(path::RECORDS, &write(delete)).await;
    assert_eq!(answer.outcome, Ok(RecordOutcome::Deleted));

    let page = trail(&control, TRAIL).await;
    let told: Vec<_> = page
        .entries
        .iter()
        .map(|entry| (entry.by.kind, entry.from, entry.to))
        .collect();
    let expected = [
        (AuthorKind::Module, Some(3), None),
        (AuthorKind::Module, Some(2), Some(3)),
        (AuthorKind::Token, Some(1), Some(2)),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        (page.entries[0].by.name.as_str(), page.next),
        ("shop", None)
    );
    let newest = trail(&control, &format!("{TRAIL}&limit=1")).await;
    let rest = format!("{TRAIL}&before={}", newest.next.unwrap());
    assert_eq!(trail(&control, &rest).await.entries, page.entries[1..]);
    for wrong in ["&limit=0", "&limit=1001", "&before=%01", "&partition=x"] {
        let refused = control.get(&format!("{TRAIL}{wrong}")).await;
        assert!(
            refused.status.is_client_error(),
            "{wrong}: {}",
            refused.status
        );
    }

    // Another tenant has records of the same names, and a trail of its own.
    let new = json!({"label": "t", "role": "operator", "tenant": "other"});
    let token = control
        .json("POST", "/v1/tokens", new)
        .await
        .expect(201)
        .json();
    let other = control.with_token(token["secret"].as_str().unwrap());
    assert_eq!(trail(&other, TRAIL).await.entries, []);
    control.without_token().get(TRAIL).await.problem(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_takes_the_trail_with_it() {
    let server = Server::start().await;
    let control = server.control();
    let new = json!({"placement": {"kind": "hash"}, "audit_ms": 60_000});
    control
        .json("PUT", "/v1/collections/accounts", new)
        .await
        .expect(200);
    for round in 0..3 {
        import(&control, "balance", round).await;
        import(&control, "other", round).await;
    }
    let of_other = TRAIL.replace("balance", "other");
    let record = json!({"collection": "accounts", "partition": "eu/1", "sort": "balance"});
    erase(&control, json!({"records": [record]})).await;
    assert_eq!(trail(&control, TRAIL).await.entries, []);
    assert_eq!(trail(&control, &of_other).await.entries.len(), 3);
    let partition = json!({"collection": "accounts", "partition": "eu/1"});
    erase(&control, json!({"partitions": [partition]})).await;
    assert_eq!(trail(&control, &of_other).await.entries, []);
    // Versions begin anew, and the trail with them.
    import(&control, "other", 9).await;
    let page = trail(&control, &of_other).await;
    assert_eq!((page.entries.len(), page.entries[0].to), (1, Some(1)));
}
