//! A tenant's data as lines of JSON: what an export writes and an import takes.
//!
//! The last line is a [`Summary`]. Its SHA-256 is over all bytes before it, the ends of lines included: what was cut off
//! or changed on its way is refused. A part of an export with a summary of its own is an export.

use crate::{Digest, deployment::Deployment};
use serde::{Deserialize, Serialize};

/// The version of this form.
pub const FORM: u32 = 1;
/// The media type of an export.
pub const MEDIA_TYPE: &str = "application/x-ndjson";
/// Longest line, in bytes: a record's value with each of its bytes escaped, and its key.
pub const LINE_BYTES_MAX: usize = 8 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// A record, an event, or another row of the platform's.
    Record(RecordLine),
    /// What is deployed: to be read by people, an import leaves it out.
    Deployment(Box<Deployment>),
    /// The end.
    Summary(Summary),
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordLine {
    /// Its collection.
    pub collection: String,
    /// Its partition key.
    pub partition: String,
    /// Its sort key.
    pub sort: String,
    /// Its version where it was exported; where it is imported it begins anew.
    pub version: u64,
    /// What was left of its lifetime, in milliseconds; none: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_ms: Option<u64>,
    /// Its value, if that is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its value in base64, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// [`FORM`].
    pub form: u32,
    /// Whose data it is.
    pub tenant: String,
    /// When the first line was written, in milliseconds since 1970.
    pub at_ms: u64,
    /// Lines of records, those of the platform included.
    pub records: u64,
    /// Of these, the platform's: events and others.
    pub platform: u64,
    /// Lines of deployments.
    pub deployments: u64,
    /// Of all lines before this one.
    pub sha256: Digest,
}

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantImported {
    /// Records that were not there, and are now.
    pub written: u64,
    /// Records that were there and differed, and were written over.
    pub overwritten: u64,
    /// Records that were there with the same value.
    pub unchanged: u64,
    /// Lines that no import takes over: deployments, and rows that are about the other installation alone.
    pub left_out: u64,
}
