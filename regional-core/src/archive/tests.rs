//! Archives over both stores: nothing that ends goes before it is written, whatever fails.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use crate::store::{
    Action, Commit, CqlStore, KeptRow, Options, RedbStore, RowKey, Transaction, Write, fresh_cql,
};
use brink_protocol::{
    address::PartitionAddress,
    event::{encode, event_sort},
    link::Condition,
    placement::{Bucket, Collection, Placement},
    record::{Bound, Range},
};
use bytes::Bytes;
use std::collections::BTreeSet;

/// 2023-11-14T22:13:20Z
const NOW: u64 = 1_700_000_000_000;

fn tenant() -> TenantName {
    "default".parse().unwrap()
}

fn table() -> PlacementTable {
    let readings = Collection {
        tenant: tenant(),
        name: "readings".into(),
        placement: Placement::Time {
            bucket: Bucket::Day,
            lifetime_ms: Some(1000),
        },
        home: None,
        audit_ms: None,
        archive: true,
    };
    PlacementTable {
        collections: [(tenant(), [("readings".to_owned(), readings)].into())].into(),
        ..PlacementTable::default()
    }
}

async fn put(store: &dyn Store, collection: &str, sort: &str, value: Bytes, end: u64) {
    let transaction = Transaction {
        partition: PartitionAddress {
            tenant: tenant(),
            collection: collection.into(),
            partition: "s1/2023-11-14".into(),
        },
        seen: Vec::new(),
        writes: vec![Write {
            sort: sort.into(),
            action: Action::Put {
                value,
                expires_at_ms: Some(end),
            },
            condition: Condition::Always,
        }],
        answer: None,
        now_ms: NOW,
    };
    let done = store.commit(transaction).await.unwrap();
    assert!(matches!(done, Commit::Done { .. }));
}

/// What is in the store, whether or not its lifetime has ended.
async fn left(store: &dyn Store, collection: &str) -> usize {
    let range = Range {
        collection: collection.into(),
        partition: "s1/2023-11-14".into(),
        lower: Bound::Inclusive("\u{1}".into()),
        upper: Bound::Unbounded,
        limit: 1000,
        descending: false,
    };
    let found = store.scan(&tenant(), &range, 0).await.unwrap();
    found.entries.len()
}

fn archived(directory: &Path, wanted: &Wanted) -> Vec<ArchivedLine> {
    let mut all = Vec::new();
    let each = |line: &ArchivedLine| {
        all.push(line.clone());
        Ok(())
    };
    read(directory, wanted, each).unwrap();
    all
}

fn archiver(directory: Option<&Path>) -> Arc<Archiver> {
    let config = ArchiveConfig {
        directory: directory.map(Path::to_owned),
    };
    Archiver::new(&config, "core-1".parse().unwrap())
}

/// More than one list of what has ended.
const COUNT: usize = ROWS_MAX + 20;
const LATER: u64 = NOW + 5000;

async fn sweep(store: &dyn Store, archiver: &Arc<Archiver>) {
    let swept = archiver.sweep(store, &table(), LATER, 1000).await;
    swept.unwrap();
}

async fn fill(store: &dyn Store) {
    for n in 0..COUNT {
        let (sort, value) = (format!("{n:04}"), format!("v{n}").into());
        put(store, "readings", &sort, value, NOW + 1000).await;
    }
    let payload = Bytes::from_static(b"\xff\x00");
    let event = encode("reading.taken", NOW, &payload).unwrap();
    put(store, "readings", &event_sort(1), event, NOW + 1000).await;
    let stays = Bytes::from_static(b"x");
    put(store, "readings", "stays", stays.clone(), NOW + 100_000).await;
    put(store, "other", "a", stays, NOW + 1000).await;
}

async fn archives(store: &dyn Store) {
    let folder = tempfile::tempdir().unwrap();
    fill(store).await;
    // Without a directory they stay; others go.
    sweep(store, &archiver(None)).await;
    assert_eq!(left(store, "readings").await, COUNT + 2);
    assert_eq!(left(store, "other").await, 0);
    // Neither do they go where the directory cannot be written.
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    sweep(store, &archiver(Some(&file))).await;
    assert_eq!(left(store, "readings").await, COUNT + 2);

    // A crash comes between the archive and the removal.
    let directory = folder.path().join("archive");
    let names = collections(&table());
    let cut_off = archiver(Some(&directory));
    let first = cut_off.archive(store, &names, LATER).await.unwrap();
    assert_eq!(first.len(), ROWS_MAX);
    assert_eq!(left(store, "readings").await, COUNT + 2);
    let whole = archiver(Some(&directory));
    for _ in 0..10 {
        sweep(store, &whole).await;
    }
    assert_eq!(left(store, "readings").await, 1);
    let all = archived(&directory, &Wanted::default());
    let expected = COUNT + 1 + ROWS_MAX;
    assert_eq!(all.len(), expected, "those before the crash come twice");
    let different: BTreeSet<_> = all.iter().map(|line| (&line.sort, line.version)).collect();
    assert_eq!(different.len(), COUNT + 1);
    let one = all.iter().find(|line| line.sort == "0003").unwrap();
    assert_eq!(
        (one.text.as_deref(), one.ended_at_ms),
        (Some("v3"), NOW + 1000)
    );
    let event = all.iter().find(|line| line.event.is_some()).unwrap();
    assert_eq!(event.event, Some((1, "reading.taken".into(), NOW)));
    assert_eq!(event.base64.as_deref(), Some("/wA="));
    what_is_wanted_is_read(&directory, all.len());
    what_is_written_anew_stays(store, &whole, &directory).await;
}

fn what_is_wanted_is_read(directory: &Path, all: usize) {
    let partition = |name: &str| Wanted {
        partition: Some(name.into()),
        ..Wanted::default()
    };
    let other = Wanted {
        collection: Some("other".into()),
        ..Wanted::default()
    };
    let between = |from_ms, to_ms| Wanted {
        from_ms,
        to_ms: Some(to_ms),
        ..Wanted::default()
    };
    for (wanted, expected) in [
        (partition("s1/2023-11-14"), all),
        (partition("s2"), 0),
        (other, 0),
        (between(NOW + 1000, NOW + 1001), all),
        (between(NOW + 1001, u64::MAX), 0),
        (between(0, NOW + 1000), 0),
    ] {
        assert_eq!(archived(directory, &wanted).len(), expected, "{wanted:?}");
    }
}

/// A record that is written between the archive and the removal is not what was archived.
async fn what_is_written_anew_stays(store: &dyn Store, archiver: &Arc<Archiver>, into: &Path) {
    let names = collections(&table());
    let value = |text: &'static str| Bytes::from_static(text.as_bytes());
    put(store, "readings", "again", value("1"), NOW + 1000).await;
    let listed = archiver.archive(store, &names, LATER).await.unwrap();
    assert!(listed.iter().any(|ended| ended.sort == "again"));
    put(store, "readings", "again", value("2"), NOW + 2000).await;
    let spared = spared(names, listed);
    store.sweep_but(LATER, 1000, &spared).await.unwrap();
    assert_eq!(left(store, "readings").await, 2);
    sweep(store, archiver).await;
    assert_eq!(left(store, "readings").await, 1);
    let all = archived(into, &Wanted::default());
    let again = all.iter().filter(|line| line.sort == "again");
    assert_eq!(again.map(|line| line.version).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path(), "core-1".parse().unwrap());
    archives(&RedbStore::open(&options).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_an_engine_of_several_cores() {
    let options = fresh_cql("core-1").await;
    archives(&CqlStore::open(&options).await.unwrap()).await;
}

fn row(sort: &str) -> EndedRow {
    EndedRow {
        partition: PartitionAddress {
            tenant: tenant(),
            collection: "readings".into(),
            partition: "p".into(),
        },
        sort: sort.into(),
        row: Some(KeptRow {
            key: RowKey::Record(sort.into()),
            version: 1,
            value: Some(Bytes::from(vec![7; 3000])),
            expires_at_ms: Some(NOW),
        }),
    }
}

#[test]
fn what_was_changed_is_seen_and_a_cut_loses_the_end_alone() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    let archiver = archiver(Some(directory));
    for sort in ["a", "b"] {
        archiver.write(directory, &[row(sort)], NOW).unwrap();
    }
    let found = files(directory).unwrap();
    assert_eq!(found.len(), 1, "one file a day");
    let found = &found[0];
    assert_eq!(found.day, "2023-11-14");
    assert_eq!(verify(found).unwrap(), (2, true));
    let bytes = std::fs::read(&found.path).unwrap();
    std::fs::write(&found.path, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(verify(found).unwrap(), (1, true));
    let mut changed = bytes.clone();
    changed[60] ^= 1;
    std::fs::write(&found.path, changed).unwrap();
    assert_eq!(verify(found).unwrap(), (0, false));
    assert!(read(directory, &Wanted::default(), |_| Ok(())).is_err());
    // In another's place, a file is none.
    let other = directory.join("default/other/2023-11-14");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join(&found.file), &bytes).unwrap();
    let all = files(directory).unwrap();
    let moved = all.iter().find(|found| found.collection == "other");
    assert_eq!(verify(moved.unwrap()).unwrap(), (0, false));
    // The next day has a file of its own.
    let next = NOW + 24 * 3600 * 1000;
    archiver.write(directory, &[row("c")], next).unwrap();
    assert_eq!(files(directory).unwrap().len(), 3);
}
