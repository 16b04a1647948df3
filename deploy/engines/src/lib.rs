//! Database engines for tests and for `cargo xtask up`: fetched once, started on addresses of their own, gone with
//! the process that started them. No part of the product.
//!
//! The CQL engine is Apache Cassandra from Maven Central. A cluster takes a free network of the loopback (127.A.B.0/24),
//! so that runs beside each other do not meet; its files lie in a folder of that network below the system's folder for
//! temporary files. The data goes when the cluster ends; the nodes' logs stay until the network is taken again.
//!
//! The Kafka broker is Apache Kafka, from there too, in a network of its own.
//!
//! Everything here blocks: call it from a blocking thread.

mod broker;
mod child;
mod cluster;
mod cql;
mod fetch;
mod network;
mod node;

pub use broker::{Broker, BrokerOptions, KAFKA_PORT};
pub use cluster::{Cluster, DEADLINE, shared};
pub use fetch::{cache_folder, cassandra, is_cassandra_fetched, is_kafka_fetched, kafka};
pub use node::{CQL_PORT, Durability, Options, PASSWORD, Site, USER, command_in};

use std::{io, path::PathBuf};

/// The environment variable that names a running node, `ADDRESS:PORT`, for [`shared`]; its data centre is [`DATA_CENTRE`].
pub const SHARED_VARIABLE: &str = "BRINK_CQL";
/// The data centre of the shared node.
pub const DATA_CENTRE: &str = "dc1";

/// What can go wrong with an engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is not there.
    #[error("`{program}` is not on the path; on Debian, as root: `apt-get install {package}`")]
    Missing {
        /// Its name.
        program: &'static str,
        /// Debian's package.
        package: &'static str,
    },
    /// An engine could not be fetched.
    #[error("{engine} could not be fetched: {said}")]
    Fetch {
        /// Which.
        engine: &'static str,
        /// What Maven said.
        said: String,
    },
    /// A file or folder cannot be used.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No network of the loopback is free.
    #[error("no network of 127.64.0.0/10 is free for an engine")]
    NoNetwork,
    /// A node did not start, or ended.
    #[error("node {address}: {what}; its log is {log}\n{tail}")]
    Node {
        /// Its address.
        address: std::net::Ipv4Addr,
        /// What happened.
        what: String,
        /// Where its log is.
        log: PathBuf,
        /// The end of its log.
        tail: String,
    },
    /// A cluster that nobody can start.
    #[error("{0}")]
    Shape(String),
}

impl Error {
    fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, error }
    }
}
