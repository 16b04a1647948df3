//! How an erasure is kept while it goes on, so that any core goes on with it: as a record of its tenant, and a row in a list of
//! those that are not done.

use crate::{
    Error,
    store::{Action, Commit, Store, Transaction, Write},
};
use brink_protocol::{
    Position, TenantName,
    address::PartitionAddress,
    link::{Condition, canary},
    operations::{ErasedCollection, Erasure, NewErasure},
    record::{Bound, Key, Range},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const COLLECTION: &str = "_erasures";
const OPEN: &str = "open";
/// Erasures that are gone on with at a time; more wait.
const OPEN_MAX: u32 = 100;

/// An erasure with what is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) tenant: TenantName,
    pub(super) erasure: Erasure,
    /// What was asked for; gone once it is done.
    pub(super) plan: NewErasure,
    /// By collection.
    pub(super) erased: BTreeMap<String, ErasedCollection>,
    /// The position of the last deletion.
    pub(super) position: Position,
    /// The purge that proves it.
    pub(super) purge: Option<String>,
    /// When a core last went on with it, in milliseconds since 1970.
    pub(super) touched_ms: u64,
}

fn of(tenant: &TenantName, id: &str) -> (PartitionAddress, Key) {
    let address = PartitionAddress {
        tenant: tenant.clone(),
        collection: COLLECTION.into(),
        partition: id.into(),
    };
    let key = Key {
        collection: COLLECTION.into(),
        partition: id.into(),
        sort: String::new(),
    };
    (address, key)
}

async fn write(
    store: &dyn Store,
    partition: PartitionAddress,
    sort: String,
    action: Action,
    now_ms: u64,
) -> Result<(), Error> {
    let transaction = Transaction {
        partition,
        seen: Vec::new(),
        writes: vec![Write {
            sort,
            action,
            condition: Condition::Always,
        }],
        answer: None,
        now_ms,
    };
    match store.commit(transaction).await? {
        Commit::Done { .. } => Ok(()),
        Commit::Conflict { .. } | Commit::Answered(_) => Err(Error::Busy),
    }
}

fn open_list() -> Result<PartitionAddress, Error> {
    Ok(PartitionAddress {
        tenant: canary::TENANT.parse()?,
        collection: COLLECTION.into(),
        partition: OPEN.into(),
    })
}

/// The name of one in the list.
pub(super) fn open_name(work: &Work) -> String {
    format!("{}/{}", work.tenant, work.erasure.id)
}

/// Keeps it; first in the list, so that it is not forgotten.
pub(super) async fn begin(store: &dyn Store, work: &Work, now_ms: u64) -> Result<(), Error> {
    let action = Action::Put {
        value: Bytes::new(),
        expires_at_ms: None,
    };
    write(store, open_list()?, open_name(work), action, now_ms).await?;
    keep(store, work, now_ms).await
}

/// Keeps how far it is.
pub(super) async fn keep(store: &dyn Store, work: &Work, now_ms: u64) -> Result<(), Error> {
    let value = serde_json::to_vec(work).map_err(|error| Error::corrupt("erasure", error))?;
    let (partition, key) = of(&work.tenant, &work.erasure.id);
    let action = Action::Put {
        value: value.into(),
        expires_at_ms: None,
    };
    write(store, partition, key.sort, action, now_ms).await
}

/// Takes it off the list.
pub(super) async fn end(store: &dyn Store, name: String, now_ms: u64) -> Result<(), Error> {
    write(store, open_list()?, name, Action::Delete, now_ms).await
}

/// One of a tenant.
pub(super) async fn read(
    store: &dyn Store,
    tenant: &TenantName,
    id: &str,
    now_ms: u64,
) -> Result<Option<Work>, Error> {
    let (_, key) = of(tenant, id);
    let Some(entry) = store.get(tenant, &key, now_ms).await? else {
        return Ok(None);
    };
    serde_json::from_slice(&entry.value)
        .map(Some)
        .map_err(|error| Error::corrupt("erasure", error))
}

/// Those that are not done, by tenant and id.
pub(super) async fn open(
    store: &dyn Store,
    now_ms: u64,
) -> Result<Vec<(TenantName, String)>, Error> {
    let list = open_list()?;
    let range = Range {
        collection: list.collection,
        partition: list.partition,
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
        limit: OPEN_MAX,
        descending: false,
    };
    let page = store.scan(&list.tenant, &range, now_ms).await?;
    let mut found = Vec::new();
    for entry in page.entries {
        if let Some((tenant, id)) = entry.sort.split_once('/') {
            found.push((tenant.parse()?, id.to_owned()));
        }
    }
    Ok(found)
}
