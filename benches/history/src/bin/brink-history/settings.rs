//! What a client is told, and how it opens its store.

use crate::{Error, flaw::Flaw};
use brink_core::store::{CqlOptions, CqlStore, Options, RedbStore, Store};
use brink_protocol::NodeName;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// How long the engine may take for a request, and for a write with all that belongs to it: short, so that faults are felt.
const REQUEST: Duration = Duration::from_millis(1_500);
const WRITE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);

/// Where a store is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// The core node whose log is written
    #[arg(long)]
    pub(crate) node: NodeName,
    /// The directory of the embedded store
    #[arg(long)]
    pub(crate) directory: Option<PathBuf>,
    /// A node of the CQL engine
    #[arg(long)]
    pub(crate) contact: Vec<String>,
    /// Its keyspace
    #[arg(long, default_value = "history")]
    pub(crate) keyspace: String,
    /// Its replicas
    #[arg(long, default_value_t = 1)]
    pub(crate) replicas: u8,
    /// Words before a client's command line that make it run where it is to
    #[arg(skip)]
    pub(crate) enter: Vec<String>,
}

impl Place {
    pub(crate) async fn open(&self) -> Result<Arc<dyn Store>, Error> {
        if let Some(directory) = &self.directory {
            let mut options = Options::new(directory, self.node.clone());
            options.log_changes_max = u64::MAX >> 1;
            return Ok(Arc::new(RedbStore::open(&options)?));
        }
        let center = brink_engines::DATA_CENTRE;
        let contact = self.contact.clone();
        let mut options = CqlOptions::new(contact, &self.keyspace, center, self.node.clone());
        options.replication = [(center.to_owned(), self.replicas)].into();
        options.request_timeout = REQUEST;
        options.write_timeout = WRITE;
        options.connect_timeout = CONNECT;
        options.log_changes_max = u64::MAX >> 1;
        Ok(Arc::new(CqlStore::open(&options).await?))
    }
}

/// What a client is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Client {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Where chance comes from
    #[arg(long)]
    pub(crate) seed: u64,
    /// Counts the clients of a run; part of the names of its operations
    #[arg(long)]
    pub(crate) number: u64,
    /// Operations at a time
    #[arg(long)]
    pub(crate) tasks: usize,
    /// Partitions that are written at a time
    #[arg(long)]
    pub(crate) partitions: usize,
    /// When the run began, in nanoseconds of the monotonic clock
    #[arg(long)]
    pub(crate) began_ns: u64,
    /// How long partitions are written before others take their place, in milliseconds
    #[arg(long)]
    pub(crate) slice_ms: u64,
    /// The file for what it sees
    #[arg(long)]
    pub(crate) notes: PathBuf,
    /// What is wrong with its store
    #[arg(long)]
    pub(crate) flaw: Option<Flaw>,
}

/// The machine's monotonic clock, the same for all processes, in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
