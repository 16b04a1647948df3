//! Bodies of the control API about streams of events.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Appends events to the stream of one partition, all or none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewEvents {
    /// The collection.
    pub collection: String,
    /// The partition key.
    pub partition: String,
    /// 1 to 100, in the order in which they are numbered.
    pub events: Vec<NewEvent>,
}

/// An event to append.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewEvent {
    /// What happened: 1 to 128 visible ASCII characters.
    pub kind: String,
    /// The payload, as JSON. At most 256 KiB without white space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub payload: Option<Box<RawValue>>,
    /// The payload in base64, if it is not JSON. Neither: it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// The event is dropped after this many milliseconds; it stays if this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_ms: Option<u64>,
}

/// What was appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppendedEvents {
    /// The number of the first.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
}

/// A part of a stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShownEvents {
    /// Oldest first.
    pub events: Vec<ShownEvent>,
    /// There are more: go on after the last number.
    pub more: bool,
    /// The oldest event that is kept; 0: none.
    pub oldest: u64,
    /// The newest event that there ever was; 0: none.
    pub newest: u64,
}

/// An event.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShownEvent {
    /// Its number.
    pub number: u64,
    /// What happened.
    pub kind: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Its payload, if that is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub payload: Option<Box<RawValue>>,
    /// Its payload in base64, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}
