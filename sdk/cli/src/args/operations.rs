//! Backups, the health of a core, erasures, exports.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `brink backups`.
#[derive(Debug, Args)]
pub(crate) struct BackupsArgs {
    /// Take a snapshot now
    #[arg(long)]
    pub(crate) now: bool,
}

/// `brink erase`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink erase begin --partition customers/ann --record orders/7/ann --wait --out ann.json
  brink erase status 01JD...
  brink erase verify ann.json --key yAGG...")]
pub(crate) struct Erase {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: EraseAction,
}

/// What to do with erasures.
#[derive(Debug, Subcommand)]
pub(crate) enum EraseAction {
    /// Erase everything of a person; what is deleted cannot be brought back
    Begin {
        /// A partition of which nothing is to be left: COLLECTION/PARTITION; may be repeated
        #[arg(long = "partition", value_name = "COLLECTION/PARTITION")]
        partitions: Vec<String>,
        /// A single record: COLLECTION/PARTITION/SORT; may be repeated. A partition key with `/` in it: use --request
        #[arg(long = "record", value_name = "COLLECTION/PARTITION/SORT")]
        records: Vec<String>,
        /// File with the request in JSON: {"partitions": [{"collection", "partition"}], "records": [...]}
        #[arg(long, value_name = "FILE", conflicts_with_all = ["partitions", "records"])]
        request: Option<PathBuf>,
        /// Wait until it is certified; exit with 6 if it is not within --timeout
        #[arg(long)]
        wait: bool,
        /// With --wait: for how long, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=86_400))]
        timeout: u32,
        /// With --wait: file for the certificate
        #[arg(long, value_name = "FILE", requires = "wait")]
        out: Option<PathBuf>,
    },
    /// Show how far an erasure is, and its certificate
    Status {
        /// The erasure
        id: String,
    },
    /// Check a certificate's signature; needs no control API if --key is given
    Verify {
        /// File that `brink erase begin --out` wrote
        file: PathBuf,
        /// The public key of the core, in base64; asked of the control API if it is left out
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
}

/// `brink tenant`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink tenant export default --to default.jsonl
  brink tenant import default --from default.jsonl")]
pub(crate) struct Tenant {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: TenantAction,
}

/// What to do with a tenant's data.
#[derive(Debug, Subcommand)]
pub(crate) enum TenantAction {
    /// Write records, events and deployments to a file that its owner alone may read
    Export {
        /// The tenant
        name: String,
        /// The file
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Write the records and events of an export into a tenant; may be repeated
    Import {
        /// The tenant; need not be called as that which was exported
        name: String,
        /// File that `brink tenant export` wrote
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// Write over records that differ
        #[arg(long)]
        overwrite: bool,
    },
}
