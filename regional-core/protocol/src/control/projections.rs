//! Bodies of the control API about projections.

use super::ShownEvent;
use crate::ModuleName;
use serde::{Deserialize, Serialize};

/// Where a projection stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectionStatus {
    /// Its name.
    pub name: ModuleName,
    /// The version that runs.
    pub version: u64,
    /// The collection whose events it reads.
    pub source: Option<String>,
    /// The collection that it writes.
    pub target: Option<String>,
    /// Why it does not run, or not all of it; none: it does.
    pub problem: Option<String>,
    /// Streams of the source.
    pub streams: u64,
    /// Of these, with events that are not applied yet.
    pub streams_behind: u64,
    /// Events that are not applied yet, of all streams.
    pub lag: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// How often it was replayed.
    pub replays: u64,
}

/// An event that a projection has given up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetter {
    /// Names it in further requests.
    pub id: String,
    /// The partition of its stream.
    pub partition: String,
    /// The partition that it was for; none: the projection could not say.
    pub target: Option<String>,
    /// The event.
    pub event: ShownEvent,
    /// What the last attempt said.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Dead letters of a projection.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetters {
    /// By stream and number.
    pub letters: Vec<DeadLetter>,
    /// There are more: go on after the last id.
    pub more: bool,
}

/// What came of trying a dead letter again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RetriedLetter {
    /// It was applied now. Not: it had been before, or was dropped. It is gone in any case.
    pub applied: bool,
}

/// Reads streams again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Replay {
    /// From this number on; from the beginning if it is left out.
    #[serde(default)]
    pub from: u64,
    /// The stream of this partition alone; all if it is left out.
    #[serde(default)]
    pub partition: Option<String>,
}

/// A replay has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Replayed {
    /// Counts replays of the projection.
    pub replay: u64,
}

/// Deletes what a projection that is not deployed any more has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DropTarget {
    /// The collection that it read.
    pub source: String,
    /// The collection that it wrote.
    pub target: String,
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DroppedTarget {
    /// Records of the target collection.
    pub records: u64,
}
