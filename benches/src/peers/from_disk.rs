//! How long a hit from disk takes inside the edge under half of the load that it can bear, with nothing of the files in the
//! page cache: by the edge's own histogram, from a request's head to its answer. The edge and the load have processors of
//! their own.

use super::{
    inside::{buckets, metrics, spread},
    programs::Place,
};
use crate::{
    apart::Apart,
    disk::forget,
    figures,
    load::{Seen, WRK_CONNECTIONS, Walk},
    server::Server,
};
use anyhow::{Context as _, Result, bail, ensure};
use std::time::{Duration, Instant};

/// Objects on disk; a prime, so that steps of any length meet all of them.
const OBJECTS: u64 = 200_003;
/// From one object that is asked for to the next: neighbours were written together.
const STEP: u64 = 48_271;
const METRIC: &str = "brink_request_seconds_bucket{route=\"*/\",le=\"";
/// Time for filling.
const FILL: Duration = Duration::from_secs(120);

/// Fills an edge, starts it anew without anything in memory, and says how its hits spread.
pub(super) async fn from_disk(place: &Place<'_>, time: Duration) -> Result<String> {
    let origin = format!("http://{}", place.origin);
    let data = place.directory.join("from-disk");
    let shown = data.display().to_string();
    let arguments = |listen| {
        [
            "proxy",
            "--origin",
            &origin,
            "--listen",
            listen,
            "--log",
            "warn",
            "--admin",
            "127.0.0.1:0",
            "--data",
            &shown,
        ]
    };
    let ready = place.directory.join("filling.json");
    let (server, said) = Server::brink(&place.plan.edge, &arguments("127.0.0.1:0"), &ready)?;
    fill(place, &said).await?;
    server.end()?;
    // Where it was: the host is a part of the keys.
    let url = figures::url(&said, "url")?;
    let listen = url.trim_start_matches("http://").trim_end_matches('/');
    forget(&data.join("cache/disk"))?;

    let ready = place.directory.join("from-disk.json");
    let apart = Apart::new()?;
    let start = || Server::brink(&place.plan.edge, &arguments(listen), &ready);
    let ((_server, said), _guard) = apart.start(start)?;
    let admin = figures::url(&said, "admin")?;
    // What was read to open it.
    forget(&data.join("cache/disk"))?;
    let full = walk(place).ask(&url, time).await?;
    let rate = rate(&full) / 2.0;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss
    )]
    let pause_ms = (WRK_CONNECTIONS as f64 / rate * 1e3) as u64;
    let slower = Walk {
        first: full.requests,
        pause_ms,
        ..walk(place)
    };
    // And what was read since.
    forget(&data.join("cache/disk"))?;
    let before = metrics(&admin).await?;
    let half = slower.ask(&url, time).await?;
    let after = metrics(&admin).await?;
    let of = |text: &str| count(text, "brink_cache_hits_total{tier=\"disk\"}");
    let hits = of(&after)?.saturating_sub(of(&before)?);
    ensure!(hits > 0, "nothing was found on disk");
    let table = spread(&buckets(&before, METRIC), &buckets(&after, METRIC))?;
    #[allow(clippy::cast_precision_loss)]
    let share = hits as f64 / half.requests.max(1) as f64 * 100.0;
    Ok(format!(
        "\nA hit from disk, 1 KiB, HTTP/1.1, nothing of it in the page cache at first (`posix_fadvise`), {:.0} requests/s (it bears {:.0}), \
         {share:.1} % of them from disk:\n\n{table}",
        self::rate(&half),
        rate * 2.0,
    ))
}

/// Asks for every object until all are on disk.
async fn fill(place: &Place<'_>, said: &serde_json::Value) -> Result<()> {
    let (url, admin) = (figures::url(said, "url")?, figures::url(said, "admin")?);
    let (began, mut walk) = (Instant::now(), walk(place));
    while began.elapsed() < FILL {
        walk.first += walk.ask(&url, Duration::from_secs(5)).await?.requests;
        if count(&metrics(&admin).await?, "brink_cache_disk_entries")? >= OBJECTS {
            return Ok(());
        }
    }
    bail!("the disk was not filled within {} s", FILL.as_secs())
}

fn walk<'a>(place: &'a Place<'_>) -> Walk<'a> {
    Walk {
        paths: OBJECTS,
        first: 0,
        step: STEP,
        pause_ms: 0,
        directory: place.directory,
    }
}

fn rate(seen: &Seen) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let requests = seen.requests as f64;
    requests / seen.time.as_secs_f64()
}

/// The value of a metric.
fn count(text: &str, metric: &str) -> Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(metric));
    let value = value.with_context(|| format!("{metric} is not among the metrics"))?;
    Ok(value.trim().parse()?)
}
