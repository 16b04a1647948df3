//! Removal of what has ended. Any core may do it, several at a time, too: records go by a commit under its conditions,
//! answers by a conditional write of their own.

use super::{
    commit,
    decide::Mode,
    engine::Engine,
    expiry::{self, Ended},
    kept,
    keyspaces::Ruling,
    partition::{RECORD, key},
    session::{Applied, Bind, Cql},
};
use crate::{
    Error, clock,
    store::{
        Action, CollectionNames, ENDED_BYTES_MAX, EndedRow, KeptRow, RowKey, Spared, Sweeping,
        Swept, Transaction, Write, is_of,
    },
};
use brink_protocol::{address::PartitionAddress, link::Condition};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

/// Records of one commit.
const RECORDS_MAX: usize = 100;
/// Records that are read at a time: with the largest values 16 MiB.
const READ_AT_ONCE: usize = 16;
/// Answers or notes that are removed at a time.
const AT_ONCE: usize = 16;

const REMOVE_ANSWER: &str = "DELETE FROM records \
                             WHERE tenant = ? AND collection = ? AND partition = ? AND kind = 1 AND sort = ? \
                             IF expires_at = ?";

/// Removes records and answers whose lifetime has ended, at most `limit` of both together in each keyspace: those of
/// partitions whose home is here. What is spared is left.
pub(super) async fn sweep(
    engine: &Arc<Engine>,
    now_ms: u64,
    limit: usize,
    spared: &Spared,
) -> Result<Swept, Error> {
    let mut all = Swept::default();
    for session in engine.keyspaces.here().await? {
        let swept = sweep_one(engine, &session, (now_ms, limit), spared).await?;
        all.records += swept.records;
        all.answers += swept.answers;
    }
    Ok(all)
}

/// Records of some collections whose lifetime has ended, of partitions whose home is here.
pub(super) async fn ended(
    engine: &Engine,
    now_ms: u64,
    limit: usize,
    collections: &CollectionNames,
) -> Result<Vec<EndedRow>, Error> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    for session in engine.keyspaces.here().await? {
        let is_wanted = |partition: &PartitionAddress| {
            is_of(collections, partition) && engine.keyspaces.ruling(partition) == Ruling::Write
        };
        let mut sorts: BTreeMap<PartitionAddress, BTreeSet<String>> = BTreeMap::new();
        for end in expiry::ended(&session, now_ms, limit, is_wanted).await? {
            if end.kind == RECORD {
                sorts.entry(end.partition).or_default().insert(end.sort);
            }
        }
        for (partition, sorts) in sorts {
            let sorts: Vec<String> = sorts.into_iter().collect();
            for sorts in sorts.chunks(READ_AT_ONCE) {
                if bytes > ENDED_BYTES_MAX || all.len() >= limit {
                    return Ok(all);
                }
                for row in rows_of(engine, &partition, sorts, now_ms).await? {
                    let value = row.row.as_ref().and_then(|row| row.value.as_ref());
                    bytes += value.map_or(0, bytes::Bytes::len);
                    all.push(row);
                }
            }
        }
    }
    Ok(all)
}

async fn rows_of(
    engine: &Engine,
    partition: &PartitionAddress,
    sorts: &[String],
    now_ms: u64,
) -> Result<Vec<EndedRow>, Error> {
    let has_ended =
        |row: &KeptRow| row.value.is_some() && row.expires_at_ms.is_some_and(|end| end <= now_ms);
    let found = kept::some_records(engine, partition, sorts).await?;
    let mut rows: BTreeMap<RowKey, KeptRow> = found
        .into_iter()
        .filter(has_ended)
        .map(|row| (row.key.clone(), row))
        .collect();
    let ended = sorts.iter().map(|sort| EndedRow {
        partition: partition.clone(),
        sort: sort.clone(),
        row: rows.remove(&RowKey::Record(sort.clone())),
    });
    Ok(ended.collect())
}

async fn sweep_one(
    engine: &Arc<Engine>,
    session: &Cql,
    (now_ms, limit): (u64, usize),
    spared: &Spared,
) -> Result<Swept, Error> {
    let is_home =
        |partition: &PartitionAddress| engine.keyspaces.ruling(partition) == Ruling::Write;
    let may_go =
        |partition: &PartitionAddress| is_home(partition) && spared.lets_some_of(partition);
    let mut ended = expiry::ended(session, now_ms, limit, may_go).await?;
    ended.retain(|end| {
        end.kind != RECORD || spared.of(&end.partition, &end.sort) != Sweeping::Leave
    });
    // Asked again before each write: a sweep may last longer than what is known.
    let left = Mutex::new(BTreeSet::new());
    let is_still_home = |partition: &PartitionAddress| {
        let is = is_home(partition);
        if !is {
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            left.insert(partition.clone());
        }
        is
    };
    let mut swept = Swept::default();
    let mut records: BTreeMap<&PartitionAddress, BTreeSet<&str>> = BTreeMap::new();
    let mut answers = Vec::new();
    for end in &ended {
        if end.kind == RECORD {
            records.entry(&end.partition).or_default().insert(&end.sort);
        } else {
            answers.push(end);
        }
    }
    let mut removed: Vec<&Ended> = stream::iter(
        answers
            .into_iter()
            .map(|end| async {
                match is_still_home(&end.partition) {
                    true => remove_answer(session, end).await,
                    false => Ok(None),
                }
            })
            .collect::<Vec<_>>(),
    )
    .buffer_unordered(AT_ONCE)
    .try_filter_map(|removed| async move { Ok(removed) })
    .try_collect()
    .await?;
    swept.answers = removed.len();
    for (partition, sorts) in records {
        let sorts: Vec<&str> = sorts.into_iter().collect();
        for sorts in sorts.chunks(RECORDS_MAX) {
            let transaction = transaction(partition, sorts, spared, now_ms);
            let _permit = engine.room().await?;
            if !is_still_home(partition) {
                break;
            }
            let done = commit::run(engine, &transaction, Mode::Sweep).await?;
            swept.records += done.changed;
            if done.changed == sorts.len() {
                let is_of = |end: &&Ended| {
                    end.kind == RECORD
                        && end.partition == *partition
                        && sorts.contains(&end.sort.as_str())
                };
                removed.extend(ended.iter().filter(is_of));
            }
        }
    }
    // Only now: what was cut off before is found again. A note whose write is still under way is kept until that has ended.
    let clock_ms = clock::now_ms();
    let left = left.into_inner().unwrap_or_else(PoisonError::into_inner);
    let old = ended
        .iter()
        .filter(|end| end.is_old(clock_ms) && !left.contains(&end.partition));
    stream::iter(
        removed
            .into_iter()
            .chain(old)
            .map(|end| expiry::forget(session, end))
            .collect::<Vec<_>>(),
    )
    .buffer_unordered(AT_ONCE)
    .try_for_each(|()| async { Ok(()) })
    .await?;
    Ok(swept)
}

fn transaction(
    partition: &PartitionAddress,
    sorts: &[&str],
    spared: &Spared,
    now_ms: u64,
) -> Transaction {
    let write = |sort: &&str| Write {
        sort: (*sort).to_owned(),
        action: Action::Delete,
        condition: match spared.of(partition, sort) {
            Sweeping::Only(version) => Condition::Version(version),
            Sweeping::Any | Sweeping::Leave => Condition::Always,
        },
    };
    Transaction {
        partition: partition.clone(),
        seen: Vec::new(),
        writes: sorts.iter().map(write).collect(),
        answer: None,
        now_ms,
    }
}

/// Removes an answer; none: there is none that ends then, or not yet.
async fn remove_answer<'e>(session: &Cql, end: &'e Ended) -> Result<Option<&'e Ended>, Error> {
    let mut values = key(&end.partition);
    values.extend([end.sort.as_str().into(), Bind::Big(end.expires_at)]);
    let removed = session.conditional(REMOVE_ANSWER, values).await?;
    Ok((removed == Applied::Yes).then_some(end))
}
