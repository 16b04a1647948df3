//! `brink-bench`: the load runs behind the README's figures.

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{net::SocketAddr, path::PathBuf};

/// That of the edge.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Load runs beside bare servers, in one run on one machine.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Run {
    /// The README's table.
    Table {
        /// The program `brink-edge`, built with --release.
        #[arg(long, default_value = "target/release/brink-edge")]
        edge: PathBuf,
        /// The folder with the sample modules' components.
        #[arg(long, env = "BRINK_GUESTS", default_value = "target/guests")]
        guests: PathBuf,
        /// Seconds of each run.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Runs of each, in alternation; the median counts.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// CPU time of a module's answer in process, with fresh and reused instances.
    Module {
        /// The component.
        component: PathBuf,
        /// What to ask for.
        #[arg(default_value = "/hello")]
        path: String,
    },
    /// Many followers of one core's feed: delay, CPU and memory.
    Feed(brink_bench::feed::Plan),
    /// What coherence costs on a hit: an edge with and without it, in alternation.
    Coherence(brink_bench::coherence::Plan),
    /// Brink beside nginx, HAProxy and Varnish.
    Peers(brink_bench::peers::Plan),
    /// Hit ratios of the edge's own cache beside the policies of libcachesim.
    Hits(brink_bench::hits::Plan),
    /// Memory of the edge's own cache under answers of random sizes.
    Memory(brink_bench::memory::Plan),
    /// The disk tier of the edge's own cache across a restart.
    Disk(brink_bench::disk::Plan),
    /// What records cost: in process, through a link, and on a CQL engine beside the bare driver.
    Core(brink_bench::records::Plan),
    /// Load over HTTP/3 on a running server.
    Http3 {
        /// Its address.
        address: SocketAddr,
        /// What to ask for.
        path: String,
        /// PEM file of the certificate's authority.
        #[arg(long)]
        ca: PathBuf,
        /// Seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Connections.
        #[arg(long, default_value_t = 4)]
        connections: usize,
        /// Requests in flight on each connection.
        #[arg(long, default_value_t = 16)]
        streams: usize,
        /// Requests a second; as many as possible without it.
        #[arg(long)]
        rate: Option<f64>,
    },
    /// An edge whose coherence can be switched off: serves until it is killed.
    #[command(hide = true)]
    Edge(brink_bench::edge::Arguments),
    /// A bare server, the yardstick: prints its address and serves until it is killed.
    Bare {
        /// `http1`, `http2` or `http3`.
        protocol: Protocol,
        /// PEM; for HTTP/2 and HTTP/3.
        #[arg(long)]
        certificate: Option<PathBuf>,
        /// PEM; for HTTP/2 and HTTP/3.
        #[arg(long)]
        key: Option<PathBuf>,
        /// Size of the answer's body.
        #[arg(long, default_value_t = 1024)]
        bytes: usize,
        /// Names in its `Cache-Tag`; HTTP/1.1 only.
        #[arg(long, default_value_t = 0)]
        tags: usize,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Protocol {
    Http1,
    Http2,
    Http3,
}

#[tokio::main]
async fn main() -> Result<()> {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    match Arguments::parse().run {
        Run::Table {
            edge,
            guests,
            seconds,
            rounds,
        } => {
            let time = std::time::Duration::from_secs(seconds.max(1));
            let hello = guests.join("hello.wasm");
            let plan = brink_bench::table::Plan {
                edge,
                hello,
                time,
                rounds: rounds.max(1),
            };
            print!(
                "{}",
                brink_bench::table::markdown(&brink_bench::table::rows(&plan).await?)
            );
            Ok(())
        }
        Run::Module { component, path } => {
            let cost = brink_bench::module::cost(&component, &path).await?;
            println!(
                "a module's answer in process, CPU time: fresh {:?}, reused {:?}",
                cost.fresh, cost.reused
            );
            Ok(())
        }
        Run::Feed(plan) => {
            print!("{}", brink_bench::feed::run(&plan).await?);
            Ok(())
        }
        Run::Coherence(plan) => {
            let rows = brink_bench::coherence::rows(&plan).await?;
            print!("{}", brink_bench::coherence::markdown(&rows));
            Ok(())
        }
        Run::Peers(plan) => {
            print!("{}", brink_bench::peers::run(&plan).await?);
            Ok(())
        }
        Run::Hits(plan) => {
            print!("{}", brink_bench::hits::run(&plan).await?);
            Ok(())
        }
        Run::Memory(plan) => {
            print!("{}", brink_bench::memory::run(&plan).await?);
            Ok(())
        }
        Run::Disk(plan) => {
            print!("{}", brink_bench::disk::run(&plan).await?);
            Ok(())
        }
        Run::Core(plan) => {
            print!("{}", brink_bench::records::run(&plan).await?);
            Ok(())
        }
        Run::Http3 {
            address,
            path,
            ca,
            seconds,
            connections,
            streams,
            rate,
        } => {
            let shape = brink_bench::load::http3::Shape {
                connections,
                streams,
                time: std::time::Duration::from_secs(seconds.max(1)),
                rate,
            };
            let authority = format!("localhost:{}", address.port());
            let seen =
                brink_bench::load::http3::run(address, &authority, &path, &ca, shape).await?;
            println!("{seen:?}");
            Ok(())
        }
        Run::Edge(arguments) => brink_bench::edge::run(arguments).await,
        Run::Bare {
            protocol,
            certificate,
            key,
            bytes,
            tags,
        } => {
            let body = vec![b'x'; bytes].into();
            let (certificate, key) = (certificate.unwrap_or_default(), key.unwrap_or_default());
            match protocol {
                Protocol::Http1 => brink_bench::bare::http1(local, body, tags).await,
                Protocol::Http2 => brink_bench::bare::http2(local, &certificate, &key, body).await,
                Protocol::Http3 => brink_bench::bare::http3(local, &certificate, &key, body).await,
            }
        }
    }
}
