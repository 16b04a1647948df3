//! Streams of events through the control API, and what of records is the platform's.

use crate::server::Server;
use brink_protocol::{
    control::{AppendedEvents, ShownEvents},
    event::{decode, range_after},
    link::{
        CommandAnswer, CommandError, CommandRequest, Condition, RecordOperation, RecordOutcome,
        RecordsAnswer, RecordsRequest, path,
    },
    record::{Key, RecordError},
};
use bytes::Bytes;
use serde_json::json;

fn operation(operation: RecordOperation) -> RecordsRequest {
    RecordsRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        at_least: Default::default(),
        operation,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_appended_and_read() {
    let server = Server::start().await;
    let control = server.control();
    let body = json!({"collection": "orders", "partition": "o 1", "events": [
        {"kind": "order.placed", "payload": {"total": 12345678901234567890123u128.to_string()}},
        {"kind": "order.paid", "base64": "AAE="},
        {"kind": "order.closed"},
    ]});
    let send = async |body: &serde_json::Value| {
        control
            .send_with(
                "POST",
                "/v1/events",
                &[
                    ("content-type", "application/json"),
                    ("idempotency-key", "k1"),
                ],
                body.to_string(),
            )
            .await
    };
    let appended: AppendedEvents = send(&body).await.expect(200).parse();
    assert_eq!(appended, AppendedEvents { first: 1, last: 3 });
    let again: AppendedEvents = send(&body).await.expect(200).parse();
    assert_eq!(again, appended);
    let other = json!({"collection": "orders", "partition": "o 1", "events": [{"kind": "x"}]});
    assert_eq!(send(&other).await.problem(422), "idempotency-key");
    let read = "/v1/events?collection=orders&partition=o%201";
    let page: ShownEvents = control.get(read).await.expect(200).parse();
    let kinds: Vec<_> = page
        .events
        .iter()
        .map(|e| (e.number, e.kind.as_str()))
        .collect();
    assert_eq!(
        kinds,
        [(1, "order.placed"), (2, "order.paid"), (3, "order.closed")]
    );
    assert_eq!((page.more, page.oldest, page.newest), (false, 1, 3));
    assert_eq!(page.events[1].base64.as_deref(), Some("AAE="));
    assert_eq!(
        page.events[2].payload.as_deref().map(|json| json.get()),
        None
    );
    // Who waits is told as soon as there is something.
    let waiting = {
        let control = control.clone();
        let path = format!("{read}&after=3&wait_ms=20000");
        tokio::spawn(async move { control.get(&path).await.expect(200).parse::<ShownEvents>() })
    };
    control.json("POST", "/v1/events", other).await.expect(200);
    let page = waiting.await.unwrap();
    assert_eq!(page.events[0].number, 4);
    // The stream is no record that is browsed, and outlives the process.
    let server = server.restart().await;
    let control = server.control();
    let records = control.get("/v1/records/orders/o%201").await.expect(200);
    assert_eq!(records.json()["entries"], json!([]));
    let page: ShownEvents = control.get(read).await.expect(200).parse();
    assert_eq!(page.newest, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_append_is_refused() {
    let server = Server::start().await;
    let control = server.control();
    for body in [
        json!({"collection": "_streams", "partition": "p", "events": [{"kind": "x"}]}),
        json!({"collection": "c", "partition": "p", "events": []}),
        json!({"collection": "c", "partition": "p", "events": [{"kind": "x y"}]}),
        json!({"collection": "c", "partition": "p", "events": [{"kind": "x", "payload": 1, "base64": ""}]}),
        json!({"collection": "c", "partition": "p", "events": [{"kind": "x", "base64": "?"}]}),
    ] {
        let answer = control.json("POST", "/v1/events", body.clone()).await;
        answer.problem(422);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_what_is_the_platforms() {
    let server = Server::start().await;
    let control = server.control();
    let new = json!({"collection": "orders", "partition": "p", "events": [{"kind": "x"}]});
    control.json("POST", "/v1/events", new).await.expect(200);
    let line = json!({"collection": "_streams", "partition": "p", "sort": "", "value": 1});
    let imported = control
        .send(
            "POST",
            "/v1/records/import",
            "application/x-ndjson",
            line.to_string(),
        )
        .await;
    assert_eq!(imported.problem(403), "forbidden");
    let link = server.link("ams").await;
    for (collection, sort) in [("_streams", "p"), ("orders", "\u{1}e00000000000000000002")] {
        let key = Key {
            collection: collection.into(),
            partition: "p".into(),
            sort: sort.into(),
        };
        let put = RecordOperation::Put {
            key: key.clone(),
            value: Bytes::new(),
            lifetime_ms: None,
            condition: Condition::Always,
        };
        for write in [put, RecordOperation::Delete(key)] {
            let answer: RecordsAnswer = link.call(path::RECORDS, &operation(write)).await;
            let outcome = answer.outcome;
            assert!(
                matches!(outcome, Err(RecordError::Denied(_))),
                "{outcome:?}"
            );
        }
    }
    let command = CommandRequest {
        tenant: "default".parse().unwrap(),
        caller: "shop".parse().unwrap(),
        subject: None,
        command: "count".parse().unwrap(),
        collection: "_streams".into(),
        partition: "p".into(),
        input: Bytes::new(),
        idempotency_key: None,
    };
    let answer: CommandAnswer = link.call(path::COMMANDS, &command).await;
    assert!(
        matches!(answer.outcome, Err(CommandError::Denied(_))),
        "{answer:?}"
    );
    // Reading is another matter: this is how modules read events.
    let scan = RecordOperation::Scan(range_after("orders", "p", 0, 10));
    let answer: RecordsAnswer = link.call(path::RECORDS, &operation(scan)).await;
    let Ok(RecordOutcome::Page(page)) = answer.outcome else {
        panic!("{answer:?}")
    };
    let event = decode(&page.entries[0].sort, &page.entries[0].value).unwrap();
    assert_eq!((event.number, event.kind.as_str()), (1, "x"));
}
