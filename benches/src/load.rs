//! Load: `wrk` for HTTP/1.1, `h2load` for HTTP/2, our own client for HTTP/3 (Debian's h2load has none).

pub mod http3;

use anyhow::{Context as _, Result, ensure};
use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

/// What a load run saw.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Answers with a status of success.
    pub requests: u64,
    /// How long the run took.
    pub time: Duration,
    /// As clients saw it, where the load generator says so.
    pub latency: Latency,
}

/// From a request's beginning to its answer's end, with all that waits before it on the same connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half of all requests take less.
    pub p50: Option<Duration>,
    /// Of a hundred one takes longer.
    pub p99: Option<Duration>,
    /// Of a thousand one takes longer.
    pub p999: Option<Duration>,
}

impl Latency {
    /// Of what each request took, in microseconds.
    #[must_use]
    pub fn of(mut took_us: Vec<u64>) -> Self {
        took_us.sort_unstable();
        let at = |thousandths: usize| {
            let place = (took_us.len() * thousandths / 1000).min(took_us.len().saturating_sub(1));
            took_us.get(place).copied().map(Duration::from_micros)
        };
        Self {
            p50: at(500),
            p99: at(990),
            p999: at(999),
        }
    }
}

/// Connections that `wrk` has.
pub const WRK_CONNECTIONS: u32 = 32;

/// HTTP/1.1 by `wrk`: one thread, 32 connections.
///
/// # Errors
/// `wrk` is missing, or an answer was an error.
pub async fn http1(url: &str, time: Duration) -> Result<Seen> {
    wrk(&[url], time).await
}

/// As [`http1`], asking for `/0`, `/1`, ... below `paths` in turn. A script for `wrk` is kept in `directory`.
///
/// # Errors
/// As [`http1`]; the script cannot be written.
pub async fn http1_many(url: &str, paths: u32, directory: &Path, time: Duration) -> Result<Seen> {
    let walk = Walk {
        paths: paths.into(),
        first: 0,
        step: 1,
        pause_ms: 0,
        directory,
    };
    walk.ask(url, time).await
}

/// Requests for many paths, one after the other, by `wrk`.
#[derive(Debug, Clone, Copy)]
pub struct Walk<'a> {
    /// How many there are: `/0`, `/1`, ...
    pub paths: u64,
    /// Which request of the walk is the first.
    pub first: u64,
    /// From one path to the next.
    pub step: u64,
    /// How long a connection waits before each request, in milliseconds.
    pub pause_ms: u64,
    /// Where a script for `wrk` is kept.
    pub directory: &'a Path,
}

impl Walk<'_> {
    /// Walks for so long.
    ///
    /// # Errors
    /// As [`http1`]; the script cannot be written.
    pub async fn ask(&self, url: &str, time: Duration) -> Result<Seen> {
        let Self {
            paths,
            first,
            step,
            pause_ms,
            ..
        } = self;
        let mut text = format!(
            "local next = {first} - 1\n\
             function request() next = next + 1 return wrk.format('GET', '/' .. (next * {step}) % {paths}) end\n"
        );
        if *pause_ms > 0 {
            text += &format!("function delay() return {pause_ms} end\n");
        }
        let script = self.directory.join("paths.lua");
        std::fs::write(&script, text)?;
        wrk(&["-s", &script.display().to_string(), url], time).await
    }
}

/// What `wrk` says at its end: microseconds.
const WRK_DONE: &str = "function done(summary, latency, requests) io.write(string.format(\
    '\\nlatency-us: %d %d %d\\n', latency:percentile(50), latency:percentile(99), latency:percentile(99.9))) end\n";

/// HTTP/1.1 by `h2load`, at so many requests a second in all.
///
/// # Errors
/// As [`http2`].
pub async fn http1_at(url: &str, connections: u32, rate: f64, time: Duration) -> Result<Seen> {
    let each = format!("--rps={:.1}", rate / f64::from(connections));
    let connections = format!("-c{connections}");
    h2load(&["--h1", "-m1", &connections, &each, url], time).await
}

async fn wrk(arguments: &[&str], time: Duration) -> Result<Seen> {
    let seconds = format!("{}s", time.as_secs());
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(script.path(), WRK_DONE)?;
    let script = script.path().display().to_string();
    let connections = format!("-c{WRK_CONNECTIONS}");
    let mut fixed = vec!["-t1", &connections, "-d", &seconds];
    if !arguments.contains(&"-s") {
        fixed.extend(["-s", &script]);
    }
    let text = run("wrk", &[&fixed, arguments].concat()).await?;
    ensure!(!text.contains("Non-2xx"), "wrk saw errors:\n{text}");
    let line = text
        .lines()
        .find(|line| line.contains("requests in"))
        .context("wrk's summary")?;
    let mut words = line.split_whitespace();
    let requests = words.next().context("requests")?.parse()?;
    let took = words
        .nth(2)
        .context("time")?
        .trim_end_matches(',')
        .trim_end_matches('s')
        .parse()?;
    Ok(Seen {
        requests,
        time: Duration::from_secs_f64(took),
        latency: wrk_latency(&text),
    })
}

fn wrk_latency(text: &str) -> Latency {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("latency-us:"));
    let mut times = line
        .unwrap_or_default()
        .split_whitespace()
        .map(|time| time.parse().ok().map(Duration::from_micros));
    let mut next = || times.next().flatten();
    Latency {
        p50: next(),
        p99: next(),
        p999: next(),
    }
}

/// HTTP/2 by `h2load`: 8 connections of 16 streams.
///
/// # Errors
/// `h2load` is missing, or an answer was an error.
pub async fn http2(url: &str, time: Duration) -> Result<Seen> {
    h2load(&["-c8", "-m16", url], time).await
}

/// As [`http2`] with one connection of 64 streams, asking for `/0`, `/1`, ... below `paths` in turn. The list is kept in
/// `directory`.
///
/// # Errors
/// As [`http2`]; the list cannot be written.
pub async fn http2_many(url: &str, paths: u32, directory: &Path, time: Duration) -> Result<Seen> {
    let list = directory.join("paths.txt");
    let base = url.trim_end_matches('/');
    let lines: String = (0..paths).map(|n| format!("{base}/{n}\n")).collect();
    std::fs::write(&list, lines)?;
    let list = list.display().to_string();
    // h2load's connections would walk the list side by side: one does not meet another.
    h2load(&["-c1", "-m64", "-i", &list], time).await
}

async fn h2load(arguments: &[&str], time: Duration) -> Result<Seen> {
    let seconds = time.as_secs().to_string();
    let log = tempfile::NamedTempFile::new()?;
    let log_option = format!("--log-file={}", log.path().display());
    let fixed = ["-t1", "-D", &seconds, &log_option];
    let text = run("h2load", &[&fixed, arguments].concat()).await?;
    let line = text
        .lines()
        .find(|line| line.starts_with("requests:"))
        .context("h2load's summary")?;
    let count = |what: &str| -> Result<u64> {
        let part = line
            .split(',')
            .find(|part| part.ends_with(what))
            .with_context(|| line.to_owned())?;
        Ok(part.split_whitespace().next().context("a count")?.parse()?)
    };
    ensure!(
        count(" failed")? == 0 && count(" errored")? == 0,
        "h2load saw errors: {line}"
    );
    Ok(Seen {
        requests: count(" succeeded")?,
        time,
        latency: h2load_latency(&std::fs::read_to_string(log.path())?),
    })
}

/// Its log has a line for each request: when it began, its status, and what it took in microseconds.
fn h2load_latency(log: &str) -> Latency {
    let took = |line: &str| line.rsplit('\t').next()?.parse().ok();
    Latency::of(log.lines().filter_map(took).collect())
}

async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| {
            format!("{program} did not start: `cargo xtask setup --bench` installs it")
        })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{program}: {}\n{text}",
        output.status
    );
    Ok(text)
}

/// HTTP/3 by quinn: 4 connections of 16 requests at a time.
///
/// # Errors
/// The server cannot be reached, or an answer was an error.
pub async fn http3(
    address: SocketAddr,
    authority: &str,
    path: &str,
    ca: &Path,
    time: Duration,
) -> Result<Seen> {
    http3::run(address, authority, path, ca, http3::Shape::usual(time)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_read_from_what_load_generators_write() {
        let us = |us| Some(Duration::from_micros(us));
        let three = |p50, p99, p999| Latency {
            p50: us(p50),
            p99: us(p99),
            p999: us(p999),
        };
        assert_eq!(wrk_latency("x\nlatency-us: 5 60 700\n"), three(5, 60, 700));
        assert_eq!(wrk_latency("nothing"), Latency::default());
        let log: String = (0..1000).map(|n| format!("17\t200\t{n}\n")).collect();
        assert_eq!(h2load_latency(&log), three(500, 990, 999));
        assert_eq!(h2load_latency(""), Latency::default());
    }
}
