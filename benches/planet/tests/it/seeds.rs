//! Seeds.
#![allow(clippy::unwrap_used, clippy::panic)]

use brink_planet::{Mutation, Scenario, run, trace};

#[test]
fn small_runs_keep_every_promise() {
    let from: u64 = std::env::var("FROM")
        .ok()
        .and_then(|t| t.parse().ok())
        .unwrap_or(0);
    let n: u64 = std::env::var("N")
        .ok()
        .and_then(|t| t.parse().ok())
        .unwrap_or(40);
    let m = std::env::var("MUT").ok().map(|t| t.parse().unwrap());
    for seed in from..from + n {
        let t = std::time::Instant::now();
        let outcome = run(Scenario::small(seed), m).unwrap();
        let f = &outcome.figures;
        println!(
            "{seed}: {:?} cores {} pops {} events {} reads {} hits {} stale {} err {} writes {} purges {} faults {} fenced {} behind {} resets {} takeovers {} audit {}/{}/{} viol {}",
            t.elapsed(),
            outcome.scenario.cores,
            outcome.scenario.pops,
            outcome.history.len(),
            f.reads,
            f.hits,
            f.stale,
            f.errors,
            f.writes,
            f.purges,
            f.faults,
            f.fenced,
            f.read_behind,
            f.resets,
            f.takeovers,
            f.applied,
            f.quarantined,
            f.neither,
            outcome.violations.len()
        );
        if let Some(v) = outcome.violations.first() {
            println!("{v}\n{}", trace(&outcome.history, v));
        }
        assert!(outcome.violations.is_empty() || m.is_some(), "seed {seed}");
    }
}

/// A run of which PoPs have shields between them and the cores.
fn shielded(seed: u64) -> Scenario {
    Scenario {
        shields: 1 + usize::from(seed.is_multiple_of(3)),
        ..Scenario::small(seed)
    }
}

#[test]
fn shields_keep_every_promise() {
    let mut answers = 0;
    for seed in 0..400 {
        let outcome = run(shielded(seed), None).unwrap();
        if let Some(v) = outcome.violations.first() {
            panic!("seed {seed}: {v}\n{}", trace(&outcome.history, v));
        }
        answers += outcome.figures.shielded;
    }
    assert!(answers > 40_000, "{answers} answers by shields");
}

#[test]
fn a_shield_that_does_not_ask_what_was_applied_is_noticed() {
    let is_noticed = |seed| {
        let outcome = run(shielded(seed), Some(Mutation::Shield)).unwrap();
        !outcome.violations.is_empty()
    };
    assert!((0..50).any(is_noticed));
}
