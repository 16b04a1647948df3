//! The program: JSON lines in, JSON lines out.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brink-wan"));
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn a_conversation() {
    let mut child = start(&["--relays"]);
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut ask = |line: &str| -> Value {
        writeln!(input, "{line}").unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    let ready = ask(r#"{"seed": 7, "nodes": [{"name": "a"}, {"name": "b"}]}"#);
    assert_eq!(ready["ready"]["kind"], "relays");
    assert_eq!(ready["ready"]["nodes"][0]["reaches"]["b"], "127.77.1.2");
    for (order, expected) in [
        (r#"{"cut": {"from": "a", "to": "b"}}"#, ""),
        (r#"{"heal": {"from": "a", "to": "b", "both": true}}"#, ""),
        (
            r#"{"set": {"from": "a", "to": "b", "path": {"loss": 0.5}}}"#,
            "",
        ),
        (
            r#"{"set": {"from": "a", "to": "b", "path": {"loss": 5}}}"#,
            "0 to 1",
        ),
        (r#"{"cut": {"from": "a", "to": "x"}}"#, "no node x"),
        (r#"{"explode": {}}"#, "unknown variant"),
        ("no JSON", "expected"),
    ] {
        let answer = ask(order);
        if expected.is_empty() {
            assert_eq!(answer["counts"]["offered"], json!(0), "{order}: {answer}");
        } else {
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(error.contains(expected), "{order}: {answer}");
        }
    }
    drop(input);
    assert!(child.wait().unwrap().success(), "it ends with its input");
}

#[test]
fn bad_beginnings() {
    for (arguments, first) in [
        (&["--other"][..], ""),
        (&[], "no JSON\n"),
        (&[], r#"{"seed": 1, "nodes": []}"#),
    ] {
        let mut child = start(arguments);
        let _ = child.stdin.take().unwrap().write_all(first.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success(), "{first}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn nothing_is_left_behind() {
    let mut child = start(&[]);
    let mut input = child.stdin.take().unwrap();
    writeln!(input, r#"{{"seed": 7, "nodes": [{{"name": "a"}}]}}"#).unwrap();
    let mut answer = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut answer)
        .unwrap();
    let ready: Value = serde_json::from_str(&answer).unwrap();
    let enter = ready["ready"]["nodes"][0]["enter"].as_array().unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    match enter.last() {
        Some(name) => {
            let name = std::path::Path::new("/run/netns").join(name.as_str().unwrap());
            assert!(!name.exists(), "{}", name.display());
        }
        None => eprintln!("namespaces are not permitted here: relays leave nothing anyway"),
    }
}
