//! `brink build`, with the real toolchain.

use crate::program::{User, component};
use std::process::Command;

/// Shared by the runs of this test, so that dependencies compile once.
const TARGET_DIR: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/guests");

#[test]
fn a_new_rust_project_builds_and_its_tests_pass() {
    let user = User::new().with("CARGO_TARGET_DIR", TARGET_DIR);
    user.run("new my-shop").ok();
    let dir = user.path("my-shop");
    let built = user.run_in(&["build", "--json"], &dir).json();
    assert_eq!(
        (built["name"].as_str(), built["world"].as_str()),
        (Some("my-shop"), Some("module"))
    );
    let file = dir.join("target/brink/my-shop.wasm");
    let inspection = user
        .run_in(&["inspect", "--json", file.to_str().unwrap()], &dir)
        .json();
    assert_eq!(inspection["digest"], built["digest"]);
    let imports: Vec<_> = inspection["imports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|import| import["name"].as_str().unwrap())
        .collect();
    assert!(
        imports.contains(&"brink:platform/records@0.1.0"),
        "{imports:?}"
    );
    assert!(
        !imports
            .iter()
            .any(|name| name.starts_with("wasi:cli") || name.starts_with("wasi:clocks")),
        "{imports:?}"
    );

    // The same sources make the same bytes.
    let again = user.run_in(&["build", "--json", "--release"], &dir).json();
    assert_eq!(again["digest"], built["digest"]);

    let tests = Command::new("cargo")
        .arg("test")
        .current_dir(&dir)
        .env("CARGO_TARGET_DIR", TARGET_DIR)
        .output()
        .unwrap();
    assert!(
        tests.status.success(),
        "{}",
        String::from_utf8_lossy(&tests.stderr)
    );

    // A mistake is cargo's to tell, and the last component stays.
    user.write("my-shop/src/lib.rs", "fn");
    let failed = user.run_in(&["build"], &dir).fails(1);
    assert!(
        failed.contains("error") && failed.contains("cargo build failed"),
        "{failed}"
    );
    assert!(file.is_file());
}

#[test]
fn packages_of_a_workspace_and_libraries_that_are_none() {
    let user = User::new().with("CARGO_TARGET_DIR", TARGET_DIR);
    user.write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"plain\", \"bare\"]\n",
    );
    let manifest = |name: &str, kind: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"{kind}\"]\n"
        )
    };
    user.write("plain/Cargo.toml", manifest("plain", "rlib"));
    user.write("plain/src/lib.rs", "");
    user.write("bare/Cargo.toml", manifest("bare", "cdylib"));
    user.write(
        "bare/src/lib.rs",
        "#[unsafe(no_mangle)]\npub extern \"C\" fn one() -> u32 { 1 }\n",
    );
    let error = user
        .run("build --manifest-path Cargo.toml --package plain --out out")
        .fails(1);
    assert!(error.contains("crate-type = [\"cdylib\"]"), "{error}");
    let error = user
        .run("build --manifest-path Cargo.toml --package bare --out out")
        .fails(1);
    assert!(
        error.contains("Brink runs components that export"),
        "{error}"
    );
    assert!(!user.path("out/bare.wasm").exists());
    assert!(
        user.run("build --manifest-path none/Cargo.toml")
            .fails(2)
            .contains("does not exist")
    );
}

#[test]
fn javascript_is_built_by_npm() {
    if Command::new("npm").arg("--version").output().is_err() {
        eprintln!("skipped: npm is not on PATH");
        return;
    }
    let user = User::new();
    user.write(
        "brink.toml",
        "name = \"js\"\nlanguage = \"javascript\"\noutput = \"made.wasm\"\n",
    );
    user.write(
        "package.json",
        r#"{ "name": "js", "private": true, "scripts": { "build": "cp source.wasm made.wasm" } }"#,
    );
    user.write("node_modules/.keep", "");
    assert!(user.run("build").fails(1).contains("npm run build failed"));
    user.write("source.wasm", component());
    assert_eq!(user.run("build --json").json()["world"], "command");
    assert_eq!(
        std::fs::read(user.path("target/brink/js.wasm")).unwrap(),
        component()
    );
    user.write(
        "package.json",
        r#"{ "name": "js", "private": true, "scripts": { "build": "rm made.wasm" } }"#,
    );
    assert!(user.run("build").fails(1).contains("output = \"PATH\""));
}
