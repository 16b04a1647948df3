//! Hit ratios of the edge's own cache beside the policies of libcachesim: the same trace, the same capacity in bytes.
//!
//! An object's size in a trace is what its entry weighs in memory, head, key and bookkeeping included; its body is as much
//! smaller.

pub(crate) mod drive;
mod tiers;
pub(crate) mod trace;

use anyhow::{Context as _, Result, bail};
use brink_edge::cache::Config;
use bytes::Bytes;
use drive::{Asked, Driven};
use std::{
    collections::HashMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};
use trace::{Request, TRACES, Trace};

/// Parts of the footprint that the cache may have, in thousandths.
const CAPACITIES: [u64; 3] = [1, 10, 100];
/// Runs libcachesim.
const POLICIES: &str = include_str!("hits/policies.py");

/// What is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// A Python that has libcachesim; without it there is nothing to compare with.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Requests of each trace.
    #[arg(long, default_value_t = 1_000_000)]
    requests: usize,
    /// Objects that are asked for again and again.
    #[arg(long, default_value_t = 100_000)]
    objects: usize,
    /// Another seed, another trace.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only traces whose names begin so.
    #[arg(long, default_value = "")]
    trace: String,
    /// With a disk of so many times the memory, as the edge writes to it and as it would if it wrote all that is stored; the
    /// second half of each trace counts. Without libcachesim.
    #[arg(long)]
    disk: Option<u64>,
    /// Where that disk lies; a folder for the time of the run by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// A hit ratio and a byte hit ratio, in per cent.
#[derive(Debug, Clone, Copy)]
struct Ratio {
    hits: f64,
    bytes: f64,
}

/// Runs all traces; gives the table.
///
/// # Errors
/// Python or libcachesim failed, or a cache could not be opened.
pub async fn run(plan: &Plan) -> Result<String> {
    let entry_bytes = u32::try_from(Driven::entry_bytes().await?).context("too large")?;
    if let Some(times) = plan.disk {
        return tiers::run(plan, times, entry_bytes).await;
    }
    let mut table = format!(
        "Hit ratios in %, byte hit ratios behind them; {} requests, seed {}. Difference: ours to the best, in points.\n\n\
         | trace | capacity | best | ours | difference | others |\n|---|---|---|---|---|---|\n",
        plan.requests, plan.seed
    );
    let mut lowest = f64::INFINITY;
    for trace in TRACES.iter().filter(|t| t.name.starts_with(&plan.trace)) {
        eprintln!("{}", trace.name);
        lowest = lowest.min(row(plan, trace, entry_bytes, &mut table).await?);
    }
    if lowest.is_finite() {
        writeln!(table, "\nLowest difference: {lowest:+.2} points.")?;
    }
    Ok(table)
}

async fn row(plan: &Plan, trace: &Trace, entry_bytes: u32, table: &mut String) -> Result<f64> {
    let requests = trace.make(plan.requests, plan.objects, entry_bytes, plan.seed);
    let sizes: HashMap<u64, u64> = requests
        .iter()
        .map(|request| (request.object, u64::from(request.bytes)))
        .collect();
    let footprint: u64 = sizes.values().sum();
    let capacities = CAPACITIES.map(|thousandths| footprint / 1_000 * thousandths);
    let mut theirs = match &plan.python {
        Some(python) => simulated(python, &requests, &capacities)?,
        None => Vec::new(),
    };
    let mut lowest = f64::INFINITY;
    for (capacity, thousandths) in capacities.into_iter().zip(CAPACITIES) {
        let ours = own(&requests, capacity, entry_bytes).await?;
        theirs.sort_by(|a, b| b.2.hits.total_cmp(&a.2.hits));
        let mut same = theirs.iter().filter(|(other, ..)| *other == capacity);
        write!(
            table,
            "| {} | {:.1} MB ({} ‰) ",
            trace.name,
            to_f64(capacity) / 1e6,
            thousandths
        )?;
        let shown = |ratio: Ratio| format!("{:.1} ({:.1})", ratio.hits, ratio.bytes);
        match same.next() {
            None => writeln!(table, "| - | {} | - | - |", shown(ours))?,
            Some((_, policy, best)) => {
                let difference = ours.hits - best.hits;
                lowest = lowest.min(difference);
                let others: Vec<String> =
                    same.map(|(_, p, r)| format!("{p} {:.1}", r.hits)).collect();
                writeln!(
                    table,
                    "| {policy} {} | {} | {difference:+.2} | {} |",
                    shown(*best),
                    shown(ours),
                    others.join(", ")
                )?;
            }
        }
    }
    Ok(lowest)
}

// Counts of requests and bytes of a trace are far below 2⁵².
#[allow(clippy::cast_precision_loss)]
fn to_f64(count: u64) -> f64 {
    count as f64
}

/// What our cache makes of a trace.
async fn own(requests: &[Request], capacity: u64, entry_bytes: u32) -> Result<Ratio> {
    let config = Config {
        memory_bytes_max: capacity,
        ..Config::default()
    };
    let driven = Driven::open(config).await?;
    let largest = requests.iter().map(|request| request.bytes).max();
    let body = Bytes::from(vec![b'x'; largest.unwrap_or(0) as usize]);
    let (mut hits, mut hit_bytes, mut all_bytes) = (0, 0, 0);
    for Request { object, bytes } in requests {
        let length = bytes.saturating_sub(entry_bytes) as usize;
        let asked = driven.ask(*object, || body.slice(..length)).await;
        all_bytes += u64::from(*bytes);
        if asked == Asked::Hit {
            hits += 1;
            hit_bytes += u64::from(*bytes);
        }
    }
    let figures = driven.cache.figures();
    if figures.bytes > capacity {
        bail!("the cache has {} bytes, over {capacity}", figures.bytes);
    }
    Ok(Ratio {
        hits: 100.0 * to_f64(hits) / to_f64(requests.len() as u64),
        bytes: 100.0 * to_f64(hit_bytes) / to_f64(all_bytes),
    })
}

/// What libcachesim makes of it: capacity, policy, ratio.
fn simulated(
    python: &Path,
    requests: &[Request],
    capacities: &[u64],
) -> Result<Vec<(u64, String, Ratio)>> {
    let dir = tempfile::tempdir()?;
    let (program, path) = (dir.path().join("policies.py"), dir.path().join("trace.csv"));
    std::fs::write(&program, POLICIES)?;
    trace::write(requests, std::fs::File::create(&path)?)?;
    let mut command = Command::new(python);
    command.arg(program).arg(path);
    command.args(capacities.iter().map(u64::to_string));
    let output = command.output().context("Python did not start")?;
    if !output.status.success() {
        bail!(
            "libcachesim: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let percent = |text: &str| text.parse::<f64>().map(|ratio| ratio * 100.0);
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [capacity, policy, hits, bytes] = fields.as_slice() else {
            bail!("libcachesim printed {line:?}");
        };
        let ratio = Ratio {
            hits: percent(hits)?,
            bytes: percent(bytes)?,
        };
        Ok((capacity.parse()?, (*policy).to_owned(), ratio))
    });
    lines.collect()
}
