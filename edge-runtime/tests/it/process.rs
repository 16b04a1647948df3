//! The program itself.

use crate::{
    guest,
    harness::{eventually, within},
};
use std::{path::Path, process::Stdio};
use tokio::process::{Child, Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_brink-edge");

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn ready(file: &Path) -> serde_json::Value {
    eventually(async || serde_json::from_slice(&std::fs::read(file).ok()?).ok()).await
}

fn terminate(child: &Child) {
    let id = child.id().unwrap().to_string();
    assert!(
        std::process::Command::new("kill")
            .arg(&id)
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn serves_a_component_until_it_is_told_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (component, file) = (dir.path().join("app.wasm"), dir.path().join("ready.json"));
    let body = r#"(call $answer (local.get $out) (i32.const 200) @"hello")"#;
    std::fs::write(&component, guest::module(body)).unwrap();
    let arguments = [
        "serve",
        component.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--ready-file",
        file.to_str().unwrap(),
    ];
    let child = program(&arguments).spawn().unwrap();
    let addresses = ready(&file).await;
    let url = addresses["url"].as_str().unwrap();
    let got = Command::new("curl")
        .args(["-sS", url])
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8(got.stdout).unwrap(), "hello");
    let metrics = format!("{}/metrics", addresses["admin"].as_str().unwrap());
    let got = Command::new("curl")
        .args(["-sS", &metrics])
        .output()
        .await
        .unwrap();
    let metrics = String::from_utf8(got.stdout).unwrap();
    let counted = r#"brink_requests_total{route="*/",status="2xx"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    terminate(&child);
    let output = within(child.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn says_what_is_wrong_and_how_to_mend_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("edge.toml");
    std::fs::write(
        &config,
        "pop = 'A'\ncolour = 1\n[cache]\nmemory_bytes_max = 'x'\n",
    )
    .unwrap();
    for (arguments, texts) in [
        (
            vec!["run", "--config", config.to_str().unwrap()],
            vec![
                "colour: unknown field",
                "cache.memory_bytes_max: invalid type",
            ],
        ),
        (
            vec!["run", "--pop", "A"],
            vec!["pop: ", "core.address", "core.identity"],
        ),
        (
            vec!["serve", "/nonexistent.wasm"],
            vec!["could not read /nonexistent.wasm"],
        ),
        (
            vec!["run", "--config", "/nonexistent.toml"],
            vec!["could not read"],
        ),
    ] {
        let output = within(program(&arguments).output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        for text in texts {
            assert!(said.contains(text), "{arguments:?}: {said}");
        }
    }
}
