//! A tenant's data goes from one core into another.

use crate::{client::Control, server::Server};
use brink_protocol::{
    control::AppendedEvents,
    transfer::{MEDIA_TYPE, TenantImported},
};
use bytes::Bytes;
use serde_json::{Value, json};

const EXPORT: &str = "/v1/tenants/default/export";
const IMPORT: &str = "/v1/tenants/default/import";

async fn write(control: &Control, lines: &[Value]) {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = "/v1/records/import";
    let answer = control.send("POST", path, "application/x-ndjson", lines);
    answer.await.expect(200);
}

async fn append(control: &Control, kind: &str) -> AppendedEvents {
    let body = json!({"collection": "orders", "partition": "o 1", "events": [{"kind": kind, "base64": "/wA="}]});
    let answer = control.json("POST", "/v1/events", body).await;
    answer.expect(200).parse()
}

async fn import(control: &Control, path: &str, body: &Bytes) -> TenantImported {
    let answer = control.send("POST", path, MEDIA_TYPE, body.clone()).await;
    answer.expect(200).parse()
}

/// The rows of an export, without what is of the core that made it.
fn rows(export: &[u8]) -> Vec<Value> {
    let lines = export.split(|byte| *byte == b'\n');
    let mut rows: Vec<Value> = lines
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).unwrap()["record"].take())
        .filter(|row| row.is_object())
        .collect();
    for row in &mut rows {
        row["version"].take();
        row["lifetime_ms"] = row["lifetime_ms"].is_u64().into();
    }
    rows.sort_by_key(Value::to_string);
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_goes_from_one_core_into_another() {
    let (first, second) = (Server::start().await, Server::start().await);
    let (from, to) = (first.control(), second.control());
    let record = |n: usize| {
        json!({"collection": "c", "partition": format!("p{}", n % 3), "sort": format!("{n:05}"),
        "value": {"n": n, "text": "é\n"}})
    };
    let lines: Vec<Value> = (0..2500).map(record).collect();
    write(&from, &lines).await;
    let mortal = json!({"collection": "c", "partition": "m", "sort": "", "value": 1, "lifetime_ms": 3_600_000});
    write(&from, &[mortal]).await;
    append(&from, "placed").await;
    append(&from, "paid").await;

    let export = from.get(EXPORT).await.expect(200).body;
    let moved = rows(&export);
    let summary = export.split(|byte| *byte == b'\n').rev().nth(1).unwrap();
    let summary: Value = serde_json::from_slice(summary).unwrap();
    assert_eq!(summary["summary"]["records"], moved.len());
    // Two events, their head, and the note that there is a stream.
    assert_eq!(summary["summary"]["platform"], 4, "{summary}");

    let done = import(&to, IMPORT, &export).await;
    let expected = TenantImported {
        written: 2504,
        left_out: 1,
        ..TenantImported::default()
    };
    assert_eq!(done, expected);
    assert_eq!(rows(&to.get(EXPORT).await.expect(200).body), moved);
    let again = import(&to, IMPORT, &export).await;
    assert_eq!((again.written, again.unchanged), (0, 2504));
    let read = "/v1/events?collection=orders&partition=o%201";
    let events =
        async |control: &Control| control.get(read).await.expect(200).json()["events"].take();
    assert_eq!(events(&from).await, events(&to).await);
    // The numbers go on.
    let next = append(&to, "closed").await;
    assert_eq!(next, AppendedEvents { first: 3, last: 3 });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_or_differs_is_refused() {
    let (first, second) = (Server::start().await, Server::start().await);
    let (from, to) = (first.control(), second.control());
    let record = |sort: &str, value: u32| json!({"collection": "c", "partition": "p", "sort": sort, "value": value});
    write(&from, &[record("a", 1), record("b", 1), record("c", 1)]).await;
    let export = from.get(EXPORT).await.expect(200).body;
    let ends: Vec<usize> = (0..export.len())
        .filter(|at| export[*at] == b'\n')
        .collect();
    for end in [ends[0] + 1, ends[1] + 1, export.len() - 9, 0] {
        let answer = to
            .send("POST", IMPORT, MEDIA_TYPE, export.slice(..end))
            .await;
        assert_eq!(answer.problem(422), "invalid", "{end}");
    }
    let without_first = export.slice(ends[0] + 1..);
    let answer = to.send("POST", IMPORT, MEDIA_TYPE, without_first).await;
    answer.problem(422);
    let shown = async || {
        let page = to.get("/v1/records/c/p").await.expect(200).json();
        let values = page["entries"].as_array().unwrap().iter();
        let values: Vec<u64> = values
            .map(|entry| entry["value"].as_u64().unwrap())
            .collect();
        values
    };
    assert!(shown().await.is_empty());

    write(&to, &[record("b", 2)]).await;
    let answer = to.send("POST", IMPORT, MEDIA_TYPE, export.clone()).await;
    assert_eq!(answer.problem(409), "differs");
    assert_eq!(shown().await, [2], "nothing was written");
    let before = to.get("/v1/status").await.expect(200).json()["position"].take();
    let done = import(&to, &format!("{IMPORT}?overwrite=true"), &export).await;
    assert_eq!((done.written, done.overwritten, done.unchanged), (2, 1, 0));
    assert_eq!(shown().await, [1, 1, 1]);
    let after = to.get("/v1/status").await.expect(200).json()["position"].take();
    assert_ne!(before, after, "edges hear of it through the log");

    // An event that differs is never written over.
    append(&from, "placed").await;
    append(&to, "paid").await;
    let export = from.get(EXPORT).await.expect(200).body;
    let path = format!("{IMPORT}?overwrite=true");
    let answer = to.send("POST", &path, MEDIA_TYPE, export).await;
    assert_eq!(answer.problem(409), "differs");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_kept_apart() {
    let server = Server::start().await;
    let control = server.control();
    let line = json!({"collection": "c", "partition": "p", "sort": "s", "value": "secret"});
    write(&control, &[line]).await;
    let mut others = Vec::new();
    for (tenant, role) in [("other", "admin"), ("default", "operator")] {
        let body = json!({"label": "x", "role": role, "tenant": tenant});
        let made = control.json("POST", "/v1/tokens", body).await.expect(201);
        others.push(control.with_token(made.json()["secret"].as_str().unwrap()));
    }
    let export = control.get(EXPORT).await.expect(200).body;
    for other in &others {
        other.get(EXPORT).await.problem(403);
        let answer = other.send("POST", IMPORT, MEDIA_TYPE, export.clone()).await;
        answer.problem(403);
    }
    control.get("/v1/tenants/other/export").await.problem(403);
    let own = others[0].get("/v1/tenants/other/export").await.expect(200);
    assert!(rows(&own.body).is_empty());
    // Under another name it is that tenant's own from then on.
    let done = import(&others[0], "/v1/tenants/other/import", &export).await;
    assert_eq!(done.written, 1);
    let own = others[0].get("/v1/tenants/other/export").await.expect(200);
    assert_eq!(rows(&own.body), rows(&export));
    let anonymous = control.without_token();
    anonymous.get(EXPORT).await.problem(401);
}
