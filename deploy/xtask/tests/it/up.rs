//! `cargo xtask up`: its lines all work, it ends in time, and nothing outlives it.

use crate::harness::{self, WITHIN, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Longest time from Ctrl-C to the end of everything.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// `xtask up` in a folder of its own. Dropped: killed, and all that it started with it.
struct Up {
    child: Child,
    ready: Value,
    folder: tempfile::TempDir,
}

impl Up {
    fn start() -> Self {
        Self::start_on("embedded")
    }

    fn start_on(store: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ready.json");
        let log = fs::File::create(folder.path().join("up.log")).unwrap();
        let mut child = Command::new(harness::launcher())
            // An engine is shared by two cores.
            .args(["up", "--no-build", "--store", store])
            .args(["--cores", if store == "cql" { "2" } else { "1" }, "--data"])
            .arg(folder.path().join("data"))
            .arg("--ready-file")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + WITHIN * 6;
        let ready = loop {
            if let Ok(text) = fs::read_to_string(&file) {
                break serde_json::from_str(&text).unwrap();
            }
            let ended = child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let _ = child.kill();
                panic!(
                    "not ready: {ended:?} {}",
                    fs::read_to_string(folder.path().join("up.log")).unwrap()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        Self {
            child,
            ready,
            folder,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes that have the folder on their command line.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let ids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    ids.filter_map(|id| fs::read(format!("/proc/{id}/cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}

#[track_caller]
fn run(line: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{line}\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn every_line_works_and_ctrl_c_ends_everything() {
    every_line_works("embedded", ENDS_WITHIN);
}

#[test]
fn every_line_works_on_a_cql_engine_too() {
    every_line_works("cql", ENDS_WITHIN + Duration::from_secs(3));
}

fn every_line_works(store: &str, ends_within: Duration) {
    let _turn = harness::turn();
    let mut up = Up::start_on(store);
    let named = up.ready["store"].as_str().unwrap();
    assert_eq!(named.starts_with("Apache Cassandra"), store == "cql");
    let lines: Vec<&str> = up.ready["try"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    assert!(lines.len() >= 12, "{lines:?}");
    assert_eq!(up.ready["pops"].as_array().unwrap().len(), 2);
    let outputs: Vec<String> = lines.iter().map(|line| run(line)).collect();
    assert!(outputs[0].contains("fwd="), "{}", outputs[0]);
    assert!(outputs[1].contains("; hit"), "{}", outputs[1]);
    assert!(outputs[2].contains("; hit"), "{}", outputs[2]);
    assert!(outputs[3].contains("fwd="), "{}", outputs[3]);
    let available = |text: &str| {
        let value: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        value["available"].as_u64().unwrap()
    };
    assert_eq!(
        available(&outputs[5]),
        available(&outputs[0]) - 3,
        "{}",
        outputs[5]
    );
    assert_eq!(
        available(&outputs[6]),
        available(&outputs[0]) - 3,
        "{}",
        outputs[6]
    );
    let coherence = outputs[7].to_lowercase();
    assert!(
        coherence.contains("brink-coherence: position="),
        "{coherence}"
    );
    let purged = outputs
        .iter()
        .any(|output| output.contains(r#""status":"ok""#));
    assert!(purged, "{outputs:?}");

    let begun = Instant::now();
    up.signal(Signal::INT);
    let status = up.child.wait().unwrap();
    assert!(
        begun.elapsed() < ends_within,
        "it took {:?}",
        begun.elapsed()
    );
    assert!(status.success(), "{status}");
    assert_eq!(processes(up.folder.path()), Vec::<String>::new());
}

#[test]
fn nothing_outlives_it_even_when_it_is_killed() {
    let _turn = harness::turn();
    let mut up = Up::start();
    assert!(processes(up.folder.path()).len() >= 4);
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    until("everything to end", || {
        processes(up.folder.path()).is_empty().then_some(())
    });
}

#[test]
fn a_program_that_ends_by_itself_ends_the_rest() {
    let _turn = harness::turn();
    let mut up = Up::start();
    let data = up.folder.path().join("data");
    let id = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .into_string()
                .ok()?
                .parse::<i32>()
                .ok()
        })
        .find(|id| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(data.to_str().unwrap()) && line.contains("--pop sfo")
        });
    kill_process(Pid::from_raw(id.unwrap()).unwrap(), Signal::KILL).unwrap();
    let status = until("up to end", || up.child.try_wait().unwrap());
    assert!(!status.success());
    let log = fs::read_to_string(up.folder.path().join("up.log")).unwrap();
    assert!(log.contains("sfo ended unexpectedly"), "{log}");
    assert_eq!(processes(up.folder.path()), Vec::<String>::new());
}
