//! What is asked of the control API, and what becomes of its answers.

use crate::{
    program::{User, component},
    server::{Canned, Server, json, problem, text},
};
use serde_json::{Value, json as value};

const TOKEN: &str = "brk_root_hunter2";

fn user(server: &Server) -> User {
    let user = User::new()
        .with("BRINK_CONTROL", server.url())
        .with("BRINK_TOKEN_FILE", "token");
    user.write("token", format!("{TOKEN}\n"));
    user
}

fn status(pops: &Value) -> Value {
    value!({
        "version": "0.1.0", "node": "core-1", "region": "eu", "position": { "core-1.1": 7 }, "revision": 3,
        "deployments": 1, "routes": 1, "pops": pops
    })
}

fn pop(name: &str, revision: u64) -> Value {
    value!({
        "name": name, "connected": true, "position": { "core-1.1": 7 }, "lag_changes": 0, "revision": revision,
        "seen_at_ms": 0, "figures": brink_protocol::link::PopFigures::default()
    })
}

fn deployed() -> Value {
    value!({
        "tenant": "default", "name": "shop", "version": 2, "digest": format!("sha256:{}", "0".repeat(64)),
        "world": "module", "config": {}, "limits": {}, "grants": {}, "previous_version": 1,
        "routes": [{ "path": "/shop", "target": { "module": "shop" } }], "position": { "core-1.1": 7 }
    })
}

fn purge(waiting: &[&str]) -> Value {
    let applied: Vec<Value> = ["ams", "sfo"]
        .iter()
        .filter(|name| !waiting.contains(name))
        .map(
            |name| value!({ "pop": name, "applied_at_ms": 12, "objects": 1, "propagation_ms": 14 }),
        )
        .collect();
    value!({
        "id": "01P", "selectors": [], "soft": false, "at_ms": 0, "by": "root", "position": { "core-1.1": 8 },
        "applied": applied, "waiting": waiting, "unanswered": waiting.iter().map(|name| value!({
            "pop": name, "connected": false, "seen_at_ms": 0, "quarantined_since_ms": 2000
        })).collect::<Vec<_>>()
    })
}

#[test]
fn errors_map_to_exit_codes() {
    for (answer, exit, says) in [
        (problem(401, "Unauthorized", "no token"), 4, "brink login"),
        (problem(403, "Forbidden", "reader may not"), 4, "role"),
        (
            problem(404, "Not found", "no such thing"),
            5,
            "no such thing (status 404, request 01REQ)",
        ),
        (problem(422, "Unprocessable", "wrong"), 5, "wrong"),
        (problem(429, "Too many", "slow down"), 1, "try again"),
        (problem(503, "Unavailable", "starting"), 1, "starting"),
        (text(502, "<h1>Bad gateway</h1>"), 1, "<h1>Bad gateway</h1>"),
        (
            text(200, "<h1>Hello</h1>"),
            1,
            "not as Brink's control API does",
        ),
        (
            json(200, &value!({ "unexpected": true })),
            1,
            "not as Brink's control API does",
        ),
    ] {
        let server = Server::new().on("GET /v1/status", answer);
        let error = user(&server).run("status").fails(exit);
        assert!(error.contains(says), "{says}: {error}");
        assert!(!error.contains(TOKEN), "{error}");
        assert_eq!(
            server.asked()[0].authorization.as_deref(),
            Some(format!("Bearer {TOKEN}").as_str())
        );
    }
}

#[test]
fn json_errors_carry_the_problem() {
    let server = Server::new().on("GET /v1/pops", problem(403, "Forbidden", "reader may not"));
    let error: Value = serde_json::from_str(&user(&server).run("pops --json").fails(4)).unwrap();
    assert_eq!(error["error"]["exit_code"], 4);
    assert_eq!(error["error"]["problem"]["title"], "Forbidden");
}

#[test]
fn nobody_there_exits_with_3() {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let user = User::new().with("BRINK_CONTROL", format!("http://{address}"));
    let error = user.run("status").fails(3);
    assert!(
        error.contains("refused") && error.contains("Is the core running"),
        "{error}"
    );
}

#[test]
fn token_files_must_hold_a_token() {
    let server = Server::new();
    let user = user(&server);
    user.write("two-lines", "a\nb\n");
    for (file, says) in [
        ("none", "cannot be read"),
        ("two-lines", "does not hold a token"),
    ] {
        let error = user.run(&format!("status --token-file {file}")).fails(2);
        assert!(error.contains(says), "{error}");
    }
    assert!(server.asked().is_empty());
}

#[test]
fn publish_sends_the_component() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let version = value!({
        "module": "my-command", "version": 1, "digest": digest, "size_bytes": 9, "world": "command", "imports": [],
        "published_at_ms": 0, "published_by": "root"
    });
    let line = "POST /v1/modules/my-command/versions";
    let server = Server::new()
        .on(line, json(201, &version))
        .on(line, json(200, &version));
    let user = user(&server);
    user.write("my_command.wasm", component());
    assert!(
        user.run("publish my_command.wasm")
            .ok()
            .starts_with("my-command version 1: command")
    );
    assert!(
        user.run("publish my_command.wasm")
            .ok()
            .contains("was published before")
    );
    assert_eq!(
        user.run("publish my_command.wasm --json").json()["version"],
        1
    );
    let asked = &server.asked()[0];
    assert_eq!(asked.content_type.as_deref(), Some("application/wasm"));
    assert_eq!(asked.body, component());
    // What is no component is not sent.
    user.write("b.wasm", "none at all");
    user.run("publish b.wasm").fails(2);
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn deploy_says_which_pops_run_it() {
    let server = Server::new()
        .on("POST /v1/deployments", json(200, &deployed()))
        .on(
            "GET /v1/status",
            json(200, &status(&value!([pop("ams", 3), pop("sfo", 2)]))),
        )
        .on(
            "GET /v1/pops",
            json(200, &value!([pop("ams", 3), pop("sfo", 2)])),
        )
        .on(
            "GET /v1/pops",
            json(200, &value!([pop("ams", 3), pop("sfo", 3)])),
        );
    let user = user(&server);
    let out = user
        .run("deploy shop --route shop.example/ --config A=1 --grant clock")
        .ok();
    assert_eq!(
        out,
        "Deployed  shop version 2 (was 1)\nRoutes    /shop\nPoPs      ams runs it, sfo runs it\n"
    );
    let asked = server.asked()[0].json();
    assert_eq!(
        (
            &asked["module"],
            &asked["config"]["A"],
            &asked["grants"]["clock"]
        ),
        (&value!("shop"), &value!("1"), &value!(true))
    );
    assert_eq!(asked["routes"][0]["host"], "shop.example");
    assert_eq!(
        server.lines()[1..],
        ["GET /v1/status", "GET /v1/pops", "GET /v1/pops"]
    );
}

#[test]
fn deploy_that_must_wait_times_out_with_6() {
    let server = Server::new()
        .on("POST /v1/deployments", json(200, &deployed()))
        .on("POST /v1/deployments/shop/rollback", json(200, &deployed()))
        .on(
            "GET /v1/status",
            json(200, &status(&value!([pop("ams", 2)]))),
        )
        .on("GET /v1/pops", json(200, &value!([pop("ams", 2)])));
    let user = user(&server);
    for line in [
        "deploy shop --wait --timeout 1",
        "rollback shop --to 1 --wait --timeout 1",
    ] {
        let run = user.run(line);
        assert_eq!(run.exit, 6, "{}", run.err);
        assert!(run.err.contains("ams not yet"), "{}", run.err);
    }
    assert!(!user.run("deploy shop --no-wait").ok().contains("PoPs"));
    let rollback = server
        .asked()
        .into_iter()
        .find(|asked| asked.line.contains("rollback"))
        .unwrap();
    assert_eq!(rollback.json(), value!({ "to": 1 }));
}

#[test]
fn limits_change_those_of_the_present_deployment() {
    let present = value!([{
        "tenant": "default", "name": "shop", "version": 1, "digest": format!("sha256:{}", "0".repeat(64)), "world": "module",
        "config": {}, "grants": {}, "limits": { "memory_bytes_max": 1000, "wall_time_ms_max": 5 }
    }]);
    let server = Server::new()
        .on("GET /v1/deployments", json(200, &present))
        .on("POST /v1/deployments", json(200, &deployed()));
    user(&server)
        .run("deploy shop --wall-time-ms-max 70 --no-wait")
        .ok();
    let limits = &server.asked()[1].json()["limits"];
    assert_eq!(
        (&limits["memory_bytes_max"], &limits["wall_time_ms_max"]),
        (&value!(1000), &value!(70))
    );
}

#[test]
fn purge_waits_for_every_pop() {
    let server = Server::new()
        .on("POST /v1/purges", json(202, &purge(&["ams", "sfo"])))
        .on("GET /v1/purges/01P", json(200, &purge(&["sfo"])))
        // The core begins anew: the purge is in its log.
        .on("GET /v1/purges/01P", problem(503, "Unavailable", "busy"))
        .on("GET /v1/purges/01P", text(502, "<h1>Bad gateway</h1>"))
        .on("GET /v1/purges/01P", json(200, &purge(&[])));
    let user = user(&server);
    let out = user
        .run("purge --key sku:1 --url https://A.example/x --soft --wait --timeout 9")
        .ok();
    assert!(
        out.contains("ams  yes      14 ms  1") && out.contains("sfo  yes"),
        "{out}"
    );
    let asked = server.asked()[0].json();
    assert_eq!(
        (
            &asked["keys"],
            &asked["urls"],
            &asked["soft"],
            &asked["everything"]
        ),
        (
            &value!(["sku:1"]),
            &value!(["a.example/x"]),
            &value!(true),
            &value!(false)
        )
    );
    assert!(
        server.lines()[1].starts_with("GET /v1/purges/01P?wait=all&timeout="),
        "{:?}",
        server.lines()
    );
    assert!(
        user.run("purge --all")
            .ok()
            .contains("Not yet at  ams, sfo")
    );
    assert_eq!(server.asked().last().unwrap().json()["everything"], true);
}

#[test]
fn purge_names_silent_pops_and_exits_with_6() {
    let server = Server::new()
        .on("POST /v1/purges", json(202, &purge(&["sfo"])))
        .on("GET /v1/purges/01P", json(200, &purge(&["sfo"])));
    let run = user(&server).run("purge --all --wait --timeout 1");
    assert_eq!(run.exit, 6, "{}", run.err);
    assert!(run.out.contains("sfo  no answer"), "{}", run.out);
    let names = "ams applied it after 14 ms";
    assert!(run.err.contains(names), "{}", run.err);
    let silent = "sfo (quarantined since 1970-01-01T00:00:02.000Z)";
    assert!(run.err.contains(silent), "{}", run.err);
    // What is wrong is not sent.
    let server = Server::new();
    let wrong = user(&server).run_in(&["purge", "--key", "a b"], std::path::Path::new("/tmp"));
    wrong.fails(2);
    assert!(server.asked().is_empty());
}

#[test]
fn purges_are_tried_keyed_and_looked_up() {
    let estimate = value!({
        "selectors": [], "objects": 5, "bytes": 10, "pops": [{ "pop": "ams", "objects": 5, "bytes": 10 }], "silent": ["sfo"]
    });
    let budget = problem(
        409,
        "The purge is over its budget",
        "It would end 5 entries",
    );
    let page = value!({ "purges": [purge(&["sfo"])], "next": "01P" });
    let server = Server::new()
        .on("POST /v1/purges", json(200, &estimate))
        .on("POST /v1/purges", budget)
        .on("POST /v1/purges", json(202, &purge(&[])))
        .on("GET /v1/purges", json(200, &page))
        .on("GET /v1/purges/01P", json(200, &purge(&["sfo"])));
    let user = user(&server);
    let out = user.run("purge --key a --dry-run --timeout 60").ok();
    assert!(out.starts_with("It would end 5 stored answers"), "{out}");
    let error = user.run("purge --key a --max-objects 4").fails(5);
    assert!(error.contains("It would end 5 entries"), "{error}");
    user.run("purge --key a --max-objects 4 --stagger 60 --confirm --idempotency-key k-1")
        .ok();
    let asked = server.asked();
    let bodies: Vec<_> = asked.iter().map(|asked| asked.json()).collect();
    assert_eq!(
        (&bodies[0]["dry_run"], &bodies[0]["timeout"]),
        (&value!(true), &value!(10_000))
    );
    assert_eq!(bodies[1]["objects_max"], 4);
    assert_eq!(
        (&bodies[2]["confirm"], &bodies[2]["stagger_ms"]),
        (&value!(true), &value!(60_000))
    );
    assert_eq!(asked[2].idempotency_key.as_deref(), Some("k-1"));
    assert!(user.run("purges --key a").ok().contains("1 of 2"));
    assert!(user.run("purges 01P").ok().contains("hard purge of"));
    assert_eq!(user.run("purges --json").json()["next"], "01P");
    let wrong = user.run_in(
        &["purge", "--everything", "--idempotency-key", "a b"],
        user.work.path(),
    );
    wrong.fails(2);
    user.run("purge --everything --wait=most").fails(2);
}

#[test]
fn lists() {
    let routes =
        value!([{ "path": "/shop", "target": { "module": "shop" }, "plugins": ["api-key"] }]);
    let line = value!([{
        "number": 4, "at_ms": 0, "tenant": "default", "module": "shop", "place": "ams", "level": "info", "message": "hello",
        "fields": [["a", "b"]], "trace_id": null
    }]);
    let server = Server::new()
        .on("GET /v1/routes", json(200, &routes))
        .on("GET /v1/logs", json(200, &line))
        .on(
            "GET /v1/status",
            json(200, &status(&value!([pop("ams", 3)]))),
        );
    let user = user(&server);
    assert!(
        user.run("routes")
            .ok()
            .contains("/shop  module shop  api-key")
    );
    assert_eq!(user.run("routes list --json").json()[0]["path"], "/shop");
    assert_eq!(
        user.run("logs shop --limit 7").ok(),
        "1970-01-01T00:00:00.000Z info  shop@ams hello a=\"b\"\n"
    );
    assert!(
        server
            .lines()
            .contains(&"GET /v1/logs?limit=7&module=shop".to_owned()),
        "{:?}",
        server.lines()
    );
    assert!(
        user.run("status")
            .ok()
            .contains("core-1 in eu, version 0.1.0")
    );
    assert_eq!(user.run("status --json").json()["revision"], 3);
}

#[test]
fn routes_are_set_and_deleted() {
    let route = value!({ "host": "shop.example", "path": "/a", "target": { "origin": "http://127.0.0.1:3000" } });
    let gone = Canned::clone(&json(204, &Value::Null));
    let server = Server::new()
        .on("PUT /v1/routes", json(200, &route))
        .on("DELETE /v1/routes", gone);
    let user = user(&server);
    user.run("routes set Shop.example/a --origin http://127.0.0.1:3000")
        .ok();
    assert_eq!(
        server.asked()[0].json()["target"],
        value!({ "origin": "http://127.0.0.1:3000" })
    );
    user.run("routes delete shop.example/a").ok();
    assert_eq!(
        server.lines()[1],
        "DELETE /v1/routes?host=shop.example&path=%2Fa"
    );
}

#[test]
fn a_tokens_secret_goes_to_its_file_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let token = value!({
        "id": "01T", "label": "ci", "role": "publisher", "tenant": "default", "created_at_ms": 0, "expires_at_ms": null,
        "secret": "brk_secret"
    });
    let server = Server::new()
        .on("POST /v1/tokens", json(201, &token))
        .on("DELETE /v1/tokens/01T", json(204, &Value::Null));
    let user = user(&server);
    let run = user.run("token create --label ci --role publisher --out ci.token --json");
    assert!(!run.out.contains("brk_secret") && !run.err.contains("brk_secret"));
    assert_eq!(run.json()["id"], "01T");
    let file = user.path("ci.token");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "brk_secret\n");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        user.run("token create --label ci --role reader --out ci.token")
            .fails(2)
            .contains("exists")
    );
    // A secret that cannot be kept is revoked at once.
    user.run("token create --label ci --role reader --out none/ci.token")
        .fails(1);
    assert_eq!(server.lines().last().unwrap(), "DELETE /v1/tokens/01T");
    user.run("token revoke 01T").ok();
}

#[test]
fn a_pop_is_asked_where_the_core_says_that_it_is() {
    let explained = value!({ "url": "https://shop.example/", "pop": "ams", "decision": { "verdict": "fetch", "reasons": [] } });
    let pop = Server::new().on("POST /cache", json(200, &explained));
    let told = value!({ "pop": "ams", "admin": pop.url() });
    let core = Server::new()
        .on("GET /v1/pops/ams/admin", json(200, &told))
        .on(
            "GET /v1/pops/sfo/admin",
            problem(404, "There is no such thing", "There is no PoP sfo."),
        );
    let user = user(&core);
    let out = user
        .run("cache explain https://shop.example/ --pop ams")
        .ok();
    assert!(out.starts_with("https://shop.example/ at ams"), "{out}");
    // The PoP gets no token of the core's.
    assert_eq!(pop.asked()[0].authorization, None);
    let error = user
        .run("cache explain https://shop.example/ --pop sfo")
        .fails(2);
    assert!(
        error.contains("no admin address is known of PoP sfo")
            && error.contains("There is no PoP sfo"),
        "{error}"
    );
}
