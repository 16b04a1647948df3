//! The tag index of the memory tier: from tags to entries.
//!
//! Whoever holds it, holds up every store and every eviction. So nothing here costs as much as there are matches: what
//! has to walk over them (a [`Walk`]) goes on in slices, and between them the index may change.

use super::{
    dependency::{Dependency, Depends as _},
    tags::TagHash,
    touch::{Touch, Written},
};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};

/// One entry of the memory tier. Never given twice, and growing, so that an entry and the one that took its key's place
/// differ.
pub type EntryId = u64;

/// Tables that a map is spread over: one that grows moves this part of the whole at a time.
const SHARDS: usize = 256;

/// A map that grows in small steps.
#[derive(Debug)]
struct Sharded<V>(Box<[FxHashMap<u64, V>]>);

impl<V> Default for Sharded<V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| FxHashMap::default()).collect())
    }
}

impl<V> Sharded<V> {
    fn place(&self, key: u64) -> usize {
        usize::try_from(key % SHARDS as u64).unwrap_or(0)
    }

    fn of(&self, key: u64) -> Option<&FxHashMap<u64, V>> {
        self.0.get(self.place(key))
    }

    fn of_mut(&mut self, key: u64) -> Option<&mut FxHashMap<u64, V>> {
        let place = self.place(key);
        self.0.get_mut(place)
    }

    fn get(&self, key: u64) -> Option<&V> {
        self.of(key)?.get(&key)
    }
}

/// The entries of one tag.
#[derive(Debug)]
enum Ids {
    One(EntryId),
    Many(BTreeSet<EntryId>),
}

impl Ids {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(ids) => ids.len(),
        }
    }

    fn insert(&mut self, id: EntryId) {
        match self {
            Self::One(one) if *one == id => {}
            Self::One(one) => *self = Self::Many(BTreeSet::from([*one, id])),
            Self::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// Gives whether none is left.
    fn remove(&mut self, id: EntryId) -> bool {
        match self {
            Self::One(one) => *one == id,
            Self::Many(ids) => {
                ids.remove(&id);
                ids.is_empty()
            }
        }
    }

    /// The first at or after `from`.
    fn next(&self, from: EntryId) -> Option<EntryId> {
        match self {
            Self::One(one) => (*one >= from).then_some(*one),
            Self::Many(ids) => ids.range(from..).next().copied(),
        }
    }
}

/// An entry, as far as the index knows it.
#[derive(Debug)]
struct Entry<K> {
    key: K,
    bytes: u64,
    on: Box<[Dependency]>,
}

/// From tags to entries and back. Its size follows the memory tier's.
#[derive(Debug)]
pub struct TagIndex<K> {
    tags: Sharded<Ids>,
    /// Entries that depend on a range of a partition, by the partition's tag.
    ranges: Sharded<Ids>,
    entries: BTreeMap<EntryId, Entry<K>>,
}

impl<K> Default for TagIndex<K> {
    fn default() -> Self {
        Self {
            tags: Sharded::default(),
            ranges: Sharded::default(),
            entries: BTreeMap::new(),
        }
    }
}

impl<K> TagIndex<K> {
    /// What an entry takes beside its key, and what it depends on: half as much again as a tree's node has for it.
    pub const ENTRY_BYTES: usize = (size_of::<EntryId>() + size_of::<Entry<K>>()) * 3 / 2;
    /// What a tag of an entry takes: in a table that has just grown.
    pub const TAG_BYTES: usize = 2 * (size_of::<TagHash>() + size_of::<Ids>());

    /// Adds an entry of so many bytes with what it depends on.
    pub fn insert(&mut self, id: EntryId, key: K, bytes: u64, on: &[Dependency]) {
        self.remove(id);
        for dependency in on {
            let tag = dependency.tag();
            let table = match dependency.bounds() {
                None => &mut self.tags,
                Some(_) => &mut self.ranges,
            };
            if let Some(table) = table.of_mut(tag) {
                table
                    .entry(tag)
                    .and_modify(|ids| ids.insert(id))
                    .or_insert(Ids::One(id));
            }
        }
        let on = on.into();
        self.entries.insert(id, Entry { key, bytes, on });
    }

    /// Whether the entry is there.
    #[must_use]
    pub fn contains(&self, id: EntryId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Removes an entry. One that is not there is none.
    pub fn remove(&mut self, id: EntryId) -> Option<K> {
        let Entry { key, on, .. } = self.entries.remove(&id)?;
        for dependency in &on {
            let tag = dependency.tag();
            let table = match dependency.bounds() {
                None => &mut self.tags,
                Some(_) => &mut self.ranges,
            };
            if let Some(table) = table.of_mut(tag)
                && let Some(ids) = table.get_mut(&tag)
                && ids.remove(id)
            {
                table.remove(&tag);
            }
        }
        Some(key)
    }

    /// How many entries have the tag. Takes no walk.
    #[must_use]
    pub fn count(&self, tag: TagHash) -> usize {
        self.tags.get(tag).map_or(0, Ids::len)
    }

    /// Whether anything may depend on what is touched. Takes no walk; of ranges it knows no bounds.
    #[must_use]
    pub fn may_match(&self, touch: &Touch) -> bool {
        let ranges = touch.written.as_ref().map(|written| written.partition);
        touch.all_tags().any(|tag| self.tags.get(tag).is_some())
            || ranges.is_some_and(|partition| self.ranges.get(partition).is_some())
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Where a walk finds entries.
#[derive(Debug, Clone)]
enum Source {
    /// Those that have a tag.
    Tag(TagHash),
    /// Those that depend on a range that was written to.
    Range(Written),
    /// Every one.
    All,
}

impl Source {
    /// The first entry at or after `from` that may be one of its.
    fn next<K>(&self, index: &TagIndex<K>, from: EntryId) -> Option<EntryId> {
        match self {
            Self::Tag(tag) => index.tags.get(*tag)?.next(from),
            Self::Range(written) => index.ranges.get(written.partition)?.next(from),
            Self::All => index.entries.range(from..).next().map(|(id, _)| *id),
        }
    }

    /// Whether the source is what the dependency is on.
    fn is_met(&self, on: &Dependency) -> bool {
        match (self, on) {
            (Self::All, _) => true,
            (Self::Tag(tag), Dependency::Tag(own)) => tag == own,
            (Self::Range(written), Dependency::Range { partition, bounds }) => {
                written.partition == *partition
                    && written
                        .sorts
                        .as_ref()
                        .is_none_or(|sorts| sorts.iter().any(|key| bounds.may_contain(key)))
            }
            (Self::Tag(_), Dependency::Range { .. }) | (Self::Range(_), Dependency::Tag(_)) => {
                false
            }
        }
    }
}

/// An entry that a walk has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met<K> {
    /// Which.
    pub id: EntryId,
    /// Its key.
    pub key: K,
    /// See [`TagIndex::insert`].
    pub bytes: u64,
}

/// A walk over all entries that a touch concerns and that were there when it began, each once, in slices.
#[derive(Debug, Clone)]
pub struct Walk {
    sources: Vec<Source>,
    /// Which source has a tag.
    places: FxHashMap<TagHash, usize>,
    /// Which source is walked now.
    at: usize,
    /// Entries before it were passed.
    from: EntryId,
    /// Entries from it on came later.
    below: EntryId,
    steps: u64,
}

impl Walk {
    /// Over what `touch` concerns, of entries whose ids are less than `below`.
    #[must_use]
    pub fn over(touch: &Touch, below: EntryId) -> Self {
        let mut sources: Vec<_> = touch.all_tags().map(Source::Tag).collect();
        sources.extend(touch.written.clone().map(Source::Range));
        let mut places = FxHashMap::default();
        for (place, tag) in touch.all_tags().enumerate() {
            places.entry(tag).or_insert(place);
        }
        Self {
            sources,
            places,
            at: 0,
            from: 0,
            below,
            steps: 0,
        }
    }

    /// Over all entries whose ids are less than `below`.
    #[must_use]
    pub fn over_all(below: EntryId) -> Self {
        Self {
            sources: vec![Source::All],
            ..Self::over(&Touch::default(), below)
        }
    }

    /// How many steps it took so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Goes on for at most `steps` steps, and adds the entries that it concerns to `met`. Gives whether it is over.
    ///
    /// A step is a search in one tree and a look at what one entry depends on. Nothing else here grows with the index.
    pub fn slice<K: Clone>(
        &mut self,
        index: &TagIndex<K>,
        steps: usize,
        met: &mut Vec<Met<K>>,
    ) -> bool {
        for _ in 0..steps {
            let Some(source) = self.sources.get(self.at) else {
                return true;
            };
            self.steps += 1;
            let next = source.next(index, self.from);
            let Some(id) = next.filter(|id| *id < self.below) else {
                self.at += 1;
                self.from = 0;
                continue;
            };
            self.from = id + 1;
            if let Some(entry) = index.entries.get(&id)
                && self.first_of(entry) == Some(self.at)
            {
                met.push(Met {
                    id,
                    key: entry.key.clone(),
                    bytes: entry.bytes,
                });
            }
        }
        self.at >= self.sources.len()
    }

    /// The first source that an entry is of: there it counts, and at the others it was or will be passed.
    fn first_of<K>(&self, entry: &Entry<K>) -> Option<usize> {
        if let [Source::All] = *self.sources {
            return Some(0);
        }
        let last = self.sources.len().checked_sub(1)?;
        let of = |on: &Dependency| {
            let place = match on {
                Dependency::Tag(tag) => self.places.get(tag).copied(),
                Dependency::Range { .. } => None,
            };
            // What is not a tag is the last source.
            let met = |source: &Source| source.is_met(on);
            place.or_else(|| self.sources.last().is_some_and(met).then_some(last))
        };
        entry.on.iter().filter_map(of).min()
    }
}

#[cfg(test)]
mod tests;
