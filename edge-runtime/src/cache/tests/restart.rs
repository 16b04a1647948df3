//! The disk tier and the journal across restarts and kills.

use super::*;
use brink_protocol::{change::Change, purge::Selector};
use std::{fs, path::Path};

/// What a `kill -9` leaves: the files as they are, while the program still holds them.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn found_again_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let cache = on_disk(dir.path()).await;
    let fields = [("cache-control", "max-age=60"), ("vary", "accept")];
    get("/plain").fill(&cache, FRESH, "plain", none()).await;
    get("/varied")
        .with("accept", "a")
        .fill(&cache, &fields, "a", none())
        .await;
    get("/varied")
        .with("accept", "b")
        .fill(&cache, &fields, "b", none())
        .await;
    cache.apply(&written(1, "p", "s"));
    cache.close().await.unwrap();
    drop(cache);
    let cache = on_disk(dir.path()).await;
    assert_eq!(cache.position().to_string(), "core-1.1=1");
    let hit = get("/plain").hit(&cache, later(10)).await;
    assert_eq!(
        (hit.body.as_ref(), status_line(&hit).as_str()),
        (&b"plain"[..], "brink-ams; hit; ttl=50; detail=disk")
    );
    assert_eq!(field(&hit, "age"), Some("10"));
    assert_eq!(
        status_line(&get("/plain").hit(&cache, now()).await),
        "brink-ams; hit; ttl=60; detail=memory"
    );
    assert_eq!(
        get("/varied")
            .with("accept", "a")
            .hit(&cache, now())
            .await
            .body,
        "a"
    );
    assert_eq!(
        get("/varied")
            .with("accept", "b")
            .hit(&cache, now())
            .await
            .body,
        "b"
    );
    assert!(!get("/varied").with("accept", "c").is_hit(&cache).await);
    // What came from disk is in the tag index too.
    assert_eq!(
        cache
            .apply(&purge(2, Selector::Host("h".into()), false))
            .objects,
        3
    );
    assert!(!get("/plain").is_hit(&cache).await);
    assert_eq!(cache.figures().hits_disk, 3);
}

#[tokio::test]
async fn killed_and_purged_before_or_meanwhile() {
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = on_disk(dir.path()).await;
    for path in ["/kept", "/before", "/meanwhile"] {
        get(path).fill(&cache, FRESH, "x", none()).await;
    }
    cache.written().await;
    cache.apply(&purge(1, Selector::Url("h/before".into()), false));
    copy(dir.path(), killed.path());
    let cache = on_disk(killed.path()).await;
    assert_eq!(
        cache.position().to_string(),
        "core-1.1=1",
        "the feed goes on from there"
    );
    assert!(!get("/before").is_hit(&cache).await);
    cache.apply(&purge(2, Selector::Url("h/meanwhile".into()), false));
    assert!(!get("/meanwhile").is_hit(&cache).await);
    assert_eq!(
        status_line(&get("/kept").hit(&cache, now()).await),
        "brink-ams; hit; ttl=60; detail=disk"
    );
}

/// The journal loses its end, the disk tier does not: what was stored after the end that is left is refused, although
/// nothing in the journal speaks against it; the lost changes come again and hit what they hit before.
#[tokio::test]
async fn killed_with_a_torn_journal() {
    let dir = tempfile::tempdir().unwrap();
    let cache = on_disk(dir.path()).await;
    let journal = |dir: &Path| dir.join("journal");
    get("/0").fill(&cache, FRESH, "x", none()).await;
    let mut ends = vec![fs::metadata(journal(dir.path())).unwrap().len()];
    for n in 1..=3 {
        cache.apply(&purge(n, Selector::Url(format!("h/{}", n - 1)), false));
        get(&format!("/{n}")).fill(&cache, FRESH, "x", none()).await;
        ends.push(fs::metadata(journal(dir.path())).unwrap().len());
    }
    cache.written().await;
    let whole = fs::read(journal(dir.path())).unwrap();
    // Every end between two records, and one byte into and before the next: 12 restarts on a copy of the disk.
    let cuts: Vec<u64> = ends
        .iter()
        .flat_map(|end| [end.saturating_sub(1), *end, end + 1])
        .collect();
    for cut in cuts.into_iter().filter(|cut| *cut <= whole.len() as u64) {
        let killed = tempfile::tempdir().unwrap();
        copy(dir.path(), killed.path());
        fs::write(
            journal(killed.path()),
            &whole[..usize::try_from(cut).unwrap()],
        )
        .unwrap();
        let cache = on_disk(killed.path()).await;
        let known = ends
            .iter()
            .filter(|end| **end <= cut)
            .count()
            .checked_sub(1);
        let last = cache.position().get(&"core-1.1".parse().unwrap());
        assert_eq!(last, known.unwrap_or(0) as u64, "cut at {cut}");
        for n in 0..=3_u64 {
            // `/n` was stored at index n and purged by change n + 1.
            let expected = known.is_some() && n == last;
            assert_eq!(
                get(&format!("/{n}")).is_hit(&cache).await,
                expected,
                "cut at {cut}: /{n}"
            );
        }
        // The lost changes come again, in another order of origins even.
        for n in last + 1..=3 {
            cache.apply(&purge(n, Selector::Url(format!("h/{}", n - 1)), false));
        }
        for n in 0..3_u64 {
            assert!(
                !get(&format!("/{n}")).is_hit(&cache).await,
                "cut at {cut}: /{n} was purged"
            );
        }
    }
}

/// The changes that a torn journal lost come again in another order than before: an entry made after some of them must
/// not count as newer than another that came after it then and comes before them now.
#[tokio::test]
async fn lost_changes_come_again_in_another_order() {
    let dir = tempfile::tempdir().unwrap();
    let cache = on_disk(dir.path()).await;
    let journal = |dir: &Path| dir.join("journal");
    let empty = fs::read(journal(dir.path())).unwrap();
    let from = |origin: &str, change: Change| Change {
        origin: origin.parse().unwrap(),
        ..change
    };
    let elsewhere = |n| {
        from(
            "core-2.1",
            purge(n, Selector::Url("h/elsewhere".into()), false),
        )
    };
    let of_it = from("core-1.1", purge(1, Selector::Url("h/it".into()), false));
    cache.apply(&elsewhere(1));
    cache.apply(&elsewhere(2));
    get("/it").fill(&cache, FRESH, "x", none()).await;
    cache.written().await;
    cache.apply(&of_it);
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    fs::write(journal(killed.path()), empty).unwrap();
    let cache = on_disk(killed.path()).await;
    for change in [of_it, elsewhere(1), elsewhere(2)] {
        assert!(!cache.apply(&change).repeated);
    }
    assert!(!get("/it").is_hit(&cache).await);
}

#[tokio::test]
async fn without_its_journal_the_disk_tier_counts_for_nothing() {
    for content in [None, Some(&b""[..]), Some(b"something else entirely")] {
        let dir = tempfile::tempdir().unwrap();
        let cache = on_disk(dir.path()).await;
        get("/").fill(&cache, FRESH, "x", none()).await;
        cache.apply(&written(1, "p", "s"));
        cache.close().await.unwrap();
        drop(cache);
        match content {
            None => fs::remove_file(dir.path().join("journal")).unwrap(),
            Some(content) => fs::write(dir.path().join("journal"), content).unwrap(),
        }
        let cache = on_disk(dir.path()).await;
        assert_eq!(cache.position().to_string(), "");
        assert!(!get("/").is_hit(&cache).await);
        get("/").fill(&cache, FRESH, "y", none()).await;
        assert_eq!(get("/").hit(&cache, now()).await.body, "y");
    }
}

#[tokio::test]
async fn one_program_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let cache = on_disk(dir.path()).await;
    let config = Config {
        dir: Some(dir.path().to_owned()),
        ..small()
    };
    let second = Cache::open(config, &"ams".parse().unwrap()).await;
    assert!(
        second
            .unwrap_err()
            .to_string()
            .ends_with("is in use by another program")
    );
    drop(cache);
    on_disk(dir.path()).await;
}

#[tokio::test]
async fn dropped_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let cache = on_disk(dir.path()).await;
    get("/").fill(&cache, FRESH, "x", none()).await;
    cache.written().await;
    cache.reset("core-2.1=9".parse().unwrap());
    assert!(!get("/").is_hit(&cache).await);
    cache.close().await.unwrap();
    drop(cache);
    let cache = on_disk(dir.path()).await;
    assert_eq!(cache.position().to_string(), "core-2.1=9");
    assert!(!get("/").is_hit(&cache).await);
}

#[tokio::test]
async fn corrupt_blocks_are_misses() {
    let dir = tempfile::tempdir().unwrap();
    let cache = on_disk(dir.path()).await;
    for n in 0..20 {
        get(&format!("/{n}"))
            .fill(&cache, FRESH, "0123456789", none())
            .await;
    }
    cache.written().await;
    let damages: [fn(&mut Vec<u8>); 5] = [
        |bytes| {
            for at in (100..bytes.len()).step_by(777) {
                bytes[at] ^= 0x55;
            }
        },
        // The bodies alone.
        |bytes| {
            for at in (0..bytes.len().saturating_sub(10)).step_by(2) {
                if bytes[at..].starts_with(b"01234") {
                    bytes[at + 4] = b'!';
                }
            }
        },
        // Pages that were not written.
        |bytes| {
            for page in bytes.chunks_mut(4_096).step_by(3) {
                page.fill(0);
            }
        },
        |bytes| bytes.truncate(bytes.len() / 2),
        Vec::clear,
    ];
    for (number, damage) in damages.iter().enumerate() {
        let changed = tempfile::tempdir().unwrap();
        copy(dir.path(), changed.path());
        for file in fs::read_dir(changed.path().join("disk")).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, bytes).unwrap();
        }
        let cache = on_disk(changed.path()).await;
        for n in 0..20 {
            let path = format!("/{n}");
            if let Lookup::Hit(answer) = get(&path).lookup(&cache, now()).await {
                assert_eq!(
                    answer.body, "0123456789",
                    "{number}: {path} is right or not there"
                );
            }
        }
        // It goes on.
        get("/new").fill(&cache, FRESH, "new", none()).await;
        assert_eq!(get("/new").hit(&cache, now()).await.body, "new");
    }
}

#[tokio::test]
async fn a_purge_between_two_lives_is_not_forgotten_by_compaction_at_opening() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..4_u64 {
        let cache = on_disk(dir.path()).await;
        assert_eq!(cache.position().get(&"core-1.1".parse().unwrap()), life);
        for earlier in 0..life {
            let expected = earlier + 1 == life;
            assert_eq!(
                get(&format!("/{earlier}")).is_hit(&cache).await,
                expected,
                "life {life}: /{earlier}"
            );
        }
        get(&format!("/{life}"))
            .fill(&cache, FRESH, "x", none())
            .await;
        if life > 0 {
            cache.apply(&purge(
                life + 1,
                Selector::Url(format!("h/{}", life - 1)),
                false,
            ));
        } else {
            cache.apply(&purge(1, Selector::Url("h/none".into()), false));
        }
        cache.close().await.unwrap();
    }
}
