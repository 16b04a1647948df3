//! The public tests of HTTP caches (http-cache-tests), against a PoP before their origin and nothing else set up.

use crate::harness::{binaries, launcher, turn, until};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use xtask::launch::Running;

/// Tests that do not pass, and why.
const EXCEPTIONS: [(&str, &str); 13] = [
    // RFC 9111 §5.1, which is younger than these tests: what is no number is ignored, and of several the first counts.
    ("age-parse-nonnumeric", "RFC 9111 §5.1 has it ignored"),
    ("age-parse-negative", "RFC 9111 §5.1 has it ignored"),
    ("age-parse-float", "RFC 9111 §5.1 has it ignored"),
    (
        "age-parse-prefix-twoline",
        "RFC 9111 §5.1 has the first count",
    ),
    ("age-parse-dup-0", "RFC 9111 §5.1 has the first count"),
    (
        "age-parse-dup-0-twoline",
        "RFC 9111 §5.1 has the first count",
    ),
    ("age-parse-dup-old", "RFC 9111 §5.1 has the first count"),
    // They want to see a field of the origin's answer where the origin gave none, and are said to count only for caches
    // that serve what is stale without being allowed to (`stale-close`).
    ("stale-close-must-revalidate", STALE_CLOSE),
    ("stale-close-proxy-revalidate", STALE_CLOSE),
    ("stale-close-no-cache", STALE_CLOSE),
    ("stale-close-s-maxage=2", STALE_CLOSE),
    (
        "conditional-lm-fresh-no-lm",
        "RFC 9111 §4.3.2: without Last-Modified it is Date that counts, and that is later",
    ),
    (
        "partial-store-partial-complete",
        "RFC 9110 §15.3.7.3: without a strong validator two parts are never put together",
    ),
];
const STALE_CLOSE: &str = "depends on serving stale answers that nobody allowed";

/// How a test ended, as the suite itself judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Passed,
    Failed,
    /// Something else than what it looks at went wrong.
    Setup,
    /// One that it builds on did not pass.
    Dependency,
}

#[test]
fn the_public_tests_of_http_caches_pass() {
    let _turn = turn();
    let root = xtask::repository_root();
    let tests = xtask::setup::cache_tests(&root)
        .expect("the tests are not there: `cargo xtask setup` fetches them");
    let ours = root.join("deploy/e2e/cache-tests");
    let kinds = json(Command::new("node").arg(ours.join("kinds.mjs")).arg(&tests));
    let folder = tempfile::tempdir().unwrap();
    let (_origin, url) = origin(&tests, &ours, folder.path());
    let (mut edge, url) = edge(&url, folder.path());
    // They count seconds: on a machine that stood still for some of them they are given a second chance.
    let mut wrong = judged(&kinds, &results(&tests, &url));
    if !wrong.is_empty() {
        eprintln!("once more, after: {wrong:#?}");
        wrong = judged(&kinds, &results(&tests, &url));
    }
    // Killed, it would leave what it has started.
    edge.terminate();
    let ended = edge.wait_until(Instant::now() + Duration::from_secs(30));
    assert!(matches!(ended, Ok(Some(_))), "{ended:?}");
    assert_eq!(wrong, Vec::<String>::new());
}

/// Starts the origin of the tests; its URL.
fn origin(tests: &Path, ours: &Path, folder: &Path) -> (Running, String) {
    let mut command = Command::new("node");
    command
        .arg("--import")
        .arg(ours.join("loopback.mjs"))
        .arg("server/server.mjs")
        .current_dir(tests)
        .env("npm_config_protocol", "http")
        .env("npm_config_port", "0")
        .env("npm_config_pidfile", folder.join("origin.pid"));
    let listens = |line: &str| line.starts_with("Listening on ");
    let (origin, line) = started("origin", &command, folder, listens);
    let url = line.trim_start_matches("Listening on ");
    (origin, url.trim_end_matches('/').to_owned())
}

/// Starts a PoP before `origin`; its URL.
fn edge(origin: &str, folder: &Path) -> (Running, String) {
    let mut command = Command::new(binaries().brink);
    command.args(["--json", "dev", "--origin", origin]);
    command.args(["--listen", "127.0.0.1:0"]);
    let is_ready = |line: &str| line.starts_with('{') && line.contains("\"url\"");
    let (edge, line) = started("edge", &command, folder, is_ready);
    let ready: Value = serde_json::from_str(&line).expect("JSON");
    let url = ready["url"].as_str().expect("a URL");
    (edge, url.trim_end_matches('/').to_owned())
}

/// Starts a program, and waits for the line of its output that says where it listens.
fn started(
    name: &str,
    command: &Command,
    folder: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> (Running, String) {
    let log = folder.join(name);
    let running = Running::start(&launcher(), name, command, Some(&log)).unwrap();
    let line = until(&format!("{name} listens"), || {
        let text = std::fs::read_to_string(&log).ok()?;
        let (whole, _) = text.rsplit_once('\n')?;
        whole
            .lines()
            .find(|line| is_wanted(line))
            .map(str::to_owned)
    });
    (running, line)
}

/// Runs the tests against `url`.
fn results(tests: &Path, url: &str) -> Value {
    json(
        Command::new("node")
            .args(["--no-warnings", "cli.mjs"])
            .current_dir(tests)
            .env("npm_config_base", url)
            .env_remove("npm_config_id")
            .env("npm_package_config_id", ""),
    )
}

fn json(command: &mut Command) -> Value {
    let output = command.stdin(Stdio::null()).output().expect("node starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// What is not as [`EXCEPTIONS`] has it, of the tests that must pass and of those that an optimal cache passes.
fn judged(kinds: &Value, results: &Value) -> Vec<String> {
    let kinds = kinds.as_object().expect("kinds");
    let mut counts = BTreeMap::<&str, (usize, usize)>::new();
    let mut wrong = Vec::new();
    for (id, about) in kinds {
        let kind = about["kind"].as_str().expect("a kind");
        let ended = ended(kinds, results, id);
        let count = counts.entry(kind).or_default();
        count.0 += usize::from(ended == Ended::Passed);
        count.1 += 1;
        let excepted = EXCEPTIONS.iter().any(|(exception, _)| exception == id);
        if kind != "check" && (ended == Ended::Passed) == excepted {
            wrong.push(format!("{id} ({kind}): {ended:?}: {}", results[id]));
        }
    }
    for (kind, (passed, of)) in counts {
        println!("http-cache-tests: {kind}: {passed} of {of}");
    }
    wrong
}

fn ended(kinds: &serde_json::Map<String, Value>, results: &Value, id: &str) -> Ended {
    let depends_on = kinds[id]["depends_on"].as_array().expect("a list");
    let holds = |other: &Value| {
        let other = other.as_str().expect("an id");
        ended(kinds, results, other) == Ended::Passed
    };
    if !depends_on.iter().all(holds) {
        Ended::Dependency
    } else if results[id] == true {
        Ended::Passed
    } else if results[id][0] == "Setup" {
        Ended::Setup
    } else {
        Ended::Failed
    }
}
