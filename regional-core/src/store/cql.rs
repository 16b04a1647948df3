//! The store on a CQL engine (ScyllaDB, Apache Cassandra): shared by any number of cores, each of which writes a log of
//! its own there and sees those of the others.
//!
//! Records of a partition are one partition of the engine. A commit reads what it needs, decides, and writes under the
//! condition that the partition's revision is what it was (docs/decisions/0008-cql-store.md). What an engine cannot do in
//! one step, log and records, is done in three: intended, written, settled.

mod answers;
mod commit;
mod decide;
mod engine;
mod expiry;
mod group;
mod held;
mod log;
mod migrations;
mod options;
mod origins;
mod partition;
mod read_log;
mod records;
mod scan;
mod schema;
mod session;
mod sweep;

pub use self::options::{Confirm, Credentials, Options, Serial};

use self::engine::Engine;
use std::sync::Arc;

/// The store on a CQL engine.
pub struct CqlStore {
    engine: Arc<Engine>,
}
