//! What a store must not believe, and must not wait for: rows that are there in part, a log that is another process's by
//! now, a lock that is not given back.

use super::{CqlStore, fresh, intended, of, one_record, own_log, partition_of};
use crate::{
    Error,
    deployments::Tables,
    store::{
        Action, Commit, Store as _, TableChange,
        cql::{
            look::bucket_key,
            registry,
            session::{Applied, Bind, Failure},
        },
    },
};
use brink_protocol::{
    change::{Change, ChangeKind, Phase},
    deployment::DeploymentTable,
    record::Key,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

const APPEND: &str = "UPDATE log SET open_from = ?, changes = ? \
                      WHERE node = ? AND incarnation = ? AND bucket = ? AND sequence = ?";

/// A repair copies the columns that were asked for: a quorum can show the rest of a row as null.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_there_in_part_says_nothing() {
    let options = fresh("core-1").await;
    let store = CqlStore::open(&options).await.unwrap();
    let writer = CqlStore::open(&of(&options, "core-2")).await.unwrap();
    let origin = writer.origin().clone();
    writer.commit(one_record("p", "1")).await.unwrap();
    store.engine.looks.look().await.unwrap();
    let head = writer.span().head;
    let change = Change {
        origin: origin.clone(),
        sequence: head + 1,
        at_ms: 1,
        kind: intended("p"),
    };
    let mut group = Vec::new();
    crate::store::cql::group::push(&mut group, &change).unwrap();
    let group = Bind::Blob(group.into());
    let open = Bind::Big((head + 1).cast_signed());
    let session = &store.engine.session;
    let put = async |open_from: Bind, changes: Bind| {
        let mut values = vec![open_from, changes];
        values.extend(bucket_key(&origin, 0));
        values.push(Bind::Big((head + 1).cast_signed()));
        session.write(APPEND, values).await.unwrap();
    };
    put(Bind::Unset, group.clone()).await;
    let looked_at = store.held().borrow().looked_at;
    assert!(store.engine.looks.look().await.is_err(), "what is open?");
    let held = Arc::clone(&store.held().borrow());
    assert_eq!(held.heads.get(&origin), head);
    assert!(held.looked_at <= looked_at.max(Some(Instant::now())));
    assert!(store.engine.logs.settled_now(&origin, head + 1).is_none());
    // The other way round: its head is known, and what it says is not.
    put(open.clone(), Bind::Null).await;
    // A row whose changes are null in the store itself, not at one replica alone, is never whole.
    assert!(store.engine.looks.look().await.is_ok());
    assert_eq!(store.held().borrow().heads.get(&origin), head + 1);
    let read = store.changes(&origin, 0, 100).await.unwrap();
    assert_eq!(read.len() as u64, head, "up to it");
    let refused = store.changes(&origin, head, 100).await;
    assert!(matches!(refused, Err(Error::Store { .. })), "{refused:?}");
    put(open, group).await;
    let read = store.changes(&origin, head, 100).await.unwrap();
    assert_eq!(read, [change]);
    assert!(store.engine.logs.settled_now(&origin, head + 1).is_none());
}

/// An entry is missing between two.
#[tokio::test(flavor = "multi_thread")]
async fn a_reading_ends_before_a_gap() {
    let options = fresh("core-1").await;
    let writer = CqlStore::open(&options).await.unwrap();
    for _ in 0..3 {
        writer.commit(one_record("p", "1")).await.unwrap();
    }
    let origin = writer.origin().clone();
    const LOSE: &str =
        "DELETE FROM log WHERE node = ? AND incarnation = ? AND bucket = ? AND sequence = 3";
    let session = &writer.engine.session;
    session.write(LOSE, bucket_key(&origin, 0)).await.unwrap();
    let read = writer.changes(&origin, 0, 100).await.unwrap();
    assert_eq!(read.len(), 2);
    assert!(writer.changes(&origin, 2, 100).await.is_err());
    assert_eq!(writer.changes(&origin, 3, 100).await.unwrap().len(), 3);
}

/// A process that writes nothing learns that it was shut out, and does not vouch for what it cannot know.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_shut_out_notices_without_writing() {
    let options = fresh("core-1").await;
    let former = CqlStore::open(&options).await.unwrap();
    let present = CqlStore::open(&options).await.unwrap();
    former.failed().cancelled().await;
    assert!(former.engine.looks.look().await.is_err());
    let at = former.held().borrow().looked_at;
    let looked_again = present.engine.looks.look().await;
    looked_again.unwrap();
    assert_eq!(former.held().borrow().looked_at, at, "it knows nothing new");
    assert!(present.held().borrow().looked_at > at);
    assert!(!present.failed().is_cancelled());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_cannot_have_its_partition_gives_up_its_room() {
    let mut options = fresh("core-1").await;
    options.writes_max = 1;
    options.write_timeout = Duration::from_millis(300);
    let store = CqlStore::open(&options).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let blocked = partition_of("blocked");
    let held = store.engine.alone(&blocked, deadline).await.unwrap();
    assert!(store.commit(one_record("blocked", "1")).await.is_err());
    // The only room there is: this waits for it, for two seconds.
    let mut done = store.commit(one_record("free", "1")).await;
    if matches!(done, Err(Error::Store { .. })) {
        // A slow machine.
        done = store.commit(one_record("free", "1")).await;
    }
    assert!(!matches!(done, Err(Error::Busy)), "{done:?}");
    drop(held);
}

/// Whoever deletes what is gone already is told of a position that covers the deletion, whoever did it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_of_what_is_gone_is_in_the_log() {
    let store = CqlStore::open(&fresh("core-1").await).await.unwrap();
    store.commit(one_record("p", "1")).await.unwrap();
    let mut delete = one_record("p", "");
    delete.writes[0].action = Action::Delete;
    store.commit(delete.clone()).await.unwrap();
    let head = store.span().head;
    let again = store.commit(delete.clone()).await.unwrap();
    let Commit::Done { position, .. } = again else {
        panic!("{again:?}")
    };
    assert_eq!(position.get(store.origin()), head + 1);
    let log = own_log(&store).await;
    let ChangeKind::Records { records, phase, .. } = &log.last().unwrap().kind else {
        panic!("{log:?}")
    };
    assert_eq!((records.len(), *phase), (1, Phase::Written));
    // What never was needs no entry.
    delete.writes[0].sort = "never".into();
    store.commit(delete).await.unwrap();
    assert_eq!(store.span().head, head + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_records_of_one_partition_come_in_their_order() {
    let store = CqlStore::open(&fresh("core-1").await).await.unwrap();
    let mut write = one_record("many", "");
    let template = write.writes[0].clone();
    let sorts: Vec<String> = (0..50).map(|n| format!("{n:02}")).collect();
    write.writes = sorts
        .iter()
        .map(|sort| {
            let mut one = template.clone();
            one.sort.clone_from(sort);
            one.action = Action::Put {
                value: Bytes::copy_from_slice(sort.as_bytes()),
                expires_at_ms: None,
            };
            one
        })
        .collect();
    store.commit(write).await.unwrap();
    let key = |sort: &String| Key {
        collection: "c".into(),
        partition: "many".into(),
        sort: sort.clone(),
    };
    let mut keys: Vec<Key> = sorts.iter().rev().map(key).collect();
    keys.push(key(&"none".to_owned()));
    keys.push(key(&sorts[7]));
    let tenant = "default".parse().unwrap();
    let found = store.get_many(&tenant, &keys, 1).await.unwrap();
    for (key, entry) in keys.iter().zip(&found) {
        let value = entry.as_ref().map(|entry| entry.value.clone());
        let expected = (key.sort != "none").then(|| Bytes::copy_from_slice(key.sort.as_bytes()));
        assert_eq!(value, expected);
    }
}

/// The answer to a change of the table is lost, and its request arrives late.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_table_happens_once_or_never() {
    let options = fresh("core-1").await;
    let store = Arc::new(CqlStore::open(&options).await.unwrap());
    let rival = CqlStore::open(&of(&options, "core-2")).await.unwrap();
    let change = |revision| TableChange {
        expected_revision: revision,
        table: DeploymentTable::default(),
        tenant: "default".parse().unwrap(),
        modules: Vec::new(),
        history: None,
        purge: None,
        at_ms: crate::clock::now_ms(),
    };
    let engine = &store.engine;
    for (case, lands, rival_first, expected, late) in [
        ("it had landed", true, false, Applied::Yes, Applied::No),
        (
            "it would land later",
            false,
            false,
            Applied::Yes,
            Applied::No,
        ),
        ("another was quicker", false, true, Applied::No, Applied::No),
    ] {
        let revision = store.table().await.unwrap().revision;
        let audit = super::registry::audit("x");
        let (unsaid, statements) = registry::told(change(revision), audit).unwrap();
        if lands {
            let applied = engine.session.global(statements.clone()).await;
            assert_eq!(applied.unwrap(), Applied::Yes);
        }
        if rival_first {
            let audit = super::registry::audit("y");
            let done = rival.change_table(change(revision), audit).await.unwrap();
            assert!(done.is_some());
        }
        let lost = Failure {
            is_ours: false,
            error: Error::store("test", "lost"),
        };
        let found = registry::outcome(engine, &unsaid, statements.clone(), lost).await;
        assert_eq!(found.unwrap(), expected, "{case}");
        let after = store.table().await.unwrap().revision;
        let landed = engine.session.global(statements).await.unwrap();
        assert_eq!(landed, late, "{case}: however late it comes");
        assert_eq!(store.table().await.unwrap().revision, after);
    }
    drop(Tables::load(store).await.unwrap());
}
