//! The command line of collections and regions.

use brink_protocol::RegionName;
use clap::{Args, Subcommand, ValueEnum};

/// `brink collections`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink collections
  brink collections put customers --geo eu=eu --geo us=us-east      eu/C1000 lies in the region eu alone
  brink collections put stock --part warehouse --part sku --home eu
  brink collections put readings --time day --lifetime-ms 604800000 --archive
  brink collections put accounts --audit 90d                        brink records audit shows who changed what")]
pub(crate) struct Collections {
    /// What to do; `list` if it is left out
    #[command(subcommand)]
    pub(crate) action: Option<CollectionsAction>,
}

/// What to do with collections.
#[derive(Debug, Subcommand)]
pub(crate) enum CollectionsAction {
    /// List collections whose placement is declared
    List,
    /// Show how a collection is placed
    Get {
        /// The collection
        name: String,
    },
    /// Declare how a collection is placed. Refused where its records would have to lie elsewhere
    Put(CollectionPut),
    /// Forget how a collection is placed
    Delete {
        /// The collection
        name: String,
    },
}

/// A span of time in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Span {
    /// 2026-11-21T18
    Hour,
    /// 2026-11-21
    Day,
    /// 2026-11
    Month,
}

/// `brink collections put`.
#[derive(Debug, Args)]
pub(crate) struct CollectionPut {
    /// The collection
    pub(crate) name: String,
    /// A named part of the partition key, in order; at least twice
    #[arg(long = "part", value_name = "NAME", conflicts_with_all = ["geo", "time"])]
    pub(crate) parts: Vec<String>,
    /// The region of partition keys that begin with PART/; may be repeated
    #[arg(long, value_name = "PART=REGION", conflicts_with_all = ["time", "home"])]
    pub(crate) geo: Vec<String>,
    /// With --geo: other regions may hold the records, too
    #[arg(long, requires = "geo")]
    pub(crate) unpinned: bool,
    /// The last part of the partition key is such a span, in UTC
    #[arg(long, value_enum, value_name = "SPAN")]
    pub(crate) time: Option<Span>,
    /// With --time: lifetime of records that are written without one, in milliseconds
    #[arg(long, value_name = "MS", requires = "time")]
    pub(crate) lifetime_ms: Option<u64>,
    /// For how long it is kept who changed a record: 12h, 90d; not at all if it is left out
    #[arg(long, value_name = "TIME", value_parser = crate::moment::span_ms)]
    pub(crate) audit: Option<u64>,
    /// Write what ends by its lifetime to the core's archive before it is removed
    #[arg(long)]
    pub(crate) archive: bool,
    /// The home region; the main region if it is left out
    #[arg(long, value_name = "REGION")]
    pub(crate) home: Option<RegionName>,
}

/// `brink regions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink regions
  brink regions main eu
  brink regions promote us --to eu --data-center us-east --yes")]
pub(crate) struct RegionsArgs {
    /// What to do; `list` if it is left out
    #[command(subcommand)]
    pub(crate) action: Option<RegionsAction>,
}

/// What to do with regions.
#[derive(Debug, Subcommand)]
pub(crate) enum RegionsAction {
    /// List regions: the main one, their cores, what took the place of lost ones
    List,
    /// Set the home of partitions that no placement gives another
    Main {
        /// The region
        #[arg(required_unless_present = "any")]
        region: Option<RegionName>,
        /// Every region instead of one
        #[arg(long, conflicts_with = "region")]
        any: bool,
    },
    /// Give the homes of a region that is lost for good to another
    Promote {
        /// The lost region
        from: RegionName,
        /// The region that takes its place
        #[arg(long, value_name = "REGION")]
        to: RegionName,
        /// The database's data centre that is given up with it
        #[arg(long, value_name = "NAME")]
        data_center: Option<String>,
        /// It is lost for good: what lay there alone is lost but for backups, and its nodes never come back as they are
        #[arg(long, required = true)]
        yes: bool,
    },
}
