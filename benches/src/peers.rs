//! Brink beside nginx, HAProxy and Varnish: the same objects, certificate and load, in alternation.
//!
//! What counts is the server's CPU time per request beside the best peer's in the same run: rates and latencies are those
//! of a machine on which the load generator takes its share, and say little beyond that nobody is starved.

use crate::{
    cpu,
    identity::Identity,
    load::{self, Latency},
    server::Server,
};
use anyhow::{Result, ensure};
use programs::{Cache, Place};
use std::{path::PathBuf, time::Duration};

mod from_disk;
mod inside;
mod programs;

/// Objects up to this are small: of their hits it is said how long they take inside the edge.
const SMALL_BYTES_MAX: usize = 1024;

/// What is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// The program `brink-edge`, built with --release
    #[arg(long, default_value = "target/release/brink-edge")]
    edge: PathBuf,
    /// The folder with Debian trixie's programs; none: Brink alone
    #[arg(long)]
    trixie: Option<PathBuf>,
    /// Seconds of each run
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Runs of each, in alternation; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Sizes of the objects, in bytes
    #[arg(long, value_delimiter = ',', default_values_t = [1024, 102_400])]
    sizes: Vec<usize>,
    /// What is spoken
    #[arg(long, value_delimiter = ',', default_values_t = [Protocol::Http1, Protocol::Http2, Protocol::Http3])]
    protocols: Vec<Protocol>,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    /// Without TLS
    Http1,
    /// Over TLS
    Http2,
    Http3,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Http3 => "http3",
        })
    }
}

/// One cache's figures for one object over one protocol.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    what: String,
    name: String,
    /// Each run's CPU time of a request, in microseconds, in ascending order.
    cpu_us: Vec<f64>,
    rate: f64,
    latency: Latency,
    /// It does less than the others: it is not compared.
    is_apart: bool,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    cpu_us: f64,
    rate: f64,
    latency: Latency,
}

/// Runs everything, and gives the table.
///
/// # Errors
/// A server or a load generator did not start, or an answer was an error.
pub async fn run(plan: &Plan) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let identity = Identity::new(directory.path())?;
    let (mut rows, mut inside) = (Vec::new(), String::new());
    for size in &plan.sizes {
        let folder = directory.path().join(size.to_string());
        std::fs::create_dir_all(&folder)?;
        let bytes = size.to_string();
        let (_origin, origin) = Server::bare(&["bare", "http1", "--bytes", &bytes])?;
        let place = Place {
            plan,
            directory: &folder,
            identity: &identity,
            origin,
        };
        let caches = place.start()?;
        for protocol in &plan.protocols {
            rows.extend(compare(plan, &caches, *protocol, *size, &identity).await?);
        }
        drop(caches);
        if *size <= SMALL_BYTES_MAX && plan.protocols.contains(&Protocol::Http1) {
            let time = Duration::from_secs(2 * plan.seconds.max(1));
            inside += &inside::inside(&place, time).await?;
            inside += &from_disk::from_disk(&place, time).await?;
        }
    }
    Ok(markdown(&rows) + &inside)
}

async fn compare(
    plan: &Plan,
    caches: &[Cache],
    protocol: Protocol,
    size: usize,
    identity: &Identity,
) -> Result<Vec<Row>> {
    let caches: Vec<&Cache> = caches
        .iter()
        .filter(|cache| cache.tls.is_some() || protocol != Protocol::Http3)
        .collect();
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); caches.len()];
    for cache in &caches {
        one(cache, protocol, identity, Duration::from_secs(1)).await?;
    }
    let time = Duration::from_secs(plan.seconds.max(1));
    for round in 0..plan.rounds.max(1) {
        // Each comes first now and then.
        for turn in 0..caches.len() {
            let at = (round + turn) % caches.len();
            if let (Some(cache), Some(runs)) = (caches.get(at), runs.get_mut(at)) {
                runs.push(one(cache, protocol, identity, time).await?);
            }
        }
    }
    let rows = caches.iter().zip(runs).map(|(cache, runs)| {
        let is_apart = cache.tls.is_none() && protocol != Protocol::Http1;
        row(protocol, size, cache.name, runs, is_apart)
    });
    Ok(rows.collect())
}

fn row(protocol: Protocol, size: usize, name: &str, mut runs: Vec<Run>, is_apart: bool) -> Row {
    runs.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
    let spoken = match protocol {
        Protocol::Http1 => "HTTP/1.1",
        Protocol::Http2 => "HTTP/2",
        Protocol::Http3 => "HTTP/3",
    };
    let middle = runs.get(runs.len() / 2);
    let name = match is_apart {
        true => format!("{name}, without TLS"),
        false => name.to_owned(),
    };
    Row {
        what: format!("{spoken}, {} KiB", size.div_ceil(1024)),
        name,
        rate: middle.map_or(f64::NAN, |run| run.rate),
        latency: middle.map(|run| run.latency).unwrap_or_default(),
        cpu_us: runs.iter().map(|run| run.cpu_us).collect(),
        is_apart,
    }
}

/// One load run against one cache.
async fn one(
    cache: &Cache,
    protocol: Protocol,
    identity: &Identity,
    time: Duration,
) -> Result<Run> {
    let spent = || -> Result<Duration> {
        let mut all = Duration::ZERO;
        for server in &cache.servers {
            all += cpu::spent_by_all(server.pid())?;
        }
        Ok(all)
    };
    let before = spent()?;
    let seen = match (protocol, cache.tls) {
        (Protocol::Http1, _) => load::http1(&format!("http://{}/", cache.plain), time).await?,
        (Protocol::Http2, Some(tls)) => load::http2(&format!("https://{tls}/"), time).await?,
        (Protocol::Http2 | Protocol::Http3, None) => {
            load::http2(&format!("http://{}/", cache.plain), time).await?
        }
        (Protocol::Http3, Some(tls)) => {
            let authority = format!("localhost:{}", tls.port());
            load::http3(tls, &authority, "/", &identity.ca, time).await?
        }
    };
    let spent = spent()? - before;
    ensure!(seen.requests > 0, "{} answered no request", cache.name);
    #[allow(clippy::cast_precision_loss)]
    let requests = seen.requests as f64;
    Ok(Run {
        cpu_us: spent.as_secs_f64() * 1e6 / requests,
        rate: requests / seen.time.as_secs_f64(),
        latency: seen.latency,
    })
}

impl Row {
    fn cpu(&self) -> f64 {
        let middle = self.cpu_us.get(self.cpu_us.len() / 2);
        middle.copied().unwrap_or(f64::NAN)
    }

    fn spread(&self) -> (f64, f64) {
        let ends = self.cpu_us.first().zip(self.cpu_us.last());
        ends.map_or((f64::NAN, f64::NAN), |(low, high)| (*low, *high))
    }
}

/// The best peer's CPU time for what `row` is about.
fn best(rows: &[Row], row: &Row) -> Option<f64> {
    rows.iter()
        .filter(|peer| peer.what == row.what && peer.name != "Brink" && !peer.is_apart)
        .map(Row::cpu)
        .min_by(f64::total_cmp)
}

fn markdown(rows: &[Row]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "| cached | server | server CPU, us/request | (least to most) | beside the best peer | requests/s | p50, ms | p99, ms | p99.9, ms |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let ratio = best(rows, row).map(|best| row.cpu() / best);
        let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let (low, high) = row.spread();
        let ms = |time: Option<Duration>| {
            time.map_or_else(
                || "-".to_owned(),
                |time| format!("{:.2}", time.as_secs_f64() * 1e3),
            )
        };
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {low:.1} to {high:.1} | {ratio} | {:.0} | {} | {} | {} |",
            row.what,
            row.name,
            row.cpu(),
            row.rate,
            ms(row.latency.p50),
            ms(row.latency.p99),
            ms(row.latency.p999),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn made(name: &str, cpu_us: &[f64], is_apart: bool) -> Row {
        let runs = cpu_us.iter().map(|cpu_us| Run {
            cpu_us: *cpu_us,
            rate: 1000.0,
            latency: Latency {
                p50: Some(Duration::from_micros(1500)),
                ..Latency::default()
            },
        });
        row(Protocol::Http2, 1024, name, runs.collect(), is_apart)
    }

    #[test]
    fn ratios_are_of_medians_to_the_best_that_does_the_same() {
        let rows = [
            made("Brink", &[9.0, 10.0, 30.0], false),
            made("nginx", &[25.0], false),
            made("HAProxy", &[19.0, 20.0, 21.0], false),
            made("Varnish", &[5.0], true),
        ];
        let text = markdown(&rows);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines.first().unwrap(),
            &"| HTTP/2, 1 KiB | Brink | 10.0 | 9.0 to 30.0 | 0.50 | 1000 | 1.50 | - | - |"
        );
        assert!(lines.get(2).unwrap().contains("| 1.00 |"), "{text}");
        assert!(
            lines.get(3).unwrap().contains("Varnish, without TLS"),
            "{text}"
        );
    }
}
