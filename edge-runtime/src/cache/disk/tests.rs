//! The log: what is found is right, whatever happens to the files, the disk or the program.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod damage;
mod failures;
mod kills;

use super::{super::stored::Variant, *};
use brink_policy::key::CacheKey;
use std::fs;

const SMALL: Limits = Limits {
    capacity_bytes: 1 << 40,
    segment_bytes: 4_096,
    entries_max: u64::MAX,
};

fn terms(dir: &Path) -> Terms {
    Terms {
        dir: dir.to_owned(),
        capacity_bytes: 0,
        memory_bytes_max: 64 << 20,
        takes_all: false,
        generation: 7,
        is_in_memory: Box::new(|_| false),
    }
}

fn open(dir: &Path, limits: Limits) -> Disk {
    Disk::open_on(terms(dir), limits, Box::new(System)).unwrap()
}

fn key(name: &str) -> Key {
    Key(CacheKey::from_text(name.to_owned()))
}

fn hash(name: &str) -> u64 {
    twox_hash::XxHash3_64::oneshot(name.as_bytes())
}

/// An entry that holds a text.
fn slot(text: &str) -> Slot {
    Slot::Variants(Arc::new(vec![Variant {
        fields: Vec::new(),
        selection: text.to_owned(),
        language: String::new(),
    }]))
}

impl Disk {
    fn put(&self, name: &str, text: &str) {
        self.insert(hash(name), key(name), slot(text), 0);
    }

    fn put_of(&self, share: u64, name: &str, text: &str) {
        self.insert(hash(name), key(name), slot(text), share << 32);
    }

    fn end(&self, name: &str) {
        self.remove(hash(name));
    }

    async fn text(&self, name: &str) -> Option<String> {
        match self.find(hash(name), &key(name)).await? {
            Slot::Variants(list) => Some(list[0].selection.clone()),
            Slot::Answer(_) | Slot::Piece(_) => panic!("no such entry was stored"),
        }
    }
}

/// Numbers that look random, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Random insertions, removals, reads, restarts and kills against a map.
#[tokio::test]
async fn as_a_map_does() {
    for seed in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let mut chance = Chance(seed);
        let mut disk = open(dir.path(), SMALL);
        let mut map = std::collections::BTreeMap::new();
        for step in 0..600 {
            let name = format!("k{}", chance.below(40));
            match chance.below(100) {
                0..50 => {
                    let length = chance.below(600) as usize;
                    let text = format!("{name} {step} {}", "x".repeat(length));
                    disk.put(&name, &text);
                    map.insert(name, text);
                }
                50..70 => {
                    disk.end(&name);
                    map.remove(&name);
                }
                70..96 => {
                    let expected = map.get(&name);
                    let found = disk.text(&name).await;
                    assert_eq!(found.as_ref(), expected, "seed {seed}, step {step}");
                    assert!(expected.is_none() || disk.may_contain(hash(&name)));
                }
                96 => disk.written().await,
                97 => {
                    // As a kill leaves it, once all is written.
                    disk.written().await;
                    drop(disk);
                    disk = open(dir.path(), SMALL);
                }
                _ => {
                    disk.close().await;
                    drop(disk);
                    disk = open(dir.path(), SMALL);
                }
            }
        }
        assert_eq!(disk.figures().damaged, 0);
        assert_eq!(disk.figures().errors, 0);
    }
}

#[tokio::test]
async fn figures_say_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let disk = open(dir.path(), SMALL);
    for n in 0..100 {
        disk.put(&format!("k{n}"), &"x".repeat(100));
    }
    disk.end("k0");
    disk.close().await;
    let figures = disk.figures();
    let on_disk = |dir: &Path| -> u64 {
        let files = fs::read_dir(dir).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    };
    assert_eq!((figures.entries, figures.bytes), (99, on_disk(dir.path())));
    assert_eq!(figures.waiting_bytes, 0);
    // Nothing is written after the end, and nothing older is found.
    disk.put("k1", "new");
    assert_eq!(disk.text("k1").await, None);
    drop(disk);
    let disk = open(dir.path(), SMALL);
    let again = disk.figures();
    assert_eq!((again.entries, again.bytes), (99, on_disk(dir.path())));
}

#[tokio::test]
async fn the_oldest_leaves_and_what_is_used_stays() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        capacity_bytes: 64 << 10,
        segment_bytes: 4 << 10,
        entries_max: u64::MAX,
    };
    let disk = open(dir.path(), limits);
    let text = "x".repeat(200);
    for n in 0..2_000 {
        disk.put(&format!("k{n}"), &text);
        disk.written().await;
        for used in ["k0", "k7"] {
            if n > 7 {
                assert!(disk.text(used).await.is_some(), "{used} at {n}");
            }
        }
        assert!(disk.figures().bytes <= limits.capacity_bytes);
    }
    assert!(disk.text("k1999").await.is_some());
    assert_eq!(disk.text("k1").await, None);
    let figures = disk.figures();
    assert!(
        figures.kept_bytes > 0 && figures.entries > 150,
        "{figures:?}"
    );
    drop(disk);
    let disk = open(dir.path(), limits);
    assert!(
        disk.text("k7").await.is_some(),
        "found again after it was moved"
    );
    assert_eq!(disk.figures().entries, figures.entries);
}

#[tokio::test]
async fn a_tenant_with_little_loses_nothing_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        capacity_bytes: 64 << 10,
        segment_bytes: 4 << 10,
        entries_max: u64::MAX,
    };
    let disk = open(dir.path(), limits);
    let text = "x".repeat(200);
    for n in 0..20 {
        disk.put_of(1, &format!("small{n}"), &text);
    }
    for n in 0..2_000 {
        disk.put_of(2, &format!("large{n}"), &text);
    }
    disk.written().await;
    for n in 0..20 {
        assert!(disk.text(&format!("small{n}")).await.is_some(), "{n}");
    }
}

#[tokio::test]
async fn what_memory_has_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        capacity_bytes: 32 << 10,
        segment_bytes: 2 << 10,
        entries_max: u64::MAX,
    };
    let terms = Terms {
        is_in_memory: Box::new(|known| known == hash("hot")),
        ..terms(dir.path())
    };
    let disk = Disk::open_on(terms, limits, Box::new(System)).unwrap();
    disk.put("hot", "hot");
    for n in 0..1_000 {
        disk.put(&format!("k{n}"), &"x".repeat(200));
    }
    disk.written().await;
    assert_eq!(disk.text("hot").await.as_deref(), Some("hot"));
}

#[tokio::test]
async fn entries_larger_than_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let disk = open(dir.path(), SMALL);
    for n in 0..5 {
        disk.put(&format!("large{n}"), &"x".repeat(100_000 + n));
        disk.put(&format!("small{n}"), "y");
    }
    disk.written().await;
    drop(disk);
    let disk = open(dir.path(), SMALL);
    for n in 0..5 {
        let large = disk.text(&format!("large{n}")).await.unwrap();
        assert_eq!(large.len(), 100_000 + n);
        assert_eq!(disk.text(&format!("small{n}")).await.as_deref(), Some("y"));
    }
}

#[tokio::test]
async fn two_keys_of_one_hash() {
    let dir = tempfile::tempdir().unwrap();
    let disk = open(dir.path(), SMALL);
    disk.insert(1, key("a"), slot("a"), 0);
    disk.written().await;
    assert!(disk.find(1, &key("b")).await.is_none());
    assert!(disk.find(1, &key("a")).await.is_some());
    disk.insert(1, key("b"), slot("b"), 0);
    for _ in 0..2 {
        assert!(disk.find(1, &key("a")).await.is_none());
        assert!(disk.find(1, &key("b")).await.is_some());
        disk.written().await;
    }
}

#[tokio::test]
async fn what_others_left_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("foyer-storage-direct-fs-00000000"), "x").unwrap();
    fs::write(dir.path().join("notes"), "kept").unwrap();
    let disk = open(dir.path(), SMALL);
    disk.put("a", "a");
    disk.close().await;
    drop(disk);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    let other = Terms {
        generation: 8,
        ..terms(dir.path())
    };
    let disk = Disk::open_on(other, SMALL, Box::new(System)).unwrap();
    assert_eq!(disk.text("a").await, None);
    assert_eq!(disk.figures().entries, 0);
}

/// One tenant stores without end; another's answers lie among them, and none of them leaves.
#[tokio::test]
async fn no_tenant_flushes_anothers_answers() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        capacity_bytes: 256 << 10,
        segment_bytes: 4 << 10,
        entries_max: u64::MAX,
    };
    let disk = open(dir.path(), limits);
    let offer = |share: u64, name: &str| {
        let slot = slot(&"x".repeat(200));
        disk.offer(hash(name), &key(name), &slot, share << 32)
    };
    let mut flood = 0..;
    let mut pass = |count| {
        for n in flood.by_ref().take(count) {
            // Asked for twice at once: it is admitted, and written again and again.
            offer(2, &format!("flood{n}"));
            offer(2, &format!("flood{n}"));
        }
    };
    for n in 0..100 {
        pass(50);
        disk.written().await;
        assert!(offer(1, &format!("own{n}")), "{n}: the first time");
    }
    pass(10_000);
    disk.written().await;
    for n in 0..100 {
        assert!(disk.text(&format!("own{n}")).await.is_some(), "{n}");
    }
    let figures = disk.figures();
    assert!(
        figures.held_back > 5_000 && figures.dropped == 0,
        "{figures:?}"
    );
    drop(disk);
    let disk = open(dir.path(), limits);
    for n in 0..100 {
        assert!(disk.text(&format!("own{n}")).await.is_some(), "{n}: again");
    }
}
