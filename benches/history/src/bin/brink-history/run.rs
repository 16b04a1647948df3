//! A whole run: engine, clients, faults, the last reads, the verdict.

use crate::{
    Error,
    closing::{self, Logs},
    faults::{self, Counts},
    flaw::Flaw,
    lan::{self, Lan},
    nodes::NodeFaults,
    processes::{Clients, Told},
    settings::{Place, now_ns},
};
use brink_engines::{Cluster, DATA_CENTRE};
use brink_history::{
    check::{Report, check},
    history::{self, Call, Operation, Outcome},
    log,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// Processes that share a CQL engine.
const PROCESSES: usize = 3;
/// What each process does at a time: the embedded store, a CQL engine.
const TASKS: (u64, u64) = (5, 24);
/// Partitions that are written at a time: the embedded store, a CQL engine.
const PARTITIONS: (u64, u64) = (3, 12);
/// How long partitions are written before others take their place, in milliseconds.
const SLICE_MS: (u64, u64) = (60, 1_000);
/// How long clients may take to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// From how many operations on the engine's compiler may take its time.
const LONG: u64 = 50_000;
/// Operations for each flaw.
const FLAW_OPERATIONS_MAX: u64 = 20_000;
/// Violations and faults of logs that are shown.
const SHOWN_MAX: usize = 5;

/// What clients use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// The embedded store, in one process
    Embedded,
    /// A CQL engine, shared by several
    Cql,
}

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many operations
    #[arg(long, default_value_t = 100_000)]
    operations: u64,
    /// Which store
    #[arg(long, value_enum, default_value_t = Kind::Embedded)]
    store: Kind,
    /// Where chance comes from; printed in any case. Machine and engine have a chance of their own: a seed gives the same
    /// calls and faults, not the same history
    #[arg(long)]
    seed: Option<u64>,
    /// Nodes of the CQL engine; three have three replicas
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    nodes: u8,
    /// Spoils the store in several ways, one after the other, and expects each to be noticed
    #[arg(long)]
    broken: bool,
    /// The nodes are left alone
    #[arg(long)]
    calm_nodes: bool,
    /// How long nodes are left alone between two faults, at least, in milliseconds; at most three times as long
    #[arg(long, default_value_t = 1_500)]
    calm_ms: u64,
    /// Nodes and clients run in network namespaces, and are cut off from each other, too; needs root
    #[arg(long)]
    cuts: bool,
    /// Operations of each process at a time
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    tasks: Option<u16>,
    /// Partitions that are written at a time: the fewer, the more happens at one, and the longer is its history
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    partitions: Option<u16>,
    /// Where notes are kept; otherwise they go with the run, unless something was found
    #[arg(long)]
    notes: Option<PathBuf>,
}

/// What a run gave.
struct Seen {
    /// Those of clients, then the last reads.
    operations: Vec<Operation>,
    of_clients: usize,
    logs: Logs,
    faults: Counts,
    clients: usize,
    took: Duration,
}

/// False: something was found; with `--broken`, something was not.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let seed = arguments.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    });
    if arguments.cuts && arguments.store == Kind::Cql {
        lan::enter()?;
    }
    println!("seed {seed}");
    let folder = tempfile::tempdir().map_err(Error::io("a temporary folder"))?;
    if arguments.broken {
        return every_flaw(arguments, folder.path(), seed);
    }
    let seen = record(arguments, folder.path(), seed, None)?;
    let holds = tell(&seen);
    if let Some(kept) = &arguments.notes {
        copy_notes(folder.path(), kept)?;
    } else if !holds {
        println!("the notes are in {}", folder.keep().display());
    }
    Ok(holds)
}

fn every_flaw(arguments: &Arguments, folder: &Path, seed: u64) -> Result<bool, Error> {
    let mut all = true;
    for flaw in Flaw::ALL {
        let folder = folder.join(flaw.name());
        std::fs::create_dir(&folder).map_err(Error::io("a folder"))?;
        let seen = record(arguments, &folder, seed, Some(flaw))?;
        let report = check(&seen.operations);
        let count = seen.of_clients;
        match report.violations.first() {
            Some(first) => println!(
                "{:<16} noticed in {} of {} partitions, {count} operations; {first}",
                flaw.name(),
                report.violations.len(),
                report.partitions
            ),
            None => {
                println!("{:<16} NOT noticed in {count} operations", flaw.name());
                all = false;
            }
        }
    }
    Ok(all)
}

fn record(
    arguments: &Arguments,
    folder: &Path,
    seed: u64,
    flaw: Option<Flaw>,
) -> Result<Seen, Error> {
    let lan = match arguments.store {
        Kind::Cql if arguments.cuts => Some(Lan::make(usize::from(arguments.nodes), PROCESSES)?),
        _ => None,
    };
    let cluster = match arguments.store {
        Kind::Embedded => None,
        Kind::Cql => Some(engine(arguments, lan.as_ref())?),
    };
    let places = places(arguments, folder, cluster.as_ref(), lan.as_ref())?;
    let runtime = tokio::runtime::Runtime::new().map_err(Error::io("the runtime"))?;
    // Tables are made in peace.
    runtime.block_on(closing::prepare(&places))?;
    let of = |both: (u64, u64)| if cluster.is_some() { both.1 } else { both.0 };
    let count = |asked: Option<u16>, both: (u64, u64)| asked.map_or(of(both), u64::from);
    let told = Told {
        seed,
        tasks: count(arguments.tasks, TASKS),
        partitions: count(arguments.partitions, PARTITIONS),
        began_ns: now_ns(),
        slice_ms: of(SLICE_MS),
        flaw,
        notes: folder.to_owned(),
    };
    let begun = Instant::now();
    let mut clients = Clients::new(told, places.clone());
    let is_calm = arguments.calm_nodes || flaw.is_some();
    let calm_ms = (!is_calm).then_some(arguments.calm_ms);
    let nodes = cluster.map(|cluster| NodeFaults::begin(cluster, lan, seed, calm_ms));
    let wanted = match flaw {
        Some(_) => arguments.operations.min(FLAW_OPERATIONS_MAX),
        None => arguments.operations,
    };
    let run = faults::run(&mut clients, wanted, seed, flaw.is_some());
    let took = begun.elapsed();
    let (cluster, of_nodes) = match nodes.map(NodeFaults::end).transpose()? {
        Some((cluster, counts)) => (Some(cluster), counts),
        None => (None, Counts::default()),
    };
    let mut faults = run?;
    faults.0.extend(of_nodes.0);
    clients.stop(PATIENCE);
    let mut operations = Vec::new();
    let mut count = 0;
    for notes in clients.notes() {
        count += 1;
        let file = File::open(&notes).map_err(Error::io(notes.display().to_string()))?;
        operations.extend(history::read(BufReader::new(file))?);
    }
    let partitions: BTreeSet<String> = operations.iter().map(|o| o.partition.clone()).collect();
    let (last, logs) = runtime.block_on(closing::close(&places, partitions))?;
    runtime.shutdown_background();
    drop(cluster);
    let of_clients = operations.len();
    operations.extend(last);
    Ok(Seen {
        operations,
        of_clients,
        logs,
        faults,
        clients: count,
        took,
    })
}

/// Starts the nodes.
fn engine(arguments: &Arguments, lan: Option<&Lan>) -> Result<Cluster, Error> {
    let options = brink_engines::Options {
        // Cassandra's newer conditional writes: fewer rounds, and what it advises for new clusters.
        settings: vec!["paxos_variant: v2".to_owned()],
        sites: lan.map(Lan::sites).unwrap_or_default(),
        is_long: arguments.operations >= LONG,
        ..brink_engines::Options::default()
    };
    let nodes = usize::from(arguments.nodes);
    Ok(Cluster::start(&[(DATA_CENTRE, nodes)], &options)?)
}

fn places(
    arguments: &Arguments,
    folder: &Path,
    cluster: Option<&Cluster>,
    lan: Option<&Lan>,
) -> Result<Vec<Place>, Error> {
    let Some(cluster) = cluster else {
        return Ok(vec![Place {
            node: "core-1".parse()?,
            directory: Some(folder.join("store")),
            contact: Vec::new(),
            keyspace: String::new(),
            replicas: 1,
            enter: Vec::new(),
        }]);
    };
    let contact: Vec<String> = cluster
        .contact_points()
        .iter()
        .map(ToString::to_string)
        .collect();
    let place = |number: usize| {
        Ok(Place {
            node: format!("core-{number}").parse()?,
            directory: None,
            contact: contact.clone(),
            keyspace: "history".to_owned(),
            replicas: arguments.nodes,
            enter: lan.map(|lan| lan.client(number)).unwrap_or_default(),
        })
    };
    (1..=PROCESSES).map(place).collect()
}

fn copy_notes(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(Error::io(to.display().to_string()))?;
    for entry in std::fs::read_dir(from).map_err(Error::io("notes"))? {
        let entry = entry.map_err(Error::io("notes"))?;
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).map_err(Error::io("notes"))?;
        }
    }
    Ok(())
}

/// Prints what was found; whether it is right.
fn tell(seen: &Seen) -> bool {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for operation in seen.operations.iter().take(seen.of_clients) {
        let key = (name_of(&operation.call), outcome_of(&operation.outcome));
        *counts.entry(key).or_default() += 1;
    }
    let count = seen.of_clients;
    let seconds = seen.took.as_secs_f64();
    println!(
        "{count} operations in {seconds:.1} s: {:.0} a second; {} processes; {} reads at the end",
        count as f64 / seconds.max(0.001),
        seen.clients,
        seen.operations.len() - count
    );
    for ((call, outcome), count) in counts {
        println!("  {call:<8} {outcome:<9} {count:>9}");
    }
    for (fault, count) in &seen.faults.0 {
        println!("  {fault:<18} {count:>9}");
    }
    let begun = Instant::now();
    let report = check(&seen.operations);
    println!(
        "{} partitions, the longest of {} operations, checked in {:.1} s: {} violations, {} undecided",
        report.partitions,
        report.longest,
        begun.elapsed().as_secs_f64(),
        report.violations.len(),
        report.undecided.len()
    );
    let faults = log::check(&seen.logs, &seen.operations);
    let entries: usize = seen.logs.values().map(Vec::len).sum();
    println!(
        "{} logs with {entries} entries: {} faults",
        seen.logs.len(),
        faults.len()
    );
    show(&report, &faults);
    report.violations.is_empty() && report.undecided.is_empty() && faults.is_empty()
}

fn show(report: &Report, faults: &[String]) {
    for violation in report.violations.iter().take(SHOWN_MAX) {
        println!("{violation}");
    }
    for partition in report.undecided.iter().take(SHOWN_MAX) {
        println!("partition {partition}: it takes too long to decide");
    }
    for fault in faults.iter().take(SHOWN_MAX) {
        println!("log: {fault}");
    }
}

fn name_of(call: &Call) -> &'static str {
    match call {
        Call::Get(_) => "get",
        Call::GetMany => "get-many",
        Call::Scan => "scan",
        Call::LastVersion(_) => "version",
        Call::Answer(_) => "answer",
        Call::Commit(commit) if commit.answer.is_some() => "command",
        Call::Commit(commit) => match commit.writes.as_slice() {
            [write] if write.record == 0 => "count",
            [write] if write.value.is_none() => "delete",
            [_] => "put",
            _ => "several",
        },
    }
}

fn outcome_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Record(_) | Outcome::Records(_) | Outcome::Version(_) | Outcome::Kept(_) => "read",
        Outcome::Done { .. } => "done",
        Outcome::Conflict { .. } => "conflict",
        Outcome::Answered(_) => "answered",
        Outcome::Refused => "refused",
        Outcome::Unknown => "unknown",
    }
}
