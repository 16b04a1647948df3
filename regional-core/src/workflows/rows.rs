//! What is kept of workflows, as records.
//!
//! | tenant | collection | partition | sort key | value |
//! |---|---|---|---|---|
//! | its own | `_workflows` | `NAME/ID` | | the instance |
//! | its own | `_workflows-index` | `SHARD` | `STARTED/NAME/ID` | |
//! | its own | `_workflows-index` | `SHARD` | `o` `STARTED/NAME/ID`, until it ends | |
//! | `brink-workflows` | `_workflows-due` | `SHARD` | `DUE/BASED_ON/NONCE/TENANT/NAME/ID` | the node at work |
//!
//! Sort keys of the other two begin with [`INDEX_SORT`]. What is due of instances that lie in a region alone is in a
//! `_workflows-due__REGION` that lies there too: cores of that region are at work on them.
//!
//! The instance alone says what is so. Rows of the other two are written before what they point to, and removed after:
//! there may be rows too many, and never one too few. A row of the due index names the version of the instance that its
//! writer had read. Once the instance has a later one, that writer's commit has happened or never will, and a row that the
//! instance does not name is of no use any more.

use crate::{
    Error,
    store::{Action, Commit, Store, Transaction, Write},
};
use brink_protocol::{
    Digest, ModuleName, Position, TenantName,
    address::PartitionAddress,
    link::Condition,
    record::{Bound, Entry, INDEX_SORT, Key, Range, Version},
    workflow::{Due, Instance, instance_key},
};
use bytes::Bytes;
use std::hash::{BuildHasher as _, RandomState};

/// Parts of the indices.
pub(super) const SHARDS: u8 = 16;
const DUE: &str = "_workflows-due";
/// Tenant of the platform itself, as that of the prober.
const PLATFORM: &str = "brink-workflows";
/// How long it is remembered that a start came to nothing, in milliseconds.
const VOID_LIFETIME_MS: u64 = 7 * 24 * 3600 * 1000;

/// Of which workflow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) tenant: TenantName,
    pub(super) name: ModuleName,
    pub(super) id: String,
}

impl Place {
    /// The shard of the indices that it is in.
    pub(super) fn shard(&self) -> String {
        let named = format!("{}/{}/{}", self.tenant, self.name, self.id);
        let byte = Digest::of(named.as_bytes()).as_bytes().first().copied();
        shard_name(byte.unwrap_or_default() % SHARDS)
    }

    /// Under which keys its steps are called: of this instance alone, whatever had its id before.
    pub(super) fn key(&self, instance: &Instance, of: &str) -> String {
        let named = format!("{}/{}", self.name, self.id);
        let named = Digest::of(named.as_bytes()).to_string();
        let named = named.rsplit(':').next().unwrap_or_default();
        let named = named.get(..32).unwrap_or(named);
        format!("wf.{named}.{:016x}.{of}", instance.run)
    }

    /// Where its instance lies.
    pub(super) fn partition(&self) -> PartitionAddress {
        let key = instance_key(&self.name, &self.id);
        PartitionAddress {
            tenant: self.tenant.clone(),
            collection: key.collection,
            partition: key.partition,
        }
    }
}

/// The name of a shard, as partition key.
pub(super) fn shard_name(shard: u8) -> String {
    format!("{shard:02}")
}

/// An instance as it was read, and with which version; 0: there was none.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) instance: Instance,
    pub(super) version: Version,
}

/// A row of the due index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DueRow {
    /// In which index.
    pub(super) collection: String,
    pub(super) due: Due,
    pub(super) place: Place,
    /// The node at work until then; none: nobody is.
    pub(super) at_work: Option<String>,
}

impl DueRow {
    fn sort(&self) -> String {
        let Due {
            at_ms,
            based_on,
            nonce,
        } = self.due;
        let Place { tenant, name, id } = &self.place;
        format!("{INDEX_SORT}{at_ms:020}/{based_on:020}/{nonce:016x}/{tenant}/{name}/{id}")
    }

    fn read(collection: &str, entry: &Entry) -> Option<Self> {
        let mut parts = entry.sort.strip_prefix(INDEX_SORT)?.splitn(6, '/');
        let at_ms = parts.next()?.parse().ok()?;
        let based_on = parts.next()?.parse().ok()?;
        let nonce = u64::from_str_radix(parts.next()?, 16).ok()?;
        let place = Place {
            tenant: parts.next()?.parse().ok()?,
            name: parts.next()?.parse().ok()?,
            id: parts.next()?.to_owned(),
        };
        let at_work = String::from_utf8_lossy(&entry.value).into_owned();
        Some(Self {
            collection: collection.to_owned(),
            due: Due {
                at_ms,
                based_on,
                nonce,
            },
            place,
            at_work: Some(at_work).filter(|node| !node.is_empty()),
        })
    }
}

/// When an instance is to be looked at after a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NewDue {
    /// As it was.
    Same,
    /// At this moment, in milliseconds since 1970; until then this node is at work.
    At(u64, Option<String>),
    /// Never.
    Never,
}

/// What came of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Saved {
    /// It is kept.
    Yes(Position),
    /// Another was quicker. Nothing was kept.
    Lost,
}

fn platform() -> Result<TenantName, Error> {
    Ok(PLATFORM.parse()?)
}

/// One write to one record.
async fn write(
    store: &dyn Store,
    tenant: TenantName,
    key: Key,
    (action, condition): (Action, Condition),
    now_ms: u64,
) -> Result<Commit, Error> {
    let transaction = Transaction {
        partition: PartitionAddress {
            tenant,
            collection: key.collection,
            partition: key.partition,
        },
        seen: Vec::new(),
        writes: vec![Write {
            sort: key.sort,
            action,
            condition,
        }],
        answer: None,
        now_ms,
    };
    store.commit(transaction).await
}

pub(super) fn put(value: Bytes, expires_at_ms: Option<u64>) -> Action {
    Action::Put {
        value,
        expires_at_ms,
    }
}

/// The instance, or that there is none.
pub(super) async fn read(
    store: &dyn Store,
    place: &Place,
    now_ms: u64,
) -> Result<Option<Stored>, Error> {
    let key = instance_key(&place.name, &place.id);
    let entry = store.get(&place.tenant, &key, now_ms).await?;
    let stored = entry.map(|entry| {
        let instance = Instance::decode(&entry.value);
        let instance = instance.map_err(|error| Error::corrupt("workflow", error))?;
        Ok(Stored {
            instance,
            version: entry.version,
        })
    });
    stored.transpose()
}

fn due_key(row: &DueRow) -> Key {
    Key {
        collection: row.collection.clone(),
        partition: row.place.shard(),
        sort: row.sort(),
    }
}

async fn put_due(store: &dyn Store, row: &DueRow, now_ms: u64) -> Result<(), Error> {
    let value = row.at_work.clone().unwrap_or_default().into();
    let write_it = (put(value, None), Condition::Always);
    write(store, platform()?, due_key(row), write_it, now_ms).await?;
    Ok(())
}

/// Removes a row of the due index that is of no use any more.
pub(super) async fn drop_due(store: &dyn Store, row: &DueRow, now_ms: u64) -> Result<(), Error> {
    let delete = (Action::Delete, Condition::Always);
    write(store, platform()?, due_key(row), delete, now_ms).await?;
    Ok(())
}

/// The indices of what is due, of which some may lie in a region alone.
pub(super) fn due_indices(store: &dyn Store) -> Vec<String> {
    store.collections_of(DUE)
}

/// Where a shard of such an index lies.
pub(super) fn due_partition(collection: &str, shard: u8) -> Result<PartitionAddress, Error> {
    Ok(PartitionAddress {
        tenant: platform()?,
        collection: collection.to_owned(),
        partition: shard_name(shard),
    })
}

/// Commits the instance on the condition that it is what was read. Its row of the due index is there before.
///
/// # Errors
/// Nothing is known then of whether it is kept.
pub(super) async fn save(
    store: &dyn Store,
    place: &Place,
    stored: &mut Stored,
    due: NewDue,
    (expires_at_ms, now_ms): (Option<u64>, u64),
) -> Result<Saved, Error> {
    let mut instance = stored.instance.clone();
    let mut rows = [None, None];
    if due != NewDue::Same {
        let collection = store.collection_for(DUE, &place.partition());
        let row_of = |due: Option<Due>, at_work: &Option<String>| {
            due.map(|due| DueRow {
                collection: collection.clone(),
                due,
                place: place.clone(),
                at_work: at_work.clone(),
            })
        };
        let before = row_of(instance.due, &instance.at_work);
        (instance.due, instance.at_work) = match due {
            NewDue::At(at_ms, at_work) => {
                let due = Due {
                    at_ms,
                    based_on: stored.version,
                    nonce: RandomState::new().hash_one(at_ms),
                };
                (Some(due), at_work)
            }
            NewDue::Same | NewDue::Never => (None, None),
        };
        let after = row_of(instance.due, &instance.at_work);
        if let Some(row) = &after {
            put_due(store, row, now_ms).await?;
        }
        rows = [before, after];
    }
    let [before, after] = rows;
    let condition = match stored.version {
        0 => Condition::Absent,
        version => Condition::Version(version),
    };
    let write_it = (put(instance.encode()?, expires_at_ms), condition);
    let key = instance_key(&place.name, &place.id);
    let commit = write(store, place.tenant.clone(), key, write_it, now_ms).await?;
    let (saved, useless) = match commit {
        Commit::Done { position, versions } => {
            stored.version = versions.into_iter().flatten().next().unwrap_or_default();
            stored.instance = instance;
            (Saved::Yes(position), before)
        }
        Commit::Conflict { .. } | Commit::Answered(_) => (Saved::Lost, after),
    };
    if let Some(row) = useless
        && let Err(error) = drop_due(store, &row, now_ms).await
    {
        // Whoever finds it when it is due removes it.
        tracing::debug!(%error, "a row of the due index stays for now");
    }
    Ok(saved)
}

/// Makes it impossible that a start that was under way still comes to something: whoever goes on with it begins anew.
pub(super) async fn void(
    store: &dyn Store,
    place: &Place,
    version: Version,
    now_ms: u64,
) -> Result<Saved, Error> {
    let instance = Instance {
        deployed: None,
        run: 0,
        caller: None,
        subject: None,
        input: Bytes::new(),
        started_at_ms: now_ms,
        ended_at_ms: 0,
        steps: Vec::new(),
        completed: None,
        failure: None,
        stuck: None,
        unreached: 0,
        failed: 0,
        not_before_ms: 0,
        last_error: None,
        due: None,
        at_work: None,
    };
    let mut stored = Stored { instance, version };
    let expires = Some(now_ms.saturating_add(VOID_LIFETIME_MS));
    save(store, place, &mut stored, NewDue::Same, (expires, now_ms)).await
}

/// Where in a shard of a due index is looked: after a row, or from a moment on, in milliseconds since 1970.
#[derive(Debug, Clone)]
pub(super) enum From {
    Row(DueRow),
    Moment(u64),
}

/// Rows of a shard of a due index before a moment, the first due first; whether there are more.
pub(super) async fn due_before(
    store: &dyn Store,
    (collection, shard): (&str, u8),
    from: &From,
    before_ms: u64,
    now_ms: u64,
) -> Result<(Vec<DueRow>, bool), Error> {
    let sort = |ms: u64| format!("{INDEX_SORT}{ms:020}");
    let range = Range {
        collection: collection.to_owned(),
        partition: shard_name(shard),
        lower: match from {
            From::Row(row) => Bound::Exclusive(row.sort()),
            From::Moment(ms) => Bound::Inclusive(sort(*ms)),
        },
        upper: Bound::Exclusive(sort(before_ms)),
        limit: 256,
        descending: false,
    };
    let page = store.scan(&platform()?, &range, now_ms).await?;
    let rows = page.entries.iter();
    let rows = rows.filter_map(|entry| DueRow::read(collection, entry));
    Ok((rows.collect(), page.more))
}

#[cfg(test)]
mod tests;
