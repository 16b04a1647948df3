//! The disk tier of the edge's own cache: fills it, opens it anew, reads from it, with what the system keeps in memory of the
//! files and without.

use crate::hits::{
    drive::{Asked, Driven},
    trace::Chance,
};
use anyhow::{Context as _, Result, ensure};
use brink_edge::cache::{Config, Figures};
use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Entries that are written before it is waited for the disk.
const BATCH: u64 = 2_000;
/// Room for what is written beside the entries, in bytes.
const ROOM_BYTES: u64 = 256 << 20;

/// What is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// Entries on disk.
    #[arg(long, default_value_t = 200_000)]
    entries: u64,
    /// Bytes of each body.
    #[arg(long, default_value_t = 1_024)]
    body: usize,
    /// Bytes of disk for each entry beside its body: how large the tier is made.
    #[arg(long, default_value_t = 384)]
    entry: u64,
    /// Objects that are looked for after each restart.
    #[arg(long, default_value_t = 20_000)]
    probes: u64,
    /// Where; a folder for the time of the run by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What was seen of one restart.
#[derive(Debug)]
struct Restart {
    opened: Duration,
    hits: u64,
    times: Vec<Duration>,
    figures: Figures,
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
        dir: Some(dir.clone()),
        // Half of it for the index, at about 28 bytes for each entry.
        memory_bytes_max: (16 << 20) + plan.entries * 96,
        disk_bytes_max: plan.entries * (plan.entry + plan.body as u64) + ROOM_BYTES,
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
    let filled = driven.cache.figures().disk;
    drop(driven);
    let mut report = format!(
        "{} entries of {} bytes, {} on disk: {} bytes there, {:.0} for each; filled in {:.1?}; {} dropped.\n\n\
         | page cache | opened anew | index bytes, for each | looked for | there | p50 | p99 | p99.9 |\n\
         |---|---|---|---|---|---|---|---|\n",
        plan.entries,
        plan.body,
        filled.entries,
        filled.bytes,
        ratio(filled.bytes, filled.entries),
        began.elapsed(),
        filled.dropped,
    );
    row(
        &mut report,
        "warm",
        &restart(plan, &config, &body, 1, None).await?,
    )?;
    forget(&dir.join("disk"))?;
    let cold = restart(plan, &config, &body, 2, Some(&dir)).await?;
    row(&mut report, "cold (`posix_fadvise`)", &cold)?;
    Ok(report)
}

async fn restart(
    plan: &Plan,
    config: &Config,
    body: &Bytes,
    seed: u64,
    cold: Option<&Path>,
) -> Result<Restart> {
    let began = Instant::now();
    let driven = Driven::open(config.clone()).await?;
    let opened = began.elapsed();
    if let Some(dir) = cold {
        // What was read to open it.
        forget(&dir.join("disk"))?;
    }
    let (mut chance, mut hits, mut times) = (Chance(seed), 0_u64, Vec::new());
    for _ in 0..plan.probes.min(plan.entries) {
        let object = chance.below(plan.entries);
        let began = Instant::now();
        hits += u64::from(driven.ask(object, || body.clone()).await == Asked::Hit);
        times.push(began.elapsed());
    }
    ensure!(hits > 0, "nothing was found again");
    times.sort_unstable();
    let figures = driven.cache.figures();
    driven.cache.close().await?;
    Ok(Restart {
        opened,
        hits,
        times,
        figures,
    })
}

fn row(report: &mut String, name: &str, restart: &Restart) -> Result<()> {
    let at = |thousandths: usize| {
        let at = restart.times.len() * thousandths / 1_000;
        restart.times.get(at).copied().unwrap_or_default()
    };
    let disk = restart.figures.disk;
    writeln!(
        report,
        "| {name} | {:.2?} | {}, {:.1} | {} | {} | {:.0?} | {:.0?} | {:.0?} |",
        restart.opened,
        disk.index_bytes,
        ratio(disk.index_bytes, disk.entries),
        restart.times.len(),
        restart.hits,
        at(500),
        at(990),
        at(999),
    )?;
    Ok(())
}

/// Has the system forget what it keeps in memory of the files' bytes. It still knows where they lie.
pub(crate) fn forget(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let file = File::open(entry?.path())?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed).context("fadvise")?;
    }
    Ok(())
}

// Counts of entries and bytes are far below 2⁵².
#[allow(clippy::cast_precision_loss)]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}
