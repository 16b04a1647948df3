//! The tag index of the memory tier: from tags to entries.

use super::tags::TagHash;
use rustc_hash::{FxHashMap, FxHashSet};

/// One entry of the memory tier. Never given twice, so that an entry and the one that took its key's place differ.
pub type EntryId = u64;

/// From tags to entries and back. Its size follows the memory tier's.
#[derive(Debug)]
pub struct TagIndex<K> {
    tags: FxHashMap<TagHash, FxHashSet<EntryId>>,
    entries: FxHashMap<EntryId, (K, Box<[TagHash]>)>,
}

impl<K> Default for TagIndex<K> {
    fn default() -> Self {
        Self {
            tags: FxHashMap::default(),
            entries: FxHashMap::default(),
        }
    }
}

impl<K> TagIndex<K> {
    /// Adds an entry with its tags, each of which is named once.
    pub fn insert(&mut self, id: EntryId, key: K, tags: &[TagHash]) {
        for tag in tags {
            self.tags.entry(*tag).or_default().insert(id);
        }
        self.entries.insert(id, (key, tags.into()));
    }

    /// Whether the entry is there.
    #[must_use]
    pub fn contains(&self, id: EntryId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Removes an entry. One that is not there is none.
    pub fn remove(&mut self, id: EntryId) -> Option<K> {
        let (key, tags) = self.entries.remove(&id)?;
        for tag in tags {
            if let Some(ids) = self.tags.get_mut(&tag) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.tags.remove(&tag);
                }
            }
        }
        Some(key)
    }

    /// How many entries have any of the tags.
    #[must_use]
    pub fn count(&self, tags: &[TagHash]) -> usize {
        match tags {
            [tag] => self.tags.get(tag).map_or(0, FxHashSet::len),
            tags => self.union(tags).len(),
        }
    }

    /// The entries that have any of the tags. Costs as much as there are.
    #[must_use]
    pub fn union(&self, tags: &[TagHash]) -> FxHashSet<EntryId> {
        tags.iter()
            .filter_map(|tag| self.tags.get(tag))
            .flatten()
            .copied()
            .collect()
    }

    /// At most `max` of the entries before `below` that have any of the tags, and their keys: one slice of a purge. They stay in the
    /// index until they are removed.
    #[must_use]
    pub fn slice(&self, tags: &[TagHash], below: EntryId, max: usize) -> Vec<(EntryId, K)>
    where
        K: Clone,
    {
        let ids = tags
            .iter()
            .filter_map(|tag| self.tags.get(tag))
            .flatten()
            .filter(|id| **id < below);
        let known = ids.filter_map(|id| self.entries.get(id).map(|(key, _)| (*id, key.clone())));
        known.take(max).collect()
    }

    /// The keys of all entries.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.values().map(|(key, _)| key)
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

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.tags.clear();
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counted_once() {
        let mut index = TagIndex::default();
        index.insert(1, "a", &[10, 20]);
        index.insert(2, "b", &[20, 30]);
        assert_eq!(index.count(&[20]), 2);
        assert_eq!(index.count(&[10, 20, 30]), 2);
        assert_eq!(index.slice(&[20], 9, 1).len(), 1);
        assert_eq!(index.remove(1), Some("a"));
        assert_eq!(index.remove(1), None);
        assert_eq!(index.count(&[10]), 0);
        assert_eq!(index.slice(&[20], 9, 9), [(2, "b")]);
    }

    proptest! {
        #[test]
        fn same_as_a_list(steps in proptest::collection::vec((any::<bool>(), 0u64..8, proptest::collection::btree_set(0u64..5, 0..4)), 0..60)) {
            let mut index = TagIndex::default();
            let mut list: Vec<(u64, Vec<u64>)> = Vec::new();
            for (add, id, tags) in steps {
                let tags: Vec<u64> = tags.into_iter().collect();
                index.remove(id);
                list.retain(|(other, _)| *other != id);
                if add {
                    index.insert(id, (), &tags);
                    list.push((id, tags));
                }
                for tag in 0..5 {
                    let expected = list.iter().filter(|(_, tags)| tags.contains(&tag)).count();
                    prop_assert_eq!(index.count(&[tag]), expected);
                }
                prop_assert_eq!(index.len(), list.len());
            }
            for (id, _) in list {
                index.remove(id);
            }
            prop_assert!(index.tags.is_empty());
        }
    }
}
