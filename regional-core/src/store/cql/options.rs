//! What a store on a CQL engine is told: where the engine is, how its keyspace is replicated, how long requests may take.

use brink_protocol::{NodeName, RegionName};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio_rustls::rustls::ClientConfig;

/// By how many replicas of other data centres a commit is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// A quorum of this core's data centre (`LOCAL_QUORUM`). Enough where all cores are in one data centre.
    Local,
    /// A quorum of each data centre (`EACH_QUORUM`): cores of other data centres see a write before they see its change.
    Each,
}

/// Among which replicas conditional writes are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serial {
    /// Those of this core's data centre (`LOCAL_SERIAL`): right where each partition is written in one data centre alone.
    Local,
    /// Those of all data centres (`SERIAL`).
    Global,
}

/// Who the core is to the engine.
#[derive(Clone)]
pub struct Credentials {
    /// The role.
    pub user: String,
    /// Its password. Never logged.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Where a store lives and what it may use.
#[derive(Debug, Clone)]
pub struct Options {
    /// `HOST:PORT` of some of the engine's nodes; the others are found through them.
    pub contact_points: Vec<String>,
    /// The keyspace: a letter, then letters, digits and `_`, at most 48 bytes. Made if it is not there.
    pub keyspace: String,
    /// The data centre whose nodes this core asks.
    pub data_center: String,
    /// Replicas by data centre, for a keyspace that is made.
    pub replication: BTreeMap<String, u8>,
    /// The region of the core, if placements can name it: records that lie in it alone have a keyspace of their own.
    pub region: Option<RegionName>,
    /// The core node whose log is written here.
    pub node: NodeName,
    /// None: the engine asks for none.
    pub credentials: Option<Credentials>,
    /// None: the connection is not encrypted.
    pub tls: Option<Arc<ClientConfig>>,
    /// By how many replicas commits are confirmed.
    pub confirm: Confirm,
    /// Among which replicas conditional writes are ordered.
    pub serial: Serial,
    /// How long one connection may take to be made.
    pub connect_timeout: Duration,
    /// How long the engine may take for one request.
    pub request_timeout: Duration,
    /// How long a write may take with all its requests and retries. Beyond it the caller is told that it may or may not
    /// have happened, and the store goes on finding out.
    pub write_timeout: Duration,
    /// After how long a read is asked of another replica, too; none: never.
    pub speculative_delay: Option<Duration>,
    /// How often the logs of other cores are looked at.
    pub poll_interval: Duration,
    /// How long a core says nothing until another takes over its log.
    pub silent_max: Duration,
    /// Changes that the log keeps, at least; whole buckets of older ones go.
    pub log_changes_max: u64,
    /// Writes that may be under way; a write that finds no room for two seconds is refused with [`crate::Error::Busy`].
    pub writes_max: usize,
}

impl Options {
    /// The defaults: one data centre, three replicas, no credentials, no encryption, requests of at most 3 s, writes of at
    /// most 10 s, reads asked twice after 50 ms, other logs every 100 ms, cores given up after 10 s, 1,000,000 changes, 1,024 writes under way.
    #[must_use]
    pub fn new(
        contact_points: Vec<String>,
        keyspace: impl Into<String>,
        data_center: impl Into<String>,
        node: NodeName,
    ) -> Self {
        let data_center = data_center.into();
        Self {
            contact_points,
            keyspace: keyspace.into(),
            replication: [(data_center.clone(), 3)].into(),
            data_center,
            region: None,
            node,
            credentials: None,
            tls: None,
            confirm: Confirm::Local,
            serial: Serial::Local,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(3),
            write_timeout: Duration::from_secs(10),
            speculative_delay: Some(Duration::from_millis(50)),
            poll_interval: Duration::from_millis(100),
            silent_max: Duration::from_secs(10),
            log_changes_max: 1_000_000,
            writes_max: 1_024,
        }
    }
}
