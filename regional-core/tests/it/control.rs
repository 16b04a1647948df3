//! The control API as a whole: tokens and roles, problem documents, records, audit, OpenAPI.

use crate::{client::Control, server::Server};
use brink_protocol::control::{AuditEntry, Token};
use serde_json::json;

async fn token(control: &Control, body: serde_json::Value) -> (Token, Control) {
    let token: Token = control
        .json("POST", "/v1/tokens", body)
        .await
        .expect(201)
        .parse();
    let client = control.with_token(token.secret.as_deref().unwrap());
    (token, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_do_what_it_may() {
    let server = Server::start().await;
    let root = server.control();
    let mut clients = Vec::new();
    for role in ["reader", "publisher", "operator", "admin"] {
        let (made, client) = token(&root, json!({"label": role, "role": role})).await;
        assert!(made.secret.as_deref().unwrap().starts_with("brk_"));
        clients.push(client);
    }
    // Path, body, and the least of the roles, by number, that may.
    for (method, path, least) in [
        ("GET", "/v1/status", 0),
        ("GET", "/v1/modules", 0),
        ("GET", "/v1/modules/x/versions", 0),
        ("GET", "/v1/components/x", 0),
        ("GET", "/v1/deployments", 0),
        ("GET", "/v1/routes", 0),
        ("GET", "/v1/purges", 0),
        ("GET", "/v1/purges/x", 0),
        ("GET", "/v1/pops", 0),
        ("GET", "/v1/logs", 0),
        ("POST", "/v1/modules/x/versions", 1),
        ("POST", "/v1/deployments", 1),
        ("POST", "/v1/deployments/x/rollback", 1),
        ("DELETE", "/v1/deployments/x", 1),
        ("PUT", "/v1/routes", 1),
        ("DELETE", "/v1/routes?path=/x", 1),
        ("POST", "/v1/purges", 2),
        ("POST", "/v1/records/import", 2),
        ("GET", "/v1/records/c/p", 2),
        ("GET", "/v1/events?collection=c&partition=p", 2),
        ("POST", "/v1/events", 2),
        ("GET", "/v1/projections", 0),
        ("GET", "/v1/projections/x/dead-letters", 2),
        ("POST", "/v1/projections/x/dead-letters/y/retry", 2),
        ("DELETE", "/v1/projections/x/dead-letters/y", 2),
        ("POST", "/v1/projections/x/replay", 2),
        ("POST", "/v1/projections/x/drop-target", 2),
        ("GET", "/v1/tokens", 3),
        ("POST", "/v1/tokens", 3),
        ("DELETE", "/v1/tokens/x", 3),
        ("GET", "/v1/audit", 3),
    ] {
        for (number, client) in clients.iter().enumerate() {
            let answer = client.send(method, path, "application/json", "{}").await;
            let text = format!("{method} {path} by {number}: {answer:?}");
            assert_eq!(answer.status == 403, number < least, "{text}");
            assert_ne!(answer.status, 401, "{text}");
        }
        for anonymous in [root.without_token(), root.with_token("brk_wrong")] {
            let answer = anonymous.send(method, path, "application/json", "{}").await;
            assert_eq!(answer.problem(401), "unauthorized", "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
    for open in ["/v1/health", "/v1/openapi.json"] {
        root.without_token().get(open).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_and_are_kept_as_hashes() {
    let server = Server::start().await;
    let root = server.control();
    let (made, client) = token(
        &root,
        json!({"label": "ci", "role": "reader", "lifetime_s": 3600}),
    )
    .await;
    assert!(made.expires_at_ms.unwrap() > made.created_at_ms);
    let listed: Vec<Token> = root.get("/v1/tokens").await.expect(200).parse();
    assert!(
        listed
            .iter()
            .any(|token| token.id == made.id && token.secret.is_none())
    );
    let server = server.restart().await;
    let root = server.control();
    let client = Control {
        address: server.addresses.control,
        ..client
    };
    client.get("/v1/status").await.expect(200);
    let secret = made.secret.unwrap();
    let database = std::fs::read(server.data().join("store.redb")).unwrap();
    assert!(
        !database
            .windows(secret.len())
            .any(|bytes| bytes == secret.as_bytes()),
        "the secret is in the store"
    );
    root.delete(&format!("/v1/tokens/{}", made.id))
        .await
        .expect(204);
    client.get("/v1/status").await.problem(401);
    root.delete(&format!("/v1/tokens/{}", made.id))
        .await
        .problem(404);
    for body in [
        json!({"label": "", "role": "reader"}),
        json!({"label": "x", "role": "king"}),
        json!({"label": "x", "role": "reader", "lifetime_s": 0}),
        json!({"label": "x", "role": "reader", "tenant": "No Label"}),
    ] {
        root.json("POST", "/v1/tokens", body).await.problem(422);
    }
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(server.data().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    for (name, expected) in [
        ("root.token", 0o600),
        ("store.redb", 0o600),
        ("ca/ca.key", 0o600),
        ("link.key", 0o600),
        ("", 0o700),
    ] {
        assert_eq!(mode(name), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_apart() {
    let server = Server::start().await;
    let root = server.control();
    let (_, theirs) = token(&root, json!({"label": "b", "role": "admin", "tenant": "b"})).await;
    let line = r#"{"collection":"c","partition":"p","sort":"s","value":1}"#;
    root.send("POST", "/v1/records/import", "application/x-ndjson", line)
        .await
        .expect(200);
    root.json(
        "PUT",
        "/v1/routes",
        json!({"path": "/x", "target": {"origin": "http://a"}}),
    )
    .await
    .expect(200);
    assert_eq!(
        theirs.get("/v1/records/c/p").await.expect(200).json()["entries"],
        json!([])
    );
    assert_eq!(theirs.get("/v1/routes").await.expect(200).json(), json!([]));
    theirs.delete("/v1/routes?path=/x").await.problem(404);
    theirs
        .json(
            "PUT",
            "/v1/routes",
            json!({"path": "/x", "target": {"origin": "http://b"}}),
        )
        .await
        .problem(409);
    theirs
        .json(
            "POST",
            "/v1/tokens",
            json!({"label": "x", "role": "reader"}),
        )
        .await
        .problem(403);
    let (own, _) = token(
        &theirs,
        json!({"label": "x", "role": "reader", "tenant": "b"}),
    )
    .await;
    let seen: Vec<Token> = theirs.get("/v1/tokens").await.expect(200).parse();
    assert!(seen.iter().all(|token| token.tenant.as_str() == "b") && seen.len() == 2);
    theirs.delete("/v1/tokens/root").await.problem(404);
    root.delete(&format!("/v1/tokens/{}", own.id))
        .await
        .expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_problem_documents() {
    let server = Server::start().await;
    let root = server.control();
    let too_large = format!("{{\"label\":\"{}\"}}", "x".repeat(2 << 20));
    for (method, path, content_type, body, status, slug) in [
        ("GET", "/", "", String::new(), 404, "not-found"),
        ("GET", "/v1/nothing", "", String::new(), 404, "not-found"),
        ("PATCH", "/v1/routes", "", String::new(), 405, "method"),
        ("GET", "/v1/purges/%ff", "", String::new(), 400, "path"),
        ("GET", "/v1/records/c/%ff", "", String::new(), 400, "path"),
        (
            "POST",
            "/v1/tokens",
            "text/plain",
            "{}".into(),
            415,
            "media-type",
        ),
        ("POST", "/v1/tokens", "", "{}".into(), 415, "media-type"),
        (
            "POST",
            "/v1/tokens",
            "application/json",
            "{".into(),
            400,
            "json",
        ),
        (
            "POST",
            "/v1/tokens",
            "application/json",
            "[]".into(),
            422,
            "invalid",
        ),
        (
            "POST",
            "/v1/tokens",
            "application/json; charset=utf-8",
            "{}".into(),
            422,
            "invalid",
        ),
        (
            "POST",
            "/v1/tokens",
            "application/json",
            too_large,
            413,
            "too-large",
        ),
        ("GET", "/v1/logs?limit=x", "", String::new(), 400, "query"),
        (
            "GET",
            "/v1/logs?colour=red",
            "",
            String::new(),
            400,
            "query",
        ),
        (
            "GET",
            "/v1/logs?module=A%20B",
            "",
            String::new(),
            422,
            "invalid",
        ),
        (
            "GET",
            "/v1/components/zz",
            "",
            String::new(),
            422,
            "invalid",
        ),
        ("GET", "/v1/records/C/p", "", String::new(), 422, "invalid"),
    ] {
        let answer = root.send(method, path, content_type, body).await;
        assert_eq!(answer.problem(status), slug, "{method} {path}");
        let problem = answer.json();
        assert_eq!(
            problem["instance"],
            answer.header("x-request-id"),
            "{method} {path}"
        );
        if status == 405 {
            assert!(answer.header("allow").contains("GET"), "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_imported_and_shown() {
    let server = Server::start().await;
    let root = server.control();
    let lines: String = (0..2500)
        .map(|n| format!("{{\"collection\":\"stock\",\"partition\":\"a b\",\"sort\":\"{n:04}\",\"value\":{{\"n\":{n}}},\"version\":9}}\n"))
        .collect();
    let import = async |body: String| {
        root.send("POST", "/v1/records/import", "application/x-ndjson", body)
            .await
    };
    let answer = import(lines).await.expect(200);
    assert_eq!(answer.json(), json!({"imported": 2500}));
    assert_eq!(
        answer.header("brink-position"),
        "core-1.1=5",
        "five transactions"
    );
    let page = root
        .get("/v1/records/stock/a%20b?limit=2&after=0009")
        .await
        .expect(200)
        .json();
    assert_eq!(
        page,
        json!({"entries": [
        {"sort": "0010", "version": 1, "value": {"n": 10}},
        {"sort": "0011", "version": 1, "value": {"n": 11}},
    ], "more": true})
    );
    let good = r#"{"collection":"c","partition":"p","sort":"s","value":1}"#;
    for bad in [
        "{",
        r#"{"collection":"C","partition":"p","sort":"s","value":1}"#,
        r#"{"collection":"c","partition":"p","sort":"s"}"#,
        r#"{"collection":"c","partition":"p","sort":"s","value":1,"lifetime_ms":0}"#,
        r#"{"collection":"c","partition":"p","sort":"s","value":1,"colour":"red"}"#,
    ] {
        let refused = import(format!("{good}\n\n{bad}\n")).await;
        refused.problem(422);
        assert!(
            refused.json()["detail"]
                .as_str()
                .unwrap()
                .starts_with("line 3:"),
            "{refused:?}"
        );
    }
    let page = root.get("/v1/records/c/p").await.expect(200).json();
    assert_eq!(
        page["entries"],
        json!([]),
        "nothing is written if a line is not valid"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_audited() {
    let server = Server::start().await;
    let root = server.control();
    root.json(
        "PUT",
        "/v1/routes",
        json!({"path": "/x", "target": {"origin": "http://a"}}),
    )
    .await
    .expect(200);
    root.json("POST", "/v1/purges", json!({"everything": true}))
        .await
        .expect(202);
    let line = r#"{"collection":"c","partition":"p","sort":"s","value":1}"#;
    root.send("POST", "/v1/records/import", "application/x-ndjson", line)
        .await
        .expect(200);
    root.json(
        "PUT",
        "/v1/routes",
        json!({"path": "/x", "target": {"module": "none"}}),
    )
    .await
    .problem(422);
    let entries: Vec<AuditEntry> = root.get("/v1/audit").await.expect(200).parse();
    let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(
        actions,
        ["records.import", "purge", "route.put", "token.create"]
    );
    assert!(entries.iter().all(|entry| entry.by == "root"));
    let earlier: Vec<AuditEntry> = root
        .get("/v1/audit?limit=1&before=3")
        .await
        .expect(200)
        .parse();
    assert_eq!(
        (earlier.len(), earlier[0].action.as_str()),
        (1, "route.put")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_describes_what_is_there() {
    let server = Server::start().await;
    let document = server
        .control()
        .get("/v1/openapi.json")
        .await
        .expect(200)
        .json();
    let paths = document["paths"].as_object().unwrap();
    let operations: usize = paths
        .values()
        .map(|path| path.as_object().unwrap().len())
        .sum();
    assert_eq!(operations, 62);
    assert!(document["components"]["schemas"]["Deploy"]["properties"]["module"].is_object());
    // Every reference leads somewhere.
    let text = document.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_apart() {
    let server = Server::start().await;
    let root = server.control();
    let (_, a) = token(
        &root,
        json!({"label": "a", "role": "publisher", "tenant": "a"}),
    )
    .await;
    let (_, b) = token(
        &root,
        json!({"label": "b", "role": "publisher", "tenant": "b"}),
    )
    .await;
    let route = |host: &str, path: &str| json!({"host": host, "path": path, "target": {"origin": "http://o"}});
    a.json("PUT", "/v1/routes", route("shop.test", "/"))
        .await
        .expect(200);
    for (host, path) in [
        ("shop.test", "/"),
        ("shop.test", "/login"),
        ("SHOP.test:8443", "/login"),
    ] {
        let refused = b.json("PUT", "/v1/routes", route(host, path)).await;
        assert_eq!(refused.problem(409), "conflict", "{host}{path}");
    }
    let everywhere = json!({"path": "/b", "target": {"origin": "http://o"}});
    b.json("PUT", "/v1/routes", everywhere).await.problem(409);
    b.json("PUT", "/v1/routes", route("b.test", "/"))
        .await
        .expect(200);
    // Spelled in another way, it is the same route. Once nothing of theirs is left there, the host is free.
    a.json("PUT", "/v1/routes", route("shop.test", "/é"))
        .await
        .expect(200);
    a.delete("/v1/routes?host=shop.test&path=/%25c3%25a9/")
        .await
        .expect(204);
    a.delete("/v1/routes?host=shop.test&path=/a/../b")
        .await
        .problem(404);
    a.delete("/v1/routes?host=shop.test&path=/")
        .await
        .expect(204);
    b.json("PUT", "/v1/routes", route("shop.test", "/login"))
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_stays_small_enough_for_pops() {
    let server = Server::start().await;
    let root = server.control();
    let link = server.link("ams").await;
    let body = "x".repeat(64 << 10);
    let mut refused = None;
    for n in 0..80 {
        let fixed = json!({"status": 200, "content_type": "text/plain", "body": body});
        let route = json!({"host": format!("h{n}.test"), "path": "/", "target": {"static": fixed}});
        let answer = root.json("PUT", "/v1/routes", route).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    assert_eq!(refused.unwrap().problem(409), "conflict");
    let table = link
        .raw(
            "GET",
            brink_protocol::link::path::DEPLOYMENTS,
            "",
            bytes::Bytes::new(),
        )
        .await;
    assert_eq!(table.status, 200);
}
