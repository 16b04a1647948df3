//! Bytes of the files that are changed, cut or missing.

use super::*;

/// What was done to a key, in order: a text, or a removal.
type History = Vec<(String, Option<String>)>;

async fn written(dir: &Path, seed: u64, is_closed: bool) -> History {
    let (mut chance, mut history) = (Chance(seed), History::new());
    let disk = open(dir, SMALL);
    for step in 0..150 {
        let name = format!("k{}", chance.below(60));
        if chance.below(10) == 0 {
            disk.end(&name);
            history.push((name, None));
        } else {
            let text = format!("{step} {}", "y".repeat(chance.below(300) as usize));
            disk.put(&name, &text);
            history.push((name, Some(text)));
        }
        // Otherwise the writer leaves out what was replaced while it waited.
        disk.written().await;
    }
    if is_closed {
        disk.close().await;
    }
    history
}

/// What is found was stored, and all of it was there at one and the same time: nothing older comes back than what a crash
/// at that time would have left.
async fn check(disk: &Disk, history: &History, what: &str) -> usize {
    let (mut from, mut until, mut found) = (0, history.len(), 0);
    for n in 0..60 {
        let name = format!("k{n}");
        let Some(text) = disk.text(&name).await else {
            continue;
        };
        found += 1;
        let is_it = |(other, stored): &(String, Option<String>)| {
            *other == name && stored.as_ref() == Some(&text)
        };
        let at = history.iter().position(is_it);
        let at = at.unwrap_or_else(|| panic!("{what}: {name} never was {text}"));
        let later = history
            .iter()
            .skip(at + 1)
            .position(|(other, _)| *other == name);
        from = from.max(at);
        until = until.min(later.map_or(history.len(), |later| at + 1 + later));
    }
    assert!(from < until, "{what}: entries of different times");
    found
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn changed_or_cut_anywhere() {
    let mut found_most = 0;
    for seed in 0..150 {
        let dir = tempfile::tempdir().unwrap();
        let history = written(dir.path(), seed / 10, seed % 2 == 0).await;
        let mut chance = Chance(seed + 1_000);
        let files = files(dir.path());
        assert!(files.len() > 4);
        for _ in 0..=chance.below(3) {
            let path = &files[chance.below(files.len() as u64) as usize];
            let Ok(mut bytes) = fs::read(path) else {
                continue;
            };
            let at = chance.below(bytes.len().max(1) as u64) as usize;
            match chance.below(8) {
                0 => fs::remove_file(path).unwrap(),
                1 => fs::write(path, &bytes[..at.min(bytes.len())]).unwrap(),
                2 => {
                    bytes.extend_from_slice(&[7; 100][..at % 100]);
                    fs::write(path, bytes).unwrap();
                }
                3 => {
                    let end = bytes.len().min(at + 512);
                    bytes[at..end].fill(0);
                    fs::write(path, bytes).unwrap();
                }
                // One segment under another's name.
                4 => drop(fs::copy(path, &files[at % files.len()])),
                _ if !bytes.is_empty() => {
                    bytes[at] ^= 1 << chance.below(8);
                    fs::write(path, bytes).unwrap();
                }
                _ => {}
            }
        }
        let what = format!("seed {seed}");
        let disk = open(dir.path(), SMALL);
        found_most = found_most.max(check(&disk, &history, &what).await);
        // It goes on, and what it makes of that is whole.
        disk.put("new", "new");
        disk.written().await;
        assert_eq!(disk.text("new").await.as_deref(), Some("new"), "{what}");
        drop(disk);
        let disk = open(dir.path(), SMALL);
        check(&disk, &history, &what).await;
        assert_eq!(disk.text("new").await.as_deref(), Some("new"), "{what}");
    }
    assert!(found_most > 20, "damage does not cost everything");
}

/// Changed while the log is open: what is read is whole, or a miss.
#[tokio::test]
async fn changed_while_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let disk = open(dir.path(), SMALL);
    for n in 0..60 {
        disk.put(&format!("k{n}"), &format!("text {n}"));
    }
    disk.written().await;
    for path in files(dir.path()) {
        let mut bytes = fs::read(&path).unwrap();
        for at in (40..bytes.len()).step_by(401) {
            bytes[at] ^= 1;
        }
        fs::write(&path, bytes).unwrap();
    }
    let mut found = 0;
    for n in 0..60 {
        if let Some(text) = disk.text(&format!("k{n}")).await {
            assert_eq!(text, format!("text {n}"));
            found += 1;
        }
    }
    let damaged = disk.figures().damaged;
    assert!(
        found > 10 && damaged > 5,
        "{found} found, {damaged} damaged"
    );
}

/// A summary that is gone is made anew of the records, if these are all there.
#[tokio::test]
async fn without_a_summary() {
    let dir = tempfile::tempdir().unwrap();
    let history = written(dir.path(), 3, true).await;
    for path in files(dir.path()) {
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let disk = open(dir.path(), SMALL);
    let found = check(&disk, &history, "no summaries").await;
    let mut there = std::collections::BTreeMap::new();
    for (name, text) in history {
        there.insert(name, text);
    }
    let expected = there.values().filter(|text| text.is_some()).count();
    assert_eq!(found, expected);
}
