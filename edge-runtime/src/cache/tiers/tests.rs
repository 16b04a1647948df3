//! Both tiers together: nothing older comes back, and what the disk has in memory is within the bound.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

async fn open(dir: &Path, memory_bytes_max: u64) -> Tiers {
    let config = Config {
        dir: Some(dir.to_owned()),
        memory_bytes_max,
        disk_bytes_max: 64 << 20,
        object_bytes_max: 16 << 10,
        ..Config::default()
    };
    Tiers::open(&config, 1, true).await.unwrap()
}

fn key(name: &str) -> Key {
    Key(CacheKey::from_text(name.to_owned()))
}

/// A slot of a version, with so many bytes.
fn slot(version: u64, bytes: usize) -> Slot {
    Slot::Variants(Arc::new(vec![Variant {
        fields: Vec::new(),
        selection: format!("{version} {}", "x".repeat(bytes)),
        language: String::new(),
    }]))
}

fn version(slot: &Slot) -> u64 {
    let Slot::Variants(list) = slot else {
        panic!("no such slot was stored");
    };
    let number = list[0].selection.split(' ').next().unwrap();
    number.parse().unwrap()
}

/// Entries until whatever is written throws something out.
async fn fill(tiers: &Tiers, memory_bytes_max: u64) {
    let entries = memory_bytes_max / 40;
    for n in 0..entries {
        tiers.insert(key(&format!("filling {n}")), slot(n, 4_000));
        if n % 50 == 0 {
            tiers.written().await;
        }
    }
    tiers.written().await;
    let held_back = tiers.disk_figures().held_back;
    for n in 0..100 {
        tiers.insert(key(&format!("more {n}")), slot(n, 4_000));
    }
    assert_eq!(
        tiers.disk_figures().held_back,
        held_back + 100,
        "it is full"
    );
}

/// What changes keys does so one after the other for each, and says how far it has come.
#[derive(Default)]
struct Done {
    begun: AtomicU64,
    ended: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_older_comes_back() {
    const KEYS: usize = 6;
    const VERSIONS: u64 = 1_200;
    let dir = tempfile::tempdir().unwrap();
    let tiers = Arc::new(open(dir.path(), 64 << 10).await);
    fill(&tiers, 64 << 10).await;
    let done: Arc<Vec<Done>> = Arc::new((0..KEYS).map(|_| Done::default()).collect());
    let is_over = Arc::new(AtomicBool::new(false));
    let name = |n: usize| key(&format!("key {n}"));
    let writers = (0..KEYS).map(|n| {
        let (tiers, done) = (tiers.clone(), done.clone());
        tokio::spawn(async move {
            for version in 1..=VERSIONS {
                done[n].begun.store(version, Ordering::SeqCst);
                match version % 7 {
                    0 => tiers.remove(&name(n)),
                    _ => tiers.insert(name(n), slot(version, 2_000)),
                }
                done[n].ended.store(version, Ordering::SeqCst);
                // Others push it out of memory.
                for other in 0..version % 5 {
                    tiers.insert(key(&format!("other {n} {version} {other}")), slot(0, 4_000));
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let readers = (0..4).map(|_| {
        let (tiers, done, is_over) = (tiers.clone(), done.clone(), is_over.clone());
        tokio::spawn(async move {
            let mut found = 0_u64;
            while !is_over.load(Ordering::SeqCst) {
                for n in 0..KEYS {
                    let least = done[n].ended.load(Ordering::SeqCst);
                    if let Some((slot, _)) = tiers.find(&name(n)).await {
                        let version = version(&slot);
                        let most = done[n].begun.load(Ordering::SeqCst);
                        assert!(
                            (least..=most).contains(&version),
                            "{least} {version} {most}"
                        );
                        found += 1;
                    }
                }
                tokio::task::yield_now().await;
            }
            found
        })
    });
    let readers: Vec<_> = readers.collect();
    for writer in writers {
        writer.await.unwrap();
    }
    is_over.store(true, Ordering::SeqCst);
    let mut found = 0;
    for reader in readers {
        found += reader.await.unwrap();
    }
    assert!(found > 0);
    tiers.close().await;
    drop(tiers);
    let tiers = open(dir.path(), 64 << 10).await;
    for n in 0..KEYS {
        let last = tiers.find(&name(n)).await.map(|(slot, _)| version(&slot));
        assert!(last.is_none_or(|last| last == VERSIONS), "{last:?}");
    }
}

#[tokio::test]
async fn what_the_disk_has_in_memory_is_within_the_bound() {
    const BOUND: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let tiers = open(dir.path(), BOUND).await;
    let check = || {
        let disk = tiers.disk.as_ref().unwrap().memory_bytes();
        let (_, memory) = tiers.extent();
        assert!(disk + memory <= BOUND + BOUND / 64, "{disk} {memory}");
        (disk, memory)
    };
    for n in 0..40_000 {
        tiers.insert(key(&format!("key {n}")), slot(n, 500));
        if n % 20 == 0 {
            tiers.written().await;
            tiers.leave_room();
            check();
        }
    }
    let (disk, memory) = check();
    assert!(disk > BOUND / 3 && memory > BOUND / 4, "{disk} {memory}");
    let figures = tiers.disk_figures();
    // Half of the bound, at 40 bytes each, and a segment.
    assert!((8_000..15_200).contains(&figures.entries), "{figures:?}");
    assert!(
        figures.bytes < 32 << 20,
        "there is room on disk: {figures:?}"
    );
    // Found again, within the same bound.
    tiers.close().await;
    drop(tiers);
    let tiers = open(dir.path(), BOUND).await;
    assert_eq!(tiers.disk_figures().entries, figures.entries);
    for n in 0..4_000 {
        tiers.insert(key(&format!("new {n}")), slot(n, 500));
    }
    tiers.written().await;
    tiers.leave_room();
    let disk = tiers.disk.as_ref().unwrap().memory_bytes();
    assert!(disk + tiers.extent().1 <= BOUND + BOUND / 64);
}

#[tokio::test]
async fn a_disk_that_cannot_be_indexed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        dir: Some(dir.path().to_owned()),
        memory_bytes_max: 64 << 20,
        disk_bytes_max: 1 << 40,
        ..Config::default()
    };
    let error = Tiers::open(&config, 1, true).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cache: disk_bytes_max = 1099511627776: at most 800 times memory_bytes_max: half of that has to hold the index of what \
         is on disk"
    );
}
