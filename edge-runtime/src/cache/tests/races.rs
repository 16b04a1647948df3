//! Changes, fills, evictions and hits at once, on several threads.

use super::*;
use brink_protocol::purge::Selector;
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// What a core holds, and how far a PoP has got.
#[derive(Default)]
struct World {
    /// The record's version; the change that wrote it has the same number.
    record: AtomicU64,
    /// Versions up to it were applied before this was set.
    applied: AtomicU64,
    is_over: AtomicBool,
    hits: AtomicU64,
}

/// Reads through the cache, and checks that nothing comes that was over before it asked.
async fn read(cache: Cache, world: Arc<World>, path: String, with_position: bool) {
    let mut rounds = 0u64;
    while !world.is_over.load(Ordering::Acquire) {
        rounds += 1;
        let applied = world.applied.load(Ordering::Acquire);
        let mut ask = get(&path);
        if with_position && applied > 0 {
            ask.at_least = Some(format!("core-1.1={applied}").parse().unwrap());
        }
        match ask.lookup(&cache, now()).await {
            Lookup::Hit(answer) => {
                let version: u64 = std::str::from_utf8(&answer.body).unwrap().parse().unwrap();
                assert!(version >= applied, "{version} after {applied} at {path}");
                world.hits.fetch_add(1, Ordering::AcqRel);
            }
            Lookup::Forward(fill) => {
                let version = world.record.load(Ordering::Acquire);
                if rounds.is_multiple_of(3) {
                    tokio::task::yield_now().await;
                }
                let on = Dependencies {
                    position: format!("core-1.1={version}").parse().unwrap(),
                    ..depends(vec![record("p", "s"), range_between("p", "r", "t")])
                };
                let body = Bytes::from(version.to_string());
                fill.complete(head(200, FRESH), body, on, now());
            }
            Lookup::Unavailable(problem) => panic!("{problem:?}"),
        }
        if rounds.is_multiple_of(16) {
            tokio::task::yield_now().await;
        }
    }
}

/// Goes on until enough was served from the cache, however the machine divides its time.
async fn raced(config: Config) {
    const CHANGES: u64 = 3_000;
    const CHANGES_MAX: u64 = 100 * CHANGES;
    const HITS: u64 = 100;
    let cache = open(config).await;
    let world = Arc::new(World::default());
    let mut readers = tokio::task::JoinSet::new();
    for n in 0..6 {
        let path = format!("/{}", n % 3);
        readers.spawn(read(cache.clone(), world.clone(), path, n % 2 == 0));
    }
    for sequence in 1..=CHANGES_MAX {
        if sequence > CHANGES && world.hits.load(Ordering::Acquire) > HITS {
            break;
        }
        let change = match sequence % 7 {
            0 => purge(sequence, Selector::Prefix("h/".into()), false),
            // Beside the range and the record: nothing ends, and the version does not count as new.
            1 => written(sequence, "p", "a"),
            _ => written(sequence, "p", "s"),
        };
        world.record.store(sequence, Ordering::Release);
        let applied = cache.apply(&change);
        assert!(!applied.gap && !applied.repeated);
        if sequence % 7 != 1 {
            world.applied.store(sequence, Ordering::Release);
        }
        tokio::task::yield_now().await;
    }
    world.is_over.store(true, Ordering::Release);
    while let Some(read) = readers.join_next().await {
        read.unwrap();
    }
    assert!(world.hits.load(Ordering::Acquire) > HITS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_older_than_what_was_applied_before_is_served() {
    raced(small()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nor_from_disk_nor_with_a_short_memory_of_changes() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        dir: Some(dir.path().to_owned()),
        memory_bytes_max: 4 << 10,
        changes_max: 4,
        ..small()
    };
    raced(config).await;
}

/// That the races find what they look for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[should_panic(expected = "JoinError")]
async fn without_coherence_something_older_is_served() {
    // On a busy machine many rounds may meet none.
    for _ in 0..500 {
        raced(Config {
            coherence: false,
            ..small()
        })
        .await;
    }
}
