//! `brink dev` with servers that only pretend: what it starts, what it passes on, how it ends.

use crate::{
    program::{User, component},
    server::{Server, json as answer},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
};

/// A `brink-edge` that writes down its arguments, says that it is ready, and waits for SIGTERM.
const EDGE: &str = r#"#!/bin/sh
echo "$@" > "$BRINK_BIN_DIR/arguments"
while [ "$1" != --ready-file ]; do shift; done
trap 'echo drained > "$BRINK_BIN_DIR/ended"; exit 0' TERM
echo '{"level":"INFO","message":"quiet line"}' >&2
echo '{"level":"WARN","message":"loud line"}' >&2
echo '{"url":"http://127.0.0.1:4711"}' > "$2.tmp"
mv "$2.tmp" "$2"
while :; do sleep 0.05; done
"#;

fn user(edge: &str) -> User {
    let user = User::new();
    user.write("bin/brink-edge", edge);
    std::fs::set_permissions(
        user.path("bin/brink-edge"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    user.write("a.wasm", component());
    let bin = user.path("bin").display().to_string();
    user.with("BRINK_BIN_DIR", bin)
}

#[test]
fn a_component_is_served_until_the_signal() {
    for (line, arguments, serves) in [
        (
            "dev a.wasm",
            "serve a.wasm --listen 127.0.0.1:8080 --ready-file ",
            "a.wasm at http://127.0.0.1:4711/",
        ),
        (
            "dev --origin http://127.0.0.1:3000 --listen 127.0.0.1:0",
            "proxy --origin http://127.0.0.1:3000 --listen 127.0.0.1:0 --ready-file ",
            "A cache before http://127.0.0.1:3000 at http://127.0.0.1:4711/",
        ),
    ] {
        let user = user(EDGE);
        let mut command = user.command(line.split(' '), user.work.path());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut first)
            .unwrap();
        assert!(first.starts_with(serves), "{first}");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(
            err.contains("edge: WARN loud line") && !err.contains("quiet line"),
            "{err}"
        );
        assert_eq!(
            std::fs::read_to_string(user.path("bin/ended")).unwrap(),
            "drained\n"
        );
        let written = std::fs::read_to_string(user.path("bin/arguments")).unwrap();
        assert!(written.starts_with(arguments), "{written}");
    }
}

#[test]
fn a_server_that_ends_by_itself_is_told_with_its_last_lines() {
    let user = user("#!/bin/sh\necho 'address in use' >&2\nexit 1\n");
    let error = user.run("dev a.wasm").fails(1);
    assert!(
        error.contains("ended by itself") && error.contains("  address in use"),
        "{error}"
    );
}

/// A `brink-core` whose control API is the server of this test.
const CORE: &str = r#"#!/bin/sh
echo "$@" >> "$BRINK_BIN_DIR/core-arguments"
if [ "$1" = issue-pop ]; then
    while [ "$1" != --out ]; do shift; done
    mkdir -p "$2"
    exit 0
fi
while [ "$1" != --data ]; do shift; done
mkdir -p "$2/ca"
cp "$BRINK_BIN_DIR/ca.pem" "$2/ca/ca.pem"
echo hunter2 > "$2/root.token"
while [ "$1" != --ready-file ]; do shift; done
trap 'echo drained > "$BRINK_BIN_DIR/core-ended"; exit 0' TERM
echo "{\"control\":\"$(cat "$BRINK_BIN_DIR/control")\",\"link\":\"127.0.0.1:1\"}" > "$2.tmp"
mv "$2.tmp" "$2"
while :; do sleep 0.05; done
"#;

/// A control API that takes everything.
fn control() -> (Server, String) {
    let (server, ca) = crate::tls::server("127.0.0.1");
    let digest = format!("sha256:{}", "0".repeat(64));
    let version = json!({
        "module": "js", "version": 1, "digest": digest, "size_bytes": 9, "world": "command", "imports": [],
        "published_at_ms": 0, "published_by": "root"
    });
    let deployed = json!({
        "tenant": "default", "name": "js", "version": 1, "digest": digest, "world": "command", "config": {}, "limits": {},
        "grants": {}, "previous_version": null, "routes": [], "position": {}
    });
    let status = json!({
        "version": "0.1.0", "node": "dev", "region": "local", "position": {}, "revision": 1, "deployments": 1, "routes": 1,
        "pops": []
    });
    let routes = json!([{ "path": "/js", "target": { "module": "js" } }]);
    let log = json!([{
        "number": 1, "at_ms": 0, "tenant": "default", "module": "js", "place": "dev", "level": "info", "message": "hello",
        "fields": [], "trace_id": null
    }]);
    let server = server
        .on("POST /v1/modules/js/versions", answer(201, &version))
        .on("POST /v1/deployments", answer(200, &deployed))
        .on("GET /v1/status", answer(200, &status))
        .on("GET /v1/routes", answer(200, &routes))
        .on("GET /v1/logs", answer(200, &log))
        .on("GET /v1/logs", answer(200, &json!([])));
    (server, ca)
}

#[test]
fn a_project_is_built_deployed_and_again_when_it_changes() {
    if std::process::Command::new("npm")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: npm is not on PATH");
        return;
    }
    let user = user(EDGE);
    let (server, ca) = control();
    user.write("bin/brink-core", CORE);
    std::fs::set_permissions(
        user.path("bin/brink-core"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    user.write("bin/ca.pem", ca);
    user.write("bin/control", server.address.to_string());
    user.write(
        "js/brink.toml",
        "name = \"js\"\nlanguage = \"javascript\"\noutput = \"target/made.wasm\"\n",
    );
    user.write("js/package.json", r#"{ "name": "js", "private": true, "scripts": { "build": "mkdir -p target && cp src/source.wasm target/made.wasm" } }"#);
    user.write("js/node_modules/.keep", "");
    user.write("js/src/source.wasm", component());

    let mut command = user.command(["dev", "--keep-data", "--json"], &user.path("js"));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let ready = next();
    assert_eq!(ready["urls"], json!(["https://localhost:4711/js"]));
    assert_eq!(ready["control"], format!("https://{}", server.address));
    assert_eq!(next()["message"], "hello");

    // A changed source is published again.
    let mut changed = component();
    changed.extend([0, 2, 1, b'x']); // A custom section: another component, as valid as before.
    user.write("js/src/source.wasm", &changed);
    server.wait_for(|asked| asked.line.ends_with("/versions") && asked.body == changed);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for ended in ["bin/ended", "bin/core-ended"] {
        assert_eq!(
            std::fs::read_to_string(user.path(ended)).unwrap(),
            "drained\n"
        );
    }
    let edge = std::fs::read_to_string(user.path("bin/arguments")).unwrap();
    assert!(
        edge.starts_with(
            "run --pop dev --admin 127.0.0.1:0 --core 127.0.0.1:1 --listen 127.0.0.1:0 "
        ),
        "{edge}"
    );
    // What is kept holds a token: git must not see it.
    assert_eq!(
        std::fs::read_to_string(user.path("js/.brink/dev/.gitignore")).unwrap(),
        "*\n"
    );
}
