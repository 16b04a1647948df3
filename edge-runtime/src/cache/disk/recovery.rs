//! The log is read back from its newest segment to its oldest, and only as far as nothing is missing: what an older
//! segment says may have been replaced or removed by what is lost.

use super::{
    extent::Extent,
    files::{has_head, is_full, listed},
    layout::{
        Listed, Place, RECORD_HEAD_BYTES, RECORDS_MAX, SEGMENT_HEAD_BYTES, read_head, summary,
    },
    log::Log,
};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    sync::Arc,
};

/// What the files of an earlier store in this directory begin with; they are removed.
const FORMER: &str = "foyer-";

/// The segments that were found again, and the number of the next.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) segments: BTreeMap<u32, Extent>,
    pub(super) next: u32,
}

/// Reads what is there into the index. What does not count is removed.
pub(super) fn recover(log: &Log) -> io::Result<Recovered> {
    fs::create_dir_all(log.files.dir())?;
    remove_former(log)?;
    let mut ids = log.files.ids()?;
    drop_unbegun(log, &mut ids)?;
    let (mut segments, mut has_removals) = (BTreeMap::new(), false);
    let newest = ids.last().copied();
    let next = newest.map_or(Some(0), |newest| newest.checked_add(1));
    let mut expected = newest;
    while let Some(id) = ids.pop_if(|id| Some(*id) == expected) {
        let Some((file, extent, removes)) = load(log, id, Some(id) == newest, &mut ids) else {
            ids.push(id);
            break;
        };
        log.files.insert(id, Arc::new(file));
        segments.insert(id, extent);
        has_removals |= removes;
        expected = id.checked_sub(1);
    }
    if !ids.is_empty() {
        tracing::warn!(
            segments = ids.len(),
            "segments of the disk tier are damaged or older than damaged ones; what they hold is dropped"
        );
    }
    for id in ids {
        log.files.remove(id)?;
    }
    if has_removals {
        log.index.end_recovery();
    }
    Ok(Recovered {
        segments,
        next: next.unwrap_or(u32::MAX),
    })
}

/// A newest segment without its head was never begun, or all that it held is lost; the one before is the end of the log.
fn drop_unbegun(log: &Log, ids: &mut Vec<u32>) -> io::Result<()> {
    let Some(newest) = ids.last().copied() else {
        return Ok(());
    };
    let begun = File::open(log.files.path(newest))
        .is_ok_and(|file| has_head(&file, newest, log.generation));
    if !begun {
        ids.pop();
        log.files.remove(newest)?;
    }
    Ok(())
}

fn remove_former(log: &Log) -> io::Result<()> {
    for entry in fs::read_dir(log.files.dir())? {
        let entry = entry?;
        let is_former = entry
            .file_name()
            .to_str()
            .is_some_and(|n| n.starts_with(FORMER));
        if is_former && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// One segment: its file, what it holds, whether there are removals. None: it cannot be relied on. If there is no room for what
/// it lacks, the oldest of those `before` it leaves.
fn load(
    log: &Log,
    id: u32,
    is_newest: bool,
    before: &mut Vec<u32>,
) -> Option<(File, Extent, bool)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(log.files.path(id))
        .ok()?;
    if !has_head(&file, id, log.generation) {
        return None;
    }
    let records = match listed(&file, id) {
        Some(records) => records,
        None => seal_anew(log, &file, id, is_newest, before)?,
    };
    let bytes = file.metadata().ok()?.len();
    let has_removals = records.iter().any(|record| record.is_removal);
    for record in records.iter().rev() {
        let place = (!record.is_removal).then_some(Place {
            segment: id,
            offset: record.offset,
            length: record.length,
        });
        log.index.recover(record.hash, place);
    }
    Some((file, Extent::of(bytes, &records), has_removals))
}

/// Gives a segment without a whole summary a new one. The newest ends after its last whole record; of another, all records
/// must be there.
fn seal_anew(
    log: &Log,
    file: &File,
    id: u32,
    is_newest: bool,
    before: &mut Vec<u32>,
) -> Option<Vec<Listed>> {
    let length = file.metadata().ok()?.len();
    let (records, end) = scan(file, id, length)?;
    let summary = summary(id, end, &records)?;
    if !is_newest && u64::from(end) + summary.len() as u64 != length {
        return None;
    }
    file.set_len(u64::from(end)).ok()?;
    while let Err(error) = log.medium.write(file, &summary, u64::from(end)) {
        if !is_full(&error) || before.is_empty() {
            return None;
        }
        log.files.remove(before.remove(0)).ok()?;
    }
    Some(records)
}

/// The records up to the first that is none, and where they end. Values are not read: they are checked when they are used.
fn scan(file: &File, id: u32, length: u64) -> Option<(Vec<Listed>, u32)> {
    let (mut records, mut end) = (Vec::new(), u32::try_from(SEGMENT_HEAD_BYTES).ok()?);
    let mut head = [0; RECORD_HEAD_BYTES];
    while records.len() < RECORDS_MAX && file.read_exact_at(&mut head, u64::from(end)).is_ok() {
        let Some((record, _)) = read_head(&head, id, end) else {
            break;
        };
        match end.checked_add(record.length) {
            Some(after) if u64::from(after) <= length => end = after,
            Some(_) | None => break,
        }
        records.push(record);
    }
    Some((records, end))
}
