//! The disk tier of the edge's own cache: fills it, opens it anew, reads from it.

use crate::hits::{
    drive::{Asked, Driven},
    trace::Chance,
};
use anyhow::{Result, ensure};
use brink_edge::cache::Config;
use bytes::Bytes;
use std::{path::PathBuf, time::Instant};

/// Entries that are written before it is waited for the disk.
const BATCH: u64 = 2_000;
/// Objects that are looked for after the restart.
const PROBES: u64 = 2_000;

/// What is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// Entries on disk.
    #[arg(long, default_value_t = 200_000)]
    entries: u64,
    /// Bytes of each body.
    #[arg(long, default_value_t = 1_024)]
    body: usize,
    /// Bytes of disk for each entry: how large the tier is made.
    #[arg(long, default_value_t = 4_224)]
    entry: u64,
    /// Where; a folder for the time of the run by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Fills, opens anew, reads; gives what was seen.
///
/// # Errors
/// The disk is too small, or something failed.
pub async fn run(plan: &Plan) -> Result<String> {
    let temporary = tempfile::tempdir()?;
    let dir = plan
        .dir
        .clone()
        .unwrap_or_else(|| temporary.path().to_owned());
    let config = Config {
        dir: Some(dir),
        memory_bytes_max: 16 << 20,
        disk_bytes_max: plan.entries * plan.entry + (256 << 20),
        ..Config::default()
    };
    let body = Bytes::from(vec![b'x'; plan.body]);
    let began = Instant::now();
    let driven = Driven::open(config.clone()).await?;
    for object in 0..plan.entries {
        driven.ask(object, || body.clone()).await;
        if object % BATCH == 0 {
            driven.cache.written().await;
        }
    }
    driven.cache.close().await?;
    drop(driven);
    let filled = began.elapsed();
    let began = Instant::now();
    let driven = Driven::open(config).await?;
    let opened = began.elapsed();
    let (mut chance, mut hits, mut times) = (Chance(1), 0_u64, Vec::new());
    for _ in 0..PROBES.min(plan.entries) {
        let object = chance.below(plan.entries);
        let began = Instant::now();
        hits += u64::from(driven.ask(object, || body.clone()).await == Asked::Hit);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    ensure!(hits > 0, "nothing was found again");
    let at = |thousandths: usize| times.get(times.len() * thousandths / 1_000).copied();
    Ok(format!(
        "{} entries of {} bytes: filled in {filled:.1?}, opened anew in {opened:.2?}; of {} looked for {hits} were there, \
         p50 {:.0?}, p99 {:.0?}\n",
        plan.entries,
        plan.body,
        times.len(),
        at(500).unwrap_or_default(),
        at(990).unwrap_or_default(),
    ))
}
