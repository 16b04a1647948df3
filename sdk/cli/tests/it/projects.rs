//! `new`, `inspect`, `completion`, and what is wrong with command lines and files.

use crate::program::{User, component};
use std::{path::Path, process::Command};

#[test]
fn usage_errors_exit_with_2_and_help_with_0() {
    let user = User::new();
    for line in ["", "fly", "new Hello", "deploy --version x", "purge"] {
        assert!(!user.run(line).fails(2).is_empty(), "{line}");
    }
    assert!(user.run("--help").ok().contains("Exit codes:"));
    assert!(
        user.run("purge --help")
            .ok()
            .contains("brink purge --key sku:4711 --wait")
    );
    assert_eq!(
        user.run("--version").ok(),
        format!("brink {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn without_a_control_url_the_error_names_the_ways() {
    let user = User::new();
    for line in [
        "status",
        "pops",
        "routes",
        "logs",
        "versions a",
        "rollback a",
        "deploy a",
        "purge --all",
        "token list",
    ] {
        let error = user.run(line).fails(2);
        for way in ["--control", "BRINK_CONTROL", "brink login"] {
            assert!(error.contains(way), "{line}: {error}");
        }
    }
    let error = user.run("status --json").fails(2);
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["exit_code"], 2);
}

#[test]
fn a_new_project_is_whole_and_nothing_is_written_over() {
    let user = User::new();
    for (template, file) in [
        ("rust", "src/lib.rs"),
        ("rust-plugin", "src/lib.rs"),
        ("rust-projection", "src/lib.rs"),
        ("rust-workflow", "src/lib.rs"),
        ("js", "src/index.js"),
    ] {
        let name = format!("my-{template}");
        let made = user
            .run(&format!("new {name} --template {template} --json"))
            .json();
        assert_eq!(made["dir"], name.as_str());
        let dir = user.path(&name);
        for file in [file, "brink.toml", ".gitignore"] {
            assert!(dir.join(file).is_file(), "{template}: {file}");
        }
        let text = std::fs::read_to_string(dir.join("brink.toml")).unwrap();
        assert!(text.contains(&format!("name = \"{name}\"")), "{text}");
        assert!(
            user.run(&format!("new {name}"))
                .fails(2)
                .contains("not empty")
        );
    }
    let elsewhere = user.run("new shop --dir deep/down").ok();
    assert!(elsewhere.contains("cd deep/down"), "{elsewhere}");
    assert!(user.path("deep/down/Cargo.toml").is_file());
}

#[test]
fn the_javascript_templates_tests_pass() {
    if Command::new("node").arg("--version").output().is_err() {
        eprintln!("skipped: node is not on PATH");
        return;
    }
    let user = User::new();
    user.run("new greeter --template js").ok();
    let tests = Command::new("node")
        .args(["--test", "test/"])
        .current_dir(user.path("greeter"))
        .output()
        .unwrap();
    assert!(
        tests.status.success(),
        "{}",
        String::from_utf8_lossy(&tests.stdout)
    );
}

#[test]
fn inspect_says_what_a_file_is() {
    let user = User::new();
    user.write("a.wasm", component());
    let inspection = user.run("inspect a.wasm --json").json();
    assert_eq!(inspection["world"], "command");
    assert_eq!(inspection["exports"][0]["name"], "execute");
    assert_eq!(inspection["size_bytes"], component().len());
    assert!(
        inspection["digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert!(
        user.run("inspect a.wasm")
            .ok()
            .starts_with("World          command\n")
    );

    user.write("core.wasm", wat::parse_str("(module)").unwrap());
    user.write("empty.wasm", "");
    user.write("cut.wasm", &component()[..40]);
    for (file, says) in [
        ("core.wasm", "core WebAssembly module"),
        ("empty.wasm", "too short"),
        ("cut.wasm", "not a valid component"),
        (env!("CARGO_BIN_EXE_brink"), "native"),
        ("none.wasm", "No such file"),
        (".", "directory"),
    ] {
        let error = user.run(&format!("inspect {file}")).fails(2);
        assert!(error.contains(says), "{file}: {error}");
    }
}

#[test]
fn completion_for_every_shell() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            user.run(&format!("completion {shell}"))
                .ok()
                .contains("rollback"),
            "{shell}"
        );
    }
}

#[test]
fn wrong_projects_are_named() {
    let user = User::new();
    for line in ["build", "publish", "dev", "deploy"] {
        assert!(user.run(line).fails(2).contains("brink.toml"), "{line}");
    }
    user.write(
        "brink.toml",
        "name = \"a\"\nlanguage = \"rust\"\nnmae = 1\n",
    );
    for line in ["build", "publish", "status"] {
        let error = user.run(line).fails(2);
        assert!(
            error.contains("nmae") && error.contains("brink.toml"),
            "{line}: {error}"
        );
    }
    user.write("brink.toml", "name = \"a\"\nlanguage = \"rust\"\n");
    assert!(
        user.run("build")
            .fails(2)
            .contains("Cargo.toml does not exist")
    );
    assert!(
        user.run("publish")
            .fails(2)
            .contains("`brink build` makes it")
    );
    user.write("brink.toml", "name = \"a\"\nlanguage = \"javascript\"\n");
    assert!(
        user.run("build")
            .fails(2)
            .contains("package.json does not exist")
    );
}

#[test]
fn dev_needs_its_programs_and_a_component() {
    let user = User::new()
        .with("PATH", "/nonexistent")
        .with("BRINK_BIN_DIR", "/nonexistent");
    user.write("a.wasm", component());
    user.write("b.wasm", "no");
    assert!(user.run("dev b.wasm").fails(2).contains("too short"));
    let beside = Path::new(env!("CARGO_BIN_EXE_brink")).with_file_name("brink-edge");
    if !beside.is_file() {
        assert!(user.run("dev a.wasm").fails(2).contains("brink-edge"));
    }
}
