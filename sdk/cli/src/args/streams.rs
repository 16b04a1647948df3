//! Events and projections.

use brink_protocol::ModuleName;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `brink events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink events read orders o-4711
  brink events tail orders o-4711 --after 7
  brink events append orders o-4711 order.note --payload '{\"text\": \"called\"}' --key note-1")]
pub(crate) struct Events {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: EventsAction,
}

/// A stream: the events of one partition.
#[derive(Debug, Args)]
pub(crate) struct Stream {
    /// The collection
    pub(crate) collection: String,
    /// The partition key
    pub(crate) partition: String,
}

/// What to do with events.
#[derive(Debug, Subcommand)]
pub(crate) enum EventsAction {
    /// Show events, oldest first
    Read {
        /// Of which stream.
        #[command(flatten)]
        stream: Stream,
        /// Those after this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show events, and go on with those that come, until Ctrl-C
    Tail {
        /// Of which stream.
        #[command(flatten)]
        stream: Stream,
        /// Those after this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
    },
    /// Append an event
    Append {
        /// To which stream.
        #[command(flatten)]
        stream: Stream,
        /// What happened: 1 to 128 visible ASCII characters
        kind: String,
        /// The payload, as JSON; none if it is left out
        #[arg(long, value_name = "JSON", conflicts_with = "file")]
        payload: Option<String>,
        /// A file with the payload, whatever it is
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The event is dropped after so many milliseconds; it stays if this is left out
        #[arg(long, value_name = "MS")]
        lifetime: Option<u64>,
        /// Under the same key the same is appended once, within 24 hours
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
}

/// `brink projections`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brink projections list
  brink projections dead-letters orders-by-customer
  brink projections retry orders-by-customer 3f786850e387550f-00000000000000000042
  brink projections replay orders-by-customer --partition o-4711 --from 40

Making a target anew beside the old one:
  brink deploy by-customer-2 --config source=orders --config target=by-customer-2
  brink projections list                      until its LAG is 0; then let the modules read by-customer-2
  brink projections drop-target by-customer --source orders --target by-customer --yes")]
pub(crate) struct Projections {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: ProjectionsAction,
}

/// What to do with projections.
#[derive(Debug, Subcommand)]
pub(crate) enum ProjectionsAction {
    /// Show how far each is, and how many events it has given up
    List,
    /// Show the events that a projection has given up
    DeadLetters {
        /// The projection
        name: ModuleName,
        /// Go on behind this id
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
    },
    /// Apply a dead letter now, out of its turn, exactly once; it stays if the projection fails again
    Retry {
        /// The projection
        name: ModuleName,
        /// The letter's id
        id: String,
    },
    /// Drop a dead letter: its event will not be applied
    Drop {
        /// The projection
        name: ModuleName,
        /// The letter's id
        id: String,
    },
    /// Apply events again, from a number on
    Replay {
        /// The projection
        name: ModuleName,
        /// From this number on; from the beginning if it is left out
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        from: u64,
        /// The stream of this partition alone; all if it is left out
        #[arg(long, value_name = "PARTITION")]
        partition: Option<String>,
    },
    /// Delete what a projection that is not deployed any more has written
    DropTarget {
        /// The former projection
        name: ModuleName,
        /// The collection that it read
        #[arg(long, value_name = "COLLECTION")]
        source: String,
        /// The collection that it wrote: all that it wrote there is deleted
        #[arg(long, value_name = "COLLECTION")]
        target: String,
        /// Yes, delete it
        #[arg(long, required = true)]
        yes: bool,
    },
}
