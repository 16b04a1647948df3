//! The link: who may speak, records, components, the feed.

use crate::{
    client::{FeedReader, Link},
    guests,
    server::Server,
};
use brink_listener::client::ClientTls;
use brink_protocol::{
    Digest, Position, codec,
    deployment::DeploymentTable,
    link::{
        Condition, FeedMessage, FeedRequest, LogLine, RecordOperation, RecordOutcome,
        RecordsAnswer, RecordsRequest, Report, ReportAnswer, path,
    },
    record::{Bound, Key, Range, RecordError},
};
use bytes::Bytes;
use serde_json::json;

pub fn records(operation: RecordOperation) -> RecordsRequest {
    RecordsRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        at_least: Position::default(),
        operation,
    }
}

pub fn key(sort: &str) -> Key {
    Key {
        collection: "stock".into(),
        partition: "ams".into(),
        sort: sort.into(),
    }
}

pub fn put(sort: &str, condition: Condition) -> RecordOperation {
    RecordOperation::Put {
        key: key(sort),
        value: Bytes::from_static(b"v"),
        lifetime_ms: None,
        condition,
    }
}

async fn call(link: &Link, operation: RecordOperation) -> RecordsAnswer {
    link.call(path::RECORDS, &records(operation)).await
}

async fn follow(
    link: &Link,
    pop: &str,
    position: Option<&Position>,
) -> (FeedReader, Position, bool) {
    let request = FeedRequest {
        pop: pop.parse().unwrap(),
        position: position.cloned(),
    };
    let mut feed = link.feed(&request).await;
    let Some(FeedMessage::Start {
        position,
        resumed,
        lease_ms: 2000,
        ..
    }) = feed.next().await
    else {
        panic!("no start")
    };
    (feed, position, resumed)
}

#[tokio::test(flavor = "multi_thread")]
async fn record_operations() {
    let server = Server::start().await;
    let link = server.link("ams").await;
    let written = call(&link, put("1", Condition::Absent)).await;
    assert_eq!(written.outcome, Ok(RecordOutcome::Written(1)));
    assert_eq!(written.position.to_string(), "core-1.1=1");
    let conflict = call(&link, put("1", Condition::Absent)).await;
    assert_eq!(conflict.outcome, Err(RecordError::Conflict(Some(1))));
    assert_eq!(
        call(&link, put("2", Condition::Always)).await.outcome,
        Ok(RecordOutcome::Written(1))
    );
    let range = Range {
        collection: "stock".into(),
        partition: "ams".into(),
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
        limit: 10,
        descending: true,
    };
    let page = call(&link, RecordOperation::Scan(range)).await;
    assert!(
        matches!(&page.outcome, Ok(RecordOutcome::Page(page)) if page.entries[0].sort == "2"),
        "{page:?}"
    );
    assert_eq!(page.position.to_string(), "core-1.1=2");
    assert_eq!(
        call(&link, RecordOperation::Delete(key("1"))).await.outcome,
        Ok(RecordOutcome::Deleted)
    );
    let both = call(&link, RecordOperation::Get(vec![key("1"), key("2")])).await;
    assert!(
        matches!(&both.outcome, Ok(RecordOutcome::Entries(e)) if e[0].is_none() && e[1].is_some()),
        "{both:?}"
    );
    let invalid = call(&link, RecordOperation::Get(vec![key("\0")])).await;
    assert!(
        matches!(invalid.outcome, Err(RecordError::Invalid(_))),
        "{invalid:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_wait_for_the_position_asked_for() {
    let server = Server::start().await;
    let link = server.link("ams").await;
    let at = |position: &str| RecordsRequest {
        at_least: position.parse().unwrap(),
        ..records(RecordOperation::Get(vec![key("1")]))
    };
    let ahead = at("core-1.1=1");
    let waiting = link.call::<RecordsAnswer>(path::RECORDS, &ahead);
    let (answer, _) = tokio::join!(waiting, call(&link, put("1", Condition::Always)));
    assert!(
        matches!(&answer.outcome, Ok(RecordOutcome::Entries(entries)) if entries[0].is_some()),
        "{answer:?}"
    );
    for position in ["core-1.1=99", "core-2.1=1"] {
        let answer: RecordsAnswer = link.call(path::RECORDS, &at(position)).await;
        assert!(
            matches!(answer.outcome, Err(RecordError::Unavailable(_))),
            "{position}: {answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_resumes_where_it_was_cut() {
    let server = Server::start().await;
    let link = server.link("ams").await;
    let (mut feed, start, resumed) = follow(&link, "ams", None).await;
    assert!(!resumed && start.is_empty());
    call(&link, put("1", Condition::Always)).await;
    let first = feed.change().await;
    drop(feed);
    for sort in ["2", "3"] {
        call(&link, put(sort, Condition::Always)).await;
    }
    let mut seen = Position::default();
    seen.advance(&first.origin, first.sequence);
    // Over a restart of the core too.
    let server = server.restart().await;
    let link = server.link("ams").await;
    let (mut feed, start, resumed) = follow(&link, "ams", Some(&seen)).await;
    assert!(resumed);
    assert_eq!(start, seen);
    assert_eq!(
        (feed.change().await.sequence, feed.change().await.sequence),
        (2, 3)
    );
    loop {
        if let Some(FeedMessage::Heartbeat { head }) = feed.next().await {
            assert_eq!(head.to_string(), "core-1.1=3");
            break;
        }
    }
    let ahead: Position = "core-1.1=4".parse().unwrap();
    let (_feed, start, resumed) = follow(&link, "ams", Some(&ahead)).await;
    assert_eq!((start.to_string().as_str(), resumed), ("core-1.1=3", false));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_pop_of_the_certificate() {
    let server = Server::start().await;
    let link = server.link("ams").await;
    let other = FeedRequest {
        pop: "sfo".parse().unwrap(),
        position: None,
    };
    let answer = link
        .raw(
            "POST",
            path::FEED,
            codec::MEDIA_TYPE,
            codec::encode(&other).unwrap(),
        )
        .await;
    assert_eq!(answer.problem(403), "other-pop");
    let report = Report {
        pop: "sfo".parse().unwrap(),
        position: Position::default(),
        revision: 0,
        purges: vec![],
        log_lines: vec![],
        counts: Vec::new(),
        canary: None,
        log_lines_dropped: 0,
        figures: Default::default(),
    };
    let answer = link
        .raw(
            "POST",
            path::REPORTS,
            codec::MEDIA_TYPE,
            codec::encode(&report).unwrap(),
        )
        .await;
    assert_eq!(answer.problem(403), "other-pop");
    // A certificate of the same authority that names no PoP, and none at all.
    let ca = server.data().join("ca/ca.pem");
    let identity = server.directory.path().join("ams");
    let as_server =
        ClientTls::new(&ca).with_identity(identity.join("server.pem"), identity.join("server.key"));
    for tls in [as_server, ClientTls::new(&ca)] {
        // In TLS 1.3 the refusal arrives with the first bytes that are read.
        if let Ok(link) = Link::with_tls(server.addresses.link, tls).await {
            match link.send("GET", path::DEPLOYMENTS, "", "").await {
                Ok(response) => assert_eq!(response.status(), 403),
                Err(_refused) => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn components_tables_and_what_is_malformed() {
    let server = Server::start().await;
    let (control, link) = (server.control(), server.link("ams").await);
    let component = guests::module(1);
    control
        .send(
            "POST",
            "/v1/modules/hello/versions",
            "application/wasm",
            component.clone(),
        )
        .await
        .expect(201);
    let digest = Digest::of(&component);
    let got = link
        .raw("GET", &format!("{}/{digest}", path::COMPONENTS), "", "")
        .await;
    assert_eq!(got.body, component);
    let (mut feed, ..) = follow(&link, "ams", None).await;
    control
        .json("POST", "/v1/deployments", json!({"module": "hello"}))
        .await
        .expect(200);
    let change = feed.change().await;
    assert!(
        matches!(
            change.kind,
            brink_protocol::change::ChangeKind::Deployments { revision: 1, .. }
        ),
        "{change:?}"
    );
    let table = link.raw("GET", path::DEPLOYMENTS, "", "").await;
    let table: DeploymentTable = codec::decode(&table.body).unwrap();
    assert_eq!((table.revision, table.deployments[0].digest), (1, digest));
    let none = Digest::of(b"none");
    for (method, path, content_type, body, status) in [
        (
            "GET",
            format!("{}/{none}", path::COMPONENTS),
            "",
            vec![],
            404,
        ),
        ("GET", format!("{}/x", path::COMPONENTS), "", vec![], 400),
        ("GET", "/".to_owned(), "", vec![], 404),
        ("GET", path::RECORDS.to_owned(), "", vec![], 405),
        (
            "POST",
            path::DEPLOYMENTS.to_owned(),
            codec::MEDIA_TYPE,
            vec![],
            405,
        ),
        (
            "POST",
            path::RECORDS.to_owned(),
            "application/json",
            vec![],
            415,
        ),
        (
            "POST",
            path::RECORDS.to_owned(),
            codec::MEDIA_TYPE,
            vec![0xff; 9],
            400,
        ),
        (
            "POST",
            path::RECORDS.to_owned(),
            codec::MEDIA_TYPE,
            vec![0; codec::MESSAGE_BYTES_MAX + 1],
            413,
        ),
    ] {
        let answer = link.raw(method, &path, content_type, body).await;
        assert_eq!(answer.status, status, "{method} {path} {answer:?}");
        if status != 413 {
            answer.problem(status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_carry_log_lines_and_positions() {
    let server = Server::start().await;
    let (control, link) = (server.control(), server.link("ams").await);
    let written = call(&link, put("1", Condition::Always)).await;
    let report = Report {
        pop: "ams".parse().unwrap(),
        position: Position::default(),
        revision: 3,
        purges: vec![],
        log_lines: vec![LogLine {
            at_ms: 1,
            tenant: "default".parse().unwrap(),
            module: "hello".parse().unwrap(),
            place: "ams".into(),
            level: "info".into(),
            message: "é".repeat(20_000),
            fields: vec![("k".into(), "v".into())],
            trace_id: None,
        }],
        counts: Vec::new(),
        canary: None,
        log_lines_dropped: 0,
        figures: Default::default(),
    };
    let waiting = control.get("/v1/logs?module=hello&wait_ms=20000");
    let (lines, answer) = tokio::join!(waiting, link.call::<ReportAnswer>(path::REPORTS, &report));
    assert_eq!(answer.head, written.position);
    let lines = lines.expect(200).json();
    assert_eq!(
        (lines[0]["number"].as_u64(), lines[0]["place"].as_str()),
        (Some(1), Some("ams"))
    );
    assert_eq!(lines[0]["message"].as_str().unwrap().len(), 16 << 10, "cut");
    assert_eq!(
        control.get("/v1/logs?after=1").await.expect(200).json(),
        json!([])
    );
    let pops = control.get("/v1/pops").await.expect(200).json();
    assert_eq!(
        (pops[0]["name"].as_str(), pops[0]["lag_changes"].as_u64()),
        (Some("ams"), Some(1))
    );
    assert_eq!(
        (pops[0]["revision"].as_u64(), pops[0]["connected"].as_bool()),
        (Some(3), Some(false))
    );
}
