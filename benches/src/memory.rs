//! Memory of the edge's own cache while answers of random sizes pass through it.

use crate::hits::{
    drive::{Asked, Driven},
    trace::Chance,
};
use anyhow::{Context as _, Result, anyhow, ensure};
use brink_edge::cache::Config;
use bytes::Bytes;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// How far above its bound the cache may be, in per cent.
const EXCESS_PERCENT_MAX: u64 = 5;
/// Requests between two looks.
const LOOK_EVERY: u64 = 2_000;
/// Keys that are asked for.
const OBJECTS: u64 = 1 << 22;
/// Bodies are of 2⁰ to 2²² bytes, each power as often as any other.
const POWERS: u64 = 23;

/// What is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// How long, in minutes; fractions are fine.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The bound of the memory tier, in MiB.
    #[arg(long, default_value_t = 256)]
    mebibytes: u64,
    /// With a disk tier here.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs the load; gives what was seen.
///
/// # Errors
/// The cache was over its bound by more than 5 %, or something failed.
pub async fn run(plan: &Plan) -> Result<String> {
    let bound = plan.mebibytes << 20;
    let driven = Driven::open(Config {
        memory_bytes_max: bound,
        dir: plan.dir.clone(),
        ..Config::default()
    })
    .await?;
    let (base, base_allocated) = (resident()?, allocated()?);
    let end = Instant::now() + Duration::from_secs_f64(plan.minutes.max(0.0) * 60.0);
    let (mut chance, mut requests, mut hits) = (Chance(1), 0_u64, 0_u64);
    let (mut most, mut most_allocated, mut most_resident) = (0, 0, 0);
    while Instant::now() < end {
        for _ in 0..LOOK_EVERY {
            let object = chance.below(OBJECTS).min(chance.below(OBJECTS));
            let length = usize::try_from(1 + chance.below(1 << chance.clone().below(POWERS)))?;
            // Made anew: bodies that share bytes would hide what they cost.
            let asked = driven.ask(object, || Bytes::from(vec![1; length])).await;
            requests += 1;
            hits += u64::from(asked == Asked::Hit);
        }
        most = most.max(driven.cache.figures().bytes);
        most_allocated = most_allocated.max(allocated()?.saturating_sub(base_allocated));
        most_resident = most_resident.max(resident()?.saturating_sub(base));
    }
    let percent = |bytes: u64| bytes * 100 / bound.max(1);
    let seen = format!(
        "{requests} requests, {hits} hits; bound {} MiB: by its own account at most {} MiB ({} %), allocated at most {} MiB \
         ({} %), resident at most {} MiB ({} %) more than before; {} entries\n",
        plan.mebibytes,
        most >> 20,
        percent(most),
        most_allocated >> 20,
        percent(most_allocated),
        most_resident >> 20,
        percent(most_resident),
        driven.cache.figures().entries,
    );
    let limit = 100 + EXCESS_PERCENT_MAX;
    ensure!(
        percent(most) <= limit && percent(most_resident) <= limit,
        "over {limit} % of the bound: {seen}"
    );
    Ok(seen)
}

/// Resident memory of this process, in bytes: `proc(5)`.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kibibytes = line.split_whitespace().next().context("no figure")?;
    Ok(kibibytes.parse::<u64>()? * 1_024)
}

/// What this process has allocated, in bytes, rounded up to what the allocator gives.
fn allocated() -> Result<u64> {
    tikv_jemalloc_ctl::epoch::advance().map_err(|error| anyhow!("{error}"))?;
    let bytes = tikv_jemalloc_ctl::stats::allocated::read().map_err(|error| anyhow!("{error}"))?;
    Ok(bytes as u64)
}
