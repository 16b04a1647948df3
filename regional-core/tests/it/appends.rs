//! Commands that append to the stream of their partition, and read it.

use crate::{client::Link, guests, server::Server};
use brink_protocol::{
    event::{APPENDS_MAX, Event, decode, head_key, range_after},
    link::{
        CommandAnswer, CommandError, CommandRequest, RecordOperation, RecordOutcome, RecordsAnswer,
        RecordsRequest, path,
    },
    record::{Bound, Page, Range},
};
use bytes::Bytes;
use serde_json::json;

/// Calls the command: how many events, and what it does then.
async fn append(link: &Link, count: u8, then: &str) -> Result<(u64, u64), CommandError> {
    let input = [&[count], then.as_bytes()].concat();
    let request = CommandRequest {
        tenant: "default".parse().unwrap(),
        caller: "shop".parse().unwrap(),
        subject: None,
        command: "append".parse().unwrap(),
        collection: "streams".into(),
        partition: "p".into(),
        input: Bytes::from(input),
        idempotency_key: None,
    };
    let answer: CommandAnswer = link.call(path::COMMANDS, &request).await;
    answer.outcome.map(|bytes| {
        let (newest, count) = bytes.split_at(8);
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        (number(newest), number(count))
    })
}

async fn scan(link: &Link, range: Range) -> Page {
    let request = RecordsRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        at_least: Default::default(),
        operation: RecordOperation::Scan(range),
    };
    let answer: RecordsAnswer = link.call(path::RECORDS, &request).await;
    match answer.outcome {
        Ok(RecordOutcome::Page(page)) => page,
        other => panic!("{other:?}"),
    }
}

/// The stream, as an edge reads it.
async fn stream(link: &Link) -> Vec<Event> {
    let page = scan(link, range_after("streams", "p", 0, 1000)).await;
    let events = page.entries.iter();
    events
        .map(|entry| decode(&entry.sort, &entry.value).unwrap())
        .collect()
}

async fn deployed() -> (Server, Link) {
    let server = Server::start().await;
    let control = server.control();
    control
        .send(
            "POST",
            "/v1/modules/append/versions",
            "application/wasm",
            guests::appends(),
        )
        .await
        .expect(201);
    control
        .json("POST", "/v1/deployments", json!({"module": "append"}))
        .await
        .expect(200);
    let link = server.link("ams").await;
    (server, link)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_committed_with_their_command_or_not_at_all() {
    let (_server, link) = deployed().await;
    assert_eq!(append(&link, 0, "").await, Ok((0, 0)));
    assert_eq!(append(&link, 2, "").await, Ok((2, 2)), "its own are seen");
    for then in ["r", "t"] {
        let refused = append(&link, 3, then).await;
        assert!(refused.is_err(), "{then}");
    }
    let most = u8::try_from(APPENDS_MAX).unwrap();
    let over = append(&link, most + 1, "").await;
    assert!(matches!(over, Err(CommandError::Refused(_))), "{over:?}");
    let all = u64::from(most) + 2;
    assert_eq!(append(&link, most, "").await, Ok((all, all)));

    let events = stream(&link).await;
    assert_eq!(events.len() as u64, all);
    for (event, number) in events.iter().zip(1..) {
        assert_eq!((event.number, event.kind.as_str()), (number, "counted"));
        assert!(event.at_ms > 0);
    }
    assert_eq!(events[0].payload.as_ref(), [2]);
    // A scan of the records passes over them.
    let all = Range {
        collection: "streams".into(),
        partition: "p".into(),
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
        limit: 10,
        descending: false,
    };
    assert_eq!(scan(&link, all).await, Page::default());
    let head = RecordsRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        at_least: Default::default(),
        operation: RecordOperation::Get(vec![head_key("streams", "p")]),
    };
    let answer: RecordsAnswer = link.call(path::RECORDS, &head).await;
    assert!(matches!(answer.outcome, Ok(RecordOutcome::Entries(e)) if e[0].is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_is_taken_twice_and_none_is_left_out() {
    let (server, link) = deployed().await;
    let other = server.link("fra").await;
    let calls = |link: Link| async move {
        let mut newest = Vec::new();
        for _ in 0..20 {
            newest.push(append(&link, 3, "").await.unwrap().0);
        }
        (link, newest)
    };
    let ((link, one), (_, two)) = tokio::join!(calls(link), calls(other));
    let mut newest = [one, two].concat();
    newest.sort_unstable();
    let expected: Vec<u64> = (1..=40).map(|n| 3 * n).collect();
    assert_eq!(newest, expected);
    let numbers: Vec<u64> = stream(&link).await.iter().map(|e| e.number).collect();
    assert_eq!(numbers, (1..=120).collect::<Vec<_>>());
}
