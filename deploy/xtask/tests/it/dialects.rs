//! Purges by clients that we did not write: the official libraries of Fastly and Cloudflare, pointed at the control API.

use crate::{
    clients::{Answer, python},
    harness::{Stack, until},
    origins,
};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

const HOST: &str = "shop.example";
const PATHS: [&str; 3] = ["/a", "/dir/b", "/dir/c"];

/// An origin whose answers are kept, each under the name of its path's last segment, and `all`.
fn origin() -> u16 {
    origins::start(|first| {
        let target = first.split(' ').nth(1).unwrap_or_default();
        let name = target.rsplit('/').next().unwrap_or_default();
        let fields = format!("cache-control: max-age=600\r\nsurrogate-key: all {name}");
        (fields, "ok".to_owned())
    })
}

/// A process that calls the official clients.
struct Purgers {
    process: Child,
    calls: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    token: String,
}

impl Drop for Purgers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Purgers {
    fn start(stack: &Stack) -> Self {
        let mut process = python("purgers.py")
            .args(["--url", &stack.control.url])
            .arg("--ca")
            .arg(stack.ca())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let token = std::fs::read_to_string(stack.site.token_file()).unwrap();
        Self {
            calls: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()).lines(),
            process,
            token: token.trim().to_owned(),
        }
    }

    fn call(&mut self, client: &str, call: &str, arguments: &Value) -> Value {
        let token = self.token.clone();
        self.call_as(&token, client, call, arguments)
    }

    fn call_as(&mut self, token: &str, client: &str, call: &str, arguments: &Value) -> Value {
        let asked =
            json!({ "client": client, "call": call, "arguments": arguments, "token": token });
        writeln!(self.calls, "{asked}").expect("it listens");
        let line = self.answers.next().expect("it answers").unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

fn get(stack: &Stack, pop: usize, path: &str) -> Answer {
    let curl = stack.curl(pop, path).header(&format!("host: {HOST}"));
    curl.send()
}

/// Every path is in both caches.
fn fill(stack: &Stack) {
    for pop in 0..2 {
        for path in PATHS {
            until("a stored answer", || {
                get(stack, pop, path).is_hit().then_some(())
            });
        }
    }
}

fn stack() -> Stack {
    let stack = Stack::empty();
    let origin = format!("http://127.0.0.1:{}", origin());
    stack.brink(&["routes", "set", &format!("{HOST}/"), "--origin", &origin]);
    fill(&stack);
    stack
}

/// The id of the purge that a client's answer names.
#[track_caller]
fn id(answer: &Value) -> String {
    let answer = &answer["answer"];
    let id = answer["id"].as_str().map(str::to_owned);
    // Fastly answers several keys with an id for each.
    let first = answer.as_object().and_then(|keys| keys.values().next());
    id.or_else(|| first?.as_str().map(str::to_owned))
        .unwrap_or_else(|| panic!("no id: {answer}"))
}

/// Once every PoP says that it applied the purge, what it matches is gone, and nothing else.
#[track_caller]
fn gone(stack: &Stack, purge: &str, ended: &[&str]) -> Value {
    let status = stack
        .ask(&format!("/v1/purges/{purge}?wait=all&timeout=20000"))
        .send()
        .expect(200)
        .json();
    assert_eq!(status["waiting"], json!([]), "{status}");
    assert_eq!(status["applied"].as_array().unwrap().len(), 2, "{status}");
    for pop in 0..2 {
        for path in PATHS {
            let is_hit = get(stack, pop, path).expect(200).is_hit();
            assert_eq!(is_hit, !ended.contains(&path), "{path} at {pop}: {status}");
        }
    }
    fill(stack);
    status
}

#[test]
fn fastlys_client() {
    let stack = stack();
    let mut purgers = Purgers::start(&stack);
    let service = "default";
    let all = &PATHS[..];
    for (call, arguments, soft, ended) in [
        (
            "purge_tag",
            json!({"service_id": service, "surrogate_key": "b"}),
            false,
            &["/dir/b"][..],
        ),
        (
            "purge_tag",
            json!({"service_id": service, "surrogate_key": "c", "fastly_soft_purge": 1}),
            true,
            &["/dir/c"],
        ),
        (
            "bulk_purge_tag",
            json!({"service_id": service, "surrogate_key": "a b"}),
            false,
            &["/a", "/dir/b"],
        ),
        (
            "bulk_purge_tag",
            json!({"service_id": service, "surrogate_keys": ["c", "none"]}),
            false,
            &["/dir/c"],
        ),
        ("purge_all", json!({"service_id": service}), false, all),
        (
            "purge_single_url",
            json!({"cached_url": format!("{HOST}/dir/b")}),
            false,
            &["/dir/b"],
        ),
        (
            "purge_single_url",
            json!({"cached_url": format!("{HOST}/a"), "fastly_soft_purge": 1}),
            true,
            &["/a"],
        ),
    ] {
        let answer = purgers.call("fastly", call, &arguments);
        assert_eq!(answer.get("error"), None, "{call}: {answer}");
        let status = gone(&stack, &id(&answer), ended);
        assert_eq!(status["soft"], soft, "{call}: {status}");
    }
    let key = json!({"service_id": service, "surrogate_key": "a"});
    let too_many = vec!["k"; 257].join(" ");
    for (token, call, arguments, error, status) in [
        (
            "brk_wrong",
            "purge_tag",
            key.clone(),
            "UnauthorizedException",
            401,
        ),
        (
            "",
            "purge_tag",
            json!({"service_id": "another", "surrogate_key": "a"}),
            "NotFoundException",
            404,
        ),
        (
            "",
            "bulk_purge_tag",
            json!({"service_id": service, "surrogate_key": too_many}),
            "ApiException",
            400,
        ),
        (
            "",
            "purge_single_url",
            json!({"cached_url": "ftp://shop.example/x"}),
            "ApiException",
            400,
        ),
    ] {
        let token = if token.is_empty() {
            purgers.token.clone()
        } else {
            token.to_owned()
        };
        let answer = purgers.call_as(&token, "fastly", call, &arguments);
        assert_eq!(
            (&answer["error"], &answer["status"]),
            (&json!(error), &json!(status)),
            "{answer}"
        );
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert!(body["msg"].is_string(), "{body}");
    }
    let file = stack.folder("tokens").join("reader.token");
    stack.brink(&[
        "token",
        "create",
        "--label",
        "r",
        "--role",
        "reader",
        "--out",
        file.to_str().unwrap(),
    ]);
    let reader = std::fs::read_to_string(file).unwrap();
    let denied = purgers.call_as(reader.trim(), "fastly", "purge_tag", &key);
    assert_eq!(
        (&denied["error"], &denied["status"]),
        (&json!("ForbiddenException"), &json!(403))
    );
    let logs = stack.logs();
    assert!(!logs.contains(&purgers.token), "a token is in a log");
}

#[test]
fn cloudflares_client() {
    let stack = stack();
    let mut purgers = Purgers::start(&stack);
    let https = |path: &str| format!("https://{HOST}{path}");
    let all = &PATHS[..];
    for (what, ended) in [
        (json!({"files": [https("/a")]}), &["/a"][..]),
        (
            json!({"files": [{"url": https("/dir/b"), "headers": {"Origin": "https://x.example"}}]}),
            &["/dir/b"],
        ),
        (json!({"tags": ["a", "c"]}), &["/a", "/dir/c"]),
        (
            json!({"prefixes": [format!("{HOST}/dir")]}),
            &["/dir/b", "/dir/c"],
        ),
        (json!({"hosts": [HOST]}), all),
        (json!({"purge_everything": true}), all),
    ] {
        for (call, soft) in [("purge", false), ("invalidate", true)] {
            let mut arguments = what.clone();
            arguments["zone_id"] = json!("default");
            let answer = purgers.call("cloudflare", call, &arguments);
            assert_eq!(answer.get("error"), None, "{call} {what}: {answer}");
            let status = gone(&stack, &id(&answer), ended);
            assert_eq!(status["soft"], soft, "{call} {what}: {status}");
        }
    }
    let zone = |zone: &str, what: Value| {
        let mut what = what;
        what["zone_id"] = json!(zone);
        what
    };
    for (token, arguments, error, status, code) in [
        (
            "brk_wrong",
            zone("default", json!({"tags": ["a"]})),
            "AuthenticationError",
            401,
            1000,
        ),
        (
            "",
            zone("another", json!({"tags": ["a"]})),
            "NotFoundError",
            404,
            7003,
        ),
        (
            "",
            zone("default", json!({"tags": vec!["a"; 101]})),
            "BadRequestError",
            400,
            1014,
        ),
        (
            "",
            zone("default", json!({"tags": ["x".repeat(1025)]})),
            "BadRequestError",
            400,
            1016,
        ),
        (
            "",
            zone("default", json!({"files": []})),
            "BadRequestError",
            400,
            1012,
        ),
    ] {
        let token = if token.is_empty() {
            purgers.token.clone()
        } else {
            token.to_owned()
        };
        let answer = purgers.call_as(&token, "cloudflare", "purge", &arguments);
        assert_eq!(
            (&answer["error"], &answer["status"]),
            (&json!(error), &json!(status)),
            "{answer}"
        );
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&body["success"], &body["errors"][0]["code"]),
            (&json!(false), &json!(code))
        );
    }
}
