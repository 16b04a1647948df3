//! What coherence costs on a hit: two edges of one core, one of which does not hold its stored answers against the
//! changes and the lease, under the same load in alternation: while nothing changes; while records are written that no
//! stored answer was made of; and the same over so many stored answers that each hit is the first since a change, so that
//! every hit looks up all of its tags.

use crate::{
    core::{Core, Pop},
    feed::writer,
    figures::{Figures, measured, median, url},
    load::{self, Seen},
    server::Server,
};
use anyhow::{Context as _, Result, bail, ensure};
use brink_edge::link::Transport;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Names in the `Cache-Tag` of the stored answer, beside the tags that follow from its URL.
const TAGS: &str = "8";
/// Stored answers that are asked for in turn.
const PATHS: u32 = 10_000;
/// How long an edge may take until it answers from its cache.
const WARM_WITHIN: Duration = Duration::from_secs(15);

/// What is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// The program `brink-core`, built with --release
    #[arg(long, default_value = "target/release/brink-core")]
    pub core: PathBuf,
    /// The program `brink`
    #[arg(long, default_value = "target/release/brink")]
    pub brink: PathBuf,
    /// Seconds of each run
    #[arg(long, default_value_t = 2)]
    pub seconds: u64,
    /// Runs of each, in alternation
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Writes while it is measured, in the second half
    #[arg(long, default_value_t = 100)]
    pub changes_per_second: u32,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was asked for.
    what: String,
    /// CPU time of a request with coherence, in microseconds; the median.
    with_us: f64,
    /// The same without.
    without_us: f64,
    /// One beside the other, of each round, ascending.
    ratios: Vec<f64>,
}

/// An edge and where it answers.
struct Edge {
    server: Server,
    url: String,
}

/// Runs everything and gives the lines in order.
///
/// # Errors
/// A program did not start, or an answer was an error or did not come from the cache.
pub async fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let core = Core::start(&plan.core, directory.path())?;
    let names = ["with", "without", "writer"].map(str::parse);
    let [with, without, writer] = names;
    let pops = core.issue(&[with?, without?, writer?])?;
    let [with, without, writer] = pops.as_slice() else {
        bail!("three PoPs were to be made");
    };
    let (_origin, origin) = Server::bare(&["bare", "http1", "--tags", TAGS])?;
    let origin = format!("http://{origin}");
    core.brink(&plan.brink, &["routes", "set", "/", "--origin", &origin])?;
    let with = edge(&core, with, true, directory.path()).await?;
    let without = edge(&core, without, false, directory.path()).await?;
    let comparison = Comparison {
        plan,
        directory: directory.path(),
        with,
        without,
    };
    let mut rows = Vec::from(comparison.both("nothing changes", 1).await?);
    let rate = plan.changes_per_second;
    let _writing = write(&core, writer, rate).await?;
    rows.extend(comparison.both(&format!("{rate} changes/s"), 1).await?);
    let what = format!("{rate} changes/s, {PATHS} answers");
    rows.extend(comparison.both(&what, PATHS).await?);
    Ok(rows)
}

/// The lines as Markdown.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| hit of 1 KiB | CPU with coherence, us/request | without | ratio (least to most) |\n|---|---:|---:|---:|\n",
    );
    for row in rows {
        let ratio = |index: usize| row.ratios.get(index).copied().unwrap_or(f64::NAN);
        let last = row.ratios.len().saturating_sub(1);
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.2} | {:.3} ({:.3} to {:.3}) |",
            row.what,
            row.with_us,
            row.without_us,
            ratio(row.ratios.len() / 2),
            ratio(0),
            ratio(last)
        );
    }
    text
}

/// Starts an edge and waits until it answers from its cache.
async fn edge(core: &Core, pop: &Pop, coherence: bool, directory: &Path) -> Result<Edge> {
    let config = directory.join(format!("{}.toml", pop.name));
    let text = format!(
        "pop = \"{}\"\ndata = {:?}\n[listen]\ntcp = \"127.0.0.1:0\"\n[core]\naddress = \"{}\"\nidentity = {:?}\n\
         [telemetry]\nlog_filter = \"warn\"\n",
        pop.name,
        directory.join("edges").join(pop.name.as_str()),
        core.link,
        pop.identity
    );
    std::fs::write(&config, text)?;
    let config = config.display().to_string();
    let mut arguments = vec!["edge", "--config", &config];
    if !coherence {
        arguments.push("--without-coherence");
    }
    let ready = directory.join(format!("{}.json", pop.name));
    let (server, ready) = Server::brink(&std::env::current_exe()?, &arguments, &ready)?;
    let edge = Edge {
        server,
        url: url(&ready, "url")?,
    };
    let began = Instant::now();
    loop {
        let status = cache_status(&edge.url).await?;
        if status.contains("; hit") {
            return Ok(edge);
        }
        ensure!(
            began.elapsed() < WARM_WITHIN,
            "{} does not answer from its cache: {status}",
            edge.url
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The field `Cache-Status` of an answer, and its status.
async fn cache_status(url: &str) -> Result<String> {
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let address: SocketAddr = authority.parse().with_context(|| url.to_owned())?;
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = http::Request::get("/")
        .header(http::header::HOST, authority)
        .body(Empty::<bytes::Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let field = answer.headers().get("cache-status");
    let field = field.and_then(|field| field.to_str().ok()).unwrap_or("-");
    Ok(format!("{}; {field}", answer.status()))
}

/// Writes records until the guard is dropped.
async fn write(core: &Core, pop: &Pop, rate: u32) -> Result<DropGuard> {
    let link = core.connect(pop, Transport::Tcp)?;
    let stop = CancellationToken::new();
    let (maintained, token) = (link.clone(), stop.clone());
    tokio::spawn(async move { maintained.maintain(token).await });
    link.connected().await;
    let token = stop.clone();
    tokio::spawn(async move {
        let failed = tokio::select! {
            biased;
            () = token.cancelled() => return,
            failed = writer::write_on(&link, rate) => failed,
        };
        if let Err(error) = failed {
            eprintln!("the writes ended: {error:#}");
        }
    });
    Ok(stop.drop_guard())
}

/// Two edges under the same load.
struct Comparison<'a> {
    plan: &'a Plan,
    directory: &'a Path,
    with: Edge,
    without: Edge,
}

impl Comparison<'_> {
    async fn both(&self, what: &str, paths: u32) -> Result<[Row; 2]> {
        Ok([
            self.compare(&format!("HTTP/1.1, {what}"), false, paths)
                .await?,
            self.compare(&format!("HTTP/2, {what}"), true, paths)
                .await?,
        ])
    }

    async fn load(&self, edge: &Edge, http2: bool, paths: u32) -> Result<Seen> {
        let time = Duration::from_secs(self.plan.seconds.max(1));
        match (http2, paths) {
            (false, 1) => load::http1(&edge.url, time).await,
            (true, 1) => load::http2(&edge.url, time).await,
            (false, _) => load::http1_many(&edge.url, paths, self.directory, time).await,
            (true, _) => load::http2_many(&edge.url, paths, self.directory, time).await,
        }
    }

    /// Runs both in alternation, each first as often as the other.
    async fn compare(&self, what: &str, http2: bool, paths: u32) -> Result<Row> {
        let run = async |edge: &Edge| -> Result<Figures> {
            measured(&edge.server, self.load(edge, http2, paths)).await
        };
        // Once without counting: what is asked for is stored then.
        run(&self.with).await?;
        run(&self.without).await?;
        let (mut withs, mut withouts, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..self.plan.rounds.max(1) {
            let (on, off) = if round % 2 == 0 {
                let on = run(&self.with).await?;
                (on, run(&self.without).await?)
            } else {
                let off = run(&self.without).await?;
                (run(&self.with).await?, off)
            };
            withs.push(on);
            withouts.push(off);
            ratios.push(on.cpu_us / off.cpu_us);
        }
        ratios.sort_by(f64::total_cmp);
        let status = cache_status(&self.with.url).await?;
        ensure!(
            status.contains("; hit"),
            "it no longer answers from its cache: {status}"
        );
        Ok(Row {
            what: what.to_owned(),
            with_us: median(withs).cpu_us,
            without_us: median(withouts).cpu_us,
            ratios,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_middle_and_the_spread() {
        let row = Row {
            what: "x".into(),
            with_us: 10.2,
            without_us: 10.0,
            ratios: vec![0.99, 1.02, 1.05],
        };
        let text = markdown(&[row]);
        assert!(
            text.ends_with("| x | 10.20 | 10.00 | 1.020 (0.990 to 1.050) |\n"),
            "{text}"
        );
    }
}
