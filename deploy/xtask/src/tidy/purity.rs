//! The purity list: crates that decide and do not act. No runtime, sockets, files, clocks, chance or logging.

use super::{
    Finding, Tree,
    lexer::{find_words, line_of, mask, without_tests},
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Pure crates and where they live.
const PURE: [(&str, &str); 2] = [
    ("brink-protocol", "regional-core/protocol/src"),
    ("brink-policy", "edge-runtime/policy/src"),
];
/// What a pure crate may name in its manifest.
const ALLOWED: [&str; 15] = [
    "brink-protocol",
    "base64",
    "bytes",
    "http",
    "hmac",
    "httpdate",
    "postcard",
    "rustc-hash",
    "serde",
    "serde_json",
    "sfv",
    "sha2",
    "thiserror",
    "ulid",
    "utoipa",
];
/// What must not come in behind an allowed crate either.
const IMPURE: [&str; 14] = [
    "async-std",
    "chrono",
    "getrandom",
    "hyper",
    "log",
    "mio",
    "quinn",
    "rand",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tracing",
    "wasmtime",
];
/// What the source of a pure crate must not say.
const WORDS: [&str; 17] = [
    "Instant::now",
    "SystemTime::now",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "thread_local",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "tokio",
    "tracing",
    "getrandom",
    "println",
    "eprintln",
    "dbg",
];

/// Manifests: only allowed crates, and nothing impure behind them.
pub(super) fn check_dependencies(metadata: &Value) -> Result<Vec<Finding>> {
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let mut findings = Vec::new();
    for (name, source) in PURE {
        let Some(package) = packages.iter().find(|package| package["name"] == name) else {
            continue;
        };
        let manifest = source.replace("/src", "/Cargo.toml");
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let imported = dependency["name"].as_str().unwrap_or_default();
            if dependency["kind"] != "dev" && !ALLOWED.contains(&imported) {
                let message = format!("{name} is pure and must not import {imported}");
                findings.push(Finding::new(&manifest, 0, message));
            }
        }
        let id = package["id"].as_str().unwrap_or_default();
        for behind in reachable(metadata, id) {
            if IMPURE.contains(&behind.as_str()) {
                let message =
                    format!("{name} is pure, but a crate that it imports brings in {behind}");
                findings.push(Finding::new(&manifest, 0, message));
            }
        }
    }
    Ok(findings)
}

/// Names of all packages that the package `id` needs, tests and build scripts apart.
fn reachable(metadata: &Value, id: &str) -> BTreeSet<String> {
    let nodes: BTreeMap<&str, &Value> = metadata
        .pointer("/resolve/nodes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        let Some(node) = nodes.get(id) else {
            continue;
        };
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let mut kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            let normal = kinds.any(|kind| kind["kind"].is_null());
            let Some(next) = dependency["pkg"].as_str().filter(|_| normal) else {
                continue;
            };
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    seen.iter()
        .filter_map(|id| names.get(id))
        .map(|name| (*name).to_owned())
        .collect()
}

/// Sources: no clocks, files, sockets, threads, chance or logging, tests apart.
pub(super) fn check_sources(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in tree.rust().filter(|path| !tree.is_test(path)) {
        let Some((name, _)) = PURE.iter().find(|(_, source)| path.starts_with(source)) else {
            continue;
        };
        let Some(text) = tree.text(path) else {
            continue;
        };
        let (text, _) = without_tests(&mask(&text));
        let chars: Vec<char> = text.chars().collect();
        for word in WORDS {
            for at in find_words(&chars, word) {
                let message =
                    format!("{name} is pure: no `{word}`; take what it gives as an argument");
                findings.push(Finding::new(path, line_of(&chars, at), message));
            }
        }
    }
    findings
}
