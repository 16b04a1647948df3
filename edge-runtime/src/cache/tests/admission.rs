//! What a full disk takes.

use super::*;
use std::{fs, path::Path};

const BODY_BYTES: usize = 60 << 10;

async fn open_in(dir: &Path) -> Cache {
    open(Config {
        dir: Some(dir.to_owned()),
        memory_bytes_max: 4 << 20,
        ..small()
    })
    .await
}

async fn store(cache: &Cache, ask: &Ask) {
    let fill = ask.forward(cache, now()).await;
    let body = vec![b'x'; BODY_BYTES];
    fill.complete(head(200, FRESH), body.into(), none(), now());
}

async fn store_many(cache: &Cache, name: &str, count: usize) {
    for n in 0..count {
        store(cache, &get(&format!("/{name}{n}"))).await;
        if n % 20 == 0 {
            cache.written().await;
        }
    }
    cache.written().await;
}

/// What a `kill -9` leaves.
async fn killed(dir: &Path, cache: &Cache) -> (tempfile::TempDir, Cache) {
    cache.written().await;
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir_all(copy.path().join("disk")).unwrap();
    for (from, to) in [(dir.to_owned(), copy.path().to_owned())]
        .into_iter()
        .chain([(dir.join("disk"), copy.path().join("disk"))])
    {
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    let cache = open_in(copy.path()).await;
    (copy, cache)
}

#[tokio::test]
async fn a_full_disk_takes_what_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open_in(dir.path()).await;
    // There is room: all of it is written.
    store_many(&cache, "first", 20).await;
    assert_eq!(cache.figures().disk.held_back, 0);
    store_many(&cache, "filling", 1_400).await;
    let before = cache.figures().disk;
    assert!(before.held_back > 0, "{before:?}");

    let other = Ask {
        tenant: "other".parse().unwrap(),
        ..get("/little")
    };
    for ask in [&get("/once"), &get("/twice"), &get("/later"), &other] {
        store(&cache, ask).await;
    }
    assert!(get("/twice").is_hit(&cache).await);
    // They leave memory; what is asked for then is fetched again.
    store_many(&cache, "more", 200).await;
    assert!(!get("/once").is_hit(&cache).await);
    store(&cache, &get("/later")).await;
    let after = cache.figures().disk;
    assert_eq!((after.errors, after.dropped), (0, 0));
    assert!(after.written_bytes - before.written_bytes < 10 * BODY_BYTES as u64);

    let (_dir, cache) = killed(dir.path(), &cache).await;
    assert!(!get("/once").is_hit(&cache).await);
    assert!(get("/twice").is_hit(&cache).await, "used in memory");
    assert!(get("/later").is_hit(&cache).await, "fetched twice");
    assert!(other.is_hit(&cache).await, "of a tenant that has little");
}

/// What takes the place of an answer on disk does so there, too, on a full disk as on any.
#[tokio::test]
async fn what_is_replaced_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open_in(dir.path()).await;
    store_many(&cache, "filling", 1_400).await;
    for body in ["a", "b", "c"] {
        for _ in 0..2 {
            let ask = get("/").with("cache-control", "no-cache");
            let fill = ask.forward(&cache, now()).await;
            fill.complete(head(200, FRESH), body.as_bytes().into(), none(), now());
        }
        let (_dir, cache) = killed(dir.path(), &cache).await;
        assert_eq!(get("/").hit(&cache, now()).await.body, body);
    }
}
