//! Journals cut and changed at every byte, and journals on a full disk.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use brink_policy::coherence::Verdict;

const TAGS_MAX: usize = 100;

fn touch(tag: TagHash) -> Touch {
    Touch::hard(&[tag])
}

/// A journal in which change `n` of one origin touched tag `n`, and the state after each.
fn written(dir: &Path, changes_count: u64) -> Vec<u8> {
    let origin: OriginId = "core-1.1".parse().unwrap();
    let mut changes = LastChanges::new(TAGS_MAX);
    let mut position = Position::default();
    let mut journal = Journal::begin(dir, 9, &position, &changes, &mut || Ok(false)).unwrap();
    for n in 1..=changes_count {
        journal.change(&origin, n, &touch(n)).unwrap();
        changes.apply(&touch(n));
        position.advance(&origin, n);
    }
    fs::read(dir.join("journal")).unwrap()
}

#[test]
fn cut_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let whole = written(dir.path(), 5);
    let origin: OriginId = "core-1.1".parse().unwrap();
    let mut lengths = Vec::new();
    for end in 0..=whole.len() {
        let Some(recovered) = read(&whole[..end], TAGS_MAX) else {
            assert!(lengths.is_empty(), "readable before, not at {end}");
            continue;
        };
        let last = recovered.position.get(&origin);
        lengths.push(last);
        assert_eq!(recovered.generation, 9);
        assert_eq!(recovered.changes.index(), last + GAP);
        for index in 0..=6 {
            for tag in 1..=6 {
                let verdict = recovered.changes.verdict(&[tag], index);
                let expected = match (index, tag) {
                    // Made after the last change that is still known: nobody knows what came before it.
                    (index, _) if index > last => Verdict::Unknown,
                    (index, tag) if tag <= last && tag > index => Verdict::Ended,
                    _ => Verdict::Valid,
                };
                assert_eq!(verdict, expected, "cut at {end}, index {index}, tag {tag}");
            }
        }
    }
    assert!(lengths.is_sorted());
    assert_eq!((lengths.first(), lengths.last()), (Some(&0), Some(&5)));
}

#[test]
fn changed_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let whole = written(dir.path(), 3);
    let origin: OriginId = "core-1.1".parse().unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        if let Some(recovered) = read(&changed, TAGS_MAX) {
            assert!(
                recovered.position.get(&origin) < 3,
                "byte {at} is part of a record"
            );
            assert_eq!(recovered.generation, 9);
        }
    }
}

#[test]
fn goes_on_after_being_read_and_compacted() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3);
    let origin: OriginId = "core-1.1".parse().unwrap();
    let Recovered {
        generation,
        mut position,
        mut changes,
    } = recover(dir.path(), TAGS_MAX).unwrap();
    let mut journal = Journal::begin(dir.path(), generation, &position, &changes, &mut || {
        Ok(false)
    })
    .unwrap();
    journal.change(&origin, 4, &touch(4)).unwrap();
    changes.apply(&touch(4));
    position.advance(&origin, 4);
    journal.records_bytes = RECORDS_BYTES_MAX + 1;
    assert!(journal.is_due());
    journal.compact(&position, changes.snapshot()).unwrap();
    assert_eq!(journal.records_bytes, 0);
    journal.local(&touch(77)).unwrap();
    journal.end_all(&"core-2.1=8".parse().unwrap()).unwrap();
    journal.change(&origin, 5, &touch(5)).unwrap();
    let again = recover(dir.path(), TAGS_MAX).unwrap();
    assert_eq!(again.position.to_string(), "core-1.1=5,core-2.1=8");
    assert_eq!(again.changes.index(), 3 + GAP + 1 + 1 + 1 + 1 + GAP);
    assert_eq!(
        again.changes.verdict(&[1], 3),
        Verdict::Unknown,
        "everything was dropped after it"
    );
}

#[test]
fn none_or_another_format_vouches_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(recover(dir.path(), TAGS_MAX).is_none());
    for content in [&b""[..], b"x", &[0; 64], &[0xff; 64]] {
        fs::write(dir.path().join("journal"), content).unwrap();
        assert!(recover(dir.path(), TAGS_MAX).is_none());
    }
}

#[test]
fn nothing_follows_a_record_that_could_not_be_written() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 2);
    let origin: OriginId = "core-1.1".parse().unwrap();
    let Recovered {
        generation,
        mut position,
        mut changes,
    } = recover(dir.path(), TAGS_MAX).unwrap();
    let mut journal = Journal::begin(dir.path(), generation, &position, &changes, &mut || {
        Ok(false)
    })
    .unwrap();
    let writable = journal
        .file
        .replace(File::open(dir.path().join("journal")).unwrap());
    assert!(journal.change(&origin, 3, &touch(3)).is_err());
    journal.file = writable;
    for n in 4..=RETRY_RECORDS + 2 {
        journal.change(&origin, n, &touch(n)).unwrap();
    }
    assert_eq!(
        recover(dir.path(), TAGS_MAX).unwrap().position.get(&origin),
        2
    );
    for n in 3..=RETRY_RECORDS + 2 {
        changes.apply(&touch(n));
        position.advance(&origin, n);
    }
    assert!(journal.is_due());
    journal.compact(&position, changes.snapshot()).unwrap();
    let recovered = recover(dir.path(), TAGS_MAX).unwrap();
    assert_eq!(recovered.position, position);
    assert_eq!(recovered.changes.verdict(&[3], 2), Verdict::Ended);
}

#[test]
fn what_is_told_is_synced_or_not_vouched_for() {
    let dir = tempfile::tempdir().unwrap();
    let (changes, position) = (LastChanges::new(TAGS_MAX), Position::default());
    let origin: OriginId = "core-1.1".parse().unwrap();
    let mut journal =
        Journal::begin(dir.path(), 9, &position, &changes, &mut || Ok(false)).unwrap();
    assert!(
        journal.take_unsynced().unwrap().is_none(),
        "nothing was noted"
    );
    journal.change(&origin, 1, &touch(1)).unwrap();
    journal
        .take_unsynced()
        .unwrap()
        .unwrap()
        .sync_data()
        .unwrap();
    assert!(journal.take_unsynced().unwrap().is_none(), "nothing since");
    let path = dir.path().join("journal");
    let writable = journal.file.replace(File::open(&path).unwrap());
    assert!(journal.change(&origin, 2, &touch(2)).is_err());
    journal.file = writable;
    assert!(recover(dir.path(), TAGS_MAX).is_some());
    assert!(journal.take_unsynced().unwrap().is_none());
    assert!(
        recover(dir.path(), TAGS_MAX).is_none(),
        "it lacks what was told"
    );
    for n in 3..=RETRY_RECORDS + 1 {
        journal.change(&origin, n, &touch(n)).unwrap();
    }
    assert!(journal.is_due());
    journal.compact(&position, changes.snapshot()).unwrap();
    assert!(recover(dir.path(), TAGS_MAX).is_some());
    journal.distrust().unwrap();
    assert!(recover(dir.path(), TAGS_MAX).is_none());
}

#[test]
fn a_name_that_is_not_synced_is_the_name_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (mut changes, mut position) = (LastChanges::new(TAGS_MAX), Position::default());
    let origin: OriginId = "core-1.1".parse().unwrap();
    let mut journal =
        Journal::begin(dir.path(), 9, &position, &changes, &mut || Ok(false)).unwrap();
    for n in 1..=2 {
        journal.change(&origin, n, &touch(n)).unwrap();
        changes.apply(&touch(n));
        position.advance(&origin, n);
    }
    journal.sync_dir = |_| Err(io::Error::other("a broken directory"));
    assert!(journal.compact(&position, changes.snapshot()).is_err());
    journal.change(&origin, 3, &touch(3)).unwrap();
    // Killed now, it comes back with all that was applied.
    let recovered = recover(dir.path(), TAGS_MAX).unwrap();
    assert_eq!(recovered.position.get(&origin), 3);
    assert_eq!(recovered.changes.verdict(&[3], 2), Verdict::Ended);
    // Nobody is told that it outlives a power failure until it does.
    assert!(journal.take_unsynced().is_err());
    journal.sync_dir = sync_dir;
    journal.distrust().unwrap();
    assert!(recover(dir.path(), TAGS_MAX).is_none());
    journal.compact(&position, changes.snapshot()).unwrap();
    assert!(journal.take_unsynced().unwrap().is_none());
    journal.change(&origin, 3, &touch(3)).unwrap();
    assert!(journal.take_unsynced().unwrap().is_some());
}
