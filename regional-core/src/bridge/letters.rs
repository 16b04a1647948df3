//! Dead letters: messages that cannot be events, kept for whoever looks after them.

use super::{COLLECTION, message::Dead, places};
use crate::{Error, store::Store};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::TenantName;
use serde::Serialize;

/// How long they are kept, in milliseconds: 30 days.
const LIFETIME_MS: u64 = 30 * 24 * 3600 * 1000;
/// Bytes of key and of value that are kept; the rest is cut off.
const KEY_BYTES_MAX: usize = 1 << 10;
const VALUE_BYTES_MAX: usize = 512 << 10;

#[derive(Serialize)]
struct Letter<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    reason: &'a str,
    /// Base64.
    key: Option<String>,
    /// Base64.
    value: Option<String>,
    /// Of the whole value.
    value_bytes: usize,
    at_ms: u64,
}

/// Keeps one: partition `dead.BRIDGE` of the platform's collection, sort key `PARTITION/OFFSET`. The same again is one.
pub(super) async fn keep(
    store: &dyn Store,
    tenant: &TenantName,
    bridge: &str,
    (topic, partition): (&str, i32),
    dead: &Dead,
    now_ms: u64,
) -> Result<(), Error> {
    let cut = |bytes: &Option<Vec<u8>>, max: usize| {
        let bytes = bytes.as_deref()?;
        Some(STANDARD.encode(bytes.get(..max).unwrap_or(bytes)))
    };
    let letter = Letter {
        topic,
        partition,
        offset: dead.offset,
        reason: &dead.reason,
        key: cut(&dead.key, KEY_BYTES_MAX),
        value: cut(&dead.value, VALUE_BYTES_MAX),
        value_bytes: dead.value.as_ref().map_or(0, Vec::len),
        at_ms: now_ms,
    };
    let json = serde_json::to_vec(&letter).map_err(|e| Error::corrupt("dead letter", e))?;
    let sort = format!("{partition:05}/{:020}", dead.offset);
    let write = places::put(sort, json.into(), Some(now_ms + LIFETIME_MS));
    tracing::warn!(
        collection = COLLECTION,
        bridge,
        topic,
        partition,
        offset = dead.offset,
        reason = dead.reason,
        "a message cannot be an event; it is kept as a dead letter"
    );
    places::write(store, tenant, format!("dead.{bridge}"), vec![write], now_ms).await
}
