//! What a disk below memory brings, and what it costs in bytes written: as the edge decides what is written, and if it wrote
//! all that is stored.

use super::{
    Plan,
    drive::{Asked, Driven},
    to_f64,
    trace::{Request, TRACES, Trace},
};
use anyhow::Result;
use brink_edge::cache::Config;
use bytes::Bytes;
use std::{collections::HashMap, fmt::Write as _, path::Path};

/// Parts of the footprint that memory may have, in thousandths.
const MEMORIES: [u64; 2] = [2, 10];
/// Requests after which it is waited for the disk: nothing is to be lost because it is slow.
const WAIT_EVERY: usize = 100;
const MEBIBYTE: f64 = 1_048_576.0;

/// What became of the second half of a trace.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    requests: u64,
    hits: u64,
    bytes: u64,
    hit_bytes: u64,
    from_disk: u64,
    written: u64,
    kept: u64,
    dropped: u64,
}

impl Seen {
    fn percent(&self) -> f64 {
        100.0 * to_f64(self.hits) / to_f64(self.requests.max(1))
    }
}

/// Runs all traces; gives the table.
pub(super) async fn run(plan: &Plan, times: u64, entry_bytes: u32) -> Result<String> {
    let temporary = tempfile::tempdir()?;
    let dir = plan.dir.as_deref().unwrap_or(temporary.path());
    let mut table = format!(
        "The second half of {} requests, seed {}; hit ratios in %, byte hit ratios behind them; disk: {times} times memory.\n\n\
         | trace | memory | written if all is | hits | written | hits | written less | hits more, in points |\n\
         |---|---|---|---|---|---|---|---|\n",
        plan.requests, plan.seed
    );
    for trace in TRACES.iter().filter(|t| t.name.starts_with(&plan.trace)) {
        for thousandths in MEMORIES {
            eprintln!("{}, {thousandths} thousandths", trace.name);
            row(
                plan,
                trace,
                (thousandths, times),
                entry_bytes,
                dir,
                &mut table,
            )
            .await?;
        }
    }
    Ok(table)
}

async fn row(
    plan: &Plan,
    trace: &Trace,
    (thousandths, times): (u64, u64),
    entry_bytes: u32,
    dir: &Path,
    table: &mut String,
) -> Result<()> {
    let requests = trace.make(plan.requests, plan.objects, entry_bytes, plan.seed);
    let sizes: HashMap<u64, u64> = requests
        .iter()
        .map(|request| (request.object, u64::from(request.bytes)))
        .collect();
    let memory = sizes.values().sum::<u64>() / 1_000 * thousandths;
    let mut seen = [Seen::default(); 2];
    for (seen, admission) in seen.iter_mut().zip([false, true]) {
        let own = tempfile::tempdir_in(dir)?;
        let config = Config {
            dir: Some(own.path().to_owned()),
            memory_bytes_max: memory,
            disk_bytes_max: memory * times,
            admission,
            ..Config::default()
        };
        *seen = drive(config, &requests, entry_bytes).await?;
    }
    let [all, ours] = seen;
    let shown = |seen: &Seen| {
        let bytes = 100.0 * to_f64(seen.hit_bytes) / to_f64(seen.bytes.max(1));
        format!("{:.1} ({bytes:.1})", seen.percent())
    };
    writeln!(
        table,
        "| {} | {:.1} MB ({thousandths} ‰) | {:.0} MiB | {} | {:.0} MiB | {} | {:.0} % | {:+.2} |",
        trace.name,
        to_f64(memory) / 1e6,
        to_f64(all.written) / MEBIBYTE,
        shown(&all),
        to_f64(ours.written) / MEBIBYTE,
        shown(&ours),
        100.0 - 100.0 * to_f64(ours.written) / to_f64(all.written.max(1)),
        ours.percent() - all.percent(),
    )?;
    eprintln!("all: {all:?}\nours: {ours:?}");
    Ok(())
}

async fn drive(config: Config, requests: &[Request], entry_bytes: u32) -> Result<Seen> {
    let driven = Driven::open(config).await?;
    let largest = requests.iter().map(|request| request.bytes).max();
    let body = Bytes::from(vec![b'x'; largest.unwrap_or(0) as usize]);
    let (mut seen, mut before) = (Seen::default(), driven.cache.figures());
    for (number, Request { object, bytes }) in requests.iter().enumerate() {
        if number == requests.len() / 2 {
            (seen, before) = (Seen::default(), driven.cache.figures());
        }
        let length = bytes.saturating_sub(entry_bytes) as usize;
        let asked = driven.ask(*object, || body.slice(..length)).await;
        seen.requests += 1;
        seen.bytes += u64::from(*bytes);
        if asked == Asked::Hit {
            seen.hits += 1;
            seen.hit_bytes += u64::from(*bytes);
        }
        if number % WAIT_EVERY == 0 {
            driven.cache.written().await;
        }
    }
    driven.cache.written().await;
    let after = driven.cache.figures();
    seen.from_disk = after.hits_disk - before.hits_disk;
    seen.written = after.disk.written_bytes - before.disk.written_bytes;
    seen.kept = after.disk.kept_bytes - before.disk.kept_bytes;
    seen.dropped = after.disk.dropped - before.disk.dropped;
    Ok(seen)
}
