//! Each rule is broken on a tiny made-up tree, and the rule says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use std::fs;

/// A tree of these files; `src` folders get the `Cargo.toml` that makes them crates.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let tree = Tree::read(root.path()).unwrap();
    (root, tree)
}

fn messages(files: &[(&str, &str)]) -> Vec<String> {
    let (_root, tree) = tree(files);
    check_files(&tree).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn holds(files: &[(&str, &str)]) {
    assert_eq!(messages(files), Vec::<String>::new());
}

#[track_caller]
fn breaks(files: &[(&str, &str)], expected: &str) {
    let messages = messages(files);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains(expected), "{messages:?}");
}

#[test]
fn top_level() {
    holds(&[
        ("README.md", ""),
        (".gitignore", ""),
        ("docs/a.md", ""),
        ("deploy/k8s/a.yaml", ""),
    ]);
    breaks(
        &[("scripts/build.sh", "")],
        "scripts: is not one of the rooms",
    );
    breaks(&[("NOTES.md", "")], "NOTES.md: is not one of the rooms");
}

#[test]
fn headings() {
    holds(&[("sdk/a.rs", "//! What it is for.\n")]);
    breaks(
        &[("sdk/a.rs", "use std::fmt;\n")],
        "sdk/a.rs:1: begins without `//!`",
    );
    breaks(&[("sdk/a.rs", "")], "begins without `//!`");
}

#[test]
fn lengths() {
    let long = |lines: usize| "//! Long.\n".repeat(lines);
    holds(&[("sdk/a.rs", &long(500))]);
    breaks(
        &[("sdk/a.rs", &long(501))],
        "sdk/a.rs: has 501 lines without its tests",
    );
    holds(&[
        ("sdk/tests.rs", &long(900)),
        ("sdk/tests/it/main.rs", &long(900)),
    ]);
    let tests = format!(
        "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
        long(499),
        "fn f() {}\n".repeat(100)
    );
    holds(&[("sdk/a.rs", &tests)]);
    let declared = [
        ("sdk/a.rs", "//! A.\n#[cfg(test)]\nmod contract;\n"),
        ("sdk/a/contract.rs", &*long(900)),
    ];
    holds(&declared);
    breaks(
        &[("sdk/a.rs", "//! A.\nmod contract;\n"), declared[1]],
        "contract.rs: has 900 lines",
    );
    let no_tests = format!(
        "{}#[cfg(unix)]\nmod more {{\n{}}}\n",
        long(499),
        "fn f() {}\n".repeat(100)
    );
    breaks(&[("sdk/a.rs", &no_tests)], "has 602 lines");
}

#[test]
fn machines() {
    let path = concat!("see /ho", "me/somebody/notes");
    breaks(&[("docs/a.md", path)], "docs/a.md:1: names");
    let lock = "[[package]]\nsource = \"registry+https://mirror.example/index\"\n";
    breaks(
        &[("Cargo.lock", lock)],
        "Cargo.lock:2: a package locked to a source",
    );
    let lock = "[[package]]\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
    holds(&[("Cargo.lock", lock)]);
    let lock = "  \"resolved\": \"https://mirror.example/a.tgz\",\n";
    breaks(
        &[("sdk/js/package-lock.json", lock)],
        "not the public registry",
    );
}

#[test]
fn unsafe_code() {
    let source = "//! A.\nfn f() { unsafe { g() } }\n";
    breaks(&[("sdk/a.rs", source)], "sdk/a.rs:2: unsafe code");
    holds(&[
        ("sdk/a.rs", source),
        ("docs/decisions/0009-a.md", "In `sdk/a.rs`, because ..."),
    ]);
    holds(&[(
        "sdk/a.rs",
        "//! unsafe is a word.\n#![forbid(unsafe_code)]\n// unsafe\nconst A: &str = \"unsafe\";\n",
    )]);
}

#[test]
fn pure_sources() {
    let file = "edge-runtime/policy/src/lease.rs";
    for (source, word) in [
        ("fn f() -> Instant { Instant::now() }", "Instant::now"),
        (
            "fn f() -> SystemTime { std::time::SystemTime::now() }",
            "SystemTime::now",
        ),
        ("use std::fs;", "std::fs"),
        ("use tokio::time;", "tokio"),
        ("fn f() { tracing::info!(\"a\") }", "tracing"),
        ("fn f() { std::thread::yield_now() }", "std::thread"),
    ] {
        let source = format!("//! A.\n{source}\n");
        breaks(
            &[(file, &source)],
            &format!("lease.rs:2: brink-policy is pure: no `{word}`"),
        );
        holds(&[("edge-runtime/src/lease.rs", &source)]);
        let test = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{source}}}\n");
        holds(&[(file, &test)]);
    }
    holds(&[(
        file,
        "//! tokio and std::fs are only named.\nuse std::time::Duration;\n// Instant::now\n",
    )]);
}

#[test]
fn circles() {
    let manifest = ("sdk/Cargo.toml", "");
    let library = (
        "sdk/src/lib.rs",
        "//! A.\npub mod a;\npub mod b;\npub use a::A;\n",
    );
    let a = ("sdk/src/a.rs", "//! A.\nuse crate::b::B;\npub struct A;\n");
    let circle = "import each other in a circle: sdk/src/a.rs, sdk/src/b.rs";
    holds(&[
        manifest,
        library,
        a,
        ("sdk/src/b.rs", "//! B.\nuse crate::Error;\npub struct B;\n"),
    ]);
    for b in [
        "use crate::a::A;",
        "use crate::{Error, a::{A, C}};",
        "use super::a::A;",
        "use super::{Error, a};\nfn f() { a::g() }",
        "fn f() { crate::a::g() }",
        "use self::super::a::A as B;",
    ] {
        // `use super::{.., a}` names the module itself.
        breaks(
            &[
                manifest,
                library,
                a,
                ("sdk/src/b.rs", &format!("//! B.\n{b}\n")),
            ],
            circle,
        );
    }
    for b in [
        "// use crate::a::A;",
        "const B: &str = \"crate::a::A\";",
        "#[cfg(test)]\nmod tests {\n use crate::a::A;\n}",
        "use other::a::A;",
    ] {
        holds(&[
            manifest,
            library,
            a,
            ("sdk/src/b.rs", &format!("//! B.\n{b}\n")),
        ]);
    }
}

#[test]
fn circles_of_parents_and_children() {
    let manifest = ("sdk/Cargo.toml", "");
    let library = ("sdk/src/lib.rs", "//! A.\npub mod a;\npub mod c;\n");
    let child = ("sdk/src/a/b.rs", "//! B.\nuse super::A;\n");
    let child_uses_c = ("sdk/src/a/b.rs", "//! B.\nuse crate::c::C;\n");
    let uses_child = ("sdk/src/a.rs", "//! A.\nmod b;\nuse b::B;\npub struct A;\n");
    let hands_on = (
        "sdk/src/a.rs",
        "//! A.\nmod b;\npub use b::B;\npub struct A;\n",
    );
    let uses_a = ("sdk/src/c.rs", "//! C.\nuse crate::a::A;\n");
    holds(&[manifest, library, uses_child, child, uses_a]);
    holds(&[manifest, library, hands_on, child_uses_c, uses_a]);
    breaks(
        &[manifest, library, uses_child, child_uses_c, uses_a],
        "in a circle: sdk/src/a.rs, sdk/src/a/b.rs, sdk/src/c.rs",
    );
}

/// A crate and where it lies; nowhere: it is not ours.
type Import = (&'static str, &'static str);

/// What `cargo metadata` prints for packages of ours with these dependencies.
fn metadata(packages: &[(&str, &str, &[Import])]) -> String {
    let packages: Vec<_> = packages
        .iter()
        .map(|(name, folder, dependencies)| {
            let dependencies: Vec<_> = dependencies
                .iter()
                .map(|(name, folder)| match *folder {
                    "" => serde_json::json!({"name": name, "kind": null}),
                    folder => serde_json::json!({"name": name, "kind": null, "path": format!("/r/{folder}")}),
                })
                .collect();
            serde_json::json!({
                "name": name, "id": name, "source": null,
                "manifest_path": format!("/r/{folder}/Cargo.toml"),
                "dependencies": dependencies,
            })
        })
        .collect();
    serde_json::json!({"workspace_root": "/r", "packages": packages, "resolve": {"nodes": []}})
        .to_string()
}

fn metadata_messages(text: &str) -> Vec<String> {
    check_metadata(text)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn import_table() {
    let protocol = ("brink-protocol", "regional-core/protocol");
    let policy = ("brink-policy", "edge-runtime/policy");
    let edge = ("brink-edge", "edge-runtime");
    let allowed = metadata(&[
        (policy.0, policy.1, &[protocol, ("http", "")]),
        (edge.0, edge.1, &[protocol, policy, ("tokio", "")]),
        ("xtask", "deploy/xtask", &[edge, policy]),
    ]);
    assert_eq!(metadata_messages(&allowed), Vec::<String>::new());
    for (package, import) in [
        (("brink-cli", "sdk/cli"), policy),
        (("brink-core", "regional-core"), edge),
        (("brink-sandbox", "edge-runtime/sandbox"), policy),
        (("brink-listener", "edge-runtime/listener"), protocol),
    ] {
        let text = metadata(&[(package.0, package.1, &[import])]);
        let expected = format!(
            "{}/Cargo.toml: {} imports {}: the import table does not allow it",
            package.1, package.0, import.0
        );
        assert_eq!(metadata_messages(&text), [expected]);
    }
    let unknown = metadata(&[("brink-new", "edge-runtime/new", &[])]);
    assert_eq!(
        metadata_messages(&unknown),
        ["edge-runtime/new/Cargo.toml: brink-new is not in the import table"]
    );
}

#[test]
fn guests_import_the_sdk_alone() {
    let guest = |import| metadata(&[("orders", "modules/orders", &[import])]);
    assert_eq!(
        metadata_messages(&guest(("brink-sdk", "sdk/rust"))),
        Vec::<String>::new()
    );
    assert_eq!(
        metadata_messages(&guest(("stock", "modules/stock"))),
        Vec::<String>::new()
    );
    assert_eq!(
        metadata_messages(&guest(("brink-protocol", "regional-core/protocol"))).len(),
        1
    );
}

#[test]
fn pure_manifests() {
    let policy = |import| metadata(&[("brink-policy", "edge-runtime/policy", &[(import, "")])]);
    assert_eq!(metadata_messages(&policy("httpdate")), Vec::<String>::new());
    assert_eq!(
        metadata_messages(&policy("tokio")),
        ["edge-runtime/policy/Cargo.toml: brink-policy is pure and must not import tokio"]
    );
}

#[test]
fn pure_behind_an_allowed_crate() {
    let edge = |to| serde_json::json!({"pkg": to, "dep_kinds": [{"kind": null}]});
    let text = serde_json::json!({
        "workspace_root": "/r",
        "packages": [
            {"name": "brink-policy", "id": "p", "source": null, "manifest_path": "/r/edge-runtime/policy/Cargo.toml",
             "dependencies": [{"name": "http", "kind": null}]},
            {"name": "http", "id": "h", "source": "registry"},
            {"name": "tokio", "id": "t", "source": "registry"},
        ],
        "resolve": {"nodes": [{"id": "p", "deps": [edge("h")]}, {"id": "h", "deps": [edge("t")]}]},
    });
    assert_eq!(
        metadata_messages(&text.to_string()),
        [
            "edge-runtime/policy/Cargo.toml: brink-policy is pure, but a crate that it imports brings in tokio"
        ]
    );
}

#[test]
fn this_repository() {
    let root = crate::repository_root();
    run(&root).unwrap();
}
