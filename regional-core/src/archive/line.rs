//! A record in an archive.

use crate::store::EndedRow;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::{TenantName, event, record::Version};
use serde::{Deserialize, Serialize};

/// A record in an archive: one line of JSON. Its value is `text`, or `base64` where it is no UTF-8; an event's is its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedLine {
    /// Whose.
    pub tenant: TenantName,
    /// The collection.
    pub collection: String,
    /// The partition key.
    pub partition: String,
    /// The sort key.
    pub sort: String,
    /// Its version.
    pub version: Version,
    /// When its lifetime ended, in milliseconds since 1970.
    pub ended_at_ms: u64,
    /// When it was archived, in milliseconds since 1970.
    pub archived_at_ms: u64,
    /// Of an event: its number, kind, and when it was appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<(u64, String, u64)>,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The value in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl ArchivedLine {
    /// Of a record that has ended; none: there is nothing any more.
    pub(super) fn of(ended: &EndedRow, now_ms: u64) -> Option<Self> {
        let row = ended.row.as_ref()?;
        let mut value = row.value.clone()?;
        let mut about = None;
        // What does not read as an event is kept as it is.
        if let Ok(event) = event::decode(&ended.sort, &value) {
            value = event.payload;
            about = Some((event.number, event.kind, event.at_ms));
        }
        let (text, base64) = match std::str::from_utf8(&value) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(&value))),
        };
        Some(Self {
            tenant: ended.partition.tenant.clone(),
            collection: ended.partition.collection.clone(),
            partition: ended.partition.partition.clone(),
            sort: ended.sort.clone(),
            version: row.version,
            ended_at_ms: row.expires_at_ms.unwrap_or_default(),
            archived_at_ms: now_ms,
            event: about,
            text,
            base64,
        })
    }
}
