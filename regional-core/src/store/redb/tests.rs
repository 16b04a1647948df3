//! The embedded store: the contract, and what is its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::store::{Action, Write, contract};
use brink_protocol::{address::PartitionAddress, link::Condition};
use std::sync::Mutex;

fn node() -> NodeName {
    "core-1".parse().unwrap()
}

fn transaction(partition: &str, value: &str) -> Transaction {
    Transaction {
        partition: PartitionAddress {
            tenant: "default".parse().unwrap(),
            collection: "c".into(),
            partition: partition.into(),
        },
        seen: Vec::new(),
        writes: vec![Write {
            sort: "s".into(),
            action: Action::Put {
                value: Bytes::copy_from_slice(value.as_bytes()),
                expires_at_ms: None,
            },
            condition: Condition::Always,
        }],
        answer: None,
        now_ms: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let directories = Mutex::new(Vec::new());
    contract::all(|| {
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
    store.commit(transaction("p", "1")).await.unwrap();
    assert!(RedbStore::open(&options).is_err(), "two at a time");
    drop(store);
    let store = RedbStore::open(&options).unwrap();
    assert_eq!(store.origin().to_string(), "core-1.1");
    assert_eq!(store.span().head, 1);
    let done = store.commit(transaction("p", "2")).await.unwrap();
    assert!(matches!(done, Commit::Done { sequence: 2, versions } if versions == [Some(2)]));
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
    store.commit(transaction("p", "1")).await.unwrap();
    drop(store);
    std::fs::copy(&file, &copy).unwrap();
    std::fs::remove_file(&file).unwrap();
    let store = RedbStore::open(&options).unwrap();
    assert_eq!(
        (store.origin().incarnation, store.span().head),
        (2, 0),
        "lost"
    );
    drop(store);
    std::fs::copy(&copy, &file).unwrap();
    let store = RedbStore::open(&options).unwrap();
    assert_eq!(
        (store.origin().incarnation, store.span().head),
        (3, 0),
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
        store.commit(transaction("p", "x")).await.unwrap();
    }
    let span = store.span();
    assert_eq!((span.oldest, span.head), (16, 25));
    let changes = store.changes(store.origin(), 0, 100).await.unwrap();
    assert_eq!(changes.first().unwrap().sequence, 16);
    drop(store);
    let span = RedbStore::open(&options).unwrap().span();
    assert_eq!((span.oldest, span.head), (16, 25));
}
