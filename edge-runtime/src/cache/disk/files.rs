//! The segments' files: names, making, removing, reading.

use super::layout::{Listed, SEGMENT_HEAD_BYTES, is_segment_head};
use super::layout::{Place, TRAILER_BYTES, read_summary, summary_start};
use rustc_hash::FxHashMap;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

/// What is asked of the disk by the writer: so that tests can have it fail.
pub(super) trait Medium: Send + Sync + std::fmt::Debug {
    /// A new file, empty.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// All of `bytes`, at `offset`.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
}

/// The system's files.
#[derive(Debug)]
pub(super) struct System;

impl Medium for System {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
    }

    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
}

/// Whether the file system had no room for what was to be written.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The files of the segments that can be read.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    open: RwLock<FxHashMap<u32, Arc<File>>>,
}

impl Files {
    /// None of those in `dir` yet.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            open: RwLock::default(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path(&self, id: u32) -> PathBuf {
        self.dir.join(format!("segment-{id:08x}.log"))
    }

    /// The segments of which there are files, in order.
    pub(super) fn ids(&self) -> io::Result<Vec<u32>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let id = name
                .to_str()
                .and_then(|name| name.strip_prefix("segment-"))
                .and_then(|name| name.strip_suffix(".log"))
                .and_then(|id| u32::from_str_radix(id, 16).ok());
            ids.extend(id);
        }
        ids.sort_unstable();
        Ok(ids)
    }

    pub(super) fn get(&self, id: u32) -> Option<Arc<File>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&id).cloned()
    }

    pub(super) fn insert(&self, id: u32, file: Arc<File>) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(id, file);
    }

    /// Removes a segment. Who reads it reads on.
    pub(super) fn remove(&self, id: u32) -> io::Result<()> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.remove(&id);
        drop(open);
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The bytes of a record, or what lies there now. Blocks.
pub(super) fn read(file: &File, place: Place) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; place.length as usize];
    file.read_exact_at(&mut bytes, u64::from(place.offset))?;
    Ok(bytes)
}

/// The same if the system has it in memory, without waiting for the disk.
#[cfg(target_os = "linux")]
pub(super) fn read_at_once(file: &File, place: Place) -> Option<Vec<u8>> {
    let mut bytes = vec![0; place.length as usize];
    let mut buffers = [io::IoSliceMut::new(&mut bytes)];
    let flags = rustix::io::ReadWriteFlags::NOWAIT;
    let read = rustix::io::preadv2(file, &mut buffers, u64::from(place.offset), flags).ok()?;
    (read == bytes.len()).then_some(bytes)
}

/// Other systems have no such call.
#[cfg(not(target_os = "linux"))]
pub(super) fn read_at_once(_: &File, _: Place) -> Option<Vec<u8>> {
    None
}

/// What the summary of a segment lists; none: it has none that is whole.
pub(super) fn listed(file: &File, id: u32) -> Option<Vec<Listed>> {
    let length = file.metadata().ok()?.len();
    let trailer_start = length.checked_sub(TRAILER_BYTES as u64)?;
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, trailer_start).ok()?;
    let start = summary_start(&trailer, id, length)?;
    let mut bytes = vec![0; usize::try_from(length - start).ok()?];
    file.read_exact_at(&mut bytes, start).ok()?;
    read_summary(&bytes, id)
}

/// Whether the file begins as that segment of this cache does.
pub(super) fn has_head(file: &File, id: u32, generation: u64) -> bool {
    let mut head = [0; SEGMENT_HEAD_BYTES];
    file.read_exact_at(&mut head, 0).is_ok() && is_segment_head(&head, id, generation)
}
