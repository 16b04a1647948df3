//! Memory and disk, and the tag index of what is in memory.
//!
//! An entry is written to disk when it is stored, or when it is used again if the disk is full
//! ([`brink_policy::disk::Admission`]); not when memory evicts it, so that a program that is killed finds it again.

mod pieces;
mod storing;
mod turns;

use super::{
    config::{Config, DISK_BYTES_MIN},
    content::WHOLE_BYTES_MAX,
    disk::{Disk, DiskFigures, Terms},
    error::Error,
    memory::{Memory, id_of},
    stored::{Key, Slot, Stored, Variant, next_id},
    weight::weight_of,
};
use brink_policy::{
    coherence::{EntryId, Met, TagIndex, Touch, Walk},
    disk::memory::can_be_indexed,
    key::CacheKey,
};
use pieces::Shelf;
use std::{
    hash::{BuildHasher, DefaultHasher, Hasher},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use turns::Turns;

/// What an entry on disk may take beside its body, in bytes: head, key, coded forms.
const ENTRY_ROOM_BYTES: u64 = 6 << 20;
/// So many of the largest entries fit in the disk tier, however small it is meant to be.
const ENTRIES_MIN: u64 = 4;
/// Steps of a walk over the tag index for which it is held at a time.
const SLICE_STEPS: usize = 256;
/// Most steps that are taken to count exactly how many entries a change concerns; beyond it the tags' counts are added
/// up, which counts an entry of two of them twice.
const COUNT_STEPS_MAX: u64 = 1_024;
/// Most steps that are taken to remove what writes of records have ended. Walks over ranges meet entries that a write
/// does not concern; what is left is refused when it is looked for, or evicted.
const RANGE_STEPS_MAX: u64 = 8_192;

/// Keyed by the journal's generation, so that nobody outside can make keys collide; the same after a restart.
#[derive(Debug, Clone)]
pub(super) struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

type Index = Arc<Mutex<TagIndex<Key>>>;

/// Which tier an entry came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    Memory,
    Disk,
}

/// Both tiers.
#[derive(Debug)]
pub(super) struct Tiers {
    memory: Arc<Memory>,
    disk: Option<Disk>,
    index: Index,
    hasher: Seeded,
    shelf: Shelf,
    turns: Turns,
}

fn locked(index: &Index) -> MutexGuard<'_, TagIndex<Key>> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the disk tier lies in the cache's directory.
pub(super) fn disk_dir(dir: &Path) -> PathBuf {
    dir.join("disk")
}

/// Opens the disk tier, in another thread: it reads what is there.
async fn open_disk(
    dir: PathBuf,
    config: &Config,
    generation: u64,
    memory: Arc<Memory>,
) -> Result<Disk, Error> {
    let entry_bytes_max = config.object_bytes_max.min(WHOLE_BYTES_MAX as u64) + ENTRY_ROOM_BYTES;
    let least = DISK_BYTES_MIN.max(ENTRIES_MIN * entry_bytes_max);
    let capacity_bytes = config.disk_bytes_max.max(least);
    if config.disk_bytes_max > least
        && !can_be_indexed(config.disk_bytes_max, config.memory_bytes_max)
    {
        return Err(Error::Config {
            key: "disk_bytes_max",
            value: config.disk_bytes_max,
            rule: "at most 800 times memory_bytes_max: half of that has to hold the index of what is on disk",
        });
    }
    let terms = Terms {
        dir: dir.clone(),
        capacity_bytes,
        memory_bytes_max: config.memory_bytes_max,
        takes_all: !config.admission,
        generation,
        is_in_memory: Box::new(move |hash| memory.has(hash)),
    };
    let opening = tokio::task::spawn_blocking(move || Disk::open(terms));
    opening.await.unwrap_or_else(|error| {
        Err(Error::File {
            action: "read",
            path: dir,
            source: std::io::Error::other(error),
        })
    })
}

impl Tiers {
    /// Opens memory, and disk if there is a directory. What is there is dropped unless it is `trusted`.
    pub(super) async fn open(
        config: &Config,
        generation: u64,
        trusted: bool,
    ) -> Result<Self, Error> {
        let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let memory = Arc::new(Memory::new(
            bytes(config.memory_bytes_max),
            bytes(config.object_bytes_max).min(WHOLE_BYTES_MAX),
        ));
        let disk = match &config.dir {
            None => None,
            Some(dir) => {
                let dir = disk_dir(dir);
                if !trusted {
                    remove(&dir)?;
                }
                Some(open_disk(dir, config, generation, memory.clone()).await?)
            }
        };
        Ok(Self {
            memory,
            disk,
            index: Index::default(),
            hasher: Seeded(generation),
            shelf: Shelf::new(config.memory_bytes_max),
            turns: Turns::new(),
        })
    }

    /// The hash under which requests for a key are collapsed.
    pub(super) fn hash(&self, key: &CacheKey) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Whose entries lose nothing to others': the tenant's.
    fn share(&self, key: &Key) -> u64 {
        let tenant = key.0.parts().map_or("", |(tenant, ..)| tenant);
        self.hasher.hash_one(tenant)
    }

    /// What `key` leads to. Takes no task and no lock beyond a shard's if it is in memory, or nowhere.
    pub(super) async fn find(&self, key: &Key) -> Option<(Slot, Tier)> {
        let hash = self.hasher.hash_one(key);
        let changes = self.turns.changes(hash);
        if let Some(slot) = self.used(hash, key) {
            return Some((slot, Tier::Memory));
        }
        let disk = self.disk.as_ref()?;
        let slot = disk.find(hash, key).await?;
        Some(self.load(hash, key, slot, changes))
    }

    /// What `key` leads to, if it is in memory; counts as a use.
    pub(super) fn in_memory(&self, key: &Key) -> Option<Slot> {
        self.used(self.hasher.hash_one(key), key)
    }

    fn used(&self, hash: u64, key: &Key) -> Option<Slot> {
        let (slot, is_awaited) = self.memory.get(hash, key)?;
        if is_awaited {
            self.write_used(hash, key, &slot);
        }
        Some(slot)
    }

    /// An entry joins the tag index; before it is in memory, so that whatever is there can be found.
    fn enter(&self, key: &Key, slot: &Slot) {
        if let Slot::Answer(stored) = slot {
            let mut index = locked(&self.index);
            if !index.contains(stored.id) {
                index.insert(stored.id, key.clone(), bytes(key, stored), &stored.on);
            }
        }
    }

    /// What has left memory leaves the tag index.
    fn leave(&self, left: &[Slot]) {
        if left.is_empty() {
            return;
        }
        let mut index = locked(&self.index);
        for id in left.iter().filter_map(id_of) {
            index.remove(id);
        }
    }

    /// Whether this response is what `key` leads to in memory.
    pub(super) fn holds(&self, key: &Key, id: EntryId) -> bool {
        let hash = self.hasher.hash_one(key);
        self.memory.peek(hash, key, id_of) == Some(Some(id))
    }

    /// The list of variants that `key` leads to, if it is in memory.
    pub(super) fn variants(&self, key: &Key) -> Option<Arc<Vec<Variant>>> {
        let list = |slot: &Slot| match slot {
            Slot::Variants(list) => Some(list.clone()),
            Slot::Answer(_) | Slot::Piece(_) => None,
        };
        self.memory.peek(self.hasher.hash_one(key), key, list)?
    }

    /// Whether anything may be stored for `key`. Never wrongly no.
    pub(super) fn may_contain(&self, key: &Key) -> bool {
        let hash = self.hasher.hash_one(key);
        let on_disk = |disk: &Disk| disk.may_contain(hash);
        self.memory.peek(hash, key, |_| ()).is_some() || self.disk.as_ref().is_some_and(on_disk)
    }

    /// How many entries of memory a change concerns: exactly if it has one tag, or if it takes few steps to count them;
    /// otherwise at most so many.
    pub(super) fn concerned(&self, touch: &Touch) -> u64 {
        let index = locked(&self.index);
        if !index.may_match(touch) {
            return 0;
        }
        if let ([tag], None) = (&*touch.tags, &touch.written) {
            return index.count(*tag) as u64;
        }
        drop(index);
        let (mut walk, mut count) = (Walk::over(touch, next_id()), 0);
        let mut met = Vec::new();
        while walk.steps() < COUNT_STEPS_MAX {
            let over = self.slice(&mut walk, &mut met);
            count += met.len() as u64;
            met.clear();
            if over {
                return count;
            }
        }
        let index = locked(&self.index);
        let sum = touch.all_tags().map(|tag| index.count(tag)).sum::<usize>();
        count.max(sum.min(index.len()) as u64)
    }

    /// How many entries of memory a touch concerns, and their bytes. Passes over each of them.
    pub(super) fn count(&self, touch: &Touch) -> (u64, u64) {
        let mut walk = Walk::over(touch, next_id());
        let (mut entries, mut bytes) = (0, 0);
        let mut met = Vec::new();
        loop {
            let over = self.slice(&mut walk, &mut met);
            entries += met.len() as u64;
            bytes += met.iter().map(|met| met.bytes).sum::<u64>();
            met.clear();
            if over {
                return (entries, bytes);
            }
        }
    }

    /// One slice of a walk: holds the index for so long.
    fn slice(&self, walk: &mut Walk, met: &mut Vec<Met<Key>>) -> bool {
        walk.slice(&locked(&self.index), SLICE_STEPS, met)
    }

    /// Removes from memory what one slice of a walk comes to; on disk it stays until it is refused. Gives whether the walk
    /// is over.
    fn remove_slice(&self, walk: &mut Walk) -> bool {
        let mut met = Vec::new();
        let over = self.slice(walk, &mut met);
        for Met { id, key, .. } in &met {
            let is_it = |slot: &Slot| id_of(slot) == Some(*id);
            self.memory.remove_if(self.hasher.hash_one(key), key, is_it);
            locked(&self.index).remove(*id);
        }
        over
    }

    /// Entries and bytes of memory.
    pub(super) fn extent(&self) -> (u64, u64) {
        self.memory.extent()
    }

    /// The keys in memory for which `matches` says yes, at most `max`.
    pub(super) fn keys(&self, max: usize, matches: impl Fn(&CacheKey) -> bool) -> Vec<CacheKey> {
        let mut walk = Walk::over_all(next_id());
        let (mut met, mut keys) = (Vec::new(), Vec::new());
        loop {
            let over = self.slice(&mut walk, &mut met);
            keys.extend(met.drain(..).map(|met| met.key.0).filter(&matches));
            if over || keys.len() >= max {
                keys.truncate(max);
                return keys;
            }
        }
    }

    /// The disk tier's figures; none where there is none.
    pub(super) fn disk_figures(&self) -> DiskFigures {
        self.disk.as_ref().map(Disk::figures).unwrap_or_default()
    }

    /// Waits until what was stored is written to disk, or given up.
    pub(super) async fn written(&self) {
        if let Some(disk) = &self.disk {
            disk.written().await;
        }
    }

    /// The same; nothing is written afterwards.
    pub(super) async fn close(&self) {
        if let Some(disk) = &self.disk {
            disk.close().await;
        }
    }
}

/// Removes from memory what a change ended: the first slice now, the others with pauses in between. They are refused
/// already; this only gives their room back.
pub(super) fn remove_ended(tiers: &Arc<Tiers>, touch: &Touch) {
    let steps_max = match touch.written {
        Some(_) => RANGE_STEPS_MAX,
        None => u64::MAX,
    };
    remove_walked(tiers, Walk::over(touch, next_id()), steps_max);
}

/// Removes every answer from memory, as [`remove_ended`] does; the caller has ended them. Lists of variants stay until
/// they are evicted: they lead to nothing.
pub(super) fn remove_all(tiers: &Arc<Tiers>) {
    remove_walked(tiers, Walk::over_all(next_id()), u64::MAX);
}

fn remove_walked(tiers: &Arc<Tiers>, mut walk: Walk, steps_max: u64) {
    if tiers.remove_slice(&mut walk) {
        return;
    }
    let tiers = tiers.clone();
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            while walk.steps() < steps_max && !tiers.remove_slice(&mut walk) {
                tokio::task::yield_now().await;
            }
        });
    }
}

/// What an entry costs in memory, in bytes.
fn bytes(key: &Key, stored: &Stored) -> u64 {
    weight_of(key, stored) as u64
}

fn remove(dir: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::File {
            action: "remove",
            path: dir.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
