//! A core and three PoPs behind a wide-area network that fails, held to the promises of coherence by what clients saw.
//!
//! The network is made of namespaces where they are permitted, of relays on loopback otherwise; each test says which.

use crate::harness::{binaries, guest, launcher, turn};
use std::time::Duration;
use xtask::{
    chaos::{Report, Run, Tools},
    step::Steps,
};

/// A run in a folder of its own, with the platform's own programs.
fn run(seed: u64, change: impl FnOnce(&mut Run)) -> Report {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let launcher = launcher();
    let programs = launcher.parent().unwrap();
    let mut run = Run {
        binaries: binaries(),
        tools: Tools::in_folder(programs).unwrap_or_else(|error| panic!("{error:#}")),
        guests: guest("register").parent().unwrap().to_owned(),
        folder: folder.path().to_owned(),
        seed,
        lasts: Duration::from_secs(50),
        loss_percent: 0,
        sessions: 4,
        calm: false,
        relays: false,
        lease_ms: None,
        launcher,
    };
    change(&mut run);
    let report = match run.go(&Steps::default()) {
        Ok(report) => report,
        Err(error) => {
            let kept = folder.keep();
            panic!("{error:#}; seed {seed}, {}", kept.display());
        }
    };
    println!("seed {seed}\n{}", report.text());
    report
}

fn count(report: &Report, name: &str) -> u64 {
    report.result["counts"][name].as_u64().unwrap_or(0)
}

/// What makes a run worth its time.
#[track_caller]
fn assert_busy(report: &Report) {
    for name in [
        "writes acknowledged",
        "orders placed",
        "reads from the cache",
        "reads with a session token",
        "purges proven at a PoP",
    ] {
        assert!(count(report, name) > 0, "{name}: {}", report.result);
    }
}

#[test]
fn promises_hold_while_links_are_cut_and_processes_killed() {
    let report = run(41, |_| {});
    assert_eq!(report.violations(), 0, "{}", report.text());
    assert_busy(&report);
    assert!(
        report.faults.values().sum::<u64>() > 5,
        "{:?}",
        report.faults
    );
}

#[test]
fn promises_hold_over_relays() {
    let report = run(43, |run| {
        run.relays = true;
        run.lasts = Duration::from_secs(20);
    });
    assert_eq!(report.kind, "relays");
    assert_eq!(report.violations(), 0, "{}", report.text());
    assert_busy(&report);
}

/// A PoP that may call entries fresh for a minute breaks the bound of two seconds: whoever checks must see it.
#[test]
fn a_lease_that_is_too_long_is_found() {
    let report = run(42, |run| {
        run.lease_ms = Some(60_000);
        run.lasts = Duration::from_secs(40);
    });
    assert!(report.violations() > 0, "nobody noticed: {}", report.text());
    let told = report.result["told"].to_string();
    assert!(told.contains("P2"), "{told}");
}
