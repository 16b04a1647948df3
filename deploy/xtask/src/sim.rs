//! `cargo xtask sim`: the seeded simulation of many PoPs, and whether its checker notices what is left out.

use crate::interrupt;
use anyhow::{Context as _, Result, bail};
use brink_planet::{
    Figures, Mutation, Outcome, POPS_MAX, Scenario, quantile, run as simulate, trace,
};
use clap::Args;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Threads that run seeds.
const THREADS: u64 = 2;
/// How many seeds a mutation has for being noticed.
const MUTATION_SEEDS: u64 = 200;
/// Violations of one seed that are printed.
const SHOWN_MAX: usize = 3;
/// How often progress is printed.
const PROGRESS: Duration = Duration::from_secs(10);
/// Runs without faults that say what purges take, for each loss.
const CALM_RUNS: u64 = 5;

/// What to simulate.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Leaves a part of the design out, and expects the checker to notice
    #[arg(long)]
    mutation: Option<Mutation>,
    /// Neither tries mutations nor measures purges
    #[arg(long)]
    only_seeds: bool,
    /// PoPs of every run, at most 1000; else few, and 1000 in every 50th
    #[arg(long)]
    pops: Option<usize>,
}

impl Arguments {
    fn scenario(&self, seed: u64) -> Scenario {
        match self.pops {
            Some(pops) => Scenario::large(seed, pops),
            None => Scenario::of(seed),
        }
    }
}

/// Runs the seeds, then each mutation, then measures purges.
///
/// # Errors
/// A promise was broken, or a mutation was not noticed.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(pops) = arguments.pops.filter(|pops| !(1..=POPS_MAX).contains(pops)) {
        bail!("--pops {pops}: 1 to {POPS_MAX}");
    }
    if let Some(mutation) = arguments.mutation {
        return try_mutation(arguments, mutation, arguments.seeds);
    }
    let broken = run_seeds(arguments)?;
    if arguments.only_seeds {
        return verdict(broken);
    }
    println!("\nmutations: a part of the design is left out, and the checker has to notice");
    let mut unnoticed = 0;
    for mutation in Mutation::ALL {
        unnoticed += u64::from(try_mutation(arguments, mutation, MUTATION_SEEDS).is_err());
    }
    measure_purges(arguments)?;
    if unnoticed > 0 {
        bail!("{unnoticed} mutations were not noticed");
    }
    verdict(broken)
}

fn verdict(broken: u64) -> Result<()> {
    if broken > 0 {
        bail!("{broken} seeds broke a promise: keep them in benches/planet/tests/it/seeds.rs");
    }
    Ok(())
}

/// Runs numbers on all threads, and gives what each gave to `take` until it says to stop.
fn each<T: Send>(
    numbers: std::ops::Range<u64>,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(T) -> bool,
) -> Result<()> {
    let next = AtomicU64::new(numbers.start);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end || sender.send(work(number)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for result in results {
            interrupt::check()?;
            if !take(result) {
                return Ok(());
            }
        }
        Ok(())
    })
}

fn run_seeds(arguments: &Arguments) -> Result<u64> {
    let begun = Instant::now();
    let last = arguments.from.saturating_add(arguments.seeds);
    let mut figures = Figures::default();
    let (mut done, mut broken, mut failed) = (0u64, 0u64, None);
    let mut shown = Instant::now();
    each(
        arguments.from..last,
        |seed| simulate(arguments.scenario(seed), None),
        |outcome| {
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(error) => {
                    failed = Some(error);
                    return false;
                }
            };
            done += 1;
            figures.add(&outcome.figures);
            if !outcome.violations.is_empty() {
                broken += 1;
                print_broken(&outcome);
            }
            if shown.elapsed() >= PROGRESS {
                shown = Instant::now();
                let seconds = begun.elapsed().as_secs();
                println!(
                    "{done} of {} seeds in {seconds} s, {broken} broke a promise",
                    arguments.seeds
                );
            }
            true
        },
    )?;
    if let Some(error) = failed {
        return Err(error).context("a name in the simulation");
    }
    println!(
        "seeds {}..{last}: {broken} of {done} broke a promise; {:.0} s",
        arguments.from,
        begun.elapsed().as_secs_f64()
    );
    print_figures(&figures);
    Ok(broken)
}

fn print_broken(outcome: &Outcome) {
    let Scenario {
        seed, pops, cores, ..
    } = outcome.scenario;
    println!("\nseed {seed} ({cores} cores, {pops} PoPs) broke a promise:");
    for violation in outcome.violations.iter().take(SHOWN_MAX) {
        println!("  {violation}");
    }
    if let Some(first) = outcome.violations.first() {
        println!("{}", trace(&outcome.history, first));
    }
}

fn print_figures(figures: &Figures) {
    let Figures {
        reads,
        hits,
        stale,
        errors,
        writes,
        purges,
        faults,
        ..
    } = figures;
    println!(
        "  {reads} reads ({hits} hits, {stale} marked as stale, {errors} without an answer), {writes} writes, {purges} purges, {faults} faults"
    );
    println!(
        "  {} answers by shields, {} fills fenced, {} read behind, {} resets, {} takeovers",
        figures.shielded, figures.fenced, figures.read_behind, figures.resets, figures.takeovers
    );
    println!(
        "  a lease after each purge: {} PoPs had applied it, {} called nothing fresh, {} neither",
        figures.applied, figures.quarantined, figures.neither
    );
}

/// Whether the checker notices that a part is missing.
fn try_mutation(arguments: &Arguments, mutation: Mutation, seeds: u64) -> Result<()> {
    let last = arguments.from.saturating_add(seeds);
    // Seeds are begun in order, and end in any: the first that noticed is not final until all before it have ended.
    let found: Mutex<BTreeMap<u64, Option<String>>> = Mutex::new(BTreeMap::new());
    each(
        arguments.from..last,
        |seed| {
            let outcome = simulate(Scenario::small(seed), Some(mutation));
            let first = outcome
                .ok()
                .and_then(|outcome| outcome.violations.into_iter().next());
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.insert(seed, first.map(|violation| violation.to_string()));
            found.values().all(Option::is_none)
        },
        |goes_on| goes_on,
    )?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let first = found
        .into_iter()
        .find_map(|(seed, message)| Some((seed, message?)));
    match first {
        Some((seed, message)) => {
            let count = seed - arguments.from + 1;
            println!(
                "  {:<12} noticed in seed {seed} (number {count}): {message}",
                mutation.name()
            );
            Ok(())
        }
        None => {
            println!("  {:<12} NOT noticed in {seeds} seeds", mutation.name());
            bail!("{mutation} was not noticed in {seeds} seeds")
        }
    }
}

/// What purges take from the log to each PoP, and how much of it is more than the network's one-way delay.
fn measure_purges(arguments: &Arguments) -> Result<()> {
    let pops = arguments.pops.unwrap_or(POPS_MAX);
    println!("\npurges, from the log to {pops} PoPs, in virtual time, in ms:");
    println!(
        "  loss      purges×PoPs          p50      p99    p99.9      max   (beyond the one-way delay: p50 p99 p99.9 max)"
    );
    for loss in [0.0, 0.01] {
        let mut figures = Figures::default();
        each(
            0..CALM_RUNS,
            |seed| simulate(Scenario::calm(seed, pops, loss), None),
            |outcome| {
                if let Ok(outcome) = outcome {
                    figures.add(&outcome.figures);
                }
                true
            },
        )?;
        let ms = |values: &mut [u64], per_mille| quantile(values, per_mille) as f64 / 1_000.0;
        let mut took = std::mem::take(&mut figures.propagation_us);
        let mut beyond = std::mem::take(&mut figures.beyond_us);
        let count = took.len();
        let [p50, p99, p999, max] = [500, 990, 999, 1_000].map(|q| ms(&mut took, q));
        let [b50, b99, b999, bmax] = [500, 990, 999, 1_000].map(|q| ms(&mut beyond, q));
        println!(
            "  {:>3.0} %  {count:>13} {p50:>12.1} {p99:>8.1} {p999:>8.1} {max:>8.1}   ({b50:.1} {b99:.1} {b999:.1} {bmax:.1})",
            loss * 100.0
        );
        println!(
            "         a lease later: {} applied, {} quarantined, {} neither",
            figures.applied, figures.quarantined, figures.neither
        );
    }
    Ok(())
}
