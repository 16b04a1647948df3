//! What records cost: the embedded store in process; a core's link without an engine behind it that would hide its own
//! cost; and a core on a CQL engine beside the bare driver on the same engine, in alternation.

mod chance;
mod driver;
mod embedded;
mod engine;
mod linked;
mod load;
mod quota;
mod report;

use crate::feed::Carrier;
use anyhow::Result;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use report::Report;

/// What is run.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// The program `brink-core`, built with --release
    #[arg(long, default_value = "target/release/brink-core")]
    pub core: PathBuf,
    /// Which parts, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
    pub parts: Vec<Part>,
    /// Seconds of each run; the first run of each kind has a tenth of it and does not count
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Runs of each, in alternation where there are two
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Records that are read
    #[arg(long, default_value_t = 100_000)]
    pub records: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    pub value_bytes: usize,
    /// Tasks that read in process
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
    pub readers: Vec<usize>,
    /// Tasks that write in process
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256, 1024])]
    pub writers: Vec<usize>,
    /// Requests under way through a link, and to the engine
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    pub at_once: Vec<usize>,
    /// How the link is connected
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Carrier::Http2, Carrier::Http3])]
    pub transports: Vec<Carrier>,
    /// Where the embedded store's files go for the run; on the disk that is to be measured
    #[arg(long, default_value = "target")]
    pub directory: PathBuf,
    /// A CQL node that runs, `ADDRESS:PORT`, data centre `dc1`; otherwise one is started
    #[arg(long)]
    pub engine: Option<SocketAddr>,
    /// Percent of one processor that the engine which is started may use, so that it is what bounds the rate, as it does where
    /// cores and clients have machines of their own; needs root
    #[arg(long, conflicts_with = "engine")]
    pub engine_percent: Option<u32>,
}

/// A part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The embedded store in process.
    Embedded,
    /// A link to a core on its embedded store.
    Link,
    /// A link to a core on a CQL engine, beside the bare driver.
    Engine,
}

impl Part {
    const ALL: [Self; 3] = [Self::Embedded, Self::Link, Self::Engine];
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Link => "link",
            Self::Engine => "engine",
        })
    }
}

impl Plan {
    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.01, 3600.0))
    }

    /// For what does not count.
    fn warm_up(&self) -> Duration {
        self.time() / 10
    }

    fn rounds(&self) -> usize {
        self.rounds.max(1)
    }
}

/// Runs the parts in order.
///
/// # Errors
/// A program or the engine did not start, or an operation failed.
pub async fn run(plan: &Plan) -> Result<Report> {
    let mut report = Report::default();
    for part in &plan.parts {
        match part {
            Part::Embedded => embedded::measure(plan, &mut report).await?,
            Part::Link => linked::measure(plan, &mut report).await?,
            Part::Engine => engine::measure(plan, &mut report).await?,
        }
    }
    Ok(report)
}
