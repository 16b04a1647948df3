//! A file system that is really full: a small one in memory, mounted in a namespace of its own, which takes root.

use super::*;
use brink_protocol::purge::Selector;
use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

const DIR: &str = "BRINK_TEST_FULL_DIR";
/// Of the file system: less than the smallest disk tier.
const MEBIBYTES: u64 = 16;
const BODY_BYTES: usize = 48 << 10;

#[test]
fn the_edge_goes_on_when_the_file_system_is_full() {
    let probe = Command::new("unshare").args(["--mount", "true"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        println!("skipped: no file system can be mounted here; as root one can");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = format!(
        "mount -t tmpfs -o size={MEBIBYTES}m tmpfs \"${DIR}\" && exec \"$0\" --exact \
         cache::tests::full_disk::child_on_a_small_file_system --ignored --nocapture --test-threads=1"
    );
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &mount])
        .arg(env::current_exe().unwrap())
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("1 passed"), "{said}\n{errors}");
}

/// Counts what is said in the log about the disk tier.
struct Said;

static SAID: AtomicU64 = AtomicU64::new(0);

impl tracing::Subscriber for Said {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target().contains("cache::disk") {
            SAID.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// Takes all the room that is left.
fn fill_up(dir: &Path) -> PathBuf {
    let path = dir.join("of-others");
    let mut file = fs::File::create(&path).unwrap();
    let page = [0; 4_096];
    while file.write_all(&page).is_ok() {}
    path
}

async fn store(cache: &Cache, name: &str) {
    let ask = get(&format!("/{name}"));
    let fill = ask.forward(cache, now()).await;
    fill.complete(
        head(200, FRESH),
        vec![b'x'; BODY_BYTES].into(),
        none(),
        now(),
    );
    assert!(ask.is_hit(cache).await, "{name} is in memory");
}

async fn store_all(cache: &Cache, names: impl Iterator<Item = String>) {
    for name in names {
        store(cache, &name).await;
        cache.written().await;
    }
}

async fn found(cache: &Cache, prefix: &str, count: usize) -> usize {
    let mut found = 0;
    for n in 0..count {
        found += usize::from(get(&format!("/{prefix}{n}")).is_hit(cache).await);
    }
    found
}

#[tokio::test]
#[ignore = "a child of the test above"]
async fn child_on_a_small_file_system() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    tracing::subscriber::set_global_default(Said).unwrap();
    let names = |prefix: &'static str, count| (0..count).map(move |n| format!("{prefix}{n}"));

    // The tier may have more than there is: the oldest leave earlier, and it is said once.
    let cache = on_disk(&dir).await;
    store_all(&cache, names("a", 500)).await;
    let disk = cache.figures().disk;
    assert!(disk.errors > 0 && disk.dropped == 0, "{disk:?}");
    assert!(disk.bytes > (MEBIBYTES << 20) / 2, "{disk:?}");
    assert_eq!(SAID.load(Ordering::Relaxed), 1);

    // Others take what is left. What was applied meanwhile is not forgotten.
    let others = fill_up(&dir);
    cache.apply(&purge(1, Selector::Url("h/a499".into()), false));
    cache.synced().await;
    store_all(&cache, names("b", 100)).await;
    cache.close().await.unwrap();
    drop(cache);

    // A restart on the full disk.
    fs::remove_file(&others).unwrap();
    fill_up(&dir);
    let cache = on_disk(&dir).await;
    assert!(!get("/a499").is_hit(&cache).await, "it was purged");
    store_all(&cache, names("c", 100)).await;
    drop(cache);

    // With nothing at all of its own, and no room for anything.
    fs::remove_file(&others).unwrap();
    for name in ["disk", "journal"] {
        let path = dir.join(name);
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir_all(&path);
    }
    fill_up(&dir);
    let cache = on_disk(&dir).await;
    store_all(&cache, names("d", 100)).await;
    let disk = cache.figures().disk;
    assert!(disk.dropped >= 100 && disk.entries == 0, "{disk:?}");
    let said = SAID.load(Ordering::Relaxed);
    assert!(said <= 6, "{said} lines, of three lives");

    // There is room again: it is used, and found again after the journal was.
    fs::remove_file(&others).unwrap();
    for n in 1..=70 {
        cache.apply(&purge(n, Selector::Url(format!("h/a{n}")), false));
    }
    store_all(&cache, names("e", 100)).await;
    let after = cache.figures().disk;
    assert_eq!((after.entries, after.dropped), (100, disk.dropped));
    cache.close().await.unwrap();
    drop(cache);
    let cache = on_disk(&dir).await;
    assert_eq!(found(&cache, "e", 100).await, 100);
}
