//! The command line of workflows.

use brink_protocol::ModuleName;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `brink workflows`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink workflows list --state stuck
  brink workflows start fulfil o-1 --input '{\"order\": \"o-1\", ...}'
  brink workflows get fulfil o-1
  brink workflows retry fulfil o-1
  brink workflows cancel fulfil o-1 --reason 'the customer called'")]
pub(crate) struct Workflows {
    /// What to do
    #[command(subcommand)]
    pub(crate) action: WorkflowsAction,
}

/// What to do with workflows.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowsAction {
    /// Start one under an id; the same id again starts nothing
    Start {
        /// The workflow's module
        name: ModuleName,
        /// 1 to 128 visible ASCII characters
        id: String,
        /// Its input, JSON
        #[arg(long, value_name = "JSON", conflicts_with = "input_file")]
        input: Option<String>,
        /// A file with its input, JSON
        #[arg(long, value_name = "FILE")]
        input_file: Option<PathBuf>,
    },
    /// Show one: its decisions, what came of them, what it waits for
    Get {
        /// The workflow's module
        name: ModuleName,
        /// Its id
        id: String,
    },
    /// List them, the newest start first
    List(WorkflowsList),
    /// Try again at once what stands still or waits for its next attempt
    Retry {
        /// The workflow's module
        name: ModuleName,
        /// Its id
        id: String,
    },
    /// End one: it fails now, and what was done is compensated
    Cancel {
        /// The workflow's module
        name: ModuleName,
        /// Its id
        id: String,
        /// Why, for people
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// `brink workflows list`.
#[derive(Debug, Args)]
pub(crate) struct WorkflowsList {
    /// Those of this module
    #[arg(long)]
    pub(crate) name: Option<ModuleName>,
    /// Those that stand so
    #[arg(long, value_enum)]
    pub(crate) state: Option<WorkflowState>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) limit: u16,
    /// Go on where a list ended
    #[arg(long, value_name = "PLACE")]
    pub(crate) before: Option<String>,
}

/// Where a workflow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkflowState {
    /// Steps are under way, or it waits for its time
    Running,
    /// It failed or was cancelled; what was done is being compensated
    Compensating,
    /// It stands still until it is retried or cancelled
    Stuck,
    /// It ended well
    Completed,
    /// It failed, and all that was done is compensated
    Failed,
}
