//! Workflows over the control API: starting, looking, trying again, ending, and whose they are.

use super::killed::deploy;
use crate::{
    client::{Answer, Control},
    guests,
    members::until,
    regions::{Regions, geo},
    server::Server,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

async fn start(control: &Control, id: &str, fault: &str) -> Answer {
    let input = STANDARD.encode(format!("{fault}{id}"));
    let body = json!({"id": id, "base64": input});
    control.json("POST", "/v1/workflows/fulfil", body).await
}

async fn shown(control: &Control, id: &str) -> Value {
    let path = format!("/v1/workflows/fulfil/{id}");
    control.get(&path).await.expect(200).json()
}

async fn until_it_is(control: &Control, id: &str, state: &str) -> Value {
    until(state, async || shown(control, id).await["state"] == state).await;
    shown(control, id).await
}

async fn act(control: &Control, id: &str, action: &str) -> Answer {
    let path = format!("/v1/workflows/fulfil/{id}/{action}");
    control.json("POST", &path, json!({})).await
}

async fn ids(control: &Control, query: &str) -> (Vec<String>, Option<String>) {
    let path = format!("/v1/workflows?{query}");
    let page = control.get(&path).await.expect(200).json();
    let rows = page["workflows"].as_array().unwrap().iter();
    let ids = rows.map(|row| row["id"].as_str().unwrap().to_owned());
    (ids.collect(), page["next"].as_str().map(str::to_owned))
}

async fn with_token(control: &Control, role: &str, tenant: &str) -> Control {
    let new = json!({"label": "t", "role": role, "tenant": tenant});
    let made = control.json("POST", "/v1/tokens", new).await.expect(201);
    control.with_token(made.json()["secret"].as_str().unwrap())
}

async fn server(configuration: &str) -> Server {
    let configuration = format!("[prober]\ninterval_ms = 0\n{configuration}");
    let server = Server::start_with(tempfile::tempdir().unwrap(), &configuration).await;
    deploy(&server.control(), "effect", guests::effect()).await;
    deploy(&server.control(), "fulfil", guests::fives()).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_started_and_looked_at() {
    let server = server("").await;
    let control = server.control();
    let begun = start(&control, "a", ".0").await.expect(201).json();
    assert_eq!(begun["is_new"], true);
    let again = start(&control, "a", ".0").await.expect(200).json();
    assert_eq!(again["is_new"], false);
    start(&control, "a", "r1").await.problem(409);
    let a = until_it_is(&control, "a", "completed").await;
    assert_eq!(a["decisions"].as_array().unwrap().len(), 5);
    assert_eq!(a["result"]["base64"], STANDARD.encode("shipped"));
    start(&control, "b/c", "r2").await.expect(201);
    let b = until_it_is(&control, "b%2Fc", "failed").await;
    let undone = |step: &Value| step["compensated_at_ms"].is_u64();
    let steps = b["decisions"].as_array().unwrap();
    assert_eq!(steps.iter().filter(|step| undone(step)).count(), 2);
    let failed = ids(&control, "state=failed").await.0;
    assert_eq!(failed, ["b/c"]);
    let (first, next) = ids(&control, "limit=1").await;
    let more = format!("limit=1&before={}", next.unwrap().replace('/', "%2F"));
    let (second, _) = ids(&control, &more).await;
    assert_eq!((first, second), (vec!["b/c".into()], vec!["a".into()]));
    assert!(ids(&control, "name=other").await.0.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_is_refused() {
    let server = server("[workflows]\nopen_max = 1\n").await;
    let control = server.control();
    let large = STANDARD.encode(vec![0; (256 << 10) + 1]);
    for (name, body, status) in [
        ("other", json!({"id": "a"}), 404),
        ("effect", json!({"id": "a"}), 404),
        ("No", json!({"id": "a"}), 422),
        ("fulfil", json!({"id": ""}), 422),
        ("fulfil", json!({"id": "a b"}), 422),
        ("fulfil", json!({"id": "x".repeat(129)}), 422),
        ("fulfil", json!({"id": "a", "base64": "?"}), 422),
        ("fulfil", json!({"id": "a", "base64": "", "input": 1}), 422),
        ("fulfil", json!({"id": "a", "base64": large}), 422),
        ("fulfil", json!({"id": "a", "other": 1}), 422),
        ("fulfil", json!({}), 422),
    ] {
        let path = format!("/v1/workflows/{name}");
        let answer = control.json("POST", &path, body.clone()).await;
        assert_eq!(answer.status, status, "{name} {body}: {answer:?}");
        answer.problem(status);
    }
    start(&control, "a", "w0").await.expect(201);
    let full = start(&control, "b", ".0").await;
    assert_eq!(full.problem(429), "too-many-workflows");
    start(&control, "a", "w0").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_cancelled_and_tried_again() {
    let server = server("").await;
    let control = server.control();
    start(&control, "w", "w0").await.expect(201);
    until("it waits", async || {
        let shown = shown(&control, "w").await;
        shown["decisions"][0]["state"] == "waiting" && shown["at_work"].is_null()
    })
    .await;
    // It is looked at, and waits on.
    act(&control, "w", "retry").await.expect(202);
    act(&control, "w", "cancel").await.expect(202);
    let cancelled = until_it_is(&control, "w", "failed").await;
    let reason = &cancelled["result"]["json"];
    assert!(reason["type"].as_str().unwrap().ends_with("cancelled"));
    for action in ["cancel", "retry"] {
        act(&control, "w", action).await.problem(409);
        act(&control, "unknown", action).await.problem(404);
    }
    // A step that traps is given up after some attempts, and what was done before is undone.
    start(&control, "t", "t1").await.expect(201);
    until("it waits for another attempt", async || {
        shown(&control, "t").await["trouble"].is_string()
    })
    .await;
    act(&control, "t", "cancel").await.expect(202);
    let failed = until_it_is(&control, "t", "failed").await;
    assert_eq!(failed["decisions"][1]["state"], "given-up");
    // One whose compensation traps goes on trying.
    start(&control, "s", "s1").await.expect(201);
    until("its compensation has failed", async || {
        shown(&control, "s").await["trouble"].is_string()
    })
    .await;
    assert_eq!(shown(&control, "s").await["state"], "compensating");
    act(&control, "s", "cancel").await.expect(202);
    act(&control, "s", "retry").await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_their_tenants() {
    let server = server("").await;
    let control = server.control();
    start(&control, "a", "w0").await.expect(201);
    let reader = with_token(&control, "reader", "default").await;
    assert_eq!(ids(&reader, "").await.0, ["a"]);
    let other = with_token(&control, "operator", "other").await;
    assert!(ids(&other, "").await.0.is_empty());
    start(&other, "a", ".0").await.problem(404);
    let path = "/v1/workflows/fulfil/a";
    other.get(path).await.problem(404);
    for action in ["cancel", "retry"] {
        act(&other, "a", action).await.problem(404);
        act(&reader, "a", action).await.problem(403);
    }
    start(&reader, "b", ".0").await.problem(403);
    reader.get(path).await.problem(403);
    assert_eq!(shown(&control, "a").await["state"], "running");
}

/// A command that is gone fails the workflow; one that is back undoes what was done. Instances go on with the module that they
/// began with.
#[tokio::test(flavor = "multi_thread")]
async fn deployments_change_under_them() {
    let server = server("").await;
    let control = server.control();
    start(&control, "old", "w0").await.expect(201);
    let published = control.send(
        "POST",
        "/v1/modules/fulfil/versions",
        "application/wasm",
        guests::fives_of("done"),
    );
    published.await.expect(201);
    let deployed = control.json("POST", "/v1/deployments", json!({"module": "fulfil"}));
    deployed.await.expect(200);
    start(&control, "new", ".0").await.expect(201);
    let new = until_it_is(&control, "new", "completed").await;
    let version = |shown: &Value| shown["version"].as_u64();
    assert_eq!(new["result"]["base64"], STANDARD.encode("done"));
    assert!(version(&new) > version(&shown(&control, "old").await));
    control.delete("/v1/deployments/effect").await.expect(204);
    start(&control, "none", ".0").await.expect(201);
    until("it is tried again", async || {
        shown(&control, "none").await["trouble"].is_string()
    })
    .await;
    act(&control, "none", "cancel").await.expect(202);
    until_it_is(&control, "none", "failed").await;
    control.delete("/v1/deployments/fulfil").await.expect(204);
    start(&control, "x", ".0").await.problem(404);
    act(&control, "old", "cancel").await.expect(202);
    until_it_is(&control, "old", "failed").await;
}

/// A step that the placement of its collection refuses for good is not made, and the workflow fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_taken_nowhere_fails_it() {
    let server = server("").await;
    let control = server.control();
    let parts = json!({"placement": {"kind": "composite", "parts": ["a", "b"]}});
    let put = control.json("PUT", "/v1/collections/work", parts);
    put.await.expect(200);
    start(&control, "a", ".0").await.expect(201);
    let failed = until_it_is(&control, "a", "failed").await;
    assert_eq!(failed["decisions"], json!([]));
    let problem = &failed["result"]["json"];
    assert!(problem["detail"].as_str().unwrap().contains("a/b"));
}

/// Where workflows are placed by geography one lies in its region alone, wherever it was started.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_placed_lies_in_its_region() {
    let Regions { eu, us, .. } = Regions::start(["", ""]).await;
    for server in [&eu, &us] {
        geo(&server.control(), "_workflows").await;
        deploy(&server.control(), "effect", guests::effect()).await;
        deploy(&server.control(), "fulfil", guests::fives()).await;
    }
    let control = us.control();
    start(&control, "nowhere", ".0").await.problem(409);
    for id in ["eu/of-eu", "us/of-us"] {
        start(&control, id, ".0").await.expect(201);
        until_it_is(&control, &id.replace('/', "%2F"), "completed").await;
    }
    let [eu, us] = [eu, us].map(|server| async {
        let (directory, _) = server.stop().await;
        std::fs::read(directory.path().join("core/store.redb")).unwrap()
    });
    let (eu, us) = (eu.await, us.await);
    let has = |database: &[u8], input: &str| {
        let mut parts = database.windows(input.len());
        parts.any(|part| part == input.as_bytes())
    };
    assert!(has(&eu, ".0eu/of-eu") && !has(&us, ".0eu/of-eu"));
    assert!(has(&us, ".0us/of-us") && !has(&eu, ".0us/of-us"));
}
