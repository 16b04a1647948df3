//! A disk that fails: full, broken, gone.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// A disk that fails as it is told to.
#[derive(Debug, Default)]
struct Told {
    is_broken: AtomicBool,
    /// Bytes that it has room for; 0: any.
    room: AtomicU64,
    dir: PathBuf,
}

impl Told {
    fn check(&self, more: u64) -> io::Result<()> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Other.into());
        }
        let room = self.room.load(Ordering::Relaxed);
        let files = fs::read_dir(&self.dir)?;
        let used: u64 = files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        match room > 0 && used + more > room {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Failing(Arc<Told>);

impl Medium for Failing {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.0.check(0)?;
        System.create(path)
    }

    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.check(bytes.len() as u64).inspect_err(|_| {
            // As much as there is room for.
            let part = &bytes[..bytes.len() / 2];
            System.write(file, part, offset).unwrap();
        })?;
        System.write(file, bytes, offset)
    }
}

fn failing(dir: &Path) -> (Arc<Told>, Disk) {
    let told = Arc::new(Told {
        dir: dir.to_owned(),
        ..Told::default()
    });
    let medium = Box::new(Failing(told.clone()));
    (told, Disk::open_on(terms(dir), SMALL, medium).unwrap())
}

#[tokio::test]
async fn a_broken_disk_costs_entries_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (told, disk) = failing(dir.path());
    for n in 0..50 {
        disk.put(&format!("k{n}"), "old");
    }
    disk.written().await;
    told.is_broken.store(true, Ordering::Relaxed);
    for n in 0..30 {
        disk.put(&format!("k{n}"), "new");
        disk.end(&format!("k{}", 30 + n / 2));
        disk.written().await;
        // What could not be written is not there, nor what was before.
        assert_eq!(disk.text(&format!("k{n}")).await, None);
    }
    assert_eq!(disk.text("k49").await.as_deref(), Some("old"));
    let figures = disk.figures();
    assert!(figures.dropped >= 30 && figures.errors >= 30, "{figures:?}");
    told.is_broken.store(false, Ordering::Relaxed);
    disk.put("k0", "newest");
    disk.written().await;
    assert_eq!(disk.text("k0").await.as_deref(), Some("newest"));
    drop(disk);
    // Neither comes back by a restart what was to be replaced or removed.
    let disk = open(dir.path(), SMALL);
    assert_eq!(disk.text("k0").await.as_deref(), Some("newest"));
    for n in 1..45 {
        assert_eq!(disk.text(&format!("k{n}")).await, None, "{n}");
    }
    for n in 45..50 {
        assert_eq!(
            disk.text(&format!("k{n}")).await.as_deref(),
            Some("old"),
            "{n}"
        );
    }
}

#[tokio::test]
async fn a_full_disk_costs_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let (told, disk) = failing(dir.path());
    told.room.store(40_000, Ordering::Relaxed);
    for n in 0..1_000 {
        disk.put(&format!("k{n}"), &"x".repeat(200));
        if n % 3 == 0 {
            disk.written().await;
        }
    }
    disk.written().await;
    assert_eq!(disk.figures().dropped, 0);
    for n in 0..1_000 {
        let found = disk.text(&format!("k{n}")).await.is_some();
        assert!(found || n < 900, "{n} is one of the newest");
        assert!(!found || n > 800, "{n} is one of the oldest");
    }
    drop(disk);
    let disk = open(dir.path(), SMALL);
    assert!(disk.text("k999").await.is_some());
}

#[tokio::test]
async fn a_directory_that_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let disk = open(&path, SMALL);
    for n in 0..100 {
        disk.put(&format!("k{n}"), &"x".repeat(200));
    }
    disk.written().await;
    fs::remove_dir_all(&path).unwrap();
    for n in 100..200 {
        disk.put(&format!("k{n}"), &"x".repeat(200));
    }
    disk.written().await;
    for n in 0..200 {
        assert!(
            disk.text(&format!("k{n}")).await.is_some(),
            "{n}: still open, or new"
        );
    }
    drop(disk);
    let disk = open(&path, SMALL);
    assert!(disk.text("k199").await.is_some());
    assert_eq!(disk.figures().errors, 0);
}

/// What waits is bounded; what does not fit is not there, nor is what was before.
#[test]
fn more_than_can_be_written() {
    let (index, queue) = (Index::new(), Queue::new(10_000));
    let put = |name: &str| queue.insert(&index, hash(name), (key(name), slot("x"), 0), 4_000);
    let place = |offset| Place {
        segment: 0,
        offset,
        length: 100,
    };
    index.insert(hash("k"), place(0));
    assert!(put("a") && put("b") && !put("k") && !put("c"));
    assert!(queue.get(hash("a"), &key("a")).is_some());
    assert!(queue.get(hash("k"), &key("k")).is_none());
    assert!(index.peek(hash("k")).is_none());
    let works = queue.take(usize::MAX).unwrap();
    let done = works.iter().map(|work| match work {
        queue::Work::Write {
            hash,
            sequence,
            operation,
        } => (
            *hash,
            *sequence,
            matches!(operation, queue::Operation::Entry { .. }),
        ),
        queue::Work::Flush(_) | queue::Work::Close(_) => panic!("nobody asked"),
    });
    let done: Vec<_> = done.collect();
    // The two that had room, and that what `k` led to is gone.
    assert_eq!(done.iter().filter(|(_, _, entry)| *entry).count(), 2);
    assert!(done.iter().any(|(of, _, entry)| *of == hash("k") && !entry));
    // While they are written: one is replaced, one is removed.
    assert!(!put("a"));
    queue.remove(&index, hash("b"));
    let places = done
        .iter()
        .map(|(hash, sequence, entry)| (*hash, *sequence, entry.then(|| place(9))));
    queue.written(&index, places);
    for name in ["a", "b", "k"] {
        assert!(index.peek(hash(name)).is_none(), "{name}");
    }
    let removals = queue.take(usize::MAX).unwrap();
    assert_eq!(
        removals.len(),
        2,
        "what was written of both must not come back"
    );
    assert!(put("c"));
}

/// An entry larger than all that may wait is taken where nothing else waits.
#[test]
fn the_largest_entry_alone() {
    let (index, queue) = (Index::new(), Queue::new(1_000));
    assert!(queue.insert(&index, 1, (key("a"), slot("x"), 0), 4_000));
    assert!(!queue.insert(&index, 2, (key("b"), slot("x"), 0), 10));
}
