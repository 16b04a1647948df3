//! Backups of real stores, put back into others. The cases of a store are functions over stores: each store's own tests call
//! them, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub(crate) mod faults;

use super::{Ending, Follower, Generation, Mark, Resumed, begin, inspect, restore, resume};
use crate::store::{
    ANSWER_LIFETIME_MS, Action, Commit, KEPT_ROWS_MAX, KeptRow, NewAnswer, NewAudit, NewVersion,
    Options, RedbStore, RowKey, Store, Transaction, Write,
};
use brink_protocol::{
    Digest, address::PartitionAddress, deployment::World, link::Condition, record::Key,
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

type All = BTreeMap<PartitionAddress, Vec<KeptRow>>;

/// How often what changes is read while a snapshot is taken.
const EVERY: std::time::Duration = std::time::Duration::from_millis(20);

/// Goes on, as it must.
async fn resumed(store: &dyn Store, root: &Path) -> Follower {
    match resume(store, root).await.unwrap() {
        Resumed::On(follower, _) => *follower,
        Resumed::Cut(mark) => panic!("it is cut off from {mark:?}"),
        Resumed::Nothing => panic!("there is nothing"),
    }
}

async fn everything(store: &dyn Store) -> All {
    let mut all = All::new();
    let mut after: Option<PartitionAddress> = None;
    loop {
        let page = store.partitions(None, after.as_ref(), 100).await.unwrap();
        let Some(last) = page.last() else {
            return all;
        };
        after = Some(last.clone());
        for partition in page {
            let mut rows: Vec<KeptRow> = Vec::new();
            loop {
                let last = rows.last().map(|row| &row.key);
                let more = store.kept(&partition, last, KEPT_ROWS_MAX).await.unwrap();
                if more.is_empty() {
                    break;
                }
                rows.extend(more);
            }
            // That an answer was given anew is not told apart.
            for row in &mut rows {
                if matches!(row.key, RowKey::Answer { .. }) {
                    row.version = 1;
                }
            }
            all.insert(partition, rows);
        }
    }
}

/// A clock that goes on by a millisecond each time it is read.
struct Clock(AtomicU64);

impl Clock {
    fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

fn partition(name: &str) -> PartitionAddress {
    PartitionAddress {
        tenant: "t".parse().unwrap(),
        collection: "c".into(),
        partition: name.into(),
    }
}

fn put(sort: &str, value: &str) -> Write {
    Write {
        sort: sort.into(),
        action: Action::Put {
            value: Bytes::copy_from_slice(value.as_bytes()),
            expires_at_ms: None,
        },
        condition: Condition::Always,
    }
}

async fn commit(store: &dyn Store, name: &str, writes: Vec<Write>, answer: Option<&str>) {
    let answer = answer.map(|key| NewAnswer {
        command: "pay".parse().unwrap(),
        key: key.into(),
        input: Digest::of(b""),
        output: Bytes::from_static(b"done"),
        lifetime_ms: ANSWER_LIFETIME_MS,
    });
    let transaction = Transaction {
        partition: partition(name),
        seen: Vec::new(),
        writes,
        answer,
        now_ms: 1_700_000_000_000,
    };
    let done = store.commit(transaction).await.unwrap();
    assert!(!matches!(done, Commit::Conflict { .. }));
}

/// Some writes: new records, old ones, deletions, lifetimes, answers.
async fn work(store: &dyn Store, step: u64) {
    for index in 0..6 {
        let chance = Digest::of(format!("{step}/{index}").as_bytes());
        let [a, b, c, ..] = *chance.as_bytes();
        let name = format!("p{}", a % 4);
        let sort = format!("s{}", b % 8);
        let mut write = put(&sort, &format!("{step}/{index}"));
        match c % 4 {
            0 => write.action = Action::Delete,
            1 => {
                write.action = Action::Put {
                    value: Bytes::new(),
                    expires_at_ms: Some(1_900_000_000_000 + step),
                }
            }
            _ => {}
        }
        let answer = (c % 3 == 0).then(|| format!("{step}/{index}"));
        commit(store, &name, vec![write], answer.as_deref()).await;
    }
}

/// Takes a backup with several marks; gives them with all that was there at each.
async fn backed_up(store: &dyn Store, root: &Path, clock: &Clock) -> (Follower, Vec<(Mark, All)>) {
    let now = || clock.now();
    work(store, 0).await;
    publish(store, b"first").await;
    let (mut follower, manifest) = begin(store, root, EVERY, now).await.unwrap();
    let mut marks = vec![(manifest.first, everything(store).await)];
    for step in 1..6 {
        work(store, step).await;
        if step == 3 {
            publish(store, b"second").await;
        }
        let mark = follower.mark(store, now).await.unwrap().unwrap();
        marks.push((mark, everything(store).await));
    }
    assert!(follower.mark(store, now).await.unwrap().is_none());
    (follower, marks)
}

async fn publish(store: &dyn Store, component: &'static [u8]) {
    let digest = Digest::of(component);
    let audit = NewAudit {
        by: "t".into(),
        tenant: "default".parse().unwrap(),
        action: "publish",
        subject: String::new(),
        at_ms: 1,
    };
    let version = NewVersion {
        tenant: "default".parse().unwrap(),
        module: "m".parse().unwrap(),
        digest,
        world: World::Module,
        imports: Vec::new(),
        at_ms: 1,
        by: "t".into(),
    };
    store
        .publish(version, Bytes::from_static(component), audit)
        .await
        .unwrap();
}

/// The state of each moment comes back as it was.
pub(crate) async fn each_moment_comes_back(make: impl AsyncFn() -> Arc<dyn Store>) {
    let root = tempfile::tempdir().unwrap();
    let clock = Clock(AtomicU64::new(10_000));
    let from = make().await;
    let (_, marks) = backed_up(&*from, root.path(), &clock).await;
    for (index, (mark, all)) in marks.iter().enumerate() {
        if index % 2 == 1 && index + 1 < marks.len() {
            continue;
        }
        let to = make().await;
        let restored = restore(&to, root.path(), Some(mark.to_ms)).await.unwrap();
        assert_eq!(restored.mark, *mark);
        assert_eq!(everything(&*to).await, *all, "mark {index}");
        let versions = to
            .versions(&"default".parse().unwrap(), None)
            .await
            .unwrap();
        let expected = if index < 3 { 1 } else { 2 };
        assert_eq!(versions.len(), expected, "mark {index}");
        for version in versions {
            assert!(to.component(&version.digest).await.unwrap().is_some());
        }
        assert!(!to.audit(None, None, 10).await.unwrap().is_empty());
    }
    let to = make().await;
    let latest = restore(&to, root.path(), None).await.unwrap();
    assert_eq!(latest.mark, marks.last().unwrap().0);
    let early = marks[0].0.to_ms - 1;
    assert!(
        restore(&make().await, root.path(), Some(early))
            .await
            .is_err()
    );
    let again = restore(&to, root.path(), None).await;
    assert!(again.is_err(), "it is not empty: {again:?}");
}

/// Transactions that go on while marks are made are in them whole or not at all.
pub(crate) async fn no_mark_holds_half_of_a_transaction(make: impl AsyncFn() -> Arc<dyn Store>) {
    let root = tempfile::tempdir().unwrap();
    let clock = Clock(AtomicU64::new(10_000));
    let from = make().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (store, stop) = (Arc::clone(&from), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    count += 1;
                    let value = count.to_string();
                    // Which records differs, so that no one change names all.
                    let sorts = ["a", "b", "c", "d"];
                    let writes = sorts.iter().enumerate();
                    let writes = writes
                        .filter(|(index, _)| count % 3 == 0 || index % 2 == count % 2)
                        .map(|(_, sort)| put(sort, &value))
                        .chain([put("last", &value)])
                        .collect();
                    commit(&*store, &format!("w{writer}"), writes, Some(&value)).await;
                }
            })
        })
        .collect();
    let (mut follower, manifest) = begin(&*from, root.path(), EVERY, || clock.now())
        .await
        .unwrap();
    let mut marks = vec![manifest.first];
    for _ in 0..6 {
        marks.extend(follower.mark(&*from, || clock.now()).await.unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    for mark in marks.iter().step_by(2) {
        let to = make().await;
        restore(&to, root.path(), Some(mark.to_ms)).await.unwrap();
        for (partition, rows) in everything(&*to).await {
            check_whole(&partition, &rows);
        }
    }
}

/// As the writers left it after one of their transactions.
fn check_whole(partition: &PartitionAddress, rows: &[KeptRow]) {
    let value = |sort: &str| {
        let row = rows
            .iter()
            .find(|row| row.key == RowKey::Record(sort.into()))?;
        let text = std::str::from_utf8(row.value.as_ref()?).unwrap();
        text.parse::<usize>().ok()
    };
    let Some(last) = value("last") else { return };
    let answers = rows
        .iter()
        .filter(|row| matches!(row.key, RowKey::Answer { .. }))
        .count();
    assert_eq!(answers, last, "{partition:?}: an answer for each");
    for (index, sort) in ["a", "b", "c", "d"].iter().enumerate() {
        let wrote = |count: &usize| count.is_multiple_of(3) || index % 2 == count % 2;
        let expected = (1..=last).rev().find(wrote);
        assert_eq!(value(sort), expected, "{partition:?} {sort} at {last}");
    }
}

/// A restore that was cut off goes on.
pub(crate) async fn a_restore_goes_on(make: impl AsyncFn() -> Arc<dyn Store>) {
    let root = tempfile::tempdir().unwrap();
    let clock = Clock(AtomicU64::new(10_000));
    let from = make().await;
    let (_, marks) = backed_up(&*from, root.path(), &clock).await;
    let (last, all) = marks.last().unwrap();
    let to = make().await;
    // As far as it comes within so many turns.
    for turns in [3, 10, 40] {
        if to.restoring().await.unwrap().is_none() && !everything(&*to).await.is_empty() {
            // It was done when it was cut off, and only its answer was lost.
            break;
        }
        let restoring = restore(&to, root.path(), Some(last.to_ms));
        let given_up = async {
            for _ in 0..turns {
                tokio::time::sleep(std::time::Duration::from_micros(300)).await;
            }
        };
        tokio::select! {
            biased;
            done = restoring => {
                // Or else the one before was done, after all, when this one began.
                let is_done = to.restoring().await.unwrap().is_none();
                assert!(is_done, "{done:?}");
                break;
            }
            () = given_up => {}
        }
    }
    if to.restoring().await.unwrap().is_some() {
        let other = restore(&to, root.path(), Some(marks[0].0.to_ms)).await;
        assert!(other.is_err(), "another moment");
    }
    if to.restoring().await.unwrap().is_some() || everything(&*to).await.is_empty() {
        let done = restore(&to, root.path(), Some(last.to_ms)).await;
        let is_done = to.restoring().await.unwrap().is_none();
        assert!(is_done, "{done:?}");
    }
    if to.restoring().await.unwrap().is_none() && everything(&*to).await == *all {
        return;
    }
    panic!("it is not what it was");
}

fn embedded() -> impl AsyncFn() -> Arc<dyn Store> {
    let directories = std::sync::Mutex::new(Vec::new());
    async move || {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path(), "core-1".parse().unwrap());
        let store = RedbStore::open(&options).unwrap();
        directories.lock().unwrap().push(directory);
        Arc::new(store) as Arc<dyn Store>
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_each_moment_comes_back() {
    each_moment_comes_back(embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_no_mark_holds_half_of_a_transaction() {
    no_mark_holds_half_of_a_transaction(embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_a_restore_goes_on() {
    a_restore_goes_on(embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_put_back_begins_a_later_life() {
    let root = tempfile::tempdir().unwrap();
    let clock = Clock(AtomicU64::new(10_000));
    let from = embedded()().await;
    backed_up(&*from, root.path(), &clock).await;
    let (directory, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lives = vec![from.origin().incarnation];
    for directory in [&directory, &again] {
        let options = Options::new(directory.path(), "core-1".parse().unwrap());
        let to: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
        restore(&to, root.path(), None).await.unwrap();
        drop(to);
        let to = RedbStore::open(&options).unwrap();
        lives.push(to.origin().incarnation);
    }
    assert!(
        lives.is_sorted_by(|a, b| a < b),
        "each was never before: {lives:?}"
    );
    let options = Options::new(directory.path(), "core-1".parse().unwrap());
    let to = RedbStore::open(&options).unwrap();
    assert_eq!(to.span().head, 1);
    let key = Key {
        collection: "c".into(),
        partition: "p0".into(),
        sort: "new".into(),
    };
    commit(&to, "p0", vec![put("new", "x")], None).await;
    let tenant = "t".parse().unwrap();
    let found = to.get(&tenant, &key, 1_700_000_000_000).await.unwrap();
    assert_eq!(found.unwrap().version, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_changed_byte_is_found() {
    let root = tempfile::tempdir().unwrap();
    let clock = Clock(AtomicU64::new(10_000));
    let store = embedded()().await;
    let (follower, marks) = backed_up(&*store, root.path(), &clock).await;
    let generation = follower.generation().clone();
    let last = marks.last().unwrap().0.clone();
    let whole = inspect(&generation, u64::MAX).unwrap();
    assert_eq!((&whole.ending, &whole.last.mark), (&Ending::Whole, &last));
    let files: Vec<_> = std::fs::read_dir(&generation.path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 3, "a part, a manifest, increments");
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        for turn in 0..150u32 {
            let chance = Digest::of(format!("{}{turn}", path.display()).as_bytes());
            let [a, b, c, bit, ..] = *chance.as_bytes();
            let at = u32::from_le_bytes([a, b, c, 0]) as usize % bytes.len();
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (bit % 8);
            std::fs::write(&path, &changed).unwrap();
            match inspect(&generation, u64::MAX) {
                Err(_) => {}
                Ok(found) => {
                    assert!(matches!(found.ending, Ending::Changed(_)), "byte {at}");
                    // What is before it can be restored, if that is asked for.
                    let to = embedded()().await;
                    let refused = restore(&to, root.path(), None).await;
                    assert!(refused.is_err(), "byte {at}");
                    if turn % 16 == 0 {
                        let until = Some(found.last.mark.to_ms);
                        restore(&to, root.path(), until).await.unwrap();
                    }
                }
            }
        }
        std::fs::write(&path, &bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_is_cut_away() {
    let root = tempfile::tempdir().unwrap();
    let clock = Clock(AtomicU64::new(10_000));
    let now = || clock.now();
    let store = embedded()().await;
    let (follower, marks) = backed_up(&*store, root.path(), &clock).await;
    let path = follower.generation().increments(1);
    drop(follower);
    let bytes = std::fs::read(&path).unwrap();
    let cut = bytes.len() - 7;
    std::fs::write(&path, &bytes[..cut]).unwrap();
    let to = embedded()().await;
    let restored = restore(&to, root.path(), None).await.unwrap();
    let (mark, all) = &marks[marks.len() - 2];
    assert_eq!(restored.mark, *mark);
    assert_eq!(everything(&*to).await, *all);
    // It goes on where it was, and what was lost comes again.
    work(&*store, 77).await;
    let mut follower = resumed(&*store, root.path()).await;
    follower.mark(&*store, now).await.unwrap().unwrap();
    let to = embedded()().await;
    restore(&to, root.path(), None).await.unwrap();
    assert_eq!(everything(&*to).await, everything(&*store).await);
    // A snapshot that was cut off is nothing, and in nobody's way.
    Generation::create(root.path()).unwrap();
    let to = embedded()().await;
    restore(&to, root.path(), None).await.unwrap();
    drop(follower);
    resumed(&*store, root.path()).await;
}

/// `cargo test -p brink-core --lib backup::tests::figures -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints how long a snapshot and a restore take"]
async fn figures() {
    let root = tempfile::tempdir().unwrap();
    let from = embedded()().await;
    let value = "x".repeat(200);
    let writes = (0..1000).map(|partition| {
        let (from, value) = (Arc::clone(&from), value.clone());
        async move {
            let records = (0..100).map(|sort| put(&format!("s{sort}"), &value));
            commit(&*from, &format!("p{partition}"), records.collect(), None).await;
        }
    });
    futures_util::future::join_all(writes).await;
    let begun = std::time::Instant::now();
    let (mut follower, manifest) = begin(&*from, root.path(), EVERY, crate::clock::now_ms)
        .await
        .unwrap();
    println!("snapshot: {} rows in {:?}", manifest.rows, begun.elapsed());
    for partition in 0..1000 {
        commit(
            &*from,
            &format!("p{partition}"),
            vec![put("s1", &value)],
            None,
        )
        .await;
    }
    let begun = std::time::Instant::now();
    follower.mark(&*from, crate::clock::now_ms).await.unwrap();
    println!("increment of 1000 partitions: {:?}", begun.elapsed());
    let to = embedded()().await;
    let restored = restore(&to, root.path(), None).await.unwrap();
    println!("restore: {} rows in {:?}", restored.rows, restored.took);
}
