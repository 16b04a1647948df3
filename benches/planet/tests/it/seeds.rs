//! Seeds.
#![allow(clippy::unwrap_used)]

use brink_planet::{Scenario, run, trace};

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
    }
}
