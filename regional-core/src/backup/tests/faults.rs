//! Faults while backups are taken: logs that are cut, kills in the middle of anything, damaged files. What was marked can be
//! restored as it was.

use super::{
    All, Clock, EVERY, backed_up, commit, embedded, everything, publish, put, resumed, work,
};
use crate::{
    backup::{
        Backups, Follower, Generation, Mark, Resumed, begin, directory::remove_cut_off, inspect,
        restore, resume, service::BackupConfig, take::begin_with,
    },
    store::{NewAudit, Options, RedbStore, Store},
};
use brink_protocol::Digest;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A store whose log keeps so many changes.
fn with_log(directory: &Path, changes: u64) -> Arc<dyn Store> {
    let mut options = Options::new(directory, "core-1".parse().unwrap());
    options.log_changes_max = changes;
    Arc::new(RedbStore::open(&options).unwrap())
}

/// Waits until something is so of what is shown.
async fn until(
    backups: &Backups,
    is_so: impl Fn(&brink_protocol::operations::Backups) -> bool,
) -> brink_protocol::operations::Backups {
    let begun = Instant::now();
    loop {
        let shown = backups.shown().unwrap();
        if is_so(&shown) {
            return shown;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{shown:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_is_followed_again_behind_another_snapshot() {
    let (root, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = with_log(directory.path(), 5);
    let config = BackupConfig {
        directory: Some(root.path().to_owned()),
        interval_ms: 100,
        ..BackupConfig::default()
    };
    for (turn, is_cut) in [false, false, true].into_iter().enumerate() {
        if is_cut {
            for step in 1..5 {
                work(&*store, step).await;
            }
        }
        // What a process left that was killed while it took a snapshot.
        let left = Generation::create(root.path()).unwrap();
        let backups = Backups::new(Arc::clone(&store), config.clone());
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&backups).run(stop.clone()));
        let count = if is_cut { 2 } else { 1 };
        let shown = until(&backups, |shown| {
            shown.generations.len() == count
                && shown.kept_until_ms.is_some()
                && shown.failure.is_none()
        });
        let shown = shown.await;
        assert_eq!(shown.gap_ms.is_some(), is_cut, "turn {turn}");
        assert!(!left.path.exists());
        // Another process leaves it alone.
        let other = Backups::new(Arc::clone(&store), config.clone());
        let other_stop = CancellationToken::new();
        let others = tokio::spawn(Arc::clone(&other).run(other_stop.clone()));
        until(&other, |shown| shown.failure.is_some()).await;
        for stop in [stop, other_stop] {
            stop.cancel();
        }
        running.await.unwrap();
        others.await.unwrap();
    }
    let to = embedded()().await;
    restore(&to, root.path(), None).await.unwrap();
    assert_eq!(everything(&*to).await, everything(&*store).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_may_be_slower_than_the_log_is_long() {
    let (root, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = Clock(AtomicU64::new(10_000));
    let store = with_log(directory.path(), 20);
    for partition in 0..300 {
        commit(&*store, &format!("p{partition}"), vec![put("s", "")], None).await;
    }
    let begun = store.span();
    let mut count = 0;
    let meanwhile = async |follower: &mut Follower| {
        for _ in 0..10 {
            count += 1;
            let name = format!("p{}", (count * 37) % 300);
            commit(&*store, &name, vec![put("s", &count.to_string())], None).await;
        }
        follower.gather(&*store).await
    };
    let now = || clock.now();
    let (_, manifest) = begin_with(&*store, root.path(), EVERY, now, meanwhile)
        .await
        .unwrap();
    assert!(
        store.span().oldest > begun.head,
        "the log was cut meanwhile"
    );
    assert_eq!(manifest.partitions, 300);
    let to = embedded()().await;
    restore(&to, root.path(), None).await.unwrap();
    assert_eq!(everything(&*to).await, everything(&*store).await);
    // One that fails leaves nothing behind.
    let failing = async |_: &mut Follower| Err::<(), _>(crate::Error::Busy);
    let failed = begin_with(&*store, root.path(), EVERY, now, failing).await;
    assert!(failed.is_err());
    assert_eq!(Generation::all(root.path()).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_behind_another_file_is_no_obstacle() {
    let root = tempfile::tempdir().unwrap();
    let clock = Clock(AtomicU64::new(10_000));
    let now = || clock.now();
    let store = embedded()().await;
    let (mut follower, _) = begin(&*store, root.path(), EVERY, now).await.unwrap();
    let value = "x".repeat(20_000);
    let generation = follower.generation().clone();
    let fill = async || commit(&*store, "p", vec![put("s", &value)], None).await;
    while !generation.increments(2).exists() {
        fill().await;
        follower.mark(&*store, now).await.unwrap();
    }
    // Killed before anything was marked in the second; and before, once, behind a third.
    drop(follower);
    fs::write(generation.increments(3), b"BRNK").unwrap();
    let inspected = inspect(&generation, u64::MAX);
    assert!(inspected.is_ok(), "{inspected:?}");
    let mut follower = resumed(&*store, root.path()).await;
    assert!(!generation.increments(2).exists());
    while !generation.increments(4).exists() {
        fill().await;
        follower.mark(&*store, now).await.unwrap();
    }
    let to = embedded()().await;
    restore(&to, root.path(), None).await.unwrap();
    assert_eq!(everything(&*to).await, everything(&*store).await);
    // One from the middle that is gone is missed.
    fs::remove_file(generation.increments(2)).unwrap();
    let to = embedded()().await;
    let refused = restore(&to, root.path(), None).await.unwrap_err();
    assert!(
        refused.to_string().contains("increments-000002"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_is_named_and_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let clock = Clock(AtomicU64::new(10_000));
    let now = || clock.now();
    let store = embedded()().await;
    let (first, marks) = backed_up(&*store, root.path(), &clock).await;
    let (old, all) = marks.last().unwrap();
    work(&*store, 50).await;
    let (second, _) = begin(&*store, root.path(), EVERY, now).await.unwrap();
    let damage = |generation: &Generation| {
        let path = generation.path.join("manifest.json");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[1..]).unwrap();
        move || fs::write(&path, &bytes).unwrap()
    };
    let mend = damage(first.generation());
    let to = embedded()().await;
    restore(&to, root.path(), None).await.unwrap();
    assert_eq!(everything(&*to).await, everything(&*store).await);
    mend();
    let _ = damage(second.generation());
    let config = BackupConfig {
        directory: Some(root.path().to_owned()),
        ..BackupConfig::default()
    };
    let shown = Backups::new(Arc::clone(&store), config).shown().unwrap();
    assert_eq!((shown.generations.len(), shown.damaged.len()), (1, 1));
    // An older moment is not given unasked.
    let to = embedded()().await;
    let refused = restore(&to, root.path(), None)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains(&second.generation().name), "{refused}");
    assert!(refused.contains("--to-time"), "{refused}");
    restore(&to, root.path(), Some(old.to_ms)).await.unwrap();
    assert_eq!(everything(&*to).await, *all);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_of_the_registry_is_written() {
    let root = tempfile::tempdir().unwrap();
    let clock = Clock(AtomicU64::new(10_000));
    let now = || clock.now();
    let store = embedded()().await;
    let audited = async || {
        let audit = NewAudit {
            by: "t".into(),
            tenant: "default".parse().unwrap(),
            action: "look",
            subject: "x".repeat(100),
            at_ms: 1,
        };
        store.add_audit(audit).await.unwrap();
    };
    publish(&*store, b"first").await;
    for _ in 0..100 {
        audited().await;
    }
    let (mut follower, _) = begin(&*store, root.path(), EVERY, now).await.unwrap();
    let path = follower.generation().increments(1);
    for turn in 0..4 {
        let before = fs::metadata(&path).unwrap().len();
        audited().await;
        follower.mark(&*store, now).await.unwrap().unwrap();
        let written = fs::metadata(&path).unwrap().len() - before;
        assert!(written < 1_000, "turn {turn}: {written} bytes");
        if turn == 1 {
            drop(follower);
            follower = resumed(&*store, root.path()).await;
        }
    }
    let to = embedded()().await;
    restore(&to, root.path(), None).await.unwrap();
    let tenant = "default".parse().unwrap();
    let versions = to.versions(&tenant, None).await.unwrap();
    assert_eq!(versions, store.versions(&tenant, None).await.unwrap());
    let audit = to.audit(None, None, 1_000).await.unwrap();
    assert_eq!(audit, store.audit(None, None, 1_000).await.unwrap());
}

/// Chance from a seed.
struct Chance(u64, u64);

impl Chance {
    fn of(&mut self, most: u64) -> u64 {
        self.1 += 1;
        let digest = Digest::of(format!("{}/{}", self.0, self.1).as_bytes());
        let [a, b, c, d, ..] = *digest.as_bytes();
        u64::from(u32::from_le_bytes([a, b, c, d])) % most
    }
}

/// Takes a snapshot that is killed in the middle: its directory stays.
async fn killed_snapshot(store: &dyn Store, root: &Path, clock: &Clock) {
    let killed = Notify::new();
    let meanwhile = async |_: &mut Follower| {
        killed.notify_one();
        std::future::pending::<Result<(), crate::Error>>().await
    };
    tokio::select! {
        _ = begin_with(store, root, EVERY, || clock.now(), meanwhile) => {}
        () = killed.notified() => {}
    }
}

/// Half a frame behind the last mark, or the beginning of another file, as a kill leaves them.
fn tear(last: PathBuf, next: PathBuf, chance: &mut Chance) {
    let path = if chance.of(2) == 0 { last } else { next };
    let mut options = fs::OpenOptions::new();
    let mut file = options.append(true).create(true).open(path).unwrap();
    let few = usize::try_from(chance.of(8)).unwrap();
    file.write_all(&b"BRNKBK0"[..few.min(7)]).unwrap();
}

/// Writes, marks, kills in the middle of snapshots, increments and changes of files, and logs that are cut, as chance has
/// it. Then `restored` of the marks are restored.
pub(crate) async fn faults_leave_what_was_marked(
    make: impl AsyncFn(u64) -> Arc<dyn Store>,
    seed: u64,
    steps: u64,
    restored: usize,
) {
    let root = tempfile::tempdir().unwrap();
    let clock = Clock(AtomicU64::new(10_000));
    let now = || clock.now();
    let mut chance = Chance(seed, 0);
    let store = make(30).await;
    work(&*store, 0).await;
    let mut marks: Vec<(Mark, All)> = Vec::new();
    let mut follower: Option<Follower> = None;
    for step in 0..steps {
        for _ in 0..chance.of(4) {
            work(&*store, chance.of(1_000_000)).await;
        }
        if chance.of(4) == 0 {
            publish(&*store, b"module").await;
        }
        let Some(present) = &mut follower else {
            remove_cut_off(root.path()).unwrap();
            follower = match resume(&*store, root.path()).await.unwrap() {
                Resumed::On(follower, _) => Some(*follower),
                Resumed::Cut(_) | Resumed::Nothing => {
                    let begun = begin(&*store, root.path(), EVERY, now).await.unwrap();
                    marks.push((begun.1.first, everything(&*store).await));
                    Some(begun.0)
                }
            };
            continue;
        };
        match present.mark(&*store, now).await {
            Ok(Some(mark)) => marks.push((mark, everything(&*store).await)),
            Ok(None) => {}
            Err(_) => follower = None,
        }
        match chance.of(6) {
            0 => follower = None,
            1 => killed_snapshot(&*store, root.path(), &clock).await,
            2 => {
                if let Some(present) = follower.take() {
                    let generation = present.generation().clone();
                    drop(present);
                    let last = (1..)
                        .take_while(|number| generation.increments(*number).exists())
                        .last()
                        .unwrap();
                    let next = generation.increments(last + 1);
                    tear(generation.increments(last), next, &mut chance);
                }
            }
            3 => {
                let value = "x".repeat(30_000);
                commit(
                    &*store,
                    "long",
                    vec![put("s", &value)],
                    Some(&step.to_string()),
                )
                .await;
            }
            _ => {}
        }
    }
    let every = (marks.len() / restored).max(1);
    for (index, (mark, all)) in marks.iter().enumerate().rev().step_by(every) {
        let to = make(1_000).await;
        let found = restore(&to, root.path(), Some(mark.to_ms)).await.unwrap();
        assert_eq!(found.mark, *mark, "seed {seed}, mark {index}");
        assert_eq!(everything(&*to).await, *all, "seed {seed}, mark {index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_faults_leave_what_was_marked() {
    let directories = std::sync::Mutex::new(Vec::new());
    let make = async |changes: u64| {
        let directory = tempfile::tempdir().unwrap();
        let store = with_log(directory.path(), changes);
        directories.lock().unwrap().push(directory);
        store
    };
    for seed in 1..=4 {
        faults_leave_what_was_marked(&make, seed, 60, 4).await;
    }
}
