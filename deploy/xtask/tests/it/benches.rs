//! `bench core` in small: that it measures what it says. Its figures here mean nothing.

use crate::harness::{binaries, launcher, turn};
use std::process::Command;

/// Runs it with tiny counts and more arguments.
fn bench(arguments: &[&str]) -> String {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let programs = launcher().parent().unwrap().to_owned();
    let mut command = Command::new(programs.join("brink-bench"));
    command.arg("core").arg("--core").arg(binaries().core);
    command.arg("--directory").arg(folder.path());
    for (name, value) in [
        ("--seconds", "0.2"),
        ("--rounds", "1"),
        ("--records", "200"),
        ("--readers", "2"),
        ("--writers", "4"),
        ("--at-once", "2"),
    ] {
        command.args([name, value]);
    }
    let output = command.args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{said}");
    said
}

#[track_caller]
fn has_lines(said: &str, lines: &[&str]) {
    for line in lines {
        let found = said.lines().find(|said| said.starts_with(line));
        let found = found.unwrap_or_else(|| panic!("no {line:?} in\n{said}"));
        assert!(!found.contains("NaN"), "{found}");
    }
}

#[test]
fn records_are_measured_in_process_and_through_links() {
    let said = bench(&["--parts", "embedded,link"]);
    has_lines(
        &said,
        &[
            "| get | 2 |",
            "| conditional put, durable | 4 |",
            "| get, HTTP/2 | 2 |",
            "| conditional put, HTTP/3 | 2 |",
        ],
    );
}

#[test]
fn a_core_on_an_engine_is_measured_beside_the_bare_driver() {
    let engine = brink_engines::shared().unwrap().to_string();
    let said = bench(&[
        "--parts",
        "engine",
        "--engine",
        &engine,
        "--transports",
        "http2",
    ]);
    has_lines(
        &said,
        &[
            "| get, bare driver | 2 |",
            "| get, HTTP/2 | 2 |",
            "| conditional put, bare driver | 2 |",
            "| conditional put, HTTP/2 | 2 |",
        ],
    );
}
