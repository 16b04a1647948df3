//! The feed under many followers: a core, a thousand links as edges hold them, a hundred writes a second.
//!
//! Each follower is a PoP with a certificate and a connection of its own, and reports twice a second as an edge does. One
//! more PoP writes records. The delay of a delivery counts from the moment at which the write was durable: when its answer
//! had arrived, or the first of the followers had the change, whichever came first. All clocks are one clock.

mod delays;
mod follower;
pub(crate) mod writer;

use self::{
    delays::Delays,
    follower::{Follower, Seen},
    writer::Written,
};
use crate::{core::Core, cpu};
use anyhow::{Context as _, Result, ensure};
use brink_edge::link::Transport;
use brink_protocol::PopName;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Handshakes at a time: a thousand at once measure nothing but the handshake's time limit.
const CONNECTING_MAX: usize = 32;
/// How long the last deliveries may take before the run is called incomplete.
const COMPLETE_WITHIN: Duration = Duration::from_secs(20);
/// What each connection needs, with room for everything else.
const DESCRIPTORS_EACH: u64 = 3;

/// What is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// The program `brink-core`, built with --release
    #[arg(long, default_value = "target/release/brink-core")]
    pub core: PathBuf,
    /// PoPs that follow the feed
    #[arg(long, default_value_t = 1000)]
    pub subscribers: usize,
    /// Writes
    #[arg(long, default_value_t = 100)]
    pub changes_per_second: u32,
    /// How long is written
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// How PoPs are connected
    #[arg(long, value_enum, default_value = "http2")]
    pub transport: Carrier,
}

/// How PoPs are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Carrier {
    /// TLS over TCP.
    Http2,
    /// QUIC.
    Http3,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        })
    }
}

impl From<Carrier> for Transport {
    fn from(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Http2 => Self::Tcp,
            Carrier::Http3 => Self::Quic,
        }
    }
}

/// What a run showed.
#[derive(Debug, Clone)]
pub struct Outcome {
    plan: Plan,
    writes: usize,
    deliveries: usize,
    feeds_broken: usize,
    first_broken: Option<String>,
    reports: usize,
    reports_failed: usize,
    after_append: Delays,
    after_sending: Delays,
    /// Without writes: heartbeats and reports.
    idle: Share,
    busy: Share,
    /// Resident memory of the core before the first follower, with all of them, and after the writes, in bytes.
    resident: [u64; 3],
}

/// CPU time in a stretch of time.
#[derive(Debug, Clone, Copy)]
struct Share {
    time: Duration,
    core: Duration,
    ours: Duration,
    others: Duration,
}

/// Where the clocks of CPU time stood.
struct Mark {
    at: Instant,
    core: Duration,
    ours: Duration,
    machine: Duration,
}

impl Mark {
    fn set(core: &Core) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            core: cpu::spent(core.pid())?,
            ours: cpu::spent(std::process::id())?,
            machine: cpu::machine()?,
        })
    }

    fn until_now(&self, core: &Core) -> Result<Share> {
        let now = Self::set(core)?;
        let (spent, ours) = (now.core - self.core, now.ours - self.ours);
        let machine = now.machine.saturating_sub(self.machine);
        Ok(Share {
            time: now.at - self.at,
            core: spent,
            ours,
            others: machine.saturating_sub(spent + ours),
        })
    }
}

/// Runs it.
///
/// # Errors
/// The core did not start, a follower could not connect, or no write succeeded.
pub async fn run(plan: &Plan) -> Result<Outcome> {
    raise_descriptors(plan.subscribers)?;
    let directory = tempfile::tempdir()?;
    let core = Core::start(&plan.core, directory.path())?;
    let resident_before = cpu::resident(core.pid())?;
    let stop = CancellationToken::new();
    let deliveries = Arc::new(AtomicU64::new(0));
    let mut followers = follow(plan, &core, &deliveries, &stop).await?;
    // Connections settle, each reports at least once.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let resident_with = cpu::resident(core.pid())?;
    let mark = Mark::set(&core)?;
    tokio::time::sleep(Duration::from_secs(plan.seconds.min(5))).await;
    let idle = mark.until_now(&core)?;
    let writer = core
        .issue(&["writer".parse()?])?
        .pop()
        .context("a certificate")?;
    let link = core.connect(&writer, plan.transport.into())?;
    let maintained = link.clone();
    let token = stop.clone();
    tokio::spawn(async move { maintained.maintain(token).await });
    link.connected().await;
    let mark = Mark::set(&core)?;
    let time = Duration::from_secs(plan.seconds);
    let written = writer::write(&link, plan.changes_per_second, time).await?;
    ensure!(!written.is_empty(), "no write succeeded");
    let busy = mark.until_now(&core)?;
    let expected = (written.len() * plan.subscribers) as u64;
    let waiting = Instant::now();
    while deliveries.load(Ordering::Relaxed) < expected && waiting.elapsed() < COMPLETE_WITHIN {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let resident_after = cpu::resident(core.pid())?;
    stop.cancel();
    let mut seen = Vec::new();
    while let Some(follower) = followers.join_next().await {
        seen.push(follower??);
    }
    let (after_append, after_sending) = delays(&written, &seen);
    Ok(Outcome {
        plan: plan.clone(),
        writes: written.len(),
        deliveries: after_append.count(),
        feeds_broken: seen.iter().map(|seen| seen.feeds_broken).sum(),
        first_broken: seen.iter().find_map(|seen| seen.first_broken.clone()),
        reports: seen.iter().map(|seen| seen.reports).sum(),
        reports_failed: seen.iter().map(|seen| seen.reports_failed).sum(),
        after_append,
        after_sending,
        idle,
        busy,
        resident: [resident_before, resident_with, resident_after],
    })
}

/// Connects every follower and waits until each has its feed.
async fn follow(
    plan: &Plan,
    core: &Core,
    deliveries: &Arc<AtomicU64>,
    stop: &CancellationToken,
) -> Result<JoinSet<Result<Seen>>> {
    let names = (0..plan.subscribers)
        .map(|number| format!("pop-{number}").parse())
        .collect::<Result<Vec<PopName>, _>>()?;
    let pops = core.issue(&names)?;
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    let (started, mut starts) = tokio::sync::mpsc::channel(plan.subscribers.max(1));
    let mut followers = JoinSet::new();
    for pop in pops {
        let follower = Follower {
            link: core.connect(&pop, plan.transport.into())?,
            pop: pop.name,
            deliveries: Arc::clone(deliveries),
            stop: stop.clone(),
        };
        let permit = Arc::clone(&connecting).acquire_owned().await?;
        let started = started.clone();
        followers.spawn(follower.run(move || {
            drop(permit);
            let _ = started.try_send(());
        }));
    }
    for number in 0..plan.subscribers {
        tokio::time::timeout(Duration::from_secs(30), starts.recv())
            .await
            .with_context(|| format!("only {number} followers have a feed"))?;
    }
    Ok(followers)
}

/// Delays of all deliveries, counted from the durable append and from the sending of the write.
fn delays(written: &[Written], seen: &[Seen]) -> (Delays, Delays) {
    let mut durable: HashMap<u64, (Instant, Instant)> = written
        .iter()
        .map(|write| (write.sequence, (write.answered, write.sent)))
        .collect();
    let arrivals = || seen.iter().flat_map(|seen| &seen.arrivals);
    for (sequence, arrived) in arrivals() {
        if let Some((durable, _)) = durable.get_mut(sequence) {
            *durable = (*durable).min(*arrived);
        }
    }
    let since = |pick: fn(&(Instant, Instant)) -> Instant| {
        arrivals()
            .filter_map(|(sequence, arrived)| Some(*arrived - pick(durable.get(sequence)?)))
            .collect()
    };
    (since(|times| times.0), since(|times| times.1))
}

fn raise_descriptors(subscribers: usize) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raising the limit of open files")?;
    let needed = subscribers as u64 * DESCRIPTORS_EACH + 256;
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= needed),
        "{subscribers} subscribers need {needed} open files (`ulimit -Hn`)"
    );
    Ok(())
}

impl fmt::Display for Outcome {
    #[allow(clippy::cast_precision_loss)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let [before, with, after] = self.resident;
        let each = with.saturating_sub(before) / plan.subscribers.max(1) as u64;
        let percent =
            |spent: Duration, share: &Share| 100.0 * spent.as_secs_f64() / share.time.as_secs_f64();
        // What heartbeats and reports cost goes on while changes are delivered; it is not theirs.
        let idle = self.idle.core.as_secs_f64() / self.idle.time.as_secs_f64();
        let delivering = self.busy.core.as_secs_f64() - idle * self.busy.time.as_secs_f64();
        let deliveries = self.deliveries.max(1) as f64;
        writeln!(
            f,
            "feed: {} subscribers over {}, {} writes in {:.1} s",
            plan.subscribers,
            plan.transport,
            self.writes,
            self.busy.time.as_secs_f64()
        )?;
        writeln!(
            f,
            "deliveries: {} of {}; feeds broken: {}{}; reports: {}, failed: {}",
            self.deliveries,
            self.writes * plan.subscribers,
            self.feeds_broken,
            self.first_broken
                .as_ref()
                .map(|reason| format!(" (first: {reason})"))
                .unwrap_or_default(),
            self.reports,
            self.reports_failed
        )?;
        writeln!(f, "delay after the durable append: {}", self.after_append)?;
        writeln!(f, "delay after the write was sent: {}", self.after_sending)?;
        writeln!(
            f,
            "core CPU: {:.1} us a delivery ({:.1} with heartbeats and reports); {:.0} % of one processor, {:.0} % without writes",
            delivering * 1e6 / deliveries,
            self.busy.core.as_secs_f64() * 1e6 / deliveries,
            percent(self.busy.core, &self.busy),
            percent(self.idle.core, &self.idle),
        )?;
        writeln!(
            f,
            "core memory: {:.1} KiB a subscriber; {:.1} MiB without, {:.1} MiB with all, {:.1} MiB after the writes",
            each as f64 / 1024.0,
            mib(before),
            mib(with),
            mib(after)
        )?;
        writeln!(
            f,
            "beside it, of {} processors: load generator {:.0} %, everything else {:.0} %",
            std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            percent(self.busy.ours, &self.busy),
            percent(self.busy.others, &self.busy),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_begins_at_the_answer_or_the_first_arrival() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let written = |sequence, sent, answered| Written {
            sequence,
            sent: at(sent),
            answered: at(answered),
        };
        let seen = |arrivals: &[(u64, u64)]| Seen {
            arrivals: arrivals.iter().map(|(s, ms)| (*s, at(*ms))).collect(),
            ..Seen::default()
        };
        let writes = [written(7, 0, 10), written(8, 20, 30)];
        // Of 9 nothing is known: somebody else wrote it.
        let seen = [seen(&[(7, 8), (8, 31), (9, 40)]), seen(&[(7, 18), (8, 35)])];
        let (after_append, after_sending) = delays(&writes, &seen);
        assert_eq!(after_append.count(), 4);
        assert_eq!(after_append.max(), Duration::from_millis(10));
        assert_eq!(after_sending.max(), Duration::from_millis(18));
    }
}
