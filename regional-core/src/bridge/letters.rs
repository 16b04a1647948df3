//! Dead letters: messages that cannot be events, kept for whoever looks after them.

use super::{COLLECTION, message::Dead, places};
use crate::{Error, config::ReceiveConfig, store::Store};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::{
    address::PartitionAddress,
    placement::{Placement, PlacementTable},
};
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

/// Keeps one: partition `dead.BRIDGE` of the platform's collection, sort key `PARTITION/OFFSET`. The same again is one. Of a
/// collection whose records lie in one region alone it is kept there, and if nobody can say which region that is, what
/// the message holds is not kept.
pub(super) async fn keep(
    store: &dyn Store,
    config: &ReceiveConfig,
    partition: i32,
    mut dead: Dead,
    now_ms: u64,
) -> Result<(), Error> {
    let value_bytes = dead.value.as_ref().map_or(0, Vec::len);
    let (tenant, bridge, topic) = (&config.tenant, &config.name, &config.topic);
    let key = dead.key.as_deref().map(String::from_utf8_lossy);
    let stream = PartitionAddress {
        tenant: tenant.clone(),
        collection: config.collection.clone(),
        partition: key.unwrap_or_default().into_owned(),
    };
    if is_homeless(&store.placements(false).await?, &stream) {
        (dead.key, dead.value) = (None, None);
        dead.reason.push_str(
            "; key and value are not kept, for its key does not say in which region they may be",
        );
    }
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
        value_bytes,
        at_ms: now_ms,
    };
    let json = serde_json::to_vec(&letter).map_err(|e| Error::corrupt("dead letter", e))?;
    let sort = format!("{partition:05}/{:020}", dead.offset);
    let write = places::put(sort, json.into(), Some(now_ms + LIFETIME_MS));
    tracing::warn!(
        bridge,
        topic,
        partition,
        offset = dead.offset,
        reason = dead.reason,
        "a message cannot be an event; it is kept as a dead letter"
    );
    let at = PartitionAddress {
        tenant: tenant.clone(),
        collection: store.collection_for(COLLECTION, &stream),
        partition: format!("dead.{bridge}"),
    };
    places::write(store, at, vec![write], now_ms).await
}

/// Whether a partition's collection has records in one region alone, and the partition is none of them.
fn is_homeless(table: &PlacementTable, stream: &PartitionAddress) -> bool {
    let declared = table.collection(&stream.tenant, &stream.collection);
    let is_pinned = declared.is_some_and(|collection| {
        matches!(collection.placement, Placement::Geo { pinned: true, .. })
    });
    is_pinned && table.apart(stream).is_none()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{NewAudit, Options, PlacementStore as _, RedbStore};
    use brink_protocol::record::Key;
    use serde_json::json;

    fn config(collection: &str) -> ReceiveConfig {
        ReceiveConfig {
            name: "in".into(),
            tenant: "default".parse().unwrap(),
            topic: "t".into(),
            collection: collection.into(),
            kind: "message".into(),
        }
    }

    fn table() -> PlacementTable {
        let placement = json!({"kind": "geo", "regions": {"eu": "eu"}});
        let customers = json!({"tenant": "default", "name": "customers", "placement": placement});
        let collections = json!({"default": {"customers": customers}});
        serde_json::from_value(json!({ "collections": collections })).unwrap()
    }

    #[tokio::test]
    async fn what_may_lie_in_one_region_alone_does_not_lie_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path(), "core-1".parse().unwrap());
        let store = RedbStore::open(&options).unwrap();
        let audit = NewAudit {
            by: "t".into(),
            tenant: "default".parse().unwrap(),
            action: "placement",
            subject: String::new(),
            at_ms: 1,
        };
        assert!(store.change_placements(0, table(), audit).await.unwrap());
        for (offset, collection, key, is_kept) in [
            (0, "orders", Some("ada"), true),
            (1, "orders", None, true),
            (2, "customers", Some("eu/ada"), true),
            (3, "customers", Some("ada"), false),
            (4, "customers", Some("us/ada"), false),
            (5, "customers", None, false),
        ] {
            let dead = Dead {
                offset,
                reason: "it is none".into(),
                key: key.map(|key| key.as_bytes().to_vec()),
                value: Some(b"private".to_vec()),
            };
            let config = config(collection);
            keep(&store, &config, 3, dead, 1).await.unwrap();
            let key = Key {
                collection: COLLECTION.into(),
                partition: "dead.in".into(),
                sort: format!("00003/{offset:020}"),
            };
            let found = store.get(&config.tenant, &key, 2).await.unwrap().unwrap();
            let letter: serde_json::Value = serde_json::from_slice(&found.value).unwrap();
            let value = letter.get("value").and_then(|value| value.as_str());
            assert_eq!(value, is_kept.then_some("cHJpdmF0ZQ=="), "{offset}");
            assert_eq!(letter.get("value_bytes").unwrap(), 7);
        }
    }

    #[test]
    fn what_names_its_region_lies_there() {
        let at = |partition: &str| PartitionAddress {
            tenant: "default".parse().unwrap(),
            collection: "customers".into(),
            partition: partition.into(),
        };
        assert!(!is_homeless(&table(), &at("eu/ada")));
        let collection = table().collection_for(COLLECTION, &at("eu/ada"));
        assert_eq!(collection, "_bridge__eu");
    }
}
