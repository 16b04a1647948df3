//! The program itself, on real stores.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brink-history"));
    let output = command.arg("run").args(arguments).output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output, said)
}

fn holds(arguments: &[&str]) {
    let (output, said) = run(arguments);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(": 0 violations, 0 undecided"), "{said}");
    assert!(said.contains("entries: 0 faults"), "{said}");
}

#[test]
fn the_embedded_store_is_linearizable() {
    holds(&["--operations", "4000", "--seed", "1"]);
}

/// The node is left alone: that it comes back takes too long here.
#[test]
fn the_store_on_cql_is_linearizable() {
    holds(&[
        "--operations",
        "800",
        "--seed",
        "1",
        "--store",
        "cql",
        "--calm-nodes",
    ]);
}

/// Nodes and clients in namespaces, which are cut off from each other and killed: where namespaces can be made.
#[test]
fn the_store_on_cql_is_linearizable_though_it_is_cut_off() {
    let probe = Command::new("unshare")
        .args(["--net", "--mount", "true"])
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        println!("network namespaces cannot be made here: as root they can");
        return;
    }
    holds(&[
        "--operations",
        "4000",
        "--seed",
        "1",
        "--store",
        "cql",
        "--nodes",
        "3",
        "--cuts",
        "--calm-ms",
        "1000",
    ]);
}

#[test]
fn broken_stores_are_noticed() {
    let (output, said) = run(&["--operations", "2000", "--seed", "1", "--broken"]);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("NOT noticed"), "{said}");
    assert_eq!(said.matches(" noticed in ").count(), 5, "{said}");
}
