//! Compiled components on disk: used when they are ours, and never otherwise.

use crate::{
    guest,
    host::{ask, load, with},
};
use brink_sandbox::{Component, Config, Error, Limits, Sandbox};
use bytes::Bytes;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

fn sandbox(dir: &Path) -> Sandbox {
    with(Config {
        cache_dir: Some(dir.to_owned()),
        instances_max: 4,
        ..Config::default()
    })
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    files.sort();
    files
}

/// Loads in a new sandbox; whether the bytes were asked for, that is, whether it was compiled.
async fn compiles(dir: &Path, bytes: &Bytes) -> (Component, bool) {
    let asked = AtomicUsize::new(0);
    let given = bytes.clone();
    let component = sandbox(dir)
        .load(&guest::digest(bytes), || async {
            asked.fetch_add(1, SeqCst);
            Ok(given)
        })
        .await
        .unwrap();
    (component, asked.load(SeqCst) > 0)
}

fn saying(text: &str) -> Bytes {
    guest::module(&format!(
        r#"(call $answer (local.get $out) (i32.const 200) @"{text}")"#
    ))
}

async fn check(component: &Component, text: &str) {
    let answer = ask(component, &Limits::default()).await.unwrap();
    assert_eq!(answer.body, text);
}

#[tokio::test]
async fn survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("cwasm");
    let hello = saying("hello");
    for expected in [true, false, false] {
        let (component, compiled) = compiles(dir, &hello).await;
        assert_eq!(compiled, expected);
        check(&component, "hello").await;
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir), 0o700);
    let code = files(dir, ".cwasm");
    assert_eq!(code.len(), 1);
    assert_eq!(mode(&code[0]), 0o600);
    assert_eq!(mode(&dir.join("key")), 0o600);
    assert_eq!(
        fs::read_dir(dir).unwrap().count(),
        2,
        "nothing temporary is left"
    );
}

#[tokio::test]
async fn commands_and_plugins_too() {
    let dir = tempfile::tempdir().unwrap();
    let command = guest::command("unreachable");
    for expected in [true, false] {
        let (component, compiled) = compiles(dir.path(), &command).await;
        assert_eq!(compiled, expected);
        assert_eq!(component.world(), brink_sandbox::World::Command);
    }
}

#[tokio::test]
async fn what_was_changed_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hello = saying("hello");
    compiles(dir, &hello).await;
    let path = files(dir, ".cwasm").remove(0);
    let good = fs::read(&path).unwrap();
    let last = good.len() - 1;
    // Magic, MAC, first and last of the code, one in between.
    for at in [0, 7, 8, 39, 40, good.len() / 2, last] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let (component, compiled) = compiles(dir, &hello).await;
        assert!(compiled, "byte {at}");
        check(&component, "hello").await;
        assert_eq!(fs::read(&path).unwrap().len(), good.len(), "written anew");
    }
    for bad in [&good[..last], &good[..20], b"", &[&good[..], b"x"].concat()] {
        fs::write(&path, bad).unwrap();
        assert!(compiles(dir, &hello).await.1, "{} bytes", bad.len());
    }
}

#[tokio::test]
async fn what_is_another_components_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (hello, other) = (saying("hello"), saying("other"));
    compiles(dir, &hello).await;
    let of_hello = files(dir, ".cwasm").remove(0);
    compiles(dir, &other).await;
    let of_other = files(dir, ".cwasm");
    let of_other = of_other.iter().find(|path| **path != of_hello).unwrap();
    fs::copy(of_other, &of_hello).unwrap();
    let (component, compiled) = compiles(dir, &hello).await;
    assert!(compiled);
    check(&component, "hello").await;
}

#[tokio::test]
async fn what_was_written_under_another_key_is_not_run() {
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hello = saying("hello");
    compiles(theirs.path(), &hello).await;
    let theirs = files(theirs.path(), ".cwasm").remove(0);
    sandbox(mine.path());
    let mine_file = mine.path().join(theirs.file_name().unwrap());
    fs::copy(&theirs, &mine_file).unwrap();
    assert!(compiles(mine.path(), &hello).await.1);

    // A key that is damaged is replaced, and what it signed is compiled anew.
    assert!(!compiles(mine.path(), &hello).await.1);
    fs::write(mine.path().join("key"), b"short").unwrap();
    assert!(compiles(mine.path(), &hello).await.1);
    assert!(!compiles(mine.path(), &hello).await.1);
}

#[test]
fn a_directory_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Sandbox::new(Config {
        cache_dir: Some(file.join("cwasm")),
        ..Config::default()
    })
    .unwrap_err();
    assert!(matches!(error, Error::Cache { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_at_a_time_compile_once() {
    let sandbox = with(Config {
        instances_max: 4,
        ..Config::default()
    });
    let hello = saying("hello");
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let loads: Vec<_> = (0..16)
        .map(|_| {
            let (sandbox, hello, asked) = (sandbox.clone(), hello.clone(), asked.clone());
            tokio::spawn(async move {
                let digest = guest::digest(&hello);
                let bytes = || async move {
                    asked.fetch_add(1, SeqCst);
                    Ok(hello)
                };
                sandbox.load(&digest, bytes).await.unwrap()
            })
        })
        .collect();
    let mut components = Vec::new();
    for load in loads {
        components.push(load.await.unwrap());
    }
    assert_eq!(asked.load(SeqCst), 1);
    check(&components[7], "hello").await;
    // When nobody uses the code any more, it goes.
    drop(components);
    load(&sandbox, &hello).await;
    assert_eq!(asked.load(SeqCst), 1, "this load has bytes of its own");
}
