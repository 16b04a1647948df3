//! The embedded store: the contract, and what is its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::*;
use crate::store::contract::{self, one_record};
use std::sync::Mutex;

fn node() -> NodeName {
    "core-1".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let directories = Mutex::new(Vec::new());
    contract::all(async || {
        let directory = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&Options::new(directory.path(), node())).unwrap();
        directories.lock().unwrap().push(directory);
        store
    })
    .await;
}

#[tokio::test]
async fn reopens_with_everything_and_goes_on_counting() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path(), node());
    let store = RedbStore::open(&options).unwrap();
    store.commit(one_record("p", "1")).await.unwrap();
    assert!(RedbStore::open(&options).is_err(), "two at a time");
    drop(store);
    let store = RedbStore::open(&options).unwrap();
    assert_eq!(store.origin().to_string(), "core-1.1");
    assert_eq!(store.span().head, 1);
    let done = store.commit(one_record("p", "2")).await.unwrap();
    let Commit::Done { position, versions } = done else {
        panic!("{done:?}")
    };
    assert_eq!(
        (position.to_string().as_str(), versions),
        ("core-1.1=2", vec![Some(2)])
    );
    drop(store);
    let other = Options::new(directory.path(), "core-2".parse().unwrap());
    assert!(RedbStore::open(&other).is_err(), "another node's store");
}

#[tokio::test]
async fn a_lost_or_restored_database_begins_a_new_incarnation() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path(), node());
    let file = directory.path().join("store.redb");
    let copy = directory.path().join("backup");
    let store = RedbStore::open(&options).unwrap();
    store.commit(one_record("p", "1")).await.unwrap();
    drop(store);
    std::fs::copy(&file, &copy).unwrap();
    std::fs::remove_file(&file).unwrap();
    let store = RedbStore::open(&options).unwrap();
    assert_eq!(
        (store.origin().incarnation, store.span().head),
        (2, 1),
        "lost"
    );
    drop(store);
    std::fs::copy(&copy, &file).unwrap();
    let store = RedbStore::open(&options).unwrap();
    assert_eq!(
        (store.origin().incarnation, store.span().head),
        (3, 1),
        "restored"
    );
}

#[tokio::test]
async fn the_log_is_cut_at_its_old_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path(), node());
    options.log_changes_max = 10;
    let store = RedbStore::open(&options).unwrap();
    for _ in 0..25 {
        store.commit(one_record("p", "x")).await.unwrap();
    }
    let span = store.span();
    assert_eq!((span.oldest, span.head), (16, 25));
    let changes = store.changes(store.origin(), 0, 100).await.unwrap();
    assert_eq!(changes.first().unwrap().sequence, 16);
    drop(store);
    let span = RedbStore::open(&options).unwrap().span();
    assert_eq!((span.oldest, span.head), (16, 25));
}

#[tokio::test]
async fn foreign_logs_are_kept_and_cut() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path(), node());
    options.log_changes_max = 10;
    let store = RedbStore::open(&options).unwrap();
    let changes = |range: std::ops::RangeInclusive<u64>| {
        let change = |sequence| Change {
            origin: "core-2.1".parse().unwrap(),
            sequence,
            at_ms: 0,
            kind: brink_protocol::change::ChangeKind::Deployments {
                revision: 0,
                tenant: "default".parse().unwrap(),
                modules: Vec::new(),
            },
        };
        range.map(change).collect::<Vec<_>>()
    };
    store.append_foreign(changes(1..=25)).await.unwrap();
    store.commit(one_record("p", "x")).await.unwrap();
    let key = SessionKey {
        id: 1,
        secret: [1; 32],
        from_ms: 0,
    };
    let keys = vec![key];
    store.put_session_keys(node(), keys.clone()).await.unwrap();
    drop(store);
    let store = RedbStore::open(&options).unwrap();
    let held = Arc::clone(&store.held().borrow());
    assert_eq!(held.heads.to_string(), "core-1.1=1,core-2.1=25");
    let origin = "core-2.1".parse().unwrap();
    assert_eq!(
        (held.kept[&origin].oldest, held.kept[&origin].head),
        (16, 25)
    );
    let read = store.changes(&origin, 0, 100).await.unwrap();
    assert_eq!(read, changes(16..=25));
    assert_eq!(store.session_keys().await.unwrap()[&node()], keys);
    let appended = store.append_foreign(changes(26..=27)).await.unwrap();
    assert_eq!(appended, Appended::Held);
    assert_eq!(store.held().borrow().kept[&origin].oldest, 18);
}

/// Entries as a writer leaves them that died between the log and the records.
#[tokio::test]
async fn what_was_left_open_is_settled_at_opening() {
    use brink_protocol::change::{ChangeKind, Phase, RecordChange};
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path(), node());
    let store = RedbStore::open(&options).unwrap();
    store.commit(one_record("p", "1")).await.unwrap();
    let origin = store.origin().clone();
    drop(store);
    let records = vec![RecordChange {
        sort: "s".into(),
        version: None,
    }];
    let entry = |sequence, phase| Change {
        origin: origin.clone(),
        sequence,
        at_ms: 1,
        kind: ChangeKind::Records {
            partition: one_record("p", "").partition,
            records: records.clone(),
            phase,
        },
    };
    {
        let database = Database::create(directory.path().join("store.redb")).unwrap();
        let txn = database.begin_write().unwrap();
        {
            let mut log = txn.open_table(tables::LOG).unwrap();
            for change in [
                entry(2, Phase::Intended),
                entry(3, Phase::Intended),
                entry(4, Phase::Settled { intent: 2 }),
            ] {
                let row = tables::encode(&change).unwrap();
                log.insert(change.sequence, row.as_slice()).unwrap();
            }
        }
        txn.commit().unwrap();
    }
    for _ in 0..2 {
        let store = RedbStore::open(&options).unwrap();
        assert_eq!(store.span().head, 5, "settled once");
        let last = store.changes(&origin, 4, 10).await.unwrap().remove(0);
        let ChangeKind::Records {
            records: changed,
            phase,
            ..
        } = &last.kind
        else {
            panic!("{last:?}")
        };
        assert_eq!((changed, *phase), (&records, Phase::Settled { intent: 3 }));
    }
}

#[test]
fn another_layout_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path(), node());
    drop(RedbStore::open(&options).unwrap());
    {
        let database = Database::create(directory.path().join("store.redb")).unwrap();
        let txn = database.begin_write().unwrap();
        {
            let mut meta = txn.open_table(tables::META).unwrap();
            let row = tables::encode(&1u32).unwrap();
            meta.insert("schema", row.as_slice()).unwrap();
        }
        txn.commit().unwrap();
    }
    let refused = RedbStore::open(&options).err().unwrap().to_string();
    assert!(refused.contains("layout 1"), "{refused}");
}

#[tokio::test]
async fn purges_of_other_cores_are_kept_once() {
    use brink_protocol::{
        change::{Change, ChangeKind},
        link::AppliedPurge,
        purge::{Purge, Selector},
    };
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&Options::new(directory.path(), node())).unwrap();
    let tenant: TenantName = "default".parse().unwrap();
    let change = Change {
        origin: "core-2.1".parse().unwrap(),
        sequence: 1,
        at_ms: 5,
        kind: ChangeKind::Purge(Purge {
            id: "01J".into(),
            tenant: tenant.clone(),
            selectors: vec![Selector::Everything],
            soft: true,
        }),
    };
    store.append_foreign(vec![change.clone()]).await.unwrap();
    let note = AppliedPurge {
        id: "01J".into(),
        at_ms: 6,
        objects: 3,
    };
    let pop = "ams".parse().unwrap();
    let propagation = store.note_applied(&pop, &[note], 9).await.unwrap();
    assert!(propagation.is_empty(), "two clocks cannot be compared");
    // It comes once more, as part of a log that began anew.
    let origin = change.origin.clone();
    store.restart_foreign(origin, 0).await.unwrap();
    store.append_foreign(vec![change]).await.unwrap();
    let row = store.purge(&tenant, "01J").await.unwrap().unwrap();
    assert_eq!((row.by.as_str(), row.at_ms), ("core:core-2", 5));
    assert_eq!(row.position.to_string(), "core-2.1=1");
    assert_eq!((row.applied.len(), row.applied[0].objects), (1, 3));
    assert_eq!(row.applied[0].propagation_ms, None);
    let listed = store.purges(&tenant, None, 9).await.unwrap();
    assert_eq!(listed.len(), 1);
}
