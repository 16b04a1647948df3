//! Requests that nobody should send get the right status or a reset, on all three protocols, and hurt nobody else.

use crate::{
    clients::{Curl, python},
    harness::Stack,
};
use serde_json::Value;

/// Runs one protocol's cases and checks each outcome.
#[track_caller]
fn cases(protocol: &str) {
    let stack = Stack::with(&[("hello", &[])]);
    let mut command = python("badrequests.py");
    command
        .arg("--ca")
        .arg(stack.ca())
        .arg("--port")
        .arg(stack.pops[0].tcp.port().to_string())
        .arg(protocol);
    let output = command.output().expect("python starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let outcomes: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut wrong = Vec::new();
    for (case, outcome) in outcomes.as_object().unwrap() {
        let what = outcome["outcome"].as_str().unwrap();
        let refused = what == "closed"
            || what == "reset"
            || what.starts_with("status 4")
            || what == "status 505"
            || what == "status 501";
        // The first of many requests that are all given up at once may have been answered.
        let good = case.starts_with("none:");
        let answered = what == "status 200" && (good || case == "rapid reset");
        let right = answered || (refused && !good);
        if !right || outcome["alive"] != true {
            wrong.push(format!("{case}: {outcome}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(
        !stack.logs().contains("panicked"),
        "something of ours panicked"
    );
}

#[test]
fn over_http1() {
    cases("h1");
}

#[test]
fn over_http2() {
    cases("h2");
}

#[test]
fn over_http3() {
    cases("h3");
}

#[test]
fn bodies_that_are_too_large() {
    let stack = Stack::with(&[("hello", &[])]);
    let file = stack.folder("bodies").join("large");
    std::fs::File::create(&file)
        .unwrap()
        .set_len(256 << 20)
        .unwrap();
    for version in ["--http1.1", "--http2"] {
        let upload = stack
            .curl(0, "/hello")
            .arg(version)
            .header("expect:")
            .arg("--data-binary")
            .arg(format!("@{}", file.display()));
        // An answer while the body is still being sent may reach the client as a broken pipe.
        if let Ok(answer) = upload.try_send() {
            answer.problem(413);
        }
        stack.get(0, "/hello").expect(200);
    }
}

#[test]
fn the_public_listener_shows_nothing_internal() {
    let stack = Stack::with(&[("hello", &[])]);
    for path in [
        "/metrics",
        "/ready",
        "/cache?url=x",
        "/status",
        "/routes",
        "/v1/status",
        "/v1/tokens",
        "/link/v1/deployments",
    ] {
        stack.get(0, path).problem(404);
    }
    let core = stack.core.as_ref().unwrap();
    for path in ["/link/v1/deployments", "/metrics"] {
        stack.ask(path).send().problem(404);
    }
    let link = format!("https://localhost:{}/link/v1/deployments", core.link.port());
    let error = Curl::new(&link, Some(stack.ca()))
        .arg("--insecure")
        .try_send()
        .map(|answer| answer.status);
    assert!(
        error.is_err() || matches!(error, Ok(401 | 403)),
        "the link answers without a certificate: {error:?}"
    );
    for admin in [core.admin, stack.pops[0].admin, stack.pops[1].admin] {
        for path in ["/health", "/ready"] {
            Curl::new(&format!("http://{admin}{path}"), None)
                .send()
                .expect(200);
        }
        let metrics = Curl::new(&format!("http://{admin}/metrics"), None)
            .send()
            .expect(200);
        assert!(metrics.body.contains("brink_"), "{metrics:?}");
    }
}
