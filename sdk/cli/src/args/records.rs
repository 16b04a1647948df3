//! The command line of records.

use clap::{Args, Subcommand};

/// `brink records`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink collections put orders --audit 90d       from now on it is kept who changes records of orders
  brink records audit orders C1000 o-4711")]
pub(crate) struct RecordsArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: RecordsAction,
}

/// What to do with records.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordsAction {
    /// Show who changed a record, when, and from which version to which, newest first
    Audit(Audited),
}

/// `brink records audit`.
#[derive(Debug, Args)]
pub(crate) struct Audited {
    /// The collection
    pub(crate) collection: String,
    /// The partition key
    pub(crate) partition: String,
    /// The sort key
    #[arg(default_value = "")]
    pub(crate) sort: String,
    /// Go on where a page ended
    #[arg(long, value_name = "PLACE")]
    pub(crate) before: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}
